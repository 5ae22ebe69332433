#include "services/rollout/weight_follower.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/rpc/byte_message.h"
#include "common/rpc/reconnecting_stream.h"
#include "common/wire/protocol.h"

namespace cohort {
namespace {

constexpr int kMaxDamagedBlocks = 16;  // per version, before the connection is given up

}  // namespace

class WeightFollower::Impl {
 public:
  Impl(Options options, std::vector<PublishedTensor> live);
  ~Impl() { stream_.Stop(); }

  void Start() { stream_.Start(); }
  void Stop();
  bool ready() const { return ready_.load(std::memory_order_acquire); }
  absl::StatusOr<std::optional<int64_t>> ApplyIfReady();
  absl::Status WaitReady(int64_t floor, absl::Time deadline);
  int64_t held_version() const;
  int64_t announced_version() const;
  std::string held_hash() const;
  absl::Status status() const;
  uint64_t bytes_received() const;
  WeightFailures failures() const;
  absl::Duration sync_time() const;

 private:
  // idle -> manifest asked for -> blocks asked for -> ready -> applying -> idle
  enum class Phase { kIdle, kManifest, kBlocks, kReady, kApplying };
  // The learner answers in the order of the requests.
  struct Request {
    int64_t attempt = 0;  // requests of an earlier attempt are answered, too, and ignored
    int64_t block = -1;   // -1: the manifest
  };

