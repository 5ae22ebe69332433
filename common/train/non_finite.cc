#include "common/train/non_finite.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace cohort {
namespace {

constexpr char kPayload[] = "cohort/non_finite";

}  // namespace

absl::string_view NonFiniteName(NonFinite where) {
  switch (where) {
    case NonFinite::kLogprob:
      return "logprob";
    case NonFinite::kReward:
      return "reward";
    case NonFinite::kGradient:
      return "gradient";
    case NonFinite::kValue:
      return "value";
  }
  return "unknown";
}

absl::Status NonFiniteError(absl::StatusCode code, NonFinite where, absl::string_view what) {
  const absl::string_view name = NonFiniteName(where);
  absl::Status status(code, absl::StrCat("non-finite ", name, ": ", what));
  status.SetPayload(kPayload, absl::Cord(name));
  return status;
}

std::string NonFiniteIn(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  return payload.has_value() ? std::string(*payload) : "";
}

}  // namespace cohort
