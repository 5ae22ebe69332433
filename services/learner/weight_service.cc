#include "services/learner/weight_service.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "cohort/v1/weights.grpc.pb.h"
#include "common/base/log.h"
#include "common/base/rate_limit.h"
#include "common/base/utf8.h"
#include "common/concurrency/executor.h"
#include "common/rpc/byte_message.h"
#include "common/rpc/byte_stream.h"
#include "common/wire/protocol.h"

namespace cohort {
namespace {

constexpr absl::Duration kStreamsEndWithin = absl::Seconds(5);
constexpr size_t kMaxIdBytes = 128;
// Requests are read only while less than this waits to be sent: a slow worker holds little memory.
constexpr size_t kMaxQueuedReplyBytes = size_t{4} << 20;

using RawWeights = v1::Weights::WithRawCallbackMethod_Follow<v1::Weights::Service>;

class Follower;

// The followers together. Thread-safe; lock order: this one before a follower's.
class FollowerHub {
 public:
  FollowerHub(int threads, const WeightStore* store)
      : store_(store), executor_("weights", threads) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Accept(
      grpc::CallbackServerContext* context);
  void Announce();
  void Hold() { held_ = true; }
  bool held() const { return held_; }
  void Shutdown();
  void Closed(const std::shared_ptr<Follower>& follower);
  void Count(const std::function<void(WeightCounters&)>& change) {
    absl::MutexLock lock(&mu_);
    change(counters_);
  }
  const WeightStore* store() const { return store_; }
  RateLimit& warnings() { return warnings_; }  // lines that peers can cause
  std::vector<FollowerStatus> Followers() const;
  WeightCounters counters() const {
    absl::MutexLock lock(&mu_);
    return counters_;
  }

 private:
  std::vector<std::shared_ptr<Follower>> Streams() const;

  const WeightStore* const store_;
  std::atomic<bool> held_{false};
  RateLimit warnings_{absl::Seconds(10), 20};
  Executor executor_;
  mutable absl::Mutex mu_;
  std::set<std::shared_ptr<Follower>> streams_ ABSL_GUARDED_BY(mu_);
  WeightCounters counters_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

// One worker's weight stream.
class Follower final : public StreamHandler, public std::enable_shared_from_this<Follower> {
 public:
  Follower(FollowerHub* hub, std::shared_ptr<ByteStream> stream)
      : hub_(hub), stream_(std::move(stream)) {}

  void OnMessage(const grpc::ByteBuffer& bytes) override {
    v1::WeightRequest request;
    const absl::Status status = DecodeMessage(bytes, &request);
    if (!status.ok()) return End(std::string(status.message()));
    if (following() == request.has_follow()) {
      return End(following() ? "a second follow" : "expected a follow first");
    }
    switch (request.kind_case()) {
      case v1::WeightRequest::kFollow:
        return HandleFollow(request.follow());
      case v1::WeightRequest::kManifest:
        return HandleManifest(request.manifest());
      case v1::WeightRequest::kBlock:
        return HandleBlock(request.block());
      case v1::WeightRequest::kApplied:
        return HandleApplied(request.applied());
      case v1::WeightRequest::KIND_NOT_SET:
        return End("a request of no known kind");
    }
  }
  void OnClosed(const absl::Status&) override { hub_->Closed(shared_from_this()); }

  // Announces the newest version unless it was announced before or nobody follows yet.
  void Announce() {
    // Two threads may be here: the older version must not be sent last.
    absl::MutexLock one_at_a_time(&announce_mu_);
    v1::WeightReply reply;
    *reply.mutable_announcement() = hub_->store()->Announce();
    // Asked after the store: what came into it while it was held is not said.
    if (hub_->held()) return;
    {
      absl::MutexLock lock(&mu_);
      if (!following_ || reply.announcement().version() <= announced_) return;
      announced_ = reply.announcement().version();
    }
    hub_->Count([](WeightCounters& counters) { ++counters.announcements; });
    stream_->Send(EncodeMessage(reply), Lane::kControl);
  }
  void Cancel(const absl::Status& why) {
    v1::WeightReply reply;
    reply.mutable_error()->set_reason(v1::WeightError::SHUTTING_DOWN);
    reply.mutable_error()->set_detail(std::string(why.message()));
    stream_->Send(EncodeMessage(reply), Lane::kControl);
    stream_->Finish(why);
  }
  void CancelNow(const absl::Status& why) { stream_->Cancel(why); }

