// A decorator that makes the n-th call of another collective go wrong. Tests only.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/collective/collective.h"

namespace cohort {

struct CollectiveFault {
  enum class Kind {
    kFail,  // the call returns Unavailable and is not made
    kHang,  // the call blocks until Abort or `hang_limit`, then returns DeadlineExceeded
  };
  int at_call = 0;  // counted from 0 over AllReduceSum, Broadcast and Barrier
  Kind kind = Kind::kFail;
  absl::Duration hang_limit = absl::Seconds(30);
};

// Every call after the faulty one fails as well, as the contract of Collective says.
class FaultyCollective final : public Collective {
 public:
  FaultyCollective(std::unique_ptr<Collective> inner, CollectiveFault fault)
      : inner_(std::move(inner)), fault_(fault) {}

  int rank() const override { return inner_->rank(); }
  int world_size() const override { return inner_->world_size(); }
  absl::Status AllReduceSum(at::Tensor& tensor, absl::string_view what) override;
  absl::Status Broadcast(at::Tensor& tensor, int root, absl::string_view what) override;
  absl::Status Barrier(absl::string_view what) override;
  void Abort() override;

  int calls() const { return calls_; }

 private:
  absl::Status BeforeCall(absl::string_view what);

  const std::unique_ptr<Collective> inner_;
  const CollectiveFault fault_;
  int calls_ = 0;
  absl::Mutex mu_;
  bool aborted_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace cohort
