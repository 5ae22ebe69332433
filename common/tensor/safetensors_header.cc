#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/tensor/safetensors.h"
#include "common/tensor/safetensors_dtype.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own library

uint64_t LittleEndian64(absl::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = kLengthBytes; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

// Names come from the file: control characters must not reach a log line.
std::string Quoted(absl::string_view name) {
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, 200)), "\"");
}

std::string Printable(const json& value) {
  return value.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 200);
}

class HeaderParser {
 public:
  HeaderParser(uint64_t data_begin, uint64_t file_size, const std::string& where)
      : data_begin_(data_begin), file_size_(file_size), where_(where) {}

  absl::StatusOr<std::map<std::string, SafetensorsEntry>> Parse(absl::string_view text) {
    COHORT_ASSIGN_OR_RETURN(json header, ParseJson(text));
    std::map<std::string, SafetensorsEntry> entries;
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") continue;
      COHORT_ASSIGN_OR_RETURN(SafetensorsEntry entry, ParseEntry(name, value));
      entries.emplace(name, std::move(entry));
    }
    COHORT_RETURN_IF_ERROR(CheckTiling(entries));
    return entries;
  }

 private:
  template <typename... Args>
  absl::Status Invalid(const Args&... args) const {
    return absl::InvalidArgumentError(absl::StrCat(where_, ": ", args...));
  }

  absl::StatusOr<json> ParseJson(absl::string_view text) const {
    std::set<std::string> seen;
    std::string duplicate;
    auto on_event = [&](int depth, json::parse_event_t event, json& value) {
      if (event == json::parse_event_t::key && depth == 1) {
        const auto name = value.get<std::string>();
        if (!seen.insert(name).second) duplicate = name;
      }
      return true;
    };
    json header = json::parse(text.begin(), text.end(), on_event, /*allow_exceptions=*/false);
    if (header.is_discarded() || !header.is_object()) {
      return Invalid("expected a JSON object of ", text.size(), " bytes as safetensors header, ",
                     "found text that does not parse; the file is damaged");
    }
    if (!duplicate.empty()) return Invalid("tensor ", Quoted(duplicate), " is listed twice");
    return header;
  }

  absl::StatusOr<SafetensorsEntry> ParseEntry(const std::string& name, const json& value) const {
    const bool complete = value.is_object() && value.contains("dtype") &&
                          value["dtype"].is_string() && value.contains("shape") &&
                          value["shape"].is_array() && value.contains("data_offsets") &&
                          value["data_offsets"].is_array() && value["data_offsets"].size() == 2;
    if (!complete) {
      return Invalid("tensor ", Quoted(name), ": expected {dtype, shape, data_offsets: [b, e]}");
    }
    SafetensorsEntry entry;
    entry.name = name;
    const auto dtype = value["dtype"].get<std::string>();
    const auto parsed = SafetensorsDtype(dtype);
    if (!parsed.has_value()) {
      return Invalid("tensor ", Quoted(name), ": dtype ", Quoted(dtype),
                     " is not supported; expected one of ", SafetensorsDtypeNames());
    }
    entry.dtype = *parsed;
    COHORT_RETURN_IF_ERROR(ParseOffsets(value["data_offsets"], entry));
    COHORT_RETURN_IF_ERROR(ParseShape(value["shape"], entry));
    return entry;
  }

  absl::Status ParseOffsets(const json& offsets, SafetensorsEntry& entry) const {
    if (!offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) {
      return Invalid("tensor ", Quoted(entry.name), ": data_offsets are not whole numbers");
    }
    const auto begin = offsets[0].get<uint64_t>();
    const auto end = offsets[1].get<uint64_t>();
    const uint64_t data_bytes = file_size_ - data_begin_;
    if (begin > end || end > data_bytes) {
      return Invalid("tensor ", Quoted(entry.name), ": data_offsets [", begin, ", ", end,
                     "] do not lie in the file's ", data_bytes,
                     " bytes of data; the file is truncated or damaged");
    }
    entry.begin = data_begin_ + begin;
    entry.end = data_begin_ + end;
    return absl::OkStatus();
  }

  absl::Status ParseShape(const json& shape, SafetensorsEntry& entry) const {
    constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    uint64_t bytes = c10::elementSize(entry.dtype);
    for (const json& size : shape) {
      uint64_t product = 0;
      if (!size.is_number_unsigned() || size.get<uint64_t>() > kMax ||
          __builtin_mul_overflow(bytes, size.get<uint64_t>(), &product) || product > kMax) {
        return Invalid("tensor ", Quoted(entry.name), ": shape ", Printable(shape),
                       " is not a list of sizes that fit in memory");
      }
      bytes = product;
      entry.shape.push_back(size.get<int64_t>());
    }
    if (bytes != entry.end - entry.begin) {
      return Invalid("tensor ", Quoted(entry.name), ": shape [", absl::StrJoin(entry.shape, ", "),
                     "] of ", c10::toString(entry.dtype), " needs ", bytes,
                     " bytes, data_offsets give ", entry.end - entry.begin);
    }
    return absl::OkStatus();
  }

  // The format forbids overlaps and holes.
  absl::Status CheckTiling(const std::map<std::string, SafetensorsEntry>& entries) const {
    std::vector<const SafetensorsEntry*> order;
    for (const auto& [name, entry] : entries) order.push_back(&entry);
    std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
      return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
    });
    uint64_t expected = data_begin_;
    for (const SafetensorsEntry* entry : order) {
      if (entry->begin != expected) {
        return Invalid("tensor ", Quoted(entry->name), ": expected its data at byte ", expected,
                       ", found ", entry->begin,
                       entry->begin < expected ? " (overlaps another tensor)" : " (a hole)");
      }
      expected = entry->end;
    }
    if (expected != file_size_) {
      return Invalid("expected ", expected, " bytes by the header, found a file of ", file_size_);
    }
    return absl::OkStatus();
  }

  uint64_t data_begin_;
  uint64_t file_size_;
  const std::string& where_;
};

}  // namespace

absl::StatusOr<std::map<std::string, SafetensorsEntry>> ParseSafetensorsHeader(
    absl::string_view prefix, uint64_t file_size, const std::string& where) {
  if (prefix.size() < kLengthBytes || file_size < kLengthBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected at least 8 bytes of safetensors header, found a file of ",
                     file_size, " bytes"));
  }
  const uint64_t length = LittleEndian64(prefix);
  if (length > kMaxHeaderBytes || length > file_size - kLengthBytes ||
      length > prefix.size() - kLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": the header says it is ", length,
                                                   " bytes long, the file has ", file_size,
                                                   "; it is truncated or not a safetensors file"));
  }
  return HeaderParser(kLengthBytes + length, file_size, where)
      .Parse(prefix.substr(kLengthBytes, length));
}

}  // namespace cohort
