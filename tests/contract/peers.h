// Two peers for contract tests: a raw client that sends and receives single messages, and a server
// that does what a script says. Both speak over real loopback sockets.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/status_matchers.h"
#include "common/concurrency/executor.h"
#include "common/rpc/byte_message.h"
#include "common/rpc/byte_stream.h"
#include "common/rpc/channel.h"
#include "common/rpc/server_host.h"

namespace cohort {

inline constexpr absl::Duration kTestLimit = absl::Seconds(20);
inline absl::Time TestDeadline() { return absl::Now() + kTestLimit; }

inline grpc::ByteBuffer BytesOfText(const std::string& text) {
  const grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

// One end of a stream. `Incoming` is what the peer sends. Thread-safe.
template <typename Outgoing, typename Incoming>
class RawEnd final : public StreamHandler {
 public:
  explicit RawEnd(std::shared_ptr<ByteStream> stream) : stream_(std::move(stream)) {}

  void OnMessage(const grpc::ByteBuffer& bytes) override {
    Incoming message;
    EXPECT_THAT(DecodeMessage(bytes, &message), IsOk());
    absl::MutexLock lock(&mu_);
    messages_.push_back(std::move(message));
  }
  void OnClosed(const absl::Status& status) override {
    absl::MutexLock lock(&mu_);
    closed_ = status;
  }

  void Send(const Outgoing& message) { stream_->Send(EncodeMessage(message), Lane::kControl); }
  void SendBytes(const std::string& bytes) { stream_->Send(BytesOfText(bytes), Lane::kControl); }
  // The next message for which `wanted` is true; others before it are skipped.
  std::optional<Incoming> Next(const std::function<bool(const Incoming&)>& wanted) {
    const absl::Time deadline = TestDeadline();
    while (true) {
      absl::MutexLock lock(&mu_);
      const auto there = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
        return !messages_.empty() || closed_.has_value();
      };
      if (!mu_.AwaitWithDeadline(absl::Condition(&there), deadline) || messages_.empty()) {
        return std::nullopt;
      }
      Incoming message = std::move(messages_.front());
      messages_.pop_front();
      if (wanted(message)) return message;
    }
  }
  absl::Status WaitClosed() {
    absl::MutexLock lock(&mu_);
    const auto closed = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return closed_.has_value(); };
    if (!mu_.AwaitWithTimeout(absl::Condition(&closed), kTestLimit)) {
      return absl::InternalError("still open");
    }
    return *closed_;
  }
  ByteStream& stream() { return *stream_; }

 private:
  const std::shared_ptr<ByteStream> stream_;
  absl::Mutex mu_;
  std::deque<Incoming> messages_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Status> closed_ ABSL_GUARDED_BY(mu_);
};

// A client that opens raw streams to `address`. Ends them when destroyed.
template <typename Outgoing, typename Incoming>
class RawClient {
 public:
  using End = RawEnd<Outgoing, Incoming>;
  RawClient(const std::string& address, std::string method,
            std::shared_ptr<const Security> security = nullptr)
      : security_(std::move(security)),
        channel_(*MakeChannel(address, security_.get(), Role::kLearner)),
        method_(std::move(method)) {}
  ~RawClient() {
    for (const auto& end : ends_) end->stream().Cancel(absl::CancelledError("test is over"));
    for (const auto& end : ends_) (void)end->WaitClosed();
    executor_.Stop();
  }
  std::shared_ptr<End> Open() {
    std::shared_ptr<End> end;
    const auto make = [&](const std::shared_ptr<ByteStream>& stream) {
      end = std::make_shared<End>(stream);
      return end;
    };
    OpenStream(channel_, method_, {}, &executor_, make, security_.get());
    ends_.push_back(end);
    return end;
  }

 private:
  Executor executor_{"raw-client", 1};
  const std::shared_ptr<const Security> security_;
  std::shared_ptr<grpc::Channel> channel_;
  const std::string method_;
  std::vector<std::shared_ptr<End>> ends_;
};

// A server that keeps the ends of accepted streams for the test to play. `RawService` has one raw
// callback method, which calls Accept.
template <typename Outgoing, typename Incoming>
class RawServerEnds {
 public:
  using End = RawEnd<Outgoing, Incoming>;
  ~RawServerEnds() { executor_.Stop(); }

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Accept(
      grpc::CallbackServerContext* context) {
    return AcceptStream(context, {}, &executor_,
                        [this](const std::shared_ptr<ByteStream>& stream) {
                          auto end = std::make_shared<End>(stream);
                          absl::MutexLock lock(&mu_);
                          accepted_.push_back(end);
                          return end;
                        })
        .reactor;
  }
  // The next stream that a client opened.
  std::shared_ptr<End> Next() {
    absl::MutexLock lock(&mu_);
    const auto there = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !accepted_.empty(); };
    if (!mu_.AwaitWithTimeout(absl::Condition(&there), kTestLimit)) return nullptr;
    auto end = accepted_.front();
    accepted_.pop_front();
    return end;
  }

 private:
  Executor executor_{"raw-server", 1};
  absl::Mutex mu_;
  std::deque<std::shared_ptr<End>> accepted_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort
