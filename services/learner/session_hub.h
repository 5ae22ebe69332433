// The learner's workers together: admission, fair leases, expiry, drain. Internal to the session
// service.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/rate_limit.h"
#include "common/concurrency/executor.h"
#include "common/dispatch/dispatcher.h"
#include "common/rpc/byte_stream.h"
#include "services/learner/session_service.h"
#include "services/learner/worker_session.h"

namespace cohort {

// Thread-safe. Lock order: admission_mu_, mu_, a session's, a stream's. The dispatcher is called
// without mu_, since it calls back.
class SessionHub : public std::enable_shared_from_this<SessionHub> {
 public:
  SessionHub(SessionService::Options options, Dispatcher* dispatcher);

  void Start();  // once it is owned by a shared_ptr
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Accept(
      grpc::CallbackServerContext* context);
  void FillStatus(v1::StatusReply* reply) const;

  // ---- from sessions ----
  // Nullopt: welcomed and registered.
  std::optional<v1::Refusal> Admit(const std::shared_ptr<WorkerSession>& session,
                                   const v1::Hello& hello);
  void Closed(const std::shared_ptr<WorkerSession>& session, const absl::Status& status);
  Dispatcher::DeliveryResult Deliver(WorkerSession* from, Group group);
  void RequestLeases();
  Dispatcher* dispatcher() { return dispatcher_; }
  void Count(const std::function<void(SessionCounters&)>& change);
  void CountTokens(uint64_t tokens);
  // A session's unfinished groups grew or shrank by `change` bytes.
  void UnfinishedChanged(int64_t change);
  // True: a warning that this peer caused may be written, after which `*left_out` goes.
  bool MayWarn(std::string* left_out);

  // ---- the service's own ----
  void SetCurrentVersion(int64_t version);
  int Drain(const std::string& reason, absl::Duration limit);
  void Shutdown();
  std::vector<v1::WorkerStatus> Workers() const;
  SessionCounters counters() const;
  FleetSample TakeFleetSample();

 private:
  using Sessions = std::map<std::string, std::shared_ptr<WorkerSession>>;
  std::optional<v1::Refusal> CheckHello(const v1::Hello& hello) const;
  void CutOffTheLargest();
  v1::Welcome MakeWelcome() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Remove(Sessions::iterator session) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void IssueLeases();
  bool IssueOne();
  std::shared_ptr<WorkerSession> LeastLoaded() const;
  void Tick();

  const SessionService::Options options_;
  Dispatcher* const dispatcher_;
  Executor executor_;
  std::unique_ptr<Ticker> ticker_;

  RateLimit warnings_;
  std::atomic<int64_t> unfinished_bytes_{0};

  absl::Mutex admission_mu_;
  mutable absl::Mutex mu_;
  std::set<std::shared_ptr<WorkerSession>> streams_ ABSL_GUARDED_BY(mu_);  // open, welcomed or not
  Sessions workers_ ABSL_GUARDED_BY(mu_);                                  // welcomed, by worker id
  std::map<std::string, v1::WorkerStatus> gone_ ABSL_GUARDED_BY(mu_);      // their last status
  SessionCounters counters_ ABSL_GUARDED_BY(mu_);
  uint64_t generated_tokens_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t current_version_ ABSL_GUARDED_BY(mu_) = 0;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  bool issuing_ ABSL_GUARDED_BY(mu_) = false;  // one thread at a time hands out leases
  bool issue_again_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace cohort
