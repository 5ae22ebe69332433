#include "common/reward_service/service_scorer.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "cohort/v1/reward.grpc.pb.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/reward_service/service_reply.h"
#include "common/rpc/channel.h"
#include "common/rpc/grpc_status.h"

namespace cohort {
namespace {

constexpr int kMaxAttempts = 6;
// Of a call's items; the rest of a message is small.
constexpr size_t kMaxCallBytes = kMaxMessageBytes - (64 << 10);
// After a deadline, for gRPC to say so by itself.
constexpr absl::Duration kGrace = absl::Seconds(2);
// For gRPC to end a call that was cancelled, which it does alone, whatever the peer does.
constexpr absl::Duration kCancelled = absl::Minutes(1);

RewardVerdict Unscorable(const char* cause, const std::string& note) {
  return {Outcome::kUnscorable, 0, note, cause};
}

const char* CauseOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kDeadlineExceeded:
      return cause::kTimeout;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kAborted:
      return cause::kUnavailable;
    case absl::StatusCode::kUnknown:  // an exception in the service
      return cause::kCrash;
    default:
      return cause::kGarbage;
  }
}

// The service gave an answer about at least one item, were it that it declines.
bool AnyAnswer(const std::vector<RewardVerdict>& verdicts) {
  return std::any_of(verdicts.begin(), verdicts.end(), [](const RewardVerdict& verdict) {
    return verdict.outcome != Outcome::kUnscorable ||
           absl::string_view(verdict.cause) == cause::kDeclined;
  });
}

}  // namespace

// Thread-safe.
class ServiceScorer::Channel {
 public:
  explicit Channel(const ServiceScorerOptions& options)
      : address_(options.address),
        security_(InPlaintext(options.address) ? nullptr : options.security) {}

  // The next connection of a channel shows the certificate that it began with: once that was
  // renewed, another one is made.
  std::shared_ptr<v1::Reward::Stub> stub() {
    const uint64_t generation = security_ == nullptr ? 0 : security_->generation();
    absl::MutexLock lock(&mu_);
    if (stub_ != nullptr && generation_ == generation) return stub_;
    generation_ = generation;
    const auto channel = MakeChannel(address_, security_.get(), Role::kReward);
    COHORT_CHECK(channel.ok()) << channel.status();  // whoever made the scorer has asked
    stub_ = v1::Reward::NewStub(*channel);
    return stub_;
  }

 private:
  static bool InPlaintext(const std::string& address) {
    const absl::StatusOr<HostPort> where = ParseHostPort(address);
    return where.ok() && IsLoopbackHost(where->host);
  }

  const std::string address_;
  const std::shared_ptr<const Security> security_;
  absl::Mutex mu_;
  std::shared_ptr<v1::Reward::Stub> stub_ ABSL_GUARDED_BY(mu_);
  uint64_t generation_ ABSL_GUARDED_BY(mu_) = 0;
};

// One request, over all its attempts. Whoever waits for it owns it, and gRPC's thread only borrows
// it: with the last reference to a context may go the last one to its channel, and gRPC would then
// destroy the queue that this very thread serves.
struct ServiceScorer::Call {
  struct Attempt {
    std::shared_ptr<v1::Reward::Stub> stub;
    grpc::ClientContext context;
    v1::ScoreReply reply;
    absl::Status status;
    absl::Notification done;
  };
  v1::ScoreRequest request;
  std::vector<size_t> rows;  // of the items, in the caller's inputs
  std::unique_ptr<Attempt> attempt;

  void Start(std::shared_ptr<v1::Reward::Stub> stub, absl::Time deadline) {
    attempt = std::make_unique<Attempt>();
    attempt->stub = std::move(stub);
    attempt->context.set_deadline(absl::ToChronoTime(deadline));
    attempt->stub->async()->Score(&attempt->context, &request, &attempt->reply,
                                  [attempt = attempt.get()](const grpc::Status& status) {
                                    attempt->status = FromGrpc(status);
                                    attempt->done.Notify();
                                  });
  }
  // The attempt's status. gRPC ends a call at its deadline, and what is late all the same at once
  // when it is cancelled. If it did not, nobody could free what it still borrows: a bug, not
  // weather.
  absl::Status Wait(absl::Time deadline) const {
    if (!attempt->done.WaitForNotificationWithDeadline(deadline + kGrace)) {
      attempt->context.TryCancel();
      COHORT_CHECK(attempt->done.WaitForNotificationWithTimeout(kCancelled))
          << "gRPC did not end a call to a reward service that was cancelled " << kCancelled
          << " ago";
    }
    return attempt->status;
  }
};

ServiceScorer::ServiceScorer(ServiceScorerOptions options)
    : options_(std::move(options)),
      channel_(std::make_unique<Channel>(options_)),
      circuit_(options_.circuit) {}

ServiceScorer::~ServiceScorer() { stop_.Stop(); }

