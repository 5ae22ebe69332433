// Two ledgers. Ordinals: every dispatched prompt ends in exactly one state. Deliveries: every copy
// of a group that arrives is counted once, whatever became of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cohort {

// Terminal states of a training ordinal.
enum class OrdinalEnd {
  kTrained,
  kAllRight,  // filtered: every row right
  kAllWrong,  // filtered: every row wrong
  kBand,      // filtered: accuracy outside the band
  kGate,      // filtered: gate of the prompt (semantic entropy)
  kNoRows,    // filtered: the row filter left nothing
  kStale,     // older than the staleness bound when it was to be trained
  kInfraFailed,
  kUnscorable,
  kPromptTooLong,
  kAbandoned,  // the run ended first
};
inline constexpr size_t kOrdinalEnds = 11;
absl::string_view OrdinalEndName(OrdinalEnd end);  // "trained", "all_right", ...

enum class Delivery { kAccepted, kDuplicate, kMalformed, kHashMismatch, kLate };
inline constexpr size_t kDeliveries = 5;
absl::string_view DeliveryName(Delivery delivery);

// A snapshot. Invariant: dispatched == sum(ended) + in_flight + buffered + training.
struct LedgerCounts {
  uint64_t dispatched = 0;
  std::array<uint64_t, kOrdinalEnds> ended{};
  uint64_t in_flight = 0;  // leased or waiting to be leased again
  uint64_t buffered = 0;   // arrived, not yet taken
  uint64_t training = 0;   // taken, step not finished
  std::array<uint64_t, kDeliveries> deliveries{};
  uint64_t reissued = 0;  // leases issued again after an expiry, a failure or a lost worker
  // Since the first lease of the oldest one in flight; zero: none was leased.
  absl::Duration oldest_in_flight;

  uint64_t TotalEnded() const {
    uint64_t total = 0;
    for (uint64_t count : ended) total += count;
    return total;
  }
  int64_t Imbalance() const {
    return static_cast<int64_t>(dispatched) -
           static_cast<int64_t>(TotalEnded() + in_flight + buffered + training);
  }
};

}  // namespace cohort
