// The worker's end of the weight stream: collects new versions beside the live weights, so that the
// engine's owner can apply them between two decode steps.
//
//   Announcement -> Manifest -> missing blocks (8 requests in flight) -> staged, ready
//        ready -> ApplyIfReady() by the engine's thread -> Applied -> next announcement
//
// Thread-safe, except that ApplyIfReady writes into the live tensors: call it where nothing else
// reads them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/security.h"
#include "common/weights/weight_store.h"

namespace cohort {

// Versions that were not applied, by what became of them.
struct WeightFailures {
  uint64_t superseded = 0;   // the learner no longer kept it when it was asked for
  uint64_t interrupted = 0;  // the connection was lost while it was fetched
  // These end following for good.
  uint64_t damaged = 0;   // its bytes do not have its hashes, again and again
  uint64_t refused = 0;   // it is of another model, or its manifest makes no sense
  uint64_t protocol = 0;  // the learner sent what is no answer
};

class WeightFollower {
 public:
  struct Options {
    std::string learner;  // HOST:PORT
    std::string worker_id;
    absl::Duration connect_limit = absl::Minutes(10);  // without a learner before giving up
    int requests_in_flight = 8;
    std::shared_ptr<const Security> security = nullptr;
    uint64_t seed = 0;   // of the backoff's jitter
    bool blank = false;  // the live tensors hold no weights yet
    // Called on the follower's thread when a version is ready to be applied; must not block.
    std::function<void(int64_t version)> on_ready = nullptr;
  };

  // `live`: the model's tensors in name order, which this object alone writes to.
  WeightFollower(Options options, std::vector<PublishedTensor> live);
  ~WeightFollower();  // Stops.
  WeightFollower(const WeightFollower&) = delete;
  WeightFollower& operator=(const WeightFollower&) = delete;

  void Start();
  void Stop();

  bool ready() const;
  // Applies the version that is ready, if any, and returns it. Does not wait. Every block has its
  // own hash; where all of them were sent whole, the first version above all, the SHA-256 of all
  // weights is compared, too. An error (they are not those of the manifest) leaves the worker
  // unable to serve.
  absl::StatusOr<std::optional<int64_t>> ApplyIfReady();
  // Blocks until a version at or above `floor` is applied or ready. DeadlineExceeded (says what is
  // there), Cancelled (stopped) or why following ended for good.
  absl::Status WaitReady(int64_t floor, absl::Time deadline);

  int64_t held_version() const;       // in the live tensors; -1: none of this learner's
  int64_t announced_version() const;  // newest known; -1: none
  std::string held_hash() const;      // weights_hash of held_version
  absl::Status status() const;        // not OK: following ended for good
  uint64_t bytes_received() const;    // block payload
  WeightFailures failures() const;
  absl::Duration sync_time() const;  // of held_version: from its announcement to its application

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
