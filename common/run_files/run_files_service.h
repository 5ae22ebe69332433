// The learner's end of RunFiles: what the run is, and the files that its workers need.
//
//   Describe   the resolved configuration and the list of files, once they are hashed
//   Read       one of those files, by content hash, in pieces of at most 1 MiB
//
// No name from outside is ever opened: a hash is looked up in the list that this object made
// itself. A call holds one piece, whatever its reader takes; the number of calls is bounded, and a
// reader that takes nothing gives its place to the next one.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cohort/v1/config.pb.h"
#include "common/rpc/security.h"

namespace grpc {
class Service;
}

namespace cohort {

// Thread-safe. Files are read on the service's own threads. Order of shutdown: this, then the
// server, then this object.
class RunFilesService {
 public:
  struct Options {
    std::string model_sha256;  // content hash of the policy's folder
    int max_reads = 32;        // at once; further ones are told to come again
    // A reader that took no piece for so long is ended when its place is needed.
    absl::Duration stall_limit = absl::Seconds(30);
    std::shared_ptr<const Security> security = nullptr;  // only rollout workers may call
  };
  // Begins to hash the files of `config`, which is resolved, in the background.
  RunFilesService(const Options& options, const v1::RunConfig& config);
  ~RunFilesService();
  RunFilesService(const RunFilesService&) = delete;
  RunFilesService& operator=(const RunFilesService&) = delete;

  // To be registered with a ServerHost.
  grpc::Service* grpc_service();

  // Ends every call and stops the service's threads. Idempotent.
  void Shutdown();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
