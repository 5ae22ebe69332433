// One stream to a peer, kept alive: connects, serves, and connects again with backoff until it is
// ended or no peer was found for too long.
//
//   waiting for the peer -> open -> (lost: backoff) -> waiting ... -> ended
//
// Events are called one at a time on the stream's own thread, without locks held; they must not
// block for long and must not destroy the object. Thread-safe otherwise.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/rate_limit.h"
#include "common/concurrency/executor.h"
#include "common/concurrency/stop_token.h"
#include "common/rpc/byte_stream.h"
#include "common/rpc/security.h"

namespace cohort {

class ReconnectingStream {
 public:
  struct Options {
    std::string name;                                      // of the thread
    std::string peer = "learner";                          // as messages call it
    std::string address;                                   // HOST:PORT
    std::string method;                                    // "/cohort.v1.Session/Connect"
    absl::Duration connect_limit = absl::Minutes(10);      // without a healthy stream
    absl::Duration idle_limit = absl::InfiniteDuration();  // without a message on an open stream
    absl::Duration tick = absl::Seconds(1);
    uint64_t seed = 0;                                   // of the backoff's jitter
    std::shared_ptr<const Security> security = nullptr;  // null: plaintext, no checks
    Role role = Role::kLearner;                          // of the peer
  };
  struct Events {
    std::function<void()> on_open;  // the first message is due
    std::function<void(const grpc::ByteBuffer&)> on_message;
    std::function<void(const absl::Status&)> on_lost;  // it will be tried again
    std::function<void()> on_tick;                     // while open
    // Once. What Finish or End said; DeadlineExceeded: no peer for connect_limit; Cancelled: Stop;
    // InvalidArgument, PermissionDenied, Unauthenticated: this process may not dial there or call
    // this method.
    std::function<void(const absl::Status&)> on_ended;
  };
  ReconnectingStream(Options options, Events events);
  ~ReconnectingStream();  // Stops.
  ReconnectingStream(const ReconnectingStream&) = delete;
  ReconnectingStream& operator=(const ReconnectingStream&) = delete;

  void Start();  // once
  // Dropped while there is no open stream.
  void Send(grpc::ByteBuffer message, Lane lane);
  // The peer has accepted us: the connect limit and the backoff start anew.
  void MarkHealthy();
  void SetTick(absl::Duration tick, absl::Duration idle_limit);
  // Ends for good with `status`: after what is queued was sent and the peer has closed (at most
  // five seconds), or at once.
  void Finish(const absl::Status& status);
  void End(const absl::Status& status);
  // Ends and joins the threads. Not from an event. Idempotent.
  void Stop();

 private:
  class Handler;
  void Run();
  absl::Status Loop();
  absl::Status ServeOnce();
  std::shared_ptr<ByteStream> OpenOnce();
  std::shared_ptr<grpc::Channel> CurrentChannel();
  void SayLost(const absl::Status& lost);
  enum class Wake { kTick, kNothing, kFinish, kEndAtOnce, kClosed };
  Wake WaitForWake(bool finishing);
  absl::Status WaitClosed();
  void CancelIfSilent(ByteStream& stream);
  void RequestEnd(const absl::Status& status, bool at_once);
  void Post(std::function<void()> event);
  void PostTick();
  std::optional<absl::Status> ending() const;

  const Options options_;
  const Events events_;
  Executor executor_;
  StopToken stop_;  // interrupts waiting and backoff
  std::thread runner_;
  // Of the runner alone.
  std::string last_reason_;
  bool accepted_ = false;  // at least once
  RateLimit said_lost_{absl::Seconds(30)};

  mutable absl::Mutex mu_;
  std::shared_ptr<grpc::Channel> channel_ ABSL_GUARDED_BY(mu_);
  uint64_t generation_ ABSL_GUARDED_BY(mu_) = 0;  // of the certificates that channel_ shows
  std::shared_ptr<ByteStream> stream_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Status> closed_ ABSL_GUARDED_BY(mu_);  // of the current stream
  std::optional<absl::Status> ending_ ABSL_GUARDED_BY(mu_);
  bool end_at_once_ ABSL_GUARDED_BY(mu_) = false;
  bool healthy_ ABSL_GUARDED_BY(mu_) = false;
  bool tick_posted_ ABSL_GUARDED_BY(mu_) = false;
  absl::Duration tick_ ABSL_GUARDED_BY(mu_);
  bool tick_changed_ ABSL_GUARDED_BY(mu_) = false;  // the wait for the old one is cut short
  absl::Duration idle_limit_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort
