#include "common/dispatch/lease.h"

#include <algorithm>

namespace cohort {

void LimitPlans(int32_t max_new_tokens, PromptItem* item) {
  for (SamplePlan& plan : item->plans) {
    plan.max_new_tokens = std::min(plan.max_new_tokens, max_new_tokens);
  }
}

IssuedLease Flight::Issue(uint64_t lease, const std::string& to, int64_t floor, absl::Time now,
                          absl::Duration duration) {
  if (!was_issued) first_issued = now;
  was_issued = true;
  lease_id = lease;
  worker = to;
  expires = now + duration;
  return {.lease_id = lease_id,
          .group_id = id,
          .item = item,
          .version_floor = floor,
          .deadline = duration};
}

void Flight::Requeue() {
  lease_id = 0;
  worker.clear();
}

}  // namespace cohort