  void OnOpen();
  void OnMessage(const grpc::ByteBuffer& bytes);
  void OnEnded(const absl::Status& status);
  void HandleAnnouncement(const v1::Announcement& announcement) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void HandleManifest(const v1::Manifest& manifest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void HandleReply(v1::WeightReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void HandleBlock(v1::Block header, absl::Span<const absl::string_view> payload)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void HandleError(const v1::WeightError& error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool TakeRequest(Request* request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FetchNewest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RequestBlocks() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RequestBlock(uint32_t block, int64_t base) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReadyIfComplete() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Ends following for good.
  void Fail(uint64_t WeightFailures::* why, const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Send(const v1::WeightRequest& request) {
    stream_.Send(EncodeMessage(request), Lane::kControl);
  }

  const Options options_;
  // Touched by the stream's thread while collecting and by the engine's while applying; `phase_`
  // says whose turn it is.
  WeightStaging staging_;
  std::atomic<bool> ready_{false};

  mutable absl::Mutex mu_;
  Phase phase_ ABSL_GUARDED_BY(mu_) = Phase::kIdle;
  v1::Announcement announced_ ABSL_GUARDED_BY(mu_);
  int64_t held_ ABSL_GUARDED_BY(mu_) = -1;
  std::string held_hash_ ABSL_GUARDED_BY(mu_);
  int64_t target_ ABSL_GUARDED_BY(mu_) = -1;
  int64_t base_ ABSL_GUARDED_BY(mu_) = -1;  // deltas start from; -1: whole blocks
  int64_t gone_ ABSL_GUARDED_BY(mu_) = -1;  // the learner no longer has it
  int64_t attempt_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<Request> requests_ ABSL_GUARDED_BY(mu_);
  std::deque<uint32_t> wanted_ ABSL_GUARDED_BY(mu_);  // not yet asked for
  int damaged_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time announced_at_ ABSL_GUARDED_BY(mu_);
  absl::Time target_announced_at_ ABSL_GUARDED_BY(mu_);
  absl::Duration sync_time_ ABSL_GUARDED_BY(mu_);
  absl::Duration transfer_ ABSL_GUARDED_BY(mu_);
  uint64_t target_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t bytes_received_ ABSL_GUARDED_BY(mu_) = 0;
  WeightFailures failures_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);

  ReconnectingStream stream_;  // last: its thread uses the rest
};

WeightFollower::Impl::Impl(Options options, std::vector<PublishedTensor> live)
    : options_(std::move(options)),
      staging_(std::move(live), /*held_version=*/-1, options_.blank),
      stream_({.name = "weights",
               .peer = "learner",
               .address = options_.learner,
               .method = "/cohort.v1.Weights/Follow",
               .connect_limit = options_.connect_limit,
               .seed = options_.seed,
               .security = options_.security},
              {.on_open = [this] { OnOpen(); },
               .on_message = [this](const grpc::ByteBuffer& bytes) { OnMessage(bytes); },
               .on_lost = [](const absl::Status&) {},
               .on_tick = [] {},
               .on_ended = [this](const absl::Status& status) { OnEnded(status); }}) {
  absl::MutexLock lock(&mu_);
  announced_.set_version(-1);
}

// ---- the life of the stream ----

void WeightFollower::Impl::OnOpen() {
  absl::MutexLock lock(&mu_);
  requests_.clear();  // their answers went with the old stream
  ++attempt_;
  gone_ = -1;
  if (phase_ == Phase::kManifest || phase_ == Phase::kBlocks) {
    phase_ = Phase::kIdle;
    ++failures_.interrupted;
  }
  v1::WeightRequest request;
  request.mutable_follow()->set_protocol_version(kProtocolVersion);
  request.mutable_follow()->set_worker_id(options_.worker_id);
  request.mutable_follow()->set_held_version(held_);
  Send(request);
}

void WeightFollower::Impl::OnEnded(const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  if (!end_.has_value()) end_ = status;
}

void WeightFollower::Impl::Fail(uint64_t WeightFailures::* why, const absl::Status& status) {
  COHORT_LOG(ERROR) << status.message();
  if (!end_.has_value()) {
    end_ = status;
    ++(failures_.*why);
  }
  stream_.End(status);
}

void WeightFollower::Impl::OnMessage(const grpc::ByteBuffer& bytes) {
  v1::Block header;
  const std::optional<ReceivedPayload> payload = DecodeWithPayload(
      bytes, v1::WeightReply::kBlockFieldNumber, &header, v1::Block::kPayloadFieldNumber);
  v1::WeightReply reply;
  const absl::Status decoded =
      payload.has_value() ? absl::OkStatus() : DecodeMessage(bytes, &reply);
  std::optional<int64_t> ready;
  {
    absl::MutexLock lock(&mu_);
    if (!decoded.ok()) return Fail(&WeightFailures::protocol, decoded);
    if (payload.has_value()) {
      HandleBlock(std::move(header), payload->pieces);
    } else {
      HandleReply(std::move(reply));
    }
    if (phase_ == Phase::kReady && !ready_.exchange(true, std::memory_order_acq_rel)) {
      ready = target_;
    }
  }
  if (ready.has_value() && options_.on_ready) options_.on_ready(*ready);
}

void WeightFollower::Impl::HandleReply(v1::WeightReply reply) {
  switch (reply.kind_case()) {
    case v1::WeightReply::kAnnouncement:
      return HandleAnnouncement(reply.announcement());
    case v1::WeightReply::kManifest:
      return HandleManifest(reply.manifest());
    case v1::WeightReply::kBlock: {
      const std::string payload = std::move(*reply.mutable_block()->mutable_payload());
      return HandleBlock(std::move(*reply.mutable_block()), {absl::string_view(payload)});
    }
    case v1::WeightReply::kError:
      return HandleError(reply.error());
    case v1::WeightReply::KIND_NOT_SET:
      return;  // of a newer learner
  }
}

// ---- collecting ----

void WeightFollower::Impl::HandleAnnouncement(const v1::Announcement& announcement) {
  stream_.MarkHealthy();
  announced_ = announcement;
  announced_at_ = absl::Now();
  // A learner that was restarted from a checkpoint counts anew: what came after it was never.
  if (announced_.version() < held_) held_ = -1;
  FetchNewest();
}

// By hash as well as by number: a learner that was restarted from a checkpoint counts anew.
void WeightFollower::Impl::FetchNewest() {
  if (phase_ != Phase::kIdle || announced_.version() < 0 || announced_.version() == gone_) return;
  if (announced_.version() == held_ && announced_.weights_hash() == held_hash_) return;
  phase_ = Phase::kManifest;
  target_ = announced_.version();
  target_announced_at_ = announced_at_;
  base_ = -1;
  for (int64_t base : announced_.delta_bases()) {
    if (base == held_) base_ = held_;
  }
  damaged_ = 0;
  target_bytes_ = 0;
  ++attempt_;
  v1::WeightRequest request;
  request.mutable_manifest()->set_version(target_);
  requests_.push_back({attempt_, -1});
  Send(request);
}

// False: the answer belongs to an attempt that was given up.
bool WeightFollower::Impl::TakeRequest(Request* request) {
  if (requests_.empty()) {
    Fail(&WeightFailures::protocol,
         absl::InternalError(absl::StrCat("learner at ", options_.learner,
                                          " sent weights that were not asked for")));
    return false;
  }
  *request = requests_.front();
  requests_.pop_front();
  return request->attempt == attempt_;
}

void WeightFollower::Impl::HandleManifest(const v1::Manifest& manifest) {
  Request request;
  if (!TakeRequest(&request) || phase_ != Phase::kManifest) return;
  if (absl::Status status = staging_.Begin(manifest); !status.ok()) {
    return Fail(&WeightFailures::refused, status);
  }
  phase_ = Phase::kBlocks;
  const std::vector<uint32_t> missing = staging_.MissingBlocks();
  wanted_.assign(missing.begin(), missing.end());
  RequestBlocks();
  ReadyIfComplete();
}

void WeightFollower::Impl::RequestBlocks() {
  while (!wanted_.empty() && requests_.size() < static_cast<size_t>(options_.requests_in_flight)) {
    RequestBlock(wanted_.front(), base_);
    wanted_.pop_front();
  }
}

void WeightFollower::Impl::RequestBlock(uint32_t block, int64_t base) {
  v1::WeightRequest request;
  request.mutable_block()->set_version(target_);
  request.mutable_block()->set_block(block);
  request.mutable_block()->set_base_version(base);
  requests_.push_back({attempt_, block});
  Send(request);
}

void WeightFollower::Impl::HandleBlock(v1::Block header,
                                       absl::Span<const absl::string_view> payload) {
  Request request;
  if (!TakeRequest(&request) || phase_ != Phase::kBlocks) return;
  for (absl::string_view piece : payload) {
    target_bytes_ += piece.size();
    bytes_received_ += piece.size();
  }
  if (absl::Status status = staging_.Add(std::move(header), payload); !status.ok()) {
    COHORT_LOG(WARNING) << status.message() << "; fetched again, whole";
    if (++damaged_ > kMaxDamagedBlocks) return Fail(&WeightFailures::damaged, status);
    RequestBlock(static_cast<uint32_t>(request.block), /*base=*/-1);
    return;
  }
  RequestBlocks();
  ReadyIfComplete();
}

void WeightFollower::Impl::ReadyIfComplete() {
  if (!staging_.Complete()) return;
  phase_ = Phase::kReady;
  transfer_ = absl::Now() - announced_at_;
}

void WeightFollower::Impl::HandleError(const v1::WeightError& error) {
  if (error.reason() == v1::WeightError::SHUTTING_DOWN) return;  // the stream ends, and is retried
  Request request;
  if (!TakeRequest(&request)) return;
  if (error.reason() != v1::WeightError::VERSION_GONE) {
    return Fail(&WeightFailures::protocol,
                absl::InternalError(absl::StrCat("learner at ", options_.learner,
                                                 " refused a request: ", error.detail())));
  }
  gone_ = target_;
  ++failures_.superseded;
  phase_ = Phase::kIdle;
  ++attempt_;
  FetchNewest();  // or with the announcement that must be on its way
}

// ---- applying ----

absl::StatusOr<std::optional<int64_t>> WeightFollower::Impl::ApplyIfReady() {
  if (!ready()) return std::nullopt;
  bool whole = false;
  {
    absl::MutexLock lock(&mu_);
    if (phase_ != Phase::kReady) return std::nullopt;
    phase_ = Phase::kApplying;
    whole = base_ < 0;
    ready_.store(false, std::memory_order_release);
  }
  const absl::Time start = absl::Now();
  const absl::Status applied = staging_.Apply(/*verify_hash=*/whole);
  const absl::Duration pause = absl::Now() - start;
  absl::MutexLock lock(&mu_);
  if (!applied.ok()) {
    Fail(&WeightFailures::damaged, applied);
    return applied;
  }
  held_ = target_;
  held_hash_ = staging_.held_hash();
  sync_time_ = absl::Now() - target_announced_at_;
  phase_ = Phase::kIdle;
  v1::WeightRequest request;
  request.mutable_applied()->set_version(held_);
  request.mutable_applied()->set_transfer_seconds(absl::ToDoubleSeconds(transfer_));
  request.mutable_applied()->set_apply_seconds(absl::ToDoubleSeconds(pause));
  request.mutable_applied()->set_bytes(target_bytes_);
  Send(request);
  FetchNewest();
  return held_;
}

absl::Status WeightFollower::Impl::WaitReady(int64_t floor, absl::Time deadline) {
  absl::MutexLock lock(&mu_);
  const auto settled = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return held_ >= floor || (phase_ == Phase::kReady && target_ >= floor) || end_.has_value();
  };
  if (!mu_.AwaitWithDeadline(absl::Condition(&settled), deadline)) {
    return absl::DeadlineExceededError(absl::StrCat(
        "no weights of version ", floor, " or newer from learner at ", options_.learner,
        " yet; this worker holds ", held_, ", the learner announced ", announced_.version()));
  }
  if (held_ >= floor || (phase_ == Phase::kReady && target_ >= floor)) return absl::OkStatus();
  return *end_;
}

void WeightFollower::Impl::Stop() {
  stream_.Stop();
  absl::MutexLock lock(&mu_);
  if (!end_.has_value()) end_ = absl::CancelledError("stopped");
}

int64_t WeightFollower::Impl::held_version() const {
  absl::MutexLock lock(&mu_);
  return held_;
}
int64_t WeightFollower::Impl::announced_version() const {
  absl::MutexLock lock(&mu_);
  return announced_.version();
}
std::string WeightFollower::Impl::held_hash() const {
  absl::MutexLock lock(&mu_);
  return held_hash_;
}
absl::Status WeightFollower::Impl::status() const {
  absl::MutexLock lock(&mu_);
  return end_.has_value() ? *end_ : absl::OkStatus();
}
uint64_t WeightFollower::Impl::bytes_received() const {
  absl::MutexLock lock(&mu_);
  return bytes_received_;
}
WeightFailures WeightFollower::Impl::failures() const {
  absl::MutexLock lock(&mu_);
  return failures_;
}
absl::Duration WeightFollower::Impl::sync_time() const {
  absl::MutexLock lock(&mu_);
  return sync_time_;
}

// ---- the public face ----

WeightFollower::WeightFollower(Options options, std::vector<PublishedTensor> live)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(live))) {}
WeightFollower::~WeightFollower() = default;
void WeightFollower::Start() { impl_->Start(); }
void WeightFollower::Stop() { impl_->Stop(); }
bool WeightFollower::ready() const { return impl_->ready(); }
absl::StatusOr<std::optional<int64_t>> WeightFollower::ApplyIfReady() {
  return impl_->ApplyIfReady();
}
absl::Status WeightFollower::WaitReady(int64_t floor, absl::Time deadline) {
  return impl_->WaitReady(floor, deadline);
}
int64_t WeightFollower::held_version() const { return impl_->held_version(); }
int64_t WeightFollower::announced_version() const { return impl_->announced_version(); }
std::string WeightFollower::held_hash() const { return impl_->held_hash(); }
absl::Status WeightFollower::status() const { return impl_->status(); }
uint64_t WeightFollower::bytes_received() const { return impl_->bytes_received(); }
WeightFailures WeightFollower::failures() const { return impl_->failures(); }
absl::Duration WeightFollower::sync_time() const { return impl_->sync_time(); }

}  // namespace cohort