absl::Status ServiceScorer::Alive() {
  return options_.process == nullptr ? absl::OkStatus() : options_.process->Alive();
}

std::vector<RewardVerdict> ServiceScorer::Score(absl::Span<const RewardInput> inputs) {
  Circuit::State state;
  {
    absl::MutexLock lock(&mu_);
    state = circuit_.At(absl::Now());
  }
  if (state == Circuit::State::kOpen) {
    return std::vector<RewardVerdict>(
        inputs.size(),
        Unscorable(cause::kCircuitOpen, absl::StrCat("the reward service at ", options_.address,
                                                     " has failed and is left alone for now")));
  }
  std::vector<RewardVerdict> verdicts = CallAll(inputs, state == Circuit::State::kTrying);
  if (!inputs.empty()) Judge(verdicts);
  return verdicts;
}

std::vector<std::unique_ptr<ServiceScorer::Call>> ServiceScorer::MakeCalls(
    absl::Span<const RewardInput> inputs, std::vector<RewardVerdict>* verdicts) const {
  std::vector<std::unique_ptr<Call>> calls;
  size_t bytes = 0;
  for (size_t row = 0; row < inputs.size(); ++row) {
    v1::ScoreItem item;
    FillItem(inputs[row], 0, &item);
    const size_t size = item.ByteSizeLong() + 16;
    if (size > kMaxCallBytes) {
      (*verdicts)[row] = Unscorable(
          cause::kGarbage, absl::StrCat("prompt and response are ", size,
                                        " bytes; a message to the service holds ", kMaxCallBytes));
      continue;
    }
    const bool full = !calls.empty() && (calls.back()->request.items_size() >= options_.batch ||
                                         bytes + size > kMaxCallBytes);
    if (calls.empty() || full) {
      calls.push_back(std::make_unique<Call>());
      calls.back()->request.set_run(options_.run);
      bytes = 0;
    }
    Call& call = *calls.back();
    item.set_index(static_cast<uint32_t>(call.request.items_size()));
    *call.request.add_items() = std::move(item);
    call.rows.push_back(row);
    bytes += size;
  }
  return calls;
}

std::vector<RewardVerdict> ServiceScorer::CallAll(absl::Span<const RewardInput> inputs, bool once) {
  std::vector<RewardVerdict> verdicts(inputs.size());
  const std::vector<std::unique_ptr<Call>> calls = MakeCalls(inputs, &verdicts);
  const absl::Time deadline = absl::Now() + options_.timeout;
  Backoff backoff(options_.backoff, options_.seed);
  std::vector<Call*> open;
  for (const auto& call : calls) open.push_back(call.get());
  for (int attempt = 1; !open.empty(); ++attempt) {
    for (Call* call : open) call->Start(channel_->stub(), deadline);
    std::vector<Call*> unavailable;
    for (Call* call : open) {
      if (absl::IsUnavailable(call->Wait(deadline))) unavailable.push_back(call);
    }
    open = std::move(unavailable);
    const absl::Duration wait = backoff.Next();
    const bool again = !once && attempt < kMaxAttempts && absl::Now() + wait < deadline;
    if (open.empty() || !again || stop_.WaitFor(wait)) break;
  }
  Finish(calls, &verdicts);
  return verdicts;
}

void ServiceScorer::Finish(const std::vector<std::unique_ptr<Call>>& calls,
                           std::vector<RewardVerdict>* verdicts) const {
  for (const auto& call : calls) {
    const Call::Attempt& attempt = *call->attempt;
    if (!attempt.status.ok()) {
      const RewardVerdict verdict = Unscorable(
          CauseOf(attempt.status), absl::StrCat("the reward service at ", options_.address,
                                                " did not score: ", attempt.status.ToString()));
      for (const size_t row : call->rows) (*verdicts)[row] = verdict;
      continue;
    }
    int64_t strays = 0;
    std::vector<RewardVerdict> read =
        ReadReply(attempt.reply, call->rows.size(), options_.parts, &strays);
    for (size_t i = 0; i < read.size(); ++i) (*verdicts)[call->rows[i]] = std::move(read[i]);
    if (strays > 0) {
      COHORT_LOG(WARNING) << "the reward service at " << options_.address << " gave " << strays
                          << " scores for items that were not asked for, or twice; ignored";
    }
  }
}

void ServiceScorer::Judge(const std::vector<RewardVerdict>& verdicts) {
  absl::MutexLock lock(&mu_);
  if (AnyAnswer(verdicts)) {
    if (circuit_.Succeeded()) {
      COHORT_LOG(INFO) << "the reward service at " << options_.address << " scores again";
    }
  } else if (circuit_.Failed(absl::Now())) {
    COHORT_LOG(WARNING) << "the reward service at " << options_.address << " scored nothing of "
                        << circuit_.failures_in_a_row()
                        << " groups in a row (last: " << verdicts.front().note
                        << "); samples are left out of training, next try in "
                        << absl::FormatDuration(options_.circuit.pause);
  }
}

}  // namespace cohort
