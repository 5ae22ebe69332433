// What a delivered group must look like to be trained on.
#pragma once

#include "absl/status/status.h"
#include "common/dispatch/lease.h"
#include "common/rl/group.h"

namespace cohort {

// InvalidArgument names the row and the field: a wrong id, prompt or row count, arrays of different
// lengths, more tokens than the plan allows, a parent that is not an earlier row, another role than
// planned, numbers that are not finite in a row that carries loss, or versions below the lease's
// floor.
absl::Status CheckGroup(const Group& group, GroupId id, const PromptItem& item,
                        int64_t version_floor);

}  // namespace cohort
