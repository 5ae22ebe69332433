#include "common/rpc/reconnecting_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/exit_code.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rpc/backoff.h"
#include "common/rpc/channel.h"

namespace cohort {
namespace {

constexpr absl::Duration kFinishWithin = absl::Seconds(5);
constexpr absl::Duration kSaySomething = absl::Seconds(30);
constexpr absl::Duration kStreamMustEnd = absl::Minutes(5);  // once cancelled

}  // namespace

class ReconnectingStream::Handler final : public StreamHandler {
 public:
  explicit Handler(ReconnectingStream* owner) : owner_(owner) {}
  void OnMessage(const grpc::ByteBuffer& message) override { owner_->events_.on_message(message); }
  void OnClosed(const absl::Status& status) override {
    absl::MutexLock lock(&owner_->mu_);
    owner_->closed_ = status;
  }

 private:
  ReconnectingStream* const owner_;  // waits for OnClosed before it goes
};

ReconnectingStream::ReconnectingStream(Options options, Events events)
    : options_(std::move(options)),
      events_(std::move(events)),
      executor_(options_.name, 1),
      tick_(options_.tick),
      idle_limit_(options_.idle_limit) {}

ReconnectingStream::~ReconnectingStream() { Stop(); }

void ReconnectingStream::Start() {
  runner_ = std::thread([this] {
    SetThreadName(options_.name);
    Run();
  });
}

void ReconnectingStream::Post(std::function<void()> event) { executor_.Post(std::move(event)); }

void ReconnectingStream::Send(grpc::ByteBuffer message, Lane lane) {
  std::shared_ptr<ByteStream> stream;
  {
    absl::MutexLock lock(&mu_);
    stream = stream_;
  }
  if (stream != nullptr) stream->Send(std::move(message), lane);
}

void ReconnectingStream::MarkHealthy() {
  absl::MutexLock lock(&mu_);
  healthy_ = true;
}

void ReconnectingStream::SetTick(absl::Duration tick, absl::Duration idle_limit) {
  absl::MutexLock lock(&mu_);
  tick_changed_ = tick != tick_;
  tick_ = tick;
  idle_limit_ = idle_limit;
}

// ---- ending ----

void ReconnectingStream::RequestEnd(const absl::Status& status, bool at_once) {
  {
    absl::MutexLock lock(&mu_);
    if (!ending_.has_value()) ending_ = status;
    end_at_once_ = end_at_once_ || at_once;
  }
  stop_.Stop();
}

void ReconnectingStream::Finish(const absl::Status& status) { RequestEnd(status, false); }
void ReconnectingStream::End(const absl::Status& status) { RequestEnd(status, true); }

void ReconnectingStream::Stop() {
  RequestEnd(absl::CancelledError("stopped"), true);
  if (runner_.joinable()) runner_.join();
  executor_.Stop();
}

std::optional<absl::Status> ReconnectingStream::ending() const {
  absl::MutexLock lock(&mu_);
  return ending_;
}

// ---- the runner ----

void ReconnectingStream::Run() {
  const absl::Status end = Loop();
  Post([this, end] { events_.on_ended(end); });
}

absl::Status ReconnectingStream::Loop() {
  Backoff backoff({}, options_.seed);
  if (options_.security != nullptr) {
    COHORT_RETURN_IF_ERROR(options_.security->CheckDial(options_.address));
  }
  absl::Time lost_since = absl::Now();
  while (true) {
    const absl::Status found =
        WaitForPeer([this] { return CurrentChannel(); }, options_.peer, options_.address,
                    lost_since + options_.connect_limit, stop_);
    if (auto end = ending()) return *end;
    if (!found.ok()) return found;
    const absl::Status lost = ServeOnce();
    if (auto end = ending()) return *end;
    if (absl::IsPermissionDenied(lost) || absl::IsUnauthenticated(lost)) {  // nor the next time
      return BadSetup(
          absl::Status(lost.code(), absl::StrCat(options_.peer, " at ", options_.address,
                                                 " refused this process: ", lost.message())));
    }
    bool was_healthy = false;
    {
      absl::MutexLock lock(&mu_);
      was_healthy = std::exchange(healthy_, false);
    }
    accepted_ = accepted_ || was_healthy;
    if (was_healthy) {
      lost_since = absl::Now();
      backoff.Reset();
    } else if (absl::Now() - lost_since >= options_.connect_limit) {
      return absl::DeadlineExceededError(absl::StrCat(
          options_.peer, " at ", options_.address, " did not accept this process for ",
          absl::FormatDuration(options_.connect_limit), "; last answer: ", lost.message()));
    }
    SayLost(lost);
    Post([this, lost] { events_.on_lost(lost); });
    stop_.WaitFor(backoff.Next());
  }
}

// The same reason again and again is said every half minute.
void ReconnectingStream::SayLost(const absl::Status& lost) {
  std::string why(lost.message());
  // A server says only in its own log whom it does not trust; here the connection just ends.
  if (!accepted_ && absl::IsUnavailable(lost) && options_.security != nullptr &&
      options_.security->tls()) {
    why += "; if its log says `refused`, this process's certificate is not trusted there";
  }
  if (why == last_reason_ && !said_lost_.Ask()) return;
  if (why != last_reason_) said_lost_.Ask();
  last_reason_ = why;
  COHORT_LOG(WARNING) << "stream to " << options_.peer << " at " << options_.address << " ended ("
                      << why << "), trying again";
}

// A channel shows the certificate that it began with; the next connection shows the newest.
std::shared_ptr<grpc::Channel> ReconnectingStream::CurrentChannel() {
  const uint64_t generation = options_.security != nullptr ? options_.security->generation() : 0;
  absl::MutexLock lock(&mu_);
  if (channel_ != nullptr && generation_ == generation) return channel_;
  generation_ = generation;
  const auto channel = MakeChannel(options_.address, options_.security.get(), options_.role);
  COHORT_CHECK(channel.ok()) << channel.status();  // Loop has asked whether it may be dialled
  channel_ = *channel;
  return channel_;
}

std::shared_ptr<ByteStream> ReconnectingStream::OpenOnce() {
  const std::shared_ptr<grpc::Channel> channel = CurrentChannel();
  {
    absl::MutexLock lock(&mu_);
    closed_.reset();
  }
  const auto make_handler = [this](const std::shared_ptr<ByteStream>& opened) {
    {
      absl::MutexLock lock(&mu_);
      stream_ = opened;
    }
    Post([this] { events_.on_open(); });
    return std::make_shared<Handler>(this);
  };
  return OpenStream(channel, options_.method, {}, &executor_, make_handler,
                    options_.security.get());
}

// Waits for a tick, for the end of the stream or for a request to end it.
ReconnectingStream::Wake ReconnectingStream::WaitForWake(bool finishing) {
  absl::MutexLock lock(&mu_);
  const auto changed = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return closed_.has_value() || end_at_once_ || tick_changed_ ||
           (ending_.has_value() && !finishing);
  };
  mu_.AwaitWithTimeout(absl::Condition(&changed), tick_);
  if (closed_.has_value()) return Wake::kClosed;
  if (end_at_once_) return Wake::kEndAtOnce;
  if (ending_.has_value() && !finishing) return Wake::kFinish;
  return std::exchange(tick_changed_, false) ? Wake::kNothing : Wake::kTick;
}

