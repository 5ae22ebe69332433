#include "common/dispatch/drops.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace cohort {
namespace {

bool Broken(OrdinalEnd end) {
  return end == OrdinalEnd::kUnscorable || end == OrdinalEnd::kInfraFailed;
}

}  // namespace

void Drops::Add(uint64_t ordinal, OrdinalEnd end, int64_t tokens) {
  ends_[ordinal] = {end, tokens};
}

int64_t Drops::AskedBefore(uint64_t ordinal) const {
  int64_t count = 0;
  for (auto it = ends_.begin(); it != ends_.end() && it->first < ordinal; ++it) {
    if (it->second.end != OrdinalEnd::kPromptTooLong) ++count;
  }
  return count;
}

std::map<std::string, int64_t> Drops::Take(uint64_t ordinal, int64_t* tokens) {
  std::map<std::string, int64_t> taken;
  while (!ends_.empty() && ends_.begin()->first <= ordinal) {
    ++taken[std::string(OrdinalEndName(ends_.begin()->second.end))];
    *tokens += ends_.begin()->second.tokens;
    ends_.erase(ends_.begin());
  }
  return taken;
}

int64_t Drops::Tokens() const {
  int64_t tokens = 0;
  for (const auto& [ordinal, drop] : ends_) tokens += drop.tokens;
  return tokens;
}

int64_t Drops::Count(OrdinalEnd end) const {
  int64_t count = 0;
  for (const auto& [ordinal, drop] : ends_) count += drop.end == end ? 1 : 0;
  return count;
}

bool Drops::MostlyBroken() const {
  size_t broken = 0;
  for (const auto& [ordinal, drop] : ends_) broken += Broken(drop.end) ? 1 : 0;
  return 2 * broken > ends_.size();
}

std::string Drops::Describe() const {
  std::map<absl::string_view, int64_t> counts;
  for (const auto& [ordinal, drop] : ends_) ++counts[OrdinalEndName(drop.end)];
  return absl::StrJoin(counts, ", ", [](std::string* out, const auto& entry) {
    absl::StrAppend(out, entry.first, " ", entry.second);
  });
}

}  // namespace cohort
