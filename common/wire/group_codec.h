// Groups between rl::Group and the bytes of v1::Group.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/rl/group.h"

namespace cohort {

// A serialised group is never larger: 64 rows of 32,768 tokens with every optional array.
inline constexpr uint64_t kMaxGroupBytes = uint64_t{64} << 20;
inline constexpr int kMaxGroupRows = 4096;

// The group must be consistent: arrays of a row as long as its tokens.
std::string EncodeGroup(const Group& group);

// The bytes come from outside: lengths, ranges and counts are checked; numbers are not (whether
// they are finite is for the dispatcher to judge). InvalidArgument names the field, what was
// expected and what was found.
absl::StatusOr<Group> DecodeGroup(absl::string_view bytes);

}  // namespace cohort
