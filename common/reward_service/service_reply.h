// What a reward service's reply says of each item. Pure functions; any reply, however odd.
#pragma once

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "cohort/v1/reward.pb.h"
#include "common/rewards/verifier.h"

namespace cohort {

// One verdict for each of the `count` items of the request. Unscorable: items without a score
// (kMissing), scored twice, with neither a score nor a reason, without one of `parts`, or in a
// reply without any score (kGarbage), and those the service declines (kDeclined). Scores of items
// that were not asked for are ignored and counted in `strays`. Whether scores are finite is the
// caller's to check.
std::vector<RewardVerdict> ReadReply(const v1::ScoreReply& reply, size_t count,
                                     absl::Span<const std::string> parts, int64_t* strays);

// The row as an item of a request; strings are made valid UTF-8.
void FillItem(const RewardInput& input, uint32_t index, v1::ScoreItem* item);

}  // namespace cohort
