// What data-parallel ranks need of each other. Every rank calls the same operations in the same
// order. A call blocks until all ranks made it or the time-out passed; after an error the
// collective is unusable: the process should log, save nothing, and end.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cohort {

class Security;

// One owner thread per instance. Errors: DeadlineExceeded and Unavailable name the operation, the
// rank, and where it is known the rank that went away or stands still.
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
  // Unavailable names the ranks that are absent, silent or gone; asks nobody. Thread-safe.
  virtual absl::Status RanksAlive() const { return absl::OkStatus(); }
  // Unavailable: all ranks must end, and why; asks nobody. Who waits for something else than the
  // collective looks here. Thread-safe.
  virtual absl::Status Ended() const { return absl::OkStatus(); }
  // On rank 0 of several: the time since each rank's last sign of life, infinite for one that is
  // gone. Empty elsewhere. Thread-safe.
  virtual std::vector<absl::Duration> Silences() const { return {}; }

  // `bytes` of the root reaches every rank (length first, then content).
  absl::Status BroadcastBytes(std::string& bytes, int root, absl::string_view what);
};

struct C10dOptions {
  int rank = 0;
  int world_size = 1;
  std::string store_host;  // where rank 0 keeps the ranks' store and the others find it
  int store_port = 0;
  std::string backend = "gloo";  // gloo | nccl
  // For the ranks to come, and of each operation.
  absl::Duration timeout = absl::Minutes(30);
  // Without a sign of life for so long a rank is named in rank 0's log and by RanksAlive; the run
  // ends when it stays silent for `timeout`.
  absl::Duration silence = absl::Seconds(60);
  // Told what this rank waits for, whenever that changes, until all have met; may be empty.
  std::function<void(const std::string&)> waits_for;
  // Of the store alone: Gloo's and NCCL's own traffic is neither encrypted nor authenticated. Null:
  // plaintext without checks.
  std::shared_ptr<const Security> security;
  std::string run_hash;   // ranks of different runs do not meet
  std::string interface;  // whose address Gloo and NCCL use; empty: the one that reaches the store
};

std::unique_ptr<Collective> MakeLocalCollective();  // world of one: every call returns at once
// Blocks until all ranks met at the store or the time-out passed, and says every few seconds what
// it waits for. Makes the process ignore SIGPIPE.
absl::StatusOr<std::unique_ptr<Collective>> MakeC10dCollective(const C10dOptions& options);
// The same with the store as the flag --store has it, HOST:PORT; one rank alone needs none.
absl::StatusOr<std::unique_ptr<Collective>> MeetRanks(C10dOptions options,
                                                      const std::string& store);

}  // namespace cohort
