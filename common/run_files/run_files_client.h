// The worker's end of RunFiles: asks a learner what its run is and brings the files that are not in
// the cache yet. A learner that is not there is waited for; a connection that breaks is made anew.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/concurrency/stop_token.h"
#include "common/rpc/backoff.h"
#include "common/rpc/security.h"
#include "common/run_files/fetch_plan.h"
#include "common/run_files/file_cache.h"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace cohort {

// One thread calls Describe and Fetch; Stop may be called by any.
class RunFilesClient {
 public:
  struct Options {
    std::string learner;  // HOST:PORT
    std::string worker_id;
    absl::Duration connect_limit = absl::Minutes(10);  // without an answer before giving up
    uint64_t seed = 0;                                 // of the backoff's jitter
    std::shared_ptr<const Security> security = nullptr;
  };
  explicit RunFilesClient(const Options& options);
  ~RunFilesClient();
  RunFilesClient(const RunFilesClient&) = delete;
  RunFilesClient& operator=(const RunFilesClient&) = delete;

  // What the learner runs. InvalidArgument: an address that the security does not allow;
  // DeadlineExceeded: no answer for connect_limit; Cancelled: stopped;
  // FailedPrecondition, NotFound, InvalidArgument: what the learner says is missing, or sent what
  // makes no sense.
  absl::StatusOr<FetchPlan> Describe();
  // Afterwards every one of `files` is in the cache, verified. Errors as Describe
  // and those of the disk, once the cache has no other folder to fall back to. Aborted: the learner
  // knows of no such file (any more): describe again.
  absl::Status Fetch(const std::vector<v1::RunFile>& files, FileCache* cache);
  // Ends a call in progress and all that come. Idempotent.
  void Stop();

 private:
  class Patience;
  std::shared_ptr<grpc::Channel> Channel();
  absl::Status DescribeOnce(v1::DescribeReply* reply);
  absl::Status ReadOnce(const v1::RunFile& file, const FileCache& cache, Patience* patience);
  absl::Status FetchFile(const v1::RunFile& file, const FileCache& cache);
  absl::Status FetchAll(const std::vector<v1::RunFile>& files, const FileCache& cache);
  void Begin(grpc::ClientContext* context);
  void End();

  const Options options_;
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel_;
  uint64_t generation_ = 0;  // of the certificate that it began with
  StopToken stop_;
  absl::Mutex mu_;
  grpc::ClientContext* running_ ABSL_GUARDED_BY(mu_) = nullptr;
  bool disk_failed_ = false;  // why the last Fetch failed: the cache's folder takes no files
};

}  // namespace cohort
