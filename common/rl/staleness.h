// Staleness in weight versions: how old the policy that sampled a group may be when it is trained
// (design.md section 2). One rule, asked twice: when a lease is issued and when a group is
// consumed. A bound of 0 is synchronous training, 1 is one step off, k is asynchronous.
#pragma once

#include <cstdint>

namespace cohort {

// How many leases may be open or waiting at once: credits = this - in flight - queued.
inline int64_t AdmissionWindow(int64_t max_staleness, int64_t groups_per_step) {
  return (max_staleness + 1) * groups_per_step;
}

// Versions between the oldest that sampled one of a group's tokens and the one being trained.
inline int64_t Staleness(int64_t oldest_version, int64_t training_version) {
  return training_version > oldest_version ? training_version - oldest_version : 0;
}

// Must the group be dropped at consumption?
inline bool IsStale(int64_t oldest_version, int64_t training_version, int64_t max_staleness) {
  return Staleness(oldest_version, training_version) > max_staleness;
}

}  // namespace cohort
