// Propagation of absl::Status, in the form used throughout Cohort.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define COHORT_CONCAT_INNER_(a, b) a##b
#define COHORT_CONCAT_(a, b) COHORT_CONCAT_INNER_(a, b)

// Returns the status of `expr` from the enclosing function unless it is OK.
#define COHORT_RETURN_IF_ERROR(expr)                                                       \
  do {                                                                                     \
    if (absl::Status cohort_status_ = (expr); !cohort_status_.ok()) return cohort_status_; \
  } while (false)

// COHORT_ASSIGN_OR_RETURN(auto x, F()): assigns the value or returns the status.
#define COHORT_ASSIGN_OR_RETURN(lhs, expr) \
  COHORT_ASSIGN_OR_RETURN_IMPL_(COHORT_CONCAT_(cohort_statusor_, __COUNTER__), lhs, expr)
#define COHORT_ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                                  \
  if (!tmp.ok()) return std::move(tmp).status();      \
  lhs = *std::move(tmp)
