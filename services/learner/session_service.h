// The learner's end of the session stream: who may serve, who gets which lease, what becomes of
// the groups that come back.
//
//   Hello -> [checked] -> Welcome -> leases down, chunks up -> assembled -> decoded
//         -> Dispatcher::Deliver (journal) -> Ack + credit back        Refusal ends the stream
//
// A worker is asked for at most about `rows_ahead` times the rows it decodes at once; the next
// lease goes to the worker with the least work in hand. A worker that is silent for
// `missed_heartbeats` heartbeats is cut off, and its leases are issued again.
//
// Thread-safe. gRPC's threads only enqueue; messages are handled on the service's own threads, one
// at a time per worker. Order of shutdown: Drain (where the run is over), Shutdown (streams end),
// then the server, then this object, then the dispatcher.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cohort/v1/session.pb.h"
#include "common/dispatch/dispatcher.h"
#include "common/rpc/security.h"
#include "common/wire/semantic.h"

namespace grpc {
class Service;
}

namespace cohort {

// Totals since the start, for metrics.
struct SessionCounters {
  int64_t workers_connected = 0;                                  // now
  uint64_t connections = 0;                                       // accepted hellos
  std::array<uint64_t, v1::Refusal::Reason_ARRAYSIZE> refused{};  // by reason
  uint64_t lost_workers = 0;  // streams that ended without a Goodbye
  uint64_t heartbeat_timeouts = 0;
  uint64_t leases_sent = 0;
  // Reported by workers, by reason.
  std::array<uint64_t, v1::LeaseFailed::Reason_ARRAYSIZE> leases_failed{};
  uint64_t leases_expired = 0;
  uint64_t groups_received = 0;  // delivered whole, whatever became of them
  uint64_t group_bytes_received = 0;
  uint64_t bad_messages = 0;  // garbage, chunks that do not fit, wrong hashes

  uint64_t refusals() const { return std::accumulate(refused.begin(), refused.end(), uint64_t{0}); }
};

// What the fleet did since the last TakeFleetSample.
struct FleetSample {
  int workers = 0;                // connected now
  double tokens_per_second = 0;   // decoded by all of them, by their last heartbeats
  double mean_idle_seconds = 0;   // without a lease to work on, mean over connected workers
  uint64_t generated_tokens = 0;  // by all workers
};

class SessionService {
 public:
  struct Options {
    SemanticMap semantic = {};         // what a worker must agree on
    std::string resolved_config = {};  // JSON, goes into every Welcome
    absl::Duration heartbeat = absl::Seconds(2);
    int missed_heartbeats = 5;
    uint64_t credit_bytes = uint64_t{64} << 20;  // sent by one worker and not yet acknowledged
    // Of groups that have not arrived whole, over all workers: beyond it the one with the most is
    // cut off and begins again.
    uint64_t max_unfinished_bytes = uint64_t{512} << 20;
    double rows_ahead =
        2.0;  // leased rows per worker, as a multiple of the rows it decodes at once
    int threads = 2;
    // Who may connect: rollouts; who may ask for the status: they, learners and commands.
    std::shared_ptr<const Security> security = nullptr;
    // Makes the answer to Status. Called on a gRPC thread; must not block.
    std::function<void(v1::StatusReply*)> fill_status = nullptr;
  };

  // `dispatcher` outlives this object, which takes its lease listener.
  SessionService(const Options& options, Dispatcher* dispatcher);
  ~SessionService();
  SessionService(const SessionService&) = delete;
  SessionService& operator=(const SessionService&) = delete;

  // To be registered with a ServerHost.
  grpc::Service* grpc_service();

  // The version that a Welcome names: call after every publication.
  void SetCurrentVersion(int64_t version);

  // The run is over: sends no more leases, asks every worker to finish, say Goodbye and end, tells
  // the same to those that come now, and waits until all have gone or `limit` is over. Returns the
  // number of workers still there.
  int Drain(const std::string& reason, absl::Duration limit);
  // Ends every stream and stops the service's threads. Workers that were not drained wait for the
  // next learner. Idempotent.
  void Shutdown();

  std::vector<v1::WorkerStatus> Workers() const;  // by worker id, including those gone lately
  SessionCounters counters() const;
  FleetSample TakeFleetSample();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