absl::Status ReconnectingStream::WaitClosed() {
  absl::MutexLock lock(&mu_);
  const auto closed = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return closed_.has_value(); };
  // gRPC ends a call that was cancelled, and the events do not block for long.
  for (absl::Duration waited; !mu_.AwaitWithTimeout(absl::Condition(&closed), kSaySomething);) {
    waited += kSaySomething;
    const std::string what =
        absl::StrCat("stream ", options_.name, " to ", options_.peer, " at ", options_.address,
                     " was cancelled and has not ended for ", absl::FormatDuration(waited));
    // Without its end nothing of it can be freed; a process that starts anew is better than one
    // that hangs.
    if (waited >= kStreamMustEnd) COHORT_LOG(FATAL) << what;
    COHORT_LOG(ERROR) << what << "; an event that blocks, or a fault in gRPC";
  }
  stream_.reset();
  return *closed_;
}

void ReconnectingStream::CancelIfSilent(ByteStream& stream) {
  absl::Duration limit;
  {
    absl::MutexLock lock(&mu_);
    limit = idle_limit_;
  }
  const absl::Duration silence = absl::Now() - stream.last_received();
  if (silence <= limit) return;
  stream.Cancel(absl::DeadlineExceededError(absl::StrCat(
      "no message for ", absl::FormatDuration(absl::Floor(silence, absl::Milliseconds(100))))));
}

absl::Status ReconnectingStream::ServeOnce() {
  const std::shared_ptr<ByteStream> stream = OpenOnce();
  absl::Time cancel_at = absl::InfiniteFuture();
  bool finishing = false;
  while (true) {
    switch (WaitForWake(finishing)) {
      case Wake::kEndAtOnce:
        stream->Cancel(absl::CancelledError("ended by this process"));
        [[fallthrough]];
      case Wake::kClosed:
        return WaitClosed();
      case Wake::kFinish:
        finishing = true;
        cancel_at = absl::Now() + kFinishWithin;
        stream->Finish(absl::OkStatus());
        break;
      case Wake::kTick:
        if (!finishing) PostTick();
        break;
      case Wake::kNothing:
        break;
    }
    if (absl::Now() >= cancel_at) stream->Cancel(absl::DeadlineExceededError("not closed in time"));
    CancelIfSilent(*stream);
  }
}

void ReconnectingStream::PostTick() {
  {
    absl::MutexLock lock(&mu_);
    if (tick_posted_) return;  // the thread is busy: one tick waits, not many
    tick_posted_ = true;
  }
  Post([this] {
    {
      absl::MutexLock lock(&mu_);
      tick_posted_ = false;
    }
    events_.on_tick();
  });
}

}  // namespace cohort
