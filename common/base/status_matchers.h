// GoogleTest helpers for absl::Status. Debian's Abseil has none. Tests only.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/status_macros.h"

namespace cohort {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& value) {
  return value.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << "which is " << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

// Matches a status by code and by a matcher (or substring matcher) of its message.
MATCHER_P2(StatusIs, code, message_matcher, "has the code and message asked for") {
  *result_listener << "which is " << StatusOf(arg).ToString();
  return StatusOf(arg).code() == code &&
         testing::ExplainMatchResult(message_matcher, std::string(StatusOf(arg).message()),
                                     result_listener);
}

#define COHORT_EXPECT_OK(expr) EXPECT_THAT((expr), ::cohort::IsOk())
#define COHORT_ASSERT_OK(expr) ASSERT_THAT((expr), ::cohort::IsOk())
#define COHORT_ASSERT_OK_AND_ASSIGN(lhs, expr) \
  COHORT_ASSERT_OK_AND_ASSIGN_IMPL_(COHORT_CONCAT_(cohort_statusor_, __COUNTER__), lhs, expr)
#define COHORT_ASSERT_OK_AND_ASSIGN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                                      \
  ASSERT_THAT(tmp, ::cohort::IsOk());                     \
  lhs = *std::move(tmp)

}  // namespace cohort
