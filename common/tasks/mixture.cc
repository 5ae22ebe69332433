#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/tasks/prompt_source.h"

namespace cohort {
namespace {

constexpr uint64_t kPeriod = 1000;  // turns

// Turns of each part in one period: largest remainders, at least one each.
std::vector<uint64_t> ShareTurns(const std::vector<PromptMixture::Part>& parts) {
  if (parts.size() == 1) return {1};
  double total = 0;
  for (const auto& part : parts) total += part.weight;
  std::vector<uint64_t> turns(parts.size());
  std::vector<std::pair<double, size_t>> remainders(parts.size());
  uint64_t given = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const double share = parts[i].weight / total * static_cast<double>(kPeriod);
    turns[i] = std::max<uint64_t>(1, static_cast<uint64_t>(share));
    remainders[i] = {std::floor(share) - share, i};
    given += turns[i];
  }
  std::sort(remainders.begin(), remainders.end());
  for (size_t i = 0; given < kPeriod && i < parts.size(); ++i, ++given) {
    ++turns[remainders[i].second];
  }
  uint64_t divisor = 0;
  for (uint64_t count : turns) divisor = std::gcd(divisor, count);
  for (uint64_t& count : turns) count /= divisor;
  return turns;
}

// One Feistel round's value for half a position.
uint64_t Scramble(uint64_t seed, uint64_t epoch, int round, uint64_t half) {
  const auto bits =
      Philox(seed ^ 0x7065726d75746564u, (epoch << 2) | static_cast<uint64_t>(round), half);
  return (uint64_t{bits[0]} << 32) | bits[1];
}

}  // namespace

uint64_t PermutedIndex(uint64_t seed, uint64_t epoch, uint64_t size, uint64_t position) {
  if (size <= 1) return 0;
  int half_bits = 1;
  while (half_bits < 32 && (uint64_t{1} << (2 * half_bits)) < size) ++half_bits;
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  // A Feistel network permutes [0, 4^half_bits); walking its cycle until it re-enters [0, size)
  // permutes that.
  uint64_t value = position;
  do {
    uint64_t left = value >> half_bits;
    uint64_t right = value & mask;
    for (int round = 0; round < 4; ++round) {
      left = std::exchange(right, left ^ (Scramble(seed, epoch, round, right) & mask));
    }
    value = (left << half_bits) | right;
  } while (value >= size);
  return value;
}

PromptMixture::PromptMixture(std::vector<Part> parts, uint64_t seed, bool shuffle)
    : parts_(std::move(parts)), seed_(seed), shuffle_(shuffle), turns_(ShareTurns(parts_)) {
  // Turn k of n is due at (k + 1/2) / n of the period.
  std::vector<std::pair<double, Turn>> due;
  for (size_t i = 0; i < parts_.size(); ++i) {
    for (uint64_t k = 0; k < turns_[i]; ++k) {
      due.push_back({(static_cast<double>(k) + 0.5) / static_cast<double>(turns_[i]), Turn{i, k}});
    }
  }
  std::stable_sort(due.begin(), due.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [when, turn] : due) period_.push_back(turn);
}

absl::StatusOr<std::unique_ptr<PromptMixture>> PromptMixture::Create(std::vector<Part> parts,
                                                                     uint64_t seed, bool shuffle) {
  if (parts.empty() || parts.size() > kPeriod / 2) {
    return absl::InvalidArgumentError(absl::StrCat("data.sources: expected 1 to ", kPeriod / 2,
                                                   " sources, found ", parts.size()));
  }
  for (const Part& part : parts) {
    if (!std::isfinite(part.weight) || part.weight <= 0 || part.weight > 1e9) {
      return absl::InvalidArgumentError(
          absl::StrCat("data source ", part.source->name(),
                       ": weight must be a number between 0 and 1e9, found ", part.weight));
    }
  }
  return std::unique_ptr<PromptMixture>(new PromptMixture(std::move(parts), seed, shuffle));
}

absl::StatusOr<Prompt> PromptMixture::At(uint64_t ordinal) const {
  const Turn& turn = period_[ordinal % period_.size()];
  const PromptSource& source = *parts_[turn.part].source;
  const Split split = parts_[turn.part].split;
  uint64_t index = ordinal / period_.size() * turns_[turn.part] + turn.rank;
  if (const uint64_t size = source.Size(split); size != kEndless) {
    const uint64_t position = index % size;
    const uint64_t epoch = index / size;
    // The part number keeps two sources of equal size from sharing their order.
    index = shuffle_ ? PermutedIndex(seed_ + turn.part, epoch, size, position) : position;
  }
  COHORT_ASSIGN_OR_RETURN(Prompt prompt, source.At(index, split));
  prompt.ordinal = ordinal;
  return prompt;
}

}  // namespace cohort
