#include "services/learner/session_hub.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/utf8.h"
#include "common/telemetry/flight_recorder.h"
#include "common/wire/protocol.h"
#include "common/wire/semantic.h"

namespace cohort {
namespace {

constexpr size_t kGoneWorkersKept = 64;
constexpr absl::Duration kStreamsEndWithin = absl::Seconds(5);
// Lines that peers can cause: enough for a fleet that comes and goes, not for one that fills a
// disk.
constexpr absl::Duration kWarningsPeriod = absl::Seconds(10);
constexpr int kMostWarnings = 100;

// Of a hello.
constexpr size_t kMaxIdBytes = 128;
constexpr size_t kMaxHostBytes = 256;
constexpr int kMaxSemanticFields = 1000;
constexpr size_t kMaxSemanticBytes = size_t{256} << 10;
constexpr uint32_t kMaxRows = 1 << 16;
constexpr size_t kMaxKeyBytes = 64;

v1::Refusal MakeRefusal(v1::Refusal::Reason reason, const std::string& detail) {
  v1::Refusal refusal;
  refusal.set_reason(reason);
  refusal.set_detail(detail);
  return refusal;
}

constexpr char kDtypeField[] = "model.dtype";

SemanticMap MapOf(const v1::Hello& hello) {
  SemanticMap map;
  for (const v1::SemanticField& field : hello.semantic()) map[field.name()] = field.value();
  return map;
}

// What is said again and again (ids in logs, labels, the status), so that it must be short and
// plain. Empty: `text` is.
std::string WrongText(absl::string_view field, const std::string& text, size_t most) {
  if (text.size() > most) {
    return absl::StrCat(field, ": expected at most ", most, " bytes, found ", text.size());
  }
  return HasControls(text) ? absl::StrCat(field, ": expected no control characters") : "";
}

std::string WhatIsOutOfBounds(const v1::Hello& hello) {
  size_t bytes = 0;
  for (const v1::SemanticField& field : hello.semantic()) {
    bytes += field.name().size() + field.value().size();
  }
  if (hello.worker_id().empty() || hello.max_rows() == 0) {
    return "a hello needs worker_id and max_rows";
  }
  if (hello.max_rows() > kMaxRows) {
    return absl::StrCat("max_rows: expected at most ", kMaxRows, ", found ", hello.max_rows());
  }
  if (hello.semantic_size() > kMaxSemanticFields || bytes > kMaxSemanticBytes) {
    return absl::StrCat("semantic: expected at most ", kMaxSemanticFields, " fields of ",
                        kMaxSemanticBytes, " bytes together, found ", hello.semantic_size(), " of ",
                        bytes);
  }
  for (const std::string& wrong :
       {WrongText("worker_id", hello.worker_id(), kMaxIdBytes),
        WrongText("host", hello.host(), kMaxHostBytes),
        WrongText("http_address", hello.http_address(), kMaxHostBytes),
        WrongText("semantic_hash", hello.semantic_hash(), kMaxHostBytes)}) {
    if (!wrong.empty()) return wrong;
  }
  if (hello.instance_key().size() > kMaxKeyBytes) {
    return absl::StrCat("instance_key: expected at most ", kMaxKeyBytes, " bytes, found ",
                        hello.instance_key().size());
  }
  return "";
}

// The process that holds `known` said this hello, too: it has drawn the key and told nobody else.
bool SameInstance(const WorkerSession& known, const v1::Hello& hello) {
  return !hello.instance_key().empty() && known.instance_key() == hello.instance_key();
}

// Whether `hello` may take the place of `known`, which is connected under its id.
std::optional<v1::Refusal> CheckTakeover(const WorkerSession& known, const v1::Hello& hello) {
  if (!SameInstance(known, hello)) {
    return MakeRefusal(
        v1::Refusal::WORKER_ID_IN_USE,
        absl::StrCat("another process called ", hello.worker_id(), " is connected from ",
                     known.host(), ": it must go first, or give each worker an id of its own"));
  }
  if (known.incarnation() > hello.incarnation()) {
    return MakeRefusal(v1::Refusal::DUPLICATE_WORKER,
                       absl::StrCat("a newer process called ", hello.worker_id(),
                                    " is connected: give each worker an id of its own"));
  }
  return std::nullopt;
}

}  // namespace

SessionHub::SessionHub(SessionService::Options options, Dispatcher* dispatcher)
    : options_(std::move(options)),
      dispatcher_(dispatcher),
      executor_("session", options_.threads),
      warnings_(kWarningsPeriod, kMostWarnings) {}

void SessionHub::Start() {
  // The dispatcher may call a listener that was just replaced: it must not keep the hub alive.
  dispatcher_->SetLeaseListener([weak = weak_from_this()] {
    if (auto hub = weak.lock()) hub->RequestLeases();
  });
  ticker_ = std::make_unique<Ticker>("session-tick", options_.heartbeat / 4, [this] { Tick(); });
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* SessionHub::Accept(
    grpc::CallbackServerContext* context) {
  const auto make_handler = [this](const std::shared_ptr<ByteStream>& stream) {
    auto session = std::make_shared<WorkerSession>(this, stream, options_.credit_bytes);
    absl::MutexLock lock(&mu_);
    streams_.insert(session);
    return session;
  };
  const AcceptedStream accepted = AcceptStream(context, {}, &executor_, make_handler);
  absl::MutexLock lock(&mu_);
  if (stopped_) accepted.stream->Cancel(absl::UnavailableError("the learner is shutting down"));
  return accepted.reactor;
}

// ---- admission ----

std::optional<v1::Refusal> SessionHub::CheckHello(const v1::Hello& hello) const {
  if (hello.protocol_version() != kProtocolVersion) {
    return MakeRefusal(
        v1::Refusal::PROTOCOL_VERSION,
        absl::StrCat("the learner speaks protocol version ", kProtocolVersion, ", the worker ",
                     hello.protocol_version(), ": install the same release on both"));
  }
  if (const std::string wrong = WhatIsOutOfBounds(hello); !wrong.empty()) {
    return MakeRefusal(v1::Refusal::BAD_MESSAGE, wrong);
  }
  SemanticMap worker = MapOf(hello);
  if (!hello.semantic_hash().empty() && hello.semantic_hash() != HashOfFields(worker)) {
    return MakeRefusal(v1::Refusal::BAD_MESSAGE,
                       "the hello's semantic_hash is not that of its semantic fields");
  }
  // A worker that left its dtype open follows the learner's, which the Welcome tells.
  const auto dtype = worker.find(kDtypeField);
  const auto decided = options_.semantic.find(kDtypeField);
  if (dtype != worker.end() && dtype->second == "auto" && decided != options_.semantic.end()) {
    dtype->second = decided->second;
  }
  const auto differences = DifferingFields(options_.semantic, worker);
  if (differences.empty()) return std::nullopt;
  v1::Refusal refusal = MakeRefusal(
      v1::Refusal::SEMANTIC_MISMATCH,
      absl::StrCat("the worker's configuration differs: ", DescribeDifferences(differences)));
  refusal.mutable_differences()->Assign(differences.begin(), differences.end());
  return refusal;
}

std::optional<v1::Refusal> SessionHub::Admit(const std::shared_ptr<WorkerSession>& session,
                                             const v1::Hello& hello) {
  absl::MutexLock one_at_a_time(&admission_mu_);
  std::optional<v1::Refusal> refusal = CheckHello(hello);
  std::shared_ptr<WorkerSession> replaced;
  {
    absl::MutexLock lock(&mu_);
    const auto known = workers_.find(hello.worker_id());
    if (!refusal && known != workers_.end()) refusal = CheckTakeover(*known->second, hello);
    if (refusal) {
      ++counters_.refused[refusal->reason()];
      return refusal;
    }
    if (known != workers_.end()) {
      replaced = known->second;
      Remove(known);
    }
  }
  if (replaced != nullptr) {
    replaced->Cancel(absl::AlreadyExistsError("the worker has connected again"));
    dispatcher_->WorkerGone(hello.worker_id());
  }
  {
    absl::MutexLock lock(&mu_);
    if (draining_ || stopped_) {
      const v1::Refusal refused =
          draining_ ? MakeRefusal(v1::Refusal::RUN_OVER, "the run is over")
                    : MakeRefusal(v1::Refusal::SHUTTING_DOWN, "the learner is shutting down");
      ++counters_.refused[refused.reason()];
      return refused;
    }
    // Welcomed and registered in one go: no lease comes before it, and no drain is missed.
    v1::LearnerMessage welcome;
    *welcome.mutable_welcome() = MakeWelcome();
    session->Send(welcome);
    workers_[hello.worker_id()] = session;
    gone_.erase(hello.worker_id());
    ++counters_.connections;
    counters_.workers_connected = static_cast<int64_t>(workers_.size());
  }
  RequestLeases();
  return std::nullopt;
}

v1::Welcome SessionHub::MakeWelcome() const {
  v1::Welcome welcome;
  welcome.set_protocol_version(kProtocolVersion);
  welcome.set_byte_credit(options_.credit_bytes);
  welcome.set_heartbeat_seconds(absl::ToDoubleSeconds(options_.heartbeat));
  welcome.set_resolved_config(options_.resolved_config);
  welcome.set_current_version(current_version_);
  return welcome;
}

void SessionHub::Remove(Sessions::iterator session) {
  v1::WorkerStatus status = session->second->Status();
  status.set_connected(false);
  status.set_leases(0);
  status.set_tokens_per_second(0);
  if (gone_.size() >= kGoneWorkersKept) gone_.erase(gone_.begin());
  gone_[session->first] = std::move(status);
  if (!session->second->said_goodbye()) ++counters_.lost_workers;
  workers_.erase(session);
  counters_.workers_connected = static_cast<int64_t>(workers_.size());
}

void SessionHub::Closed(const std::shared_ptr<WorkerSession>& session, const absl::Status& status) {
  bool was_serving = false, expected = session->said_goodbye();
  {
    absl::MutexLock lock(&mu_);
    expected = expected || stopped_;
    streams_.erase(session);
    for (auto it = workers_.begin(); it != workers_.end(); ++it) {
      if (it->second != session) continue;
      was_serving = true;
      Remove(it);
      break;
    }
  }
  if (!was_serving) return;
  ProcessRecorder().Record(absl::StrCat("worker ", session->worker_id(), " gone"));
  std::string left_out;
  if (!expected && MayWarn(&left_out)) {
    COHORT_LOG(WARNING) << "worker " << session->worker_id() << " lost: " << status.message()
                        << "; its leases are issued again" << left_out;
  }
  dispatcher_->WorkerGone(session->worker_id());
  RequestLeases();
}

// ---- groups and leases ----

Dispatcher::DeliveryResult SessionHub::Deliver(WorkerSession* from, Group group) {
  const GroupId id = group.id;
  Count([](SessionCounters& counters) { ++counters.groups_received; });
  Dispatcher::DeliveryResult result = dispatcher_->Deliver(from->worker_id(), std::move(group));
  ProcessRecorder().Record(absl::StrCat("group ", absl::Hex(id), " from ", from->worker_id(), ": ",
                                        DeliveryName(result.outcome)));
  if (result.outcome != Delivery::kAccepted) return result;
  Sessions workers;
  {
    absl::MutexLock lock(&mu_);
    workers = workers_;
  }
  for (const auto& [name, session] : workers) {  // whoever else was asked for it may stop
    if (session.get() != from) session->CancelLease(id);
  }
  return result;
}

void SessionHub::RequestLeases() {
  {
    absl::MutexLock lock(&mu_);
    if (stopped_) return;
    issue_again_ = true;
    if (issuing_) return;
    issuing_ = true;
  }
  if (executor_.Post([this] { IssueLeases(); })) return;
  absl::MutexLock lock(&mu_);
  issuing_ = false;
}

void SessionHub::IssueLeases() {
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      if (!issue_again_ || draining_ || stopped_) {
        issuing_ = false;
        return;
      }
      issue_again_ = false;
    }
    while (IssueOne()) {
    }
  }
}

