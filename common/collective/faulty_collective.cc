#include "common/collective/faulty_collective.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace cohort {

absl::Status FaultyCollective::BeforeCall(absl::string_view what) {
  const int call = calls_++;
  if (call < fault_.at_call) return absl::OkStatus();
  if (call == fault_.at_call && fault_.kind == CollectiveFault::Kind::kHang) {
    absl::MutexLock lock(&mu_);
    mu_.AwaitWithTimeout(absl::Condition(&aborted_), fault_.hang_limit);
    return absl::DeadlineExceededError(
        absl::StrCat("collective ", what, " on rank ", rank(), ": injected hang"));
  }
  return absl::UnavailableError(
      absl::StrCat("collective ", what, " on rank ", rank(), ": injected failure"));
}

absl::Status FaultyCollective::AllReduceSum(at::Tensor& tensor, absl::string_view what) {
  COHORT_RETURN_IF_ERROR(BeforeCall(what));
  return inner_->AllReduceSum(tensor, what);
}

absl::Status FaultyCollective::Broadcast(at::Tensor& tensor, int root, absl::string_view what) {
  COHORT_RETURN_IF_ERROR(BeforeCall(what));
  return inner_->Broadcast(tensor, root, what);
}

absl::Status FaultyCollective::Barrier(absl::string_view what) {
  COHORT_RETURN_IF_ERROR(BeforeCall(what));
  return inner_->Barrier(what);
}

void FaultyCollective::Abort() {
  {
    absl::MutexLock lock(&mu_);
    aborted_ = true;
  }
  inner_->Abort();
}

}  // namespace cohort