  bool following() const {
    absl::MutexLock lock(&mu_);
    return following_;
  }
  FollowerStatus status() const {
    absl::MutexLock lock(&mu_);
    return status_;
  }

 private:
  void HandleFollow(const v1::FollowRequest& follow) {
    if (follow.protocol_version() != kProtocolVersion) {
      return End(absl::StrCat("the learner speaks protocol version ", kProtocolVersion,
                              ", the worker ", follow.protocol_version()));
    }
    if (follow.worker_id().size() > kMaxIdBytes || HasControls(follow.worker_id())) {
      return End(absl::StrCat("worker_id: expected at most ", kMaxIdBytes,
                              " bytes without control characters"));
    }
    {
      absl::MutexLock lock(&mu_);
      following_ = true;
      status_.worker_id = follow.worker_id();
      status_.version = follow.held_version();
    }
    Announce();
  }

  void HandleManifest(const v1::ManifestRequest& request) {
    absl::StatusOr<v1::Manifest> manifest = hub_->store()->Manifest(request.version());
    if (!manifest.ok()) return SendError(manifest.status());
    v1::WeightReply reply;
    *reply.mutable_manifest() = *std::move(manifest);
    stream_->Send(EncodeMessage(reply), Lane::kData);
  }

  void HandleBlock(const v1::BlockRequest& request) {
    absl::StatusOr<EncodedBlock> block =
        hub_->store()->EncodeBlock(request.version(), request.block(), request.base_version());
    if (!block.ok()) return SendError(block.status());
    const size_t bytes = block->payload.size;
    hub_->Count([bytes](WeightCounters& counters) {
      ++counters.blocks_sent;
      counters.bytes_sent += bytes;
    });
    stream_->Send(EncodeWithPayload(v1::WeightReply::kBlockFieldNumber, block->header,
                                    v1::Block::kPayloadFieldNumber, block->payload),
                  Lane::kData);
  }

  void HandleApplied(const v1::Applied& applied) {
    {
      absl::MutexLock lock(&mu_);
      status_.version = applied.version();
      status_.transfer_seconds = applied.transfer_seconds();
      status_.apply_seconds = applied.apply_seconds();
      status_.bytes = applied.bytes();
    }
    hub_->Count([](WeightCounters& counters) { ++counters.applied; });
  }

  void SendError(const absl::Status& status) {
    v1::WeightReply reply;
    v1::WeightError* error = reply.mutable_error();
    error->set_reason(absl::IsNotFound(status) ? v1::WeightError::VERSION_GONE
                                               : v1::WeightError::BAD_REQUEST);
    error->set_detail(std::string(status.message()));
    error->set_newest_version(hub_->store()->newest());
    hub_->Count([](WeightCounters& counters) { ++counters.errors_sent; });
    stream_->Send(EncodeMessage(reply), Lane::kData);  // in the order of the requests
  }

  // A request that no version of this protocol sends.
  void End(const std::string& detail) {
    if (const auto left_out = hub_->warnings().Ask()) {
      COHORT_LOG(WARNING) << "follower " << status().worker_id << " cut off: " << detail
                          << LeftOutText(*left_out);
    }
    SendError(absl::InvalidArgumentError(detail));
    stream_->Finish(absl::InvalidArgumentError(detail));
  }