// The worker with the least work in hand, relative to what it decodes at once; null: all have
// enough.
std::shared_ptr<WorkerSession> SessionHub::LeastLoaded() const {
  absl::MutexLock lock(&mu_);
  std::shared_ptr<WorkerSession> best;
  double best_load = options_.rows_ahead;
  if (draining_ || stopped_) return nullptr;
  for (const auto& [name, session] : workers_) {
    const double load =
        static_cast<double>(session->leased_rows()) / static_cast<double>(session->max_rows());
    if (load >= best_load || session->said_goodbye()) continue;
    best = session;
    best_load = load;
  }
  return best;
}

bool SessionHub::IssueOne() {
  const std::shared_ptr<WorkerSession> session = LeastLoaded();
  if (session == nullptr) return false;
  const auto lease = dispatcher_->NextLease(session->worker_id());
  if (!lease.ok()) {
    COHORT_LOG(ERROR) << "no more leases: " << lease.status().message();
    return false;
  }
  if (!lease->has_value()) return false;
  session->SendLease(**lease);
  ProcessRecorder().Record(absl::StrCat("lease ", (*lease)->lease_id, " of ordinal ",
                                        (*lease)->item.ordinal, " to ", session->worker_id()));
  bool lost = false;
  {
    absl::MutexLock lock(&mu_);
    ++counters_.leases_sent;
    const auto known = workers_.find(session->worker_id());
    lost = known == workers_.end() || known->second != session;
  }
  if (lost) dispatcher_->WorkerGone(session->worker_id());  // it left while the lease was made
  return true;
}

