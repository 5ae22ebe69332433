// One worker's session stream, as the learner sees it: checks what comes in, puts groups together,
// and keeps what the worker has in hand.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cohort/v1/session.pb.h"
#include "common/dispatch/dispatcher.h"
#include "common/rpc/byte_stream.h"
#include "common/wire/chunking.h"

namespace cohort {

class SessionHub;

// States: connected -> (Hello accepted) serving -> gone. OnMessage and OnClosed come from the
// stream, one at a time; the other methods are thread-safe.
class WorkerSession final : public StreamHandler,
                            public std::enable_shared_from_this<WorkerSession> {
 public:
  WorkerSession(SessionHub* hub, std::shared_ptr<ByteStream> stream, uint64_t credit_bytes);

  void OnMessage(const grpc::ByteBuffer& message) override;
  void OnClosed(const absl::Status& status) override;

  void Send(const v1::LearnerMessage& message);
  void SendLease(const IssuedLease& lease);
  // The group is no longer wanted from this worker; false: it was not in hand.
  bool CancelLease(GroupId group);
  // Last message and status of the stream.
  void Refuse(const v1::Refusal& refusal);
  void Cancel(const absl::Status& why) { stream_->Cancel(why); }
  // True at the first call: it is about to be cut off for its silence.
  bool GiveUp() { return !given_up_.exchange(true); }

  const std::string& worker_id() const { return hello_.worker_id(); }  // once serving
  uint64_t incarnation() const { return hello_.incarnation(); }
  uint32_t max_rows() const { return hello_.max_rows(); }
  const std::string& instance_key() const { return hello_.instance_key(); }
  const std::string& host() const { return hello_.host(); }
  int64_t unfinished_bytes() const { return unfinished_bytes_.load(std::memory_order_relaxed); }
  int64_t leased_rows() const;
  bool said_goodbye() const;
  absl::Duration silence() const { return absl::Now() - stream_->last_received(); }
  v1::WorkerStatus Status() const;
  double TakeIdleSeconds();  // reported since the last call
  double tokens_per_second() const;

 private:
  struct Held {
    uint64_t lease_id = 0;
    int64_t rows = 0;
  };
  void HandleHello(const v1::WorkerMessage& message);
  void HandleHeartbeat(const v1::Heartbeat& heartbeat);
  void HandleChunk(v1::GroupChunk chunk);
  void HandleWhole(GroupAssembler::Assembled whole);
  void HandleFailure(const v1::LeaseFailed& failure);
  void HandleGoodbye(const v1::Goodbye& goodbye);
  void RejectDelivery(GroupId group, uint64_t lease, Delivery outcome, const std::string& detail);
  void SendAck(GroupId group, uint64_t lease, Delivery outcome, const std::string& detail);
  void ReturnCredit();
  void CountUnfinished(int64_t bytes);
  void BadMessage(const std::string& detail);
  bool Release(GroupId group) ABSL_LOCKS_EXCLUDED(mu_);

  SessionHub* const hub_;
  const std::shared_ptr<ByteStream> stream_;
  const uint64_t credit_bytes_;

  // Of the stream's handler alone.
  bool serving_ = false;
  bool ending_ = false;  // refused: what still comes is ignored
  GroupAssembler assembler_;
  std::set<GroupId> broken_;  // their remaining chunks are dropped without another ack
  uint64_t credit_left_;
  v1::Hello hello_;  // constant once serving
  std::atomic<bool> given_up_{false};
  std::atomic<int64_t> unfinished_bytes_{0};  // of groups that have not arrived whole

  mutable absl::Mutex mu_;
  std::map<GroupId, Held> held_ ABSL_GUARDED_BY(mu_);
  int64_t leased_rows_ ABSL_GUARDED_BY(mu_) = 0;
  v1::Heartbeat heartbeat_ ABSL_GUARDED_BY(mu_);
  double idle_seconds_ ABSL_GUARDED_BY(mu_) = 0;
  bool goodbye_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace cohort
