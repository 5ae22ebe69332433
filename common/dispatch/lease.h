// A prompt as it is leased to a worker, and what is known of a lease until its group arrives. Plain
// data; the dispatcher owns it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/ids.h"
#include "common/rl/group.h"

namespace cohort {

// One prompt as it will be leased.
struct PromptItem {
  uint64_t ordinal = 0;
  Purpose purpose = Purpose::kTrain;
  std::string source;        // data source name
  std::string reward;        // the source's own verifier
  std::string columns_json;  // answer and the prompt's other columns, for the reward
  std::vector<int32_t> prompt_ids;
  std::vector<SamplePlan> plans;  // one per row
};

// No row of it may be longer than `max_new_tokens`.
void LimitPlans(int32_t max_new_tokens, PromptItem* item);

struct IssuedLease {
  uint64_t lease_id = 0;
  GroupId group_id = 0;
  PromptItem item;
  int64_t version_floor = 0;
  absl::Duration deadline;
};

// A prompt whose group has not arrived: leased, or waiting to be leased (again).
struct Flight {
  PromptItem item;
  GroupId id = 0;
  int attempts = 0;       // leases that failed for infrastructure reasons
  int losses = 0;         // leases that were lost with their worker, expired or came back damaged
  uint64_t lease_id = 0;  // 0: waiting
  std::string worker;
  absl::Time expires;
  bool was_issued = false;
  absl::Time first_issued = absl::InfiniteFuture();

  bool HeldBy(const std::string& name) const { return lease_id != 0 && worker == name; }
  IssuedLease Issue(uint64_t lease, const std::string& to, int64_t floor, absl::Time now,
                    absl::Duration duration);
  void Requeue();  // waits to be leased again
};

}  // namespace cohort