void SessionHub::Tick() {
  const absl::Duration limit = options_.heartbeat * options_.missed_heartbeats;
  std::vector<std::shared_ptr<WorkerSession>> silent;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& session : streams_) {
      // Once for each: it may take some ticks to end.
      if (session->silence() <= limit || !session->GiveUp()) continue;
      silent.push_back(session);
      ++counters_.heartbeat_timeouts;
    }
  }
  for (const auto& session : silent) {
    session->Cancel(absl::DeadlineExceededError(absl::StrCat(
        "no message for ",
        absl::FormatDuration(absl::Floor(session->silence(), absl::Milliseconds(100))))));
  }
  const std::vector<std::string> expired = dispatcher_->ExpireLeases();
  for (const std::string& line : expired) COHORT_LOG(WARNING) << line;
  Count([&](SessionCounters& counters) { counters.leases_expired += expired.size(); });
  RequestLeases();
}

// ---- the end ----

int SessionHub::Drain(const std::string& reason, absl::Duration limit) {
  Sessions workers;
  {
    absl::MutexLock lock(&mu_);
    draining_ = true;
    workers = workers_;
  }
  v1::LearnerMessage message;
  message.mutable_drain()->set_deadline_seconds(absl::ToDoubleSeconds(limit));
  message.mutable_drain()->set_reason(reason);
  for (const auto& [name, session] : workers) session->Send(message);
  workers.clear();
  absl::MutexLock lock(&mu_);
  const auto all_gone = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return workers_.empty(); };
  mu_.AwaitWithTimeout(absl::Condition(&all_gone), limit);
  return static_cast<int>(workers_.size());
}

