#include "services/rollout/session_client.h"

#include <algorithm>
#include <list>
#include <map>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/exit_code.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/utf8.h"
#include "common/rpc/byte_message.h"
#include "common/rpc/reconnecting_stream.h"
#include "common/wire/chunking.h"
#include "common/wire/group_codec.h"
#include "common/wire/protocol.h"

namespace cohort {
namespace {

constexpr size_t kKeyBytes = 16;
constexpr int kMaxSends = 2;  // of a group whose hash did not match
constexpr int kIdleHeartbeats = 15;
constexpr absl::Duration kMinIdleLimit = absl::Seconds(30);

// Of this process, whatever clients it makes.
std::string ProcessKey() {
  static const std::string key = RandomBytes(kKeyBytes);
  return key;
}

std::string GroupName(GroupId id) {
  return absl::StrCat("group ", absl::Hex(id, absl::kZeroPad16));
}

}  // namespace

class SessionClient::Impl {
 public:
  Impl(Options options, Events events);
  ~Impl() { stream_.Stop(); }

  void Start() { stream_.Start(); }
  absl::Status WaitWelcomed(absl::Time deadline);
  absl::Status SendGroup(const Group& group, absl::Time deadline);
  void LimitSends(absl::Time deadline);
  void FailLease(GroupId group, v1::LeaseFailed::Reason reason, const std::string& detail);
  absl::Status Finish(const std::string& reason, absl::Time deadline);
  void Stop();
  absl::Status Wait(absl::Time deadline);
  bool ended() const;
  size_t unacked_groups() const;
  bool connected() const;
  uint64_t reconnects() const {
    absl::MutexLock lock(&mu_);
    return welcomes_ > 0 ? welcomes_ - 1 : 0;
  }

 private:
  struct HeldLease {
    uint64_t id = 0;
    int64_t version_floor = 0;
  };
  // A finished group until its ack.
  struct Outgoing {
    uint64_t lease_id = 0;
    GroupSplitter splitter;
    int sends = 1;
  };

  void OnOpen();
  void OnMessage(const grpc::ByteBuffer& bytes);
  void OnLost();
  void OnTick();
  void OnEnded(const absl::Status& status);
  void HandleWelcome(const v1::Welcome& welcome);
  void HandleRefusal(const v1::Refusal& refusal);
  void HandleLease(const v1::Lease& message);
  void HandleAck(const v1::Ack& ack);
  void HandleCredit(uint64_t bytes);
  void HandleCancel(const v1::CancelLease& cancel);

