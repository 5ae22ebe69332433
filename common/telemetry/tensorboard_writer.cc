#include "common/telemetry/tensorboard_writer.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

constexpr char kFileMark[] = "events.out.tfevents.";

std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0u);
    table[byte] = crc;
  }
  return table;
}

// TFRecord stores checksums rotated and offset, so that a checksum of a checksum stays useful.
uint32_t Masked(uint32_t crc) { return std::rotr(crc, 15) + 0xa282ead8u; }

template <typename T>
void AppendLittleEndian(T value, std::string* out) {
  for (size_t i = 0; i < sizeof(T); ++i) *out += static_cast<char>((value >> (8 * i)) & 0xff);
}

// ---- just enough of the Protobuf wire format ----

constexpr int kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

void AppendVarint(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) *out += static_cast<char>((value & 0x7f) | 0x80);
  *out += static_cast<char>(value);
}

void AppendTag(int field, int wire_type, std::string* out) {
  AppendVarint(static_cast<uint64_t>(field << 3 | wire_type), out);
}

void AppendBytes(int field, absl::string_view bytes, std::string* out) {
  AppendTag(field, kBytes, out);
  AppendVarint(bytes.size(), out);
  out->append(bytes.data(), bytes.size());
}

std::string EventHeader(absl::Time now, int64_t step) {
  std::string event;
  AppendTag(1, kFixed64, &event);
  AppendLittleEndian(std::bit_cast<uint64_t>(absl::ToDoubleSeconds(now - absl::UnixEpoch())),
                     &event);
  AppendTag(2, kVarint, &event);
  AppendVarint(static_cast<uint64_t>(step), &event);
  return event;
}

std::string ScalarValue(absl::string_view tag, float value) {
  std::string out;
  AppendBytes(1, tag, &out);
  AppendTag(2, kFixed32, &out);
  AppendLittleEndian(std::bit_cast<uint32_t>(value), &out);
  return out;
}

std::string FilePath(const std::string& folder) {
  static std::atomic<int> files{0};
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host = {"localhost"};
  return absl::StrCat(folder, "/", kFileMark, absl::ToUnixSeconds(absl::Now()), ".", host.data(),
                      ".", getpid(), ".", files.fetch_add(1));
}

// ---- what an earlier process left ----

uint64_t ReadLittleEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

// Of an event as EventHeader writes it; -1: of another make.
int64_t StepOf(absl::string_view event) {
  constexpr size_t kStepField = 1 + sizeof(double);
  if (event.size() <= kStepField || event[0] != (1 << 3 | kFixed64) ||
      event[kStepField] != (2 << 3 | kVarint)) {
    return -1;
  }
  uint64_t step = 0;
  int shift = 0;
  for (size_t i = kStepField + 1; i < event.size() && shift < 63; ++i, shift += 7) {
    const auto byte = static_cast<uint8_t>(event[i]);
    step |= uint64_t{byte & 0x7fu} << shift;
    if ((byte & 0x80) == 0) return static_cast<int64_t>(step);
  }
  return -1;
}

// Steps only grow within a file. A record that is not whole is cut off, too.
absl::Status CutAfter(const std::string& path, int64_t last_step) {
  constexpr size_t kBefore = 12, kAfter = 4;  // length and its checksum; the event's checksum
  COHORT_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  const absl::string_view file = bytes;
  size_t kept = 0;
  while (file.size() - kept >= kBefore + kAfter) {
    const uint64_t length = ReadLittleEndian(file.substr(kept, sizeof(uint64_t)));
    if (length > file.size() - kept - kBefore - kAfter) break;
    const bool version = kept == 0;  // the file's first record has no step
    if (!version && StepOf(file.substr(kept + kBefore, length)) > last_step) break;
    kept += kBefore + length + kAfter;
  }
  if (kept == file.size()) return absl::OkStatus();
  std::error_code error;
  std::filesystem::resize_file(path, kept, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot shorten ", path));
  return absl::OkStatus();
}

}  // namespace

uint32_t Crc32c(absl::string_view bytes) {
  static const std::array<uint32_t, 256> kTable = MakeCrcTable();
  uint32_t crc = 0xffffffffu;
  for (char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(c)) & 0xff];
  return ~crc;
}

absl::StatusOr<std::unique_ptr<TensorBoardWriter>> TensorBoardWriter::Open(
    const std::string& folder, int64_t last_step) {
  COHORT_RETURN_IF_ERROR(MakeFolders(folder));
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (!absl::StrContains(entry.path().filename().string(), kFileMark)) continue;
    COHORT_RETURN_IF_ERROR(CutAfter(entry.path().string(), last_step));
  }
  const std::string path = FilePath(folder);
  COHORT_ASSIGN_OR_RETURN(AppendFile file, AppendFile::Open(path, /*exclusive=*/true));
  std::unique_ptr<TensorBoardWriter> writer(new TensorBoardWriter(std::move(file)));
  std::string version = EventHeader(absl::Now(), 0);
  AppendBytes(3, "brain.Event:2", &version);
  COHORT_RETURN_IF_ERROR(writer->WriteRecord(version));
  return writer;
}

absl::Status TensorBoardWriter::Write(int64_t step, const MetricRow& row, absl::Time now) {
  std::string summary;
  for (const auto& [name, value] : row.values()) {
    if (std::holds_alternative<std::string>(value)) continue;
    const double number = std::holds_alternative<double>(value)
                              ? std::get<double>(value)
                              : static_cast<double>(std::get<int64_t>(value));
    if (std::isfinite(number)) {
      AppendBytes(1, ScalarValue(name, static_cast<float>(number)), &summary);
    }
  }
  std::string event = EventHeader(now, step);
  AppendBytes(5, summary, &event);
  return WriteRecord(event);
}

absl::Status TensorBoardWriter::WriteRecord(absl::string_view event) {
  std::string length;
  AppendLittleEndian(uint64_t{event.size()}, &length);
  std::string record = length;
  AppendLittleEndian(Masked(Crc32c(length)), &record);
  record.append(event.data(), event.size());
  AppendLittleEndian(Masked(Crc32c(event)), &record);

  absl::MutexLock lock(&mu_);
  return file_.Append(record);
}

}  // namespace cohort