void SessionHub::Shutdown() {
  std::set<std::shared_ptr<WorkerSession>> streams;
  {
    absl::MutexLock lock(&mu_);
    if (stopped_) return;
    stopped_ = true;
    streams = streams_;
  }
  dispatcher_->SetLeaseListener(nullptr);
  ticker_.reset();
  for (const auto& session : streams) {
    session->Cancel(absl::UnavailableError("the learner is shutting down"));
  }
  streams.clear();
  {
    absl::MutexLock lock(&mu_);
    const auto closed = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return streams_.empty(); };
    if (!mu_.AwaitWithTimeout(absl::Condition(&closed), kStreamsEndWithin)) {
      COHORT_LOG(ERROR) << streams_.size() << " session streams did not end within "
                        << kStreamsEndWithin;
    }
  }
  executor_.Stop();
}

// ---- what is known ----

void SessionHub::SetCurrentVersion(int64_t version) {
  absl::MutexLock lock(&mu_);
  current_version_ = version;
}

void SessionHub::Count(const std::function<void(SessionCounters&)>& change) {
  absl::MutexLock lock(&mu_);
  change(counters_);
}

void SessionHub::CountTokens(uint64_t tokens) {
  absl::MutexLock lock(&mu_);
  generated_tokens_ += tokens;
}