  void Send(const v1::WorkerMessage& message) {
    stream_.Send(EncodeMessage(message), Lane::kControl);
  }
  void SendFailure(GroupId group, uint64_t lease, v1::LeaseFailed::Reason reason,
                   const std::string& detail);
  bool WaitForRoom(uint64_t size, absl::Time deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Enqueue(GroupId group, std::shared_ptr<const std::string> bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SendChunks() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::list<Outgoing>::iterator FindOutgoing(GroupId group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Forget(std::list<Outgoing>::iterator outgoing) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Why no group can be sent any more.
  absl::Status EndedError() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  const Events events_;
  const uint64_t incarnation_;
  const std::string instance_key_;

  mutable absl::Mutex mu_;
  bool welcomed_ ABSL_GUARDED_BY(mu_) = false;  // the stream that is open now
  bool ever_welcomed_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
  uint64_t welcomes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t window_ ABSL_GUARDED_BY(mu_) = 0;                // bytes of credit at the welcome
  uint64_t credit_ ABSL_GUARDED_BY(mu_) = 0;                // bytes that may be sent now
  std::map<GroupId, HeldLease> held_ ABSL_GUARDED_BY(mu_);  // of what is being generated
  std::list<Outgoing> unacked_ ABSL_GUARDED_BY(mu_);        // sent in this order
  uint64_t unacked_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time send_limit_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();

  ReconnectingStream stream_;  // last: its thread uses the rest
};

SessionClient::Impl::Impl(Options options, Events events)
    : options_(std::move(options)),
      events_(std::move(events)),
      incarnation_(options_.incarnation != 0 ? options_.incarnation
                                             : static_cast<uint64_t>(absl::GetCurrentTimeNanos())),
      instance_key_(options_.instance_key.empty() ? ProcessKey() : options_.instance_key),
      stream_({.name = "session",
               .peer = "learner",
               .address = options_.learner,
               .method = "/cohort.v1.Session/Connect",
               .connect_limit = options_.connect_limit,
               .idle_limit = kMinIdleLimit,
               .seed = options_.seed,
               .security = options_.security},
              {.on_open = [this] { OnOpen(); },
               .on_message = [this](const grpc::ByteBuffer& bytes) { OnMessage(bytes); },
               .on_lost = [this](const absl::Status&) { OnLost(); },
               .on_tick = [this] { OnTick(); },
               .on_ended = [this](const absl::Status& status) { OnEnded(status); }}) {}

// ---- the life of the stream ----

void SessionClient::Impl::OnOpen() {
  v1::WorkerMessage message;
  v1::Hello* hello = message.mutable_hello();
  hello->set_protocol_version(kProtocolVersion);
  hello->set_worker_id(options_.worker_id);
  hello->set_incarnation(incarnation_);
  for (const auto& [name, value] : options_.semantic) {
    v1::SemanticField* field = hello->add_semantic();
    field->set_name(name);
    field->set_value(value);
  }
  hello->set_semantic_hash(HashOfFields(options_.semantic));
  hello->set_held_version(events_.pulse ? events_.pulse().held_version : -1);
  hello->set_max_rows(options_.max_rows);
  hello->set_host(options_.host);
  hello->set_pid(options_.pid);
  hello->set_http_address(options_.http_address);
  hello->set_instance_key(instance_key_);
  Send(message);
}

void SessionClient::Impl::OnLost() {
  absl::MutexLock lock(&mu_);
  welcomed_ = false;
  credit_ = 0;
}

void SessionClient::Impl::OnEnded(const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  welcomed_ = false;
  end_ = absl::IsCancelled(status) ? absl::OkStatus() : status;  // Cancelled: our own Stop
}

void SessionClient::Impl::OnTick() {
  if (!connected() || !events_.pulse) return;
  const WorkerPulse pulse = events_.pulse();
  v1::WorkerMessage message;
  v1::Heartbeat* heartbeat = message.mutable_heartbeat();
  heartbeat->set_held_version(pulse.held_version);
  heartbeat->set_running_rows(pulse.running_rows);
  heartbeat->set_queued_groups(pulse.queued_groups);
  heartbeat->set_tokens_per_second(pulse.tokens_per_second);
  heartbeat->set_idle_seconds(pulse.idle_seconds);
  heartbeat->set_generated_tokens(pulse.generated_tokens);
  Send(message);
}

void SessionClient::Impl::OnMessage(const grpc::ByteBuffer& bytes) {
  v1::LearnerMessage message;
  if (absl::Status status = DecodeMessage(bytes, &message); !status.ok()) {
    return stream_.End(absl::InternalError(absl::StrCat(
        "learner at ", options_.learner, " sent what is no message: ", status.message())));
  }
  switch (message.kind_case()) {
    case v1::LearnerMessage::kWelcome:
      return HandleWelcome(message.welcome());
    case v1::LearnerMessage::kRefusal:
      return HandleRefusal(message.refusal());
    case v1::LearnerMessage::kLease:
      return HandleLease(message.lease());
    case v1::LearnerMessage::kAck:
      return HandleAck(message.ack());
    case v1::LearnerMessage::kByteCredit:
      return HandleCredit(message.byte_credit().bytes());
    case v1::LearnerMessage::kCancelLease:
      return HandleCancel(message.cancel_lease());
    case v1::LearnerMessage::kDrain:
      if (events_.on_drain) {
        events_.on_drain(absl::Seconds(message.drain().deadline_seconds()),
                         message.drain().reason());
      }
      return;
    case v1::LearnerMessage::KIND_NOT_SET:
      return;  // of a newer learner: what it adds may be ignored
  }
}

void SessionClient::Impl::HandleWelcome(const v1::Welcome& welcome) {
  const absl::Duration heartbeat =
      absl::Seconds(std::clamp(welcome.heartbeat_seconds(), 0.01, 3600.0));
  stream_.MarkHealthy();
  stream_.SetTick(heartbeat, std::max(kMinIdleLimit, heartbeat * kIdleHeartbeats));
  COHORT_LOG(INFO) << "connected to learner at " << options_.learner << ", weight version "
                   << welcome.current_version();
  if (events_.on_welcome) events_.on_welcome(welcome);
  absl::MutexLock lock(&mu_);
  welcomed_ = ever_welcomed_ = true;
  ++welcomes_;
  window_ = credit_ = welcome.byte_credit();
  for (Outgoing& outgoing : unacked_) outgoing.splitter.Rewind();
  SendChunks();
}

void SessionClient::Impl::HandleRefusal(const v1::Refusal& refusal) {
  if (refusal.reason() == v1::Refusal::SHUTTING_DOWN) return;  // tried again, a new one may come
  if (refusal.reason() == v1::Refusal::RUN_OVER) return stream_.End(absl::OkStatus());
  // The process before, whose end the learner has not seen yet: the stream tries again until the
  // connect limit.
  if (refusal.reason() == v1::Refusal::WORKER_ID_IN_USE) return;
  const absl::Status refused = absl::FailedPreconditionError(
      absl::StrCat("learner at ", options_.learner, " refused this worker: ", refusal.detail()));
  const bool lasting = refusal.reason() == v1::Refusal::SEMANTIC_MISMATCH ||
                       refusal.reason() == v1::Refusal::PROTOCOL_VERSION;
  stream_.End(lasting ? BadSetup(refused) : refused);
}

// ---- leases ----

void SessionClient::Impl::HandleLease(const v1::Lease& message) {
  absl::StatusOr<LeaseTerms> lease = DecodeLease(message);
  if (!lease.ok()) {
    COHORT_LOG(ERROR) << lease.status().message();
    return SendFailure(message.group_id(), message.lease_id(), v1::LeaseFailed::INFRA,
                       std::string(lease.status().message()));
  }
  {
    absl::MutexLock lock(&mu_);
    if (const auto outgoing = FindOutgoing(lease->group_id); outgoing != unacked_.end()) {
      outgoing->lease_id = lease->lease_id;  // finished already, its ack answers this lease, too
      return;
    }
    const auto [held, is_new] =
        held_.try_emplace(lease->group_id, HeldLease{lease->lease_id, lease->version_floor});
    held->second.id = lease->lease_id;
    if (!is_new && lease->version_floor >= held->second.version_floor) return;
    held->second.version_floor = lease->version_floor;
  }
  if (events_.on_lease) events_.on_lease(*std::move(lease));
}

void SessionClient::Impl::HandleCancel(const v1::CancelLease& cancel) {
  {
    absl::MutexLock lock(&mu_);
    if (held_.erase(cancel.group_id()) == 0) return;
  }
  if (events_.on_cancel) events_.on_cancel(cancel.group_id(), cancel.lease_id());
}

void SessionClient::Impl::SendFailure(GroupId group, uint64_t lease, v1::LeaseFailed::Reason reason,
                                      const std::string& detail) {
  v1::WorkerMessage message;
  v1::LeaseFailed* failed = message.mutable_lease_failed();
  failed->set_group_id(group);
  failed->set_lease_id(lease);
  failed->set_reason(reason);
  failed->set_detail(ValidUtf8(detail));
  Send(message);
}

void SessionClient::Impl::FailLease(GroupId group, v1::LeaseFailed::Reason reason,
                                    const std::string& detail) {
  uint64_t lease = 0;
  {
    absl::MutexLock lock(&mu_);
    const auto held = held_.find(group);
    if (held == held_.end()) return;
    lease = held->second.id;
    held_.erase(held);
  }
  SendFailure(group, lease, reason, detail);
}

// ---- groups ----

std::list<SessionClient::Impl::Outgoing>::iterator SessionClient::Impl::FindOutgoing(
    GroupId group) {
  return std::find_if(unacked_.begin(), unacked_.end(), [group](const Outgoing& outgoing) {
    return outgoing.splitter.group_id() == group;
  });
}

void SessionClient::Impl::Forget(std::list<Outgoing>::iterator outgoing) {
  unacked_bytes_ -= outgoing->splitter.size();
  unacked_.erase(outgoing);
}

absl::Status SessionClient::Impl::EndedError() const {
  return absl::CancelledError(
      absl::StrCat("the session with learner at ", options_.learner,
                   " has ended: ", end_->ok() ? "stopped" : std::string(end_->message())));
}

absl::Status SessionClient::Impl::SendGroup(const Group& group, absl::Time deadline) {
  auto bytes = std::make_shared<const std::string>(EncodeGroup(group));
  const uint64_t size = bytes->size();
  uint64_t window = 0;
  {
    absl::MutexLock lock(&mu_);
    if (end_.has_value()) return EndedError();
    if (!held_.contains(group.id)) return absl::OkStatus();  // cancelled meanwhile
    window = std::min(window_, kMaxGroupBytes);
  }
  if (size > window) {
    const std::string detail = absl::StrCat(
        GroupName(group.id), " has ", size, " bytes, more than the ", window,
        " that may be on their way: raise rollout.credit_megabytes or make groups smaller");
    FailLease(group.id, v1::LeaseFailed::INFRA, detail);
    return absl::InvalidArgumentError(detail);
  }
  std::string late;
  bool ending = false;
  {
    absl::MutexLock lock(&mu_);
    if (WaitForRoom(size, deadline)) return Enqueue(group.id, std::move(bytes));
    late = absl::StrCat(GroupName(group.id), ": ", unacked_bytes_,
                        " bytes wait for acks of the learner at ", options_.learner);
    ending = send_limit_ < deadline;
  }
  // Its lease is another's to have: kept in hand it would swallow every lease of this group.
  FailLease(group.id, ending ? v1::LeaseFailed::DRAINING : v1::LeaseFailed::INFRA, late);
  return absl::DeadlineExceededError(late);
}

// False: not by then. True also when the session has ended.
bool SessionClient::Impl::WaitForRoom(uint64_t size, absl::Time deadline) {
  while (true) {
    const absl::Time until = std::min(deadline, send_limit_);
    const auto room = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return end_.has_value() || unacked_.empty() ||
             unacked_bytes_ + size <= options_.max_unacked_bytes;
    };
    const auto wake = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return room() || std::min(deadline, send_limit_) < until;
    };
    const bool woken = mu_.AwaitWithDeadline(absl::Condition(&wake), until);
    if (room()) return true;
    if (!woken) return false;
  }
}

void SessionClient::Impl::LimitSends(absl::Time deadline) {
  absl::MutexLock lock(&mu_);
  send_limit_ = std::min(send_limit_, deadline);
}

absl::Status SessionClient::Impl::Enqueue(GroupId group, std::shared_ptr<const std::string> bytes) {
  if (end_.has_value()) return EndedError();
  const auto held = held_.find(group);
  if (held == held_.end()) return absl::OkStatus();
  unacked_bytes_ += bytes->size();
  unacked_.push_back({held->second.id, GroupSplitter(group, std::move(bytes))});
  held_.erase(held);
  SendChunks();
  return absl::OkStatus();
}

// One group after the other, so that a window of credit always holds a whole group.
void SessionClient::Impl::SendChunks() {
  if (!welcomed_) return;
  for (Outgoing& outgoing : unacked_) {
    while (!outgoing.splitter.done()) {
      if (credit_ == 0) return;
      const OutgoingChunk chunk = outgoing.splitter.Next(outgoing.lease_id, credit_);
      credit_ -= chunk.payload.size;
      stream_.Send(EncodeWithPayload(v1::WorkerMessage::kGroupChunkFieldNumber, chunk.header,
                                     v1::GroupChunk::kPayloadFieldNumber, chunk.payload),
                   Lane::kData);
    }
  }
}

void SessionClient::Impl::HandleCredit(uint64_t bytes) {
  absl::MutexLock lock(&mu_);
  credit_ = std::min(window_, credit_ + bytes);
  SendChunks();
}

void SessionClient::Impl::HandleAck(const v1::Ack& ack) {
  if (ack.outcome() != v1::Ack::ACCEPTED && ack.outcome() != v1::Ack::DUPLICATE) {
    COHORT_LOG(WARNING) << GroupName(ack.group_id()) << ": " << v1::Ack::Outcome_Name(ack.outcome())
                        << ": " << ack.detail();
  }
  {
    absl::MutexLock lock(&mu_);
    const auto outgoing = FindOutgoing(ack.group_id());
    if (outgoing != unacked_.end()) {
      if (ack.outcome() == v1::Ack::HASH_MISMATCH && outgoing->sends < kMaxSends) {
        ++outgoing->sends;
        outgoing->splitter.Rewind();
      } else {
        Forget(outgoing);
      }
      SendChunks();
    }
  }
  if (events_.on_ack) events_.on_ack(ack);
}

// ---- waiting and ending ----

absl::Status SessionClient::Impl::WaitWelcomed(absl::Time deadline) {
  absl::MutexLock lock(&mu_);
  const auto settled = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return ever_welcomed_ || end_.has_value();
  };
  if (!mu_.AwaitWithDeadline(absl::Condition(&settled), deadline)) {
    return absl::DeadlineExceededError(
        absl::StrCat("learner at ", options_.learner, " has not welcomed this worker yet"));
  }
  if (ever_welcomed_) return absl::OkStatus();
  return end_->ok() ? absl::CancelledError("stopped") : *end_;
}

absl::Status SessionClient::Impl::Finish(const std::string& reason, absl::Time deadline) {
  absl::Status result;
  {
    absl::MutexLock lock(&mu_);
    const auto settled = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return unacked_.empty() || end_.has_value();
    };
    mu_.AwaitWithDeadline(absl::Condition(&settled), deadline);
    if (!unacked_.empty()) {
      result = absl::DeadlineExceededError(
          absl::StrCat(unacked_.size(), " groups were given up without an ack of learner at ",
                       options_.learner));
    }
  }
  v1::WorkerMessage message;
  message.mutable_goodbye()->set_reason(ValidUtf8(reason));
  Send(message);
  stream_.Finish(absl::OkStatus());
  const absl::Status end = Wait(absl::Now() + absl::Seconds(10));
  return result.ok() ? end : result;
}

