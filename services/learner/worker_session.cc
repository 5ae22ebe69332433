#include "services/learner/worker_session.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/rpc/byte_message.h"
#include "common/wire/group_codec.h"
#include "common/wire/lease_codec.h"
#include "services/learner/session_hub.h"

namespace cohort {
namespace {

constexpr size_t kMaxBrokenGroups = 1024;
constexpr size_t kMaxShownBytes = 128;  // of a name in a hello that was refused

v1::Ack::Outcome OutcomeOf(Delivery delivery) {
  switch (delivery) {
    case Delivery::kAccepted:
      return v1::Ack::ACCEPTED;
    case Delivery::kDuplicate:
      return v1::Ack::DUPLICATE;
    case Delivery::kMalformed:
      return v1::Ack::MALFORMED;
    case Delivery::kHashMismatch:
      return v1::Ack::HASH_MISMATCH;
    case Delivery::kLate:
      return v1::Ack::LATE;
  }
  return v1::Ack::OUTCOME_UNSPECIFIED;
}

LeaseTerms TermsOf(const IssuedLease& lease) {
  LeaseTerms terms;
  terms.lease_id = lease.lease_id;
  terms.group_id = lease.group_id;
  terms.ordinal = lease.item.ordinal;
  terms.purpose = lease.item.purpose;
  terms.source = lease.item.source;
  terms.reward = lease.item.reward;
  terms.columns_json = lease.item.columns_json;
  terms.prompt = lease.item.prompt_ids;
  terms.plans = lease.item.plans;
  terms.version_floor = lease.version_floor;
  terms.deadline = lease.deadline;
  return terms;
}

}  // namespace

WorkerSession::WorkerSession(SessionHub* hub, std::shared_ptr<ByteStream> stream,
                             uint64_t credit_bytes)
    : hub_(hub),
      stream_(std::move(stream)),
      credit_bytes_(credit_bytes),
      credit_left_(credit_bytes) {}

// ---- towards the worker ----

void WorkerSession::Send(const v1::LearnerMessage& message) {
  stream_->Send(EncodeMessage(message), Lane::kControl);
}

void WorkerSession::SendLease(const IssuedLease& lease) {
  {
    absl::MutexLock lock(&mu_);
    Held& held = held_[lease.group_id];
    leased_rows_ -= held.rows;
    held = {lease.lease_id, static_cast<int64_t>(lease.item.plans.size())};
    leased_rows_ += held.rows;
  }
  v1::LearnerMessage message;
  *message.mutable_lease() = EncodeLease(TermsOf(lease));
  Send(message);
}

bool WorkerSession::Release(GroupId group) {
  absl::MutexLock lock(&mu_);
  const auto found = held_.find(group);
  if (found == held_.end()) return false;
  leased_rows_ -= found->second.rows;
  held_.erase(found);
  return true;
}

bool WorkerSession::CancelLease(GroupId group) {
  v1::LearnerMessage message;
  {
    absl::MutexLock lock(&mu_);
    const auto found = held_.find(group);
    if (found == held_.end()) return false;
    message.mutable_cancel_lease()->set_group_id(group);
    message.mutable_cancel_lease()->set_lease_id(found->second.lease_id);
  }
  Release(group);
  Send(message);
  return true;
}

void WorkerSession::Refuse(const v1::Refusal& refusal) {
  v1::LearnerMessage message;
  *message.mutable_refusal() = refusal;
  Send(message);
  const bool bad = refusal.reason() == v1::Refusal::BAD_MESSAGE;
  const bool later = refusal.reason() == v1::Refusal::SHUTTING_DOWN ||
                     refusal.reason() == v1::Refusal::WORKER_ID_IN_USE;
  stream_->Finish(absl::Status(bad     ? absl::StatusCode::kInvalidArgument
                               : later ? absl::StatusCode::kUnavailable
                                       : absl::StatusCode::kFailedPrecondition,
                               refusal.detail()));
}

void WorkerSession::BadMessage(const std::string& detail) {
  ending_ = true;
  hub_->Count([](SessionCounters& counters) {
    ++counters.bad_messages;
    ++counters.refused[v1::Refusal::BAD_MESSAGE];
  });
  std::string left_out;
  if (hub_->MayWarn(&left_out)) {
    COHORT_LOG(WARNING) << "worker " << (serving_ ? worker_id() : "(no hello yet)")
                        << " cut off: " << detail << left_out;
  }
  v1::Refusal refusal;
  refusal.set_reason(v1::Refusal::BAD_MESSAGE);
  refusal.set_detail(detail);
  Refuse(refusal);
}

// ---- from the worker ----

void WorkerSession::OnMessage(const grpc::ByteBuffer& bytes) {
  if (ending_) return;
  v1::WorkerMessage message;
  if (absl::Status status = DecodeMessage(bytes, &message); !status.ok()) {
    return BadMessage(std::string(status.message()));
  }
  if (serving_ == message.has_hello()) {
    return BadMessage(serving_ ? "a second hello" : "expected a hello first");
  }
  switch (message.kind_case()) {
    case v1::WorkerMessage::kHello:
      return HandleHello(message);
    case v1::WorkerMessage::kHeartbeat:
      return HandleHeartbeat(message.heartbeat());
    case v1::WorkerMessage::kGroupChunk:
      return HandleChunk(std::move(*message.mutable_group_chunk()));
    case v1::WorkerMessage::kLeaseFailed:
      return HandleFailure(message.lease_failed());
    case v1::WorkerMessage::kGoodbye:
      return HandleGoodbye(message.goodbye());
    case v1::WorkerMessage::KIND_NOT_SET:
      return BadMessage("a message of no known kind");
  }
}

void WorkerSession::HandleHello(const v1::WorkerMessage& message) {
  hello_ = message.hello();
  {
    absl::MutexLock lock(&mu_);
    heartbeat_.set_held_version(hello_.held_version());
  }
  if (std::optional<v1::Refusal> refusal = hub_->Admit(shared_from_this(), hello_)) {
    ending_ = true;
    std::string left_out;
    if (hub_->MayWarn(&left_out)) {
      COHORT_LOG(WARNING) << "worker " << hello_.worker_id().substr(0, kMaxShownBytes) << " at "
                          << hello_.host().substr(0, kMaxShownBytes)
                          << " refused: " << refusal->detail() << left_out;
    }
    return Refuse(*refusal);
  }
  serving_ = true;
  std::string left_out;
  if (hub_->MayWarn(&left_out)) {
    COHORT_LOG(INFO) << "worker " << worker_id() << " connected from " << hello_.host() << ", pid "
                     << hello_.pid() << ", " << max_rows() << " rows" << left_out;
  }
}

void WorkerSession::HandleHeartbeat(const v1::Heartbeat& heartbeat) {
  uint64_t tokens = 0;
  {
    absl::MutexLock lock(&mu_);
    if (heartbeat.generated_tokens() > heartbeat_.generated_tokens()) {
      tokens = heartbeat.generated_tokens() - heartbeat_.generated_tokens();
    }
    heartbeat_ = heartbeat;
    if (heartbeat.idle_seconds() > 0) idle_seconds_ += heartbeat.idle_seconds();
  }
  hub_->CountTokens(tokens);
  v1::LearnerMessage alive;
  alive.mutable_byte_credit();  // of 0: the worker sees that the learner lives
  Send(alive);
}

void WorkerSession::HandleChunk(v1::GroupChunk chunk) {
  const uint64_t size = chunk.payload().size();
  if (size > credit_left_) {
    return BadMessage(absl::StrCat("group chunk of ", size, " bytes against a credit of ",
                                   credit_left_, " bytes"));
  }
  credit_left_ -= size;
  hub_->Count([size](SessionCounters& counters) { counters.group_bytes_received += size; });
  const GroupId group = chunk.group_id();
  const uint64_t lease = chunk.lease_id();
  if (chunk.offset() == 0) broken_.erase(group);
  if (!broken_.contains(group)) {
    auto added = assembler_.Add(std::move(chunk));
    if (!added.ok()) {
      if (broken_.size() >= kMaxBrokenGroups) broken_.clear();
      broken_.insert(group);
      RejectDelivery(
          group, lease,
          absl::IsDataLoss(added.status()) ? Delivery::kHashMismatch : Delivery::kMalformed,
          std::string(added.status().message()));
    } else if (added->has_value()) {
      HandleWhole(*std::move(*added));
    }
  }
  CountUnfinished(static_cast<int64_t>(assembler_.pending_bytes()));
  ReturnCredit();
}

void WorkerSession::CountUnfinished(int64_t bytes) {
  const int64_t before = unfinished_bytes_.exchange(bytes, std::memory_order_relaxed);
  if (bytes != before) hub_->UnfinishedChanged(bytes - before);
}

void WorkerSession::HandleWhole(GroupAssembler::Assembled whole) {
  absl::StatusOr<Group> group = DecodeGroup(whole.bytes);
  if (group.ok() && group->id != whole.group_id) {
    group = absl::InvalidArgumentError("group.id: differs from the id of its chunks");
  }
  if (!group.ok()) {
    return RejectDelivery(whole.group_id, whole.lease_id, Delivery::kMalformed,
                          std::string(group.status().message()));
  }
  group->worker = worker_id();
  const Dispatcher::DeliveryResult result = hub_->Deliver(this, *std::move(group));
  Release(whole.group_id);
  SendAck(whole.group_id, whole.lease_id, result.outcome, result.detail);
  hub_->RequestLeases();
}

void WorkerSession::RejectDelivery(GroupId group, uint64_t lease, Delivery outcome,
                                   const std::string& detail) {
  std::string left_out;
  if (hub_->MayWarn(&left_out)) {
    COHORT_LOG(WARNING) << "worker " << worker_id() << ": " << DeliveryName(outcome)
                        << " delivery: " << detail << left_out;
  }
  hub_->Count([](SessionCounters& counters) { ++counters.bad_messages; });
  Release(group);
  SendAck(group, lease, outcome, detail);
  hub_->dispatcher()->CountBadDelivery(group, worker_id(), outcome);  // issues the lease again
  hub_->RequestLeases();
}

void WorkerSession::SendAck(GroupId group, uint64_t lease, Delivery outcome,
                            const std::string& detail) {
  v1::LearnerMessage message;
  message.mutable_ack()->set_group_id(group);
  message.mutable_ack()->set_lease_id(lease);
  message.mutable_ack()->set_outcome(OutcomeOf(outcome));
  message.mutable_ack()->set_detail(detail);
  Send(message);
}

void WorkerSession::ReturnCredit() {
  const uint64_t spent = credit_bytes_ - credit_left_;
  const uint64_t back = spent - assembler_.pending_bytes();
  if (back == 0) return;
  credit_left_ += back;
  v1::LearnerMessage message;
  message.mutable_byte_credit()->set_bytes(back);
  Send(message);
}

void WorkerSession::HandleFailure(const v1::LeaseFailed& failure) {
  if (!Release(failure.group_id())) return;  // no lease of this worker, or no longer
  if (v1::LeaseFailed::Reason_IsValid(failure.reason())) {
    hub_->Count([&](SessionCounters& counters) { ++counters.leases_failed[failure.reason()]; });
  }
  if (failure.reason() == v1::LeaseFailed::DRAINING) {
    hub_->dispatcher()->ReturnLease(failure.group_id(), failure.lease_id());
  } else {
    hub_->dispatcher()->FailLease(failure.group_id(), failure.lease_id(),
                                  failure.reason() == v1::LeaseFailed::PROMPT_TOO_LONG,
                                  failure.detail());
  }
  hub_->RequestLeases();
}

void WorkerSession::HandleGoodbye(const v1::Goodbye& goodbye) {
  {
    absl::MutexLock lock(&mu_);
    goodbye_ = true;
  }
  ending_ = true;
  COHORT_LOG(INFO) << "worker " << worker_id() << " says goodbye: " << goodbye.reason();
  stream_->Finish(absl::OkStatus());
}

void WorkerSession::OnClosed(const absl::Status& status) {
  CountUnfinished(0);
  hub_->Closed(shared_from_this(), status);
}

// ---- what is known of it ----

int64_t WorkerSession::leased_rows() const {
  absl::MutexLock lock(&mu_);
  return leased_rows_;
}

bool WorkerSession::said_goodbye() const {
  absl::MutexLock lock(&mu_);
  return goodbye_;
}

double WorkerSession::TakeIdleSeconds() {
  absl::MutexLock lock(&mu_);
  return std::exchange(idle_seconds_, 0);
}

double WorkerSession::tokens_per_second() const {
  absl::MutexLock lock(&mu_);
  return heartbeat_.tokens_per_second();
}

v1::WorkerStatus WorkerSession::Status() const {
  v1::WorkerStatus status;
  status.set_worker_id(hello_.worker_id());
  status.set_host(hello_.host());
  status.set_pid(hello_.pid());
  status.set_http_address(hello_.http_address());
  status.set_last_seen_seconds(absl::ToDoubleSeconds(silence()));
  absl::MutexLock lock(&mu_);
  status.set_connected(true);
  status.set_held_version(heartbeat_.held_version());
  status.set_leases(static_cast<uint32_t>(held_.size()));
  status.set_running_rows(heartbeat_.running_rows());
  status.set_tokens_per_second(heartbeat_.tokens_per_second());
  return status;
}

}  // namespace cohort