bool SessionHub::MayWarn(std::string* left_out) {
  const std::optional<uint64_t> held_back = warnings_.Ask();
  if (held_back) *left_out = LeftOutText(*held_back);
  return held_back.has_value();
}

void SessionHub::UnfinishedChanged(int64_t change) {
  const int64_t total = unfinished_bytes_.fetch_add(change, std::memory_order_relaxed) + change;
  if (change > 0 && total > static_cast<int64_t>(options_.max_unfinished_bytes)) CutOffTheLargest();
}

// It connects again, sends its groups again, and by then the others have finished theirs.
void SessionHub::CutOffTheLargest() {
  std::shared_ptr<WorkerSession> largest;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [name, session] : workers_) {
      if (largest == nullptr || session->unfinished_bytes() > largest->unfinished_bytes()) {
        largest = session;
      }
    }
  }
  if (largest == nullptr || !largest->GiveUp()) return;
  std::string left_out;
  const std::string why = absl::StrCat("groups that have not arrived whole take more than ",
                                       options_.max_unfinished_bytes >> 20,
                                       " MiB over all workers; this one has most of them, ",
                                       largest->unfinished_bytes() >> 20, " MiB");
  if (MayWarn(&left_out)) {
    COHORT_LOG(WARNING) << "worker " << largest->worker_id() << " cut off: " << why << left_out;
  }
  largest->Cancel(absl::ResourceExhaustedError(why));
}

SessionCounters SessionHub::counters() const {
  absl::MutexLock lock(&mu_);
  return counters_;
}

std::vector<v1::WorkerStatus> SessionHub::Workers() const {
  absl::MutexLock lock(&mu_);
  std::map<std::string, v1::WorkerStatus> all = gone_;
  for (const auto& [name, session] : workers_) all[name] = session->Status();
  std::vector<v1::WorkerStatus> statuses;
  for (auto& [name, status] : all) statuses.push_back(std::move(status));
  return statuses;
}

FleetSample SessionHub::TakeFleetSample() {
  absl::MutexLock lock(&mu_);
  FleetSample sample;
  sample.workers = static_cast<int>(workers_.size());
  sample.generated_tokens = generated_tokens_;
  double idle = 0;
  for (const auto& [name, session] : workers_) {
    sample.tokens_per_second += session->tokens_per_second();
    idle += session->TakeIdleSeconds();
  }
  if (sample.workers > 0) sample.mean_idle_seconds = idle / sample.workers;
  return sample;
}

void SessionHub::FillStatus(v1::StatusReply* reply) const {
  if (options_.fill_status) options_.fill_status(reply);
}

}  // namespace cohort
