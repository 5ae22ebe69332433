// What data-parallel ranks need of each other. Every rank calls the same operations in the same
// order. A call blocks until all ranks made it or the time-out passed; after an error the
// collective is unusable: the process should log, save nothing, and end.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cohort {

// One owner thread per instance. Errors: DeadlineExceeded and Unavailable name the operation and
// the rank.
class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int world_size() const = 0;
  // In place, element-wise sum over ranks. fp32, fp64 or int64; contiguous.
  virtual absl::Status AllReduceSum(at::Tensor& tensor, absl::string_view what) = 0;
  // In place: every rank ends with the root's content; same shape and dtype everywhere.
  virtual absl::Status Broadcast(at::Tensor& tensor, int root, absl::string_view what) = 0;
  virtual absl::Status Barrier(absl::string_view what) = 0;
  // Makes every pending and later call of all ranks fail soon. Thread-safe.
  virtual void Abort() = 0;

  // `bytes` of the root reaches every rank (length first, then content).
  absl::Status BroadcastBytes(std::string& bytes, int root, absl::string_view what);
};

struct C10dOptions {
  int rank = 0;
  int world_size = 1;
  std::string store_host;  // TCPStore; rank 0 listens
  int store_port = 0;
  std::string backend = "gloo";  // gloo | nccl
  absl::Duration timeout = absl::Minutes(30);
};

std::unique_ptr<Collective> MakeLocalCollective();  // world of one: every call returns at once
// Blocks until all ranks met at the store or the time-out passed. Makes the process ignore SIGPIPE.
absl::StatusOr<std::unique_ptr<Collective>> MakeC10dCollective(const C10dOptions& options);

}  // namespace cohort
