// What a delivered group must look like to be trained on.
#pragma once

#include "absl/status/status.h"
#include "common/dispatch/lease.h"
#include "common/rl/group.h"

namespace cohort {

struct GroupLimits {
  int64_t oldest_version = 0;  // that may have sampled a token
  int64_t newest_version = 0;  // published so far
  int64_t vocab_size = 0;      // 0: token ids are not checked
};

// InvalidArgument names the row and the field: a wrong id, prompt or row count, a temperature that
// is not the plan's, arrays of different lengths, more tokens than the plan allows, tokens outside
// the vocabulary, a parent that is not an earlier row, another role than planned, numbers that are
// not finite in a row that carries loss, or versions outside the limits.
absl::Status CheckGroup(const Group& group, GroupId id, const PromptItem& item,
                        const GroupLimits& limits);

}  // namespace cohort