  FollowerHub* const hub_;
  const std::shared_ptr<ByteStream> stream_;
  absl::Mutex announce_mu_;  // taken before mu_ and the hub's
  mutable absl::Mutex mu_;
  bool following_ ABSL_GUARDED_BY(mu_) = false;
  int64_t announced_ ABSL_GUARDED_BY(mu_) = -1;
  FollowerStatus status_ ABSL_GUARDED_BY(mu_);
};

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* FollowerHub::Accept(
    grpc::CallbackServerContext* context) {
  std::shared_ptr<Follower> follower;
  const auto make_handler = [&](const std::shared_ptr<ByteStream>& stream) {
    follower = std::make_shared<Follower>(this, stream);
    absl::MutexLock lock(&mu_);
    streams_.insert(follower);
    counters_.followers = static_cast<int64_t>(streams_.size());
    return follower;
  };
  const AcceptedStream accepted = AcceptStream(
      context, {.max_queued_data_bytes = kMaxQueuedReplyBytes}, &executor_, make_handler);
  absl::MutexLock lock(&mu_);
  if (stopped_) follower->CancelNow(absl::UnavailableError("the learner is shutting down"));
  return accepted.reactor;
}

std::vector<std::shared_ptr<Follower>> FollowerHub::Streams() const {
  absl::MutexLock lock(&mu_);
  return {streams_.begin(), streams_.end()};
}

void FollowerHub::Announce() {
  held_ = false;
  for (const auto& follower : Streams()) follower->Announce();
}

void FollowerHub::Closed(const std::shared_ptr<Follower>& follower) {
  absl::MutexLock lock(&mu_);
  streams_.erase(follower);
  counters_.followers = static_cast<int64_t>(streams_.size());
}

void FollowerHub::Shutdown() {
  {
    absl::MutexLock lock(&mu_);
    if (stopped_) return;
    stopped_ = true;
  }
  const absl::Status why = absl::UnavailableError("the learner is shutting down");
  const auto closed = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return streams_.empty(); };
  for (const auto& follower : Streams()) follower->Cancel(why);
  bool all = false;
  {
    absl::MutexLock lock(&mu_);
    all = mu_.AwaitWithTimeout(absl::Condition(&closed), absl::Seconds(1));
  }
  if (!all) {  // peers that do not read
    for (const auto& follower : Streams()) follower->CancelNow(why);
    absl::MutexLock lock(&mu_);
    if (!mu_.AwaitWithTimeout(absl::Condition(&closed), kStreamsEndWithin)) {
      COHORT_LOG(ERROR) << streams_.size() << " weight streams did not end within "
                        << kStreamsEndWithin;
    }
  }
  executor_.Stop();
}

std::vector<FollowerStatus> FollowerHub::Followers() const {
  std::vector<FollowerStatus> statuses;
  for (const auto& follower : Streams()) {
    if (follower->following()) statuses.push_back(follower->status());
  }
  std::sort(statuses.begin(), statuses.end(),
            [](const auto& a, const auto& b) { return a.worker_id < b.worker_id; });
  return statuses;
}

class GrpcWeights final : public RawWeights {
 public:
  GrpcWeights(FollowerHub* hub, std::shared_ptr<const Security> security)
      : hub_(hub), security_(std::move(security)) {}
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Follow(
      grpc::CallbackServerContext* context) override {
    const absl::Status may = AuthorizeCall(security_.get(), *context, {Role::kRollout});
    return may.ok() ? hub_->Accept(context) : RefuseStream(may);
  }

 private:
  FollowerHub* const hub_;
  const std::shared_ptr<const Security> security_;
};

}  // namespace

class WeightService::Impl {
 public:
  Impl(const Options& options, const WeightStore* store)
      : hub(options.threads, store), grpc(&hub, options.security) {}
  FollowerHub hub;
  GrpcWeights grpc;
};

WeightService::WeightService(const Options& options, const WeightStore* store)
    : impl_(std::make_unique<Impl>(options, store)) {}
WeightService::~WeightService() { Shutdown(); }

grpc::Service* WeightService::grpc_service() { return &impl_->grpc; }
void WeightService::Notify() { impl_->hub.Announce(); }
void WeightService::Hold() { impl_->hub.Hold(); }
void WeightService::Shutdown() { impl_->hub.Shutdown(); }
std::vector<FollowerStatus> WeightService::Followers() const { return impl_->hub.Followers(); }
WeightCounters WeightService::counters() const { return impl_->hub.counters(); }

}  // namespace cohort
