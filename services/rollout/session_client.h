// The worker's end of the session stream.
//
//   connecting -> Hello -> serving (leases in, groups out) -> Drain -> Goodbye -> ended
//        ^------ connection lost: backoff, Hello again, groups without an ack are sent again
//
// A learner that may be started again closes the stream; one whose run is over drains, and refuses
// who comes later with RUN_OVER, which ends the session in order.
//
// Groups are kept until their ack and sent one after the other, only against byte credits;
// heartbeats and failures overtake them. A lease for a group that this worker already has in hand
// is not reported twice, unless it asks for older weights than
// before: its learner came back from a checkpoint.
//
// Thread-safe. Events are called one at a time on the client's own thread, without locks held;
// they must not block and must not destroy the client.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cohort/v1/session.pb.h"
#include "common/rl/group.h"
#include "common/rpc/security.h"
#include "common/wire/lease_codec.h"
#include "common/wire/semantic.h"

namespace cohort {

// What a heartbeat says; asked of the worker when one is due.
struct WorkerPulse {
  int64_t held_version = -1;
  uint32_t running_rows = 0;
  uint32_t queued_groups = 0;
  double tokens_per_second = 0;   // since the last heartbeat
  double idle_seconds = 0;        // since the last heartbeat
  uint64_t generated_tokens = 0;  // since the process started
};

class SessionClient {
 public:
  struct Options {
    std::string learner;       // HOST:PORT
    std::string worker_id;     // stable over reconnects
    uint64_t incarnation = 0;  // 0: the time now
    // What this process shows, and nobody else can, to take over a connection under its own id.
    // Empty: one key of the process.
    std::string instance_key = {};
    SemanticMap semantic = {};
    uint32_t max_rows = 64;
    std::string host = {};
    uint32_t pid = 0;
    std::string http_address = {};
    absl::Duration connect_limit = absl::Minutes(10);  // without a learner before giving up
    uint64_t max_unacked_bytes = uint64_t{128} << 20;  // SendGroup blocks above this
    std::shared_ptr<const Security> security = nullptr;
    uint64_t seed = 0;  // of the backoff's jitter
  };
  struct Events {
    std::function<void(const v1::Welcome&)> on_welcome = nullptr;  // at every connection
    std::function<void(LeaseTerms)> on_lease = nullptr;
    std::function<void(GroupId, uint64_t lease_id)> on_cancel = nullptr;
    // Finish or give back (FailLease kDraining) what is in hand, then call Finish.
    std::function<void(absl::Duration limit, const std::string& reason)> on_drain = nullptr;
    std::function<void(const v1::Ack&)> on_ack = nullptr;  // optional
    std::function<WorkerPulse()> pulse = nullptr;
  };

  SessionClient(Options options, Events events);
  ~SessionClient();  // Stops.
  SessionClient(const SessionClient&) = delete;
  SessionClient& operator=(const SessionClient&) = delete;

  // Starts connecting, in the background. Once.
  void Start();
  // OK once welcomed; otherwise why there will be no session (as Wait) or DeadlineExceeded.
  absl::Status WaitWelcomed(absl::Time deadline);

  // Queues a finished group; its lease is answered by this. Blocks while max_unacked_bytes are
  // waiting. Cancelled: the session has ended. The lease is given up by InvalidArgument (the group
  // is too big to be sent) and by DeadlineExceeded.
  absl::Status SendGroup(const Group& group, absl::Time deadline);
  // No SendGroup, waiting or to come, waits beyond `deadline`; the leases of those that would are
  // given back. For a worker that ends.
  void LimitSends(absl::Time deadline);
  // The group cannot be produced, or (kDraining) is given back.
  void FailLease(GroupId group, v1::LeaseFailed::Reason reason, const std::string& detail);

  // Waits until every group has its ack, says Goodbye and ends the session: for a drained worker
  // and for one that was told to stop. DeadlineExceeded: groups without an ack were given up.
  absl::Status Finish(const std::string& reason, absl::Time deadline);
  // Ends the session at once. Idempotent.
  void Stop();

  // Blocks until the session has ended for good or `deadline`. OK: Finish, Stop, or the run is
  // over; DeadlineExceeded: no learner for connect_limit, or `deadline`; FailedPrecondition:
  // refused, with what differs.
  absl::Status Wait(absl::Time deadline);
  bool ended() const;

  size_t unacked_groups() const;
  bool connected() const;  // welcomed, and the stream lives
  uint64_t reconnects() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