void SessionClient::Impl::Stop() {
  stream_.Stop();
  absl::MutexLock lock(&mu_);
  if (!end_.has_value()) end_ = absl::OkStatus();  // never started
}

absl::Status SessionClient::Impl::Wait(absl::Time deadline) {
  absl::MutexLock lock(&mu_);
  const auto over = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return end_.has_value(); };
  if (!mu_.AwaitWithDeadline(absl::Condition(&over), deadline)) {
    return absl::DeadlineExceededError(
        absl::StrCat("the session with learner at ", options_.learner, " goes on"));
  }
  return *end_;
}

bool SessionClient::Impl::ended() const {
  absl::MutexLock lock(&mu_);
  return end_.has_value();
}
size_t SessionClient::Impl::unacked_groups() const {
  absl::MutexLock lock(&mu_);
  return unacked_.size();
}
bool SessionClient::Impl::connected() const {
  absl::MutexLock lock(&mu_);
  return welcomed_;
}

// ---- the public face ----

SessionClient::SessionClient(Options options, Events events)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(events))) {}
SessionClient::~SessionClient() { Stop(); }
void SessionClient::Start() { impl_->Start(); }
absl::Status SessionClient::WaitWelcomed(absl::Time deadline) {
  return impl_->WaitWelcomed(deadline);
}
absl::Status SessionClient::SendGroup(const Group& group, absl::Time deadline) {
  return impl_->SendGroup(group, deadline);
}
void SessionClient::LimitSends(absl::Time deadline) { impl_->LimitSends(deadline); }
void SessionClient::FailLease(GroupId group, v1::LeaseFailed::Reason reason,
                              const std::string& detail) {
  impl_->FailLease(group, reason, detail);
}
absl::Status SessionClient::Finish(const std::string& reason, absl::Time deadline) {
  return impl_->Finish(reason, deadline);
}
void SessionClient::Stop() { impl_->Stop(); }
absl::Status SessionClient::Wait(absl::Time deadline) { return impl_->Wait(deadline); }
bool SessionClient::ended() const { return impl_->ended(); }
size_t SessionClient::unacked_groups() const { return impl_->unacked_groups(); }
bool SessionClient::connected() const { return impl_->connected(); }
uint64_t SessionClient::reconnects() const { return impl_->reconnects(); }

}  // namespace cohort
