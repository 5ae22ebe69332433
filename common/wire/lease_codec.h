// Leases between rl structures and session.proto.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cohort/v1/session.pb.h"
#include "common/rl/group.h"

namespace cohort {

// What a lease asks of a worker: one prompt, sampled as its plans say.
struct LeaseTerms {
  uint64_t lease_id = 0;  // of this attempt
  GroupId group_id = 0;   // the same over attempts
  uint64_t ordinal = 0;
  Purpose purpose = Purpose::kTrain;
  std::string source;             // data source name
  std::string reward;             // the source's own verifier
  std::string columns_json;       // JSON object: answer and the prompt's other columns
  std::vector<int32_t> prompt;    // token ids
  std::vector<SamplePlan> plans;  // one per row
  int64_t version_floor = 0;      // sample with this weight version or a newer one
  absl::Duration deadline = absl::Minutes(10);  // from receipt
};

v1::Lease EncodeLease(const LeaseTerms& lease);
// InvalidArgument names the field that makes no sense.
absl::StatusOr<LeaseTerms> DecodeLease(const v1::Lease& lease);

}  // namespace cohort
