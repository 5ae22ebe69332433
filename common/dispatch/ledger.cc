#include "common/dispatch/ledger.h"

namespace cohort {

absl::string_view OrdinalEndName(OrdinalEnd end) {
  static constexpr std::array<const char*, kOrdinalEnds> kNames = {
      "trained",      "all_right",  "all_wrong",       "band",     "gate", "no_rows", "stale",
      "infra_failed", "unscorable", "prompt_too_long", "abandoned"};
  return kNames[static_cast<size_t>(end)];
}

absl::string_view DeliveryName(Delivery delivery) {
  static constexpr std::array<const char*, kDeliveries> kNames = {
      "accepted", "duplicate", "malformed", "hash_mismatch", "late"};
  return kNames[static_cast<size_t>(delivery)];
}

}  // namespace cohort
