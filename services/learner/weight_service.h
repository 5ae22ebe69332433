// The learner's end of the weight stream: announces versions, answers pulls.
//
//   WeightStore::Publish -> Notify() -> Announcement to every follower
//   follower: ManifestRequest -> Manifest; BlockRequest -> Block (raw, delta or unchanged); Applied
//
// Workers pull, so a slow one slows nobody. Thread-safe; blocks are encoded on the service's own
// threads, and at most one reply per follower is built ahead of what the network took.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/rpc/security.h"
#include "common/weights/weight_store.h"

namespace grpc {
class Service;
}

namespace cohort {

// What a worker last reported.
struct FollowerStatus {
  std::string worker_id;
  int64_t version = -1;         // it samples with
  double transfer_seconds = 0;  // announcement -> last block
  double apply_seconds = 0;     // its generation paused
  uint64_t bytes = 0;           // on the wire
};

struct WeightCounters {
  int64_t followers = 0;  // now
  uint64_t announcements = 0;
  uint64_t blocks_sent = 0;
  uint64_t bytes_sent = 0;  // payload of blocks
  uint64_t applied = 0;
  uint64_t errors_sent = 0;
};

class WeightService {
 public:
  struct Options {
    int threads = 1;
    std::shared_ptr<const Security> security = nullptr;  // rollouts may follow
  };
  // `store` outlives this object.
  WeightService(const Options& options, const WeightStore* store);
  ~WeightService();
  WeightService(const WeightService&) = delete;
  WeightService& operator=(const WeightService&) = delete;

  // To be registered with a ServerHost.
  grpc::Service* grpc_service();

  // Announces the store's newest version. Call after every Publish.
  void Notify();
  // Until the next Notify nothing is announced, to followers that come meanwhile neither: for a
  // version that is in the store before anybody may hear of it.
  void Hold();
  // Ends every stream and stops the service's threads. Idempotent.
  void Shutdown();

  std::vector<FollowerStatus> Followers() const;  // connected ones, by worker id
  WeightCounters counters() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
