#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "cohort/v1/session.grpc.pb.h"
#include "common/base/status_matchers.h"
#include "common/rpc/backoff.h"
#include "common/rpc/byte_message.h"
#include "common/rpc/byte_stream.h"
#include "common/rpc/channel.h"
#include "common/rpc/grpc_status.h"
#include "common/rpc/server_host.h"

namespace cohort {
namespace {

constexpr char kMethod[] = "/cohort.v1.Session/Connect";

std::string Text(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  (void)bytes.Dump(&slices);
  std::string text;
  for (const grpc::Slice& slice : slices) {
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return text;
}

grpc::ByteBuffer Bytes(const std::string& text) {
  const grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

// Records what happens; `on_message` reacts.
class Recorder final : public StreamHandler {
 public:
  using Reaction = std::function<void(const std::string&)>;
  explicit Recorder(Reaction reaction = nullptr) : reaction_(std::move(reaction)) {}
  void OnMessage(const grpc::ByteBuffer& message) override {
    const std::string text = Text(message);
    if (reaction_) reaction_(text);
    absl::MutexLock lock(&mu_);
    messages_.push_back(text);
  }
  void OnClosed(const absl::Status& status) override {
    absl::MutexLock lock(&mu_);
    closed_ = status;
  }
  bool WaitForMessages(size_t count) {
    absl::MutexLock lock(&mu_);
    auto enough = [this, count]()
                      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return messages_.size() >= count; };
    return mu_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(20));
  }
  absl::Status WaitClosed() {
    absl::MutexLock lock(&mu_);
    auto closed = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return closed_.has_value(); };
    if (!mu_.AwaitWithTimeout(absl::Condition(&closed), absl::Seconds(20))) {
      return absl::InternalError("still open");
    }
    return *closed_;
  }
  std::vector<std::string> messages() {
    absl::MutexLock lock(&mu_);
    return messages_;
  }

 private:
  const Reaction reaction_;
  absl::Mutex mu_;
  std::vector<std::string> messages_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Status> closed_ ABSL_GUARDED_BY(mu_);
};

// A server whose stream behaves as `script` says.
using Script = std::function<void(ByteStream&, const std::string&)>;
class ScriptedService final
    : public v1::Session::WithRawCallbackMethod_Connect<v1::Session::Service> {
 public:
  ScriptedService(Executor* executor, Script script)
      : executor_(executor), script_(std::move(script)) {}
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Connect(
      grpc::CallbackServerContext* context) override {
    return AcceptStream(context, {.max_queued_data_bytes = 4 << 20}, executor_,
                        [this](const std::shared_ptr<ByteStream>& stream) {
                          auto handler = std::make_shared<Recorder>(
                              [this, stream](const std::string& text) { script_(*stream, text); });
                          absl::MutexLock lock(&mu_);
                          last_ = handler;
                          stream_ = stream;
                          return handler;
                        })
        .reactor;
  }
  bool WaitForStream() {
    absl::MutexLock lock(&mu_);
    auto there = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return last_ != nullptr; };
    return mu_.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(20));
  }
  std::shared_ptr<Recorder> last() {
    absl::MutexLock lock(&mu_);
    return last_;
  }
  std::shared_ptr<ByteStream> stream() {
    absl::MutexLock lock(&mu_);
    return stream_;
  }

 private:
  Executor* const executor_;
  const Script script_;
  absl::Mutex mu_;
  std::shared_ptr<Recorder> last_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<ByteStream> stream_ ABSL_GUARDED_BY(mu_);
};

class StreamTest : public testing::Test {
 protected:
  void Serve(Script script) {
    service_ = std::make_unique<ScriptedService>(&executor_, std::move(script));
    auto host = ServerHost::Start({.services = {service_.get()}});
    COHORT_ASSERT_OK(host);
    host_ = *std::move(host);
    channel_ = MakeChannel(host_->address());
  }
  std::shared_ptr<ByteStream> Open(const std::shared_ptr<Recorder>& recorder) {
    return OpenStream(channel_, kMethod, {}, &executor_,
                      [recorder](const std::shared_ptr<ByteStream>&) { return recorder; });
  }
  Executor executor_{"rpc-test", 2};
  std::unique_ptr<ScriptedService> service_;
  std::unique_ptr<ServerHost> host_;
  std::shared_ptr<grpc::Channel> channel_;
};

void Echo(ByteStream& stream, const std::string& text) { stream.Send(Bytes(text), Lane::kData); }

TEST_F(StreamTest, EchoesEveryMessageInOrderAndEndsCleanly) {
  Serve(Echo);
  auto recorder = std::make_shared<Recorder>();
  auto stream = Open(recorder);
  std::vector<std::string> sent;
  for (int i = 0; i < 300; ++i) {
    sent.push_back(std::string(static_cast<size_t>(i * 37), 'x'));
    stream->Send(Bytes(sent.back()), Lane::kData);
  }
  stream->Finish(absl::OkStatus());
  COHORT_EXPECT_OK(recorder->WaitClosed());
  EXPECT_EQ(recorder->messages(), sent);
  COHORT_EXPECT_OK(service_->last()->WaitClosed());
}

TEST_F(StreamTest, SendsControlBeforeDataThatWaits) {
  absl::Notification queued;  // the server reads nothing before everything is queued
  Serve([&queued](ByteStream&, const std::string&) {
    queued.WaitForNotificationWithTimeout(absl::Seconds(20));
  });
  auto stream = Open(std::make_shared<Recorder>());
  const std::string large(1 << 20, 'd');
  for (int i = 0; i < 40; ++i) stream->Send(Bytes(large), Lane::kData);
  stream->Send(Bytes("heartbeat"), Lane::kControl);
  queued.Notify();
  stream->Finish(absl::OkStatus());
  ASSERT_TRUE(service_->WaitForStream());
  COHORT_EXPECT_OK(service_->last()->WaitClosed());
  const std::vector<std::string> messages = service_->last()->messages();
  ASSERT_EQ(messages.size(), 41u);
  const auto at = std::find(messages.begin(), messages.end(), "heartbeat") - messages.begin();
  EXPECT_LT(at, 20) << "the heartbeat queued behind data";
}

TEST_F(StreamTest, StopsReadingWhileTheReaderOfItsRepliesIsSlow) {
  Serve([](ByteStream& stream, const std::string&) {
    stream.Send(Bytes(std::string(3 << 20, 'r')), Lane::kData);
  });
  auto recorder = std::make_shared<Recorder>();
  auto stream = Open(recorder);
  for (int i = 0; i < 50; ++i) stream->Send(Bytes("more"), Lane::kControl);
  ASSERT_TRUE(recorder->WaitForMessages(3));
  EXPECT_LE(service_->stream()->queued_data_bytes(), size_t{10} << 20);
  ASSERT_TRUE(recorder->WaitForMessages(50));
  stream->Finish(absl::OkStatus());
  COHORT_EXPECT_OK(recorder->WaitClosed());
}

TEST_F(StreamTest, ServerStatusReachesTheClientAfterWhatWasQueued) {
  Serve([](ByteStream& stream, const std::string&) {
    stream.Send(Bytes("refusal"), Lane::kControl);
    stream.Finish(absl::FailedPreconditionError("another model"));
  });
  auto recorder = std::make_shared<Recorder>();
  Open(recorder)->Send(Bytes("hello"), Lane::kControl);
  EXPECT_THAT(recorder->WaitClosed(),
              StatusIs(absl::StatusCode::kFailedPrecondition, "another model"));
  EXPECT_EQ(recorder->messages(), std::vector<std::string>{"refusal"});
}

TEST_F(StreamTest, CancelOnEitherSideEndsBoth) {
  Serve(Echo);
  auto recorder = std::make_shared<Recorder>();
  auto stream = Open(recorder);
  stream->Send(Bytes("a"), Lane::kControl);
  ASSERT_TRUE(recorder->WaitForMessages(1));
  stream->Cancel(absl::CancelledError("enough"));
  EXPECT_THAT(recorder->WaitClosed(), StatusIs(absl::StatusCode::kCancelled, "enough"));
  EXPECT_THAT(service_->last()->WaitClosed(), StatusIs(absl::StatusCode::kUnavailable, testing::_));

  auto second = std::make_shared<Recorder>();
  auto again = Open(second);
  again->Send(Bytes("b"), Lane::kControl);
  ASSERT_TRUE(second->WaitForMessages(1));
  service_->stream()->Cancel(absl::DeadlineExceededError("silent for 10 s"));
  // The reason arrives when no write was in flight.
  const absl::Status ended = second->WaitClosed();
  EXPECT_TRUE(absl::IsDeadlineExceeded(ended) || absl::IsCancelled(ended)) << ended;
}

TEST_F(StreamTest, ServerShutdownIsUnavailableOrCancelledForTheClient) {
  Serve(Echo);
  auto recorder = std::make_shared<Recorder>();
  auto stream = Open(recorder);
  stream->Send(Bytes("a"), Lane::kControl);
  ASSERT_TRUE(recorder->WaitForMessages(1));
  host_->Shutdown(absl::ZeroDuration());
  EXPECT_FALSE(recorder->WaitClosed().ok());
}

TEST_F(StreamTest, RefusesAMessageAboveTheLimit) {
  Serve(Echo);
  auto recorder = std::make_shared<Recorder>();
  auto stream = Open(recorder);
  stream->Send(Bytes(std::string(kMaxMessageBytes + 1, 'x')), Lane::kData);
  EXPECT_FALSE(recorder->WaitClosed().ok());
}

TEST(ServerHostTest, NamesTheAddressWhenThePortIsInUse) {
  v1::Session::Service service;
  COHORT_ASSERT_OK_AND_ASSIGN(auto first, ServerHost::Start({.services = {&service}}));
  EXPECT_THAT(
      ServerHost::Start({.listen = first->address(), .services = {&service}}),
      StatusIs(absl::StatusCode::kAlreadyExists,
               testing::AllOf(testing::HasSubstr(first->address()), testing::HasSubstr("in use"))));
  EXPECT_THAT(ServerHost::Start({.listen = "nonsense", .services = {&service}}),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("HOST:PORT")));
}

TEST(WaitForPeerTest, GivesUpAtItsDeadlineAndNamesThePeer) {
  StopToken stop;
  auto channel = MakeChannel("127.0.0.1:1");
  EXPECT_THAT(WaitForPeer([&] { return channel; }, "learner", "127.0.0.1:1",
                          absl::Now() + absl::Milliseconds(50), stop),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       testing::HasSubstr("no learner at 127.0.0.1:1")));
  stop.Stop();
  EXPECT_THAT(
      WaitForPeer([&] { return channel; }, "learner", "127.0.0.1:1", absl::InfiniteFuture(), stop),
      StatusIs(absl::StatusCode::kCancelled, testing::_));
}

TEST(GrpcStatusTest, ConvertsBothWaysAndKnowsABrokenConnection) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), code == 0 ? "" : "why");
    EXPECT_EQ(FromGrpc(ToGrpc(status)), status);
  }
  EXPECT_EQ(FromGrpc(grpc::Status(grpc::StatusCode::UNKNOWN, "Stream removed")).code(),
            absl::StatusCode::kUnavailable);
}

TEST(BackoffTest, GrowsToItsLimitWithinTheJitter) {
  Backoff backoff({.initial = absl::Milliseconds(100), .limit = absl::Seconds(1)}, 7);
  absl::Duration expected = absl::Milliseconds(100);
  for (int i = 0; i < 12; ++i) {
    const absl::Duration wait = backoff.Next();
    EXPECT_GE(wait, expected * 0.8);
    EXPECT_LE(wait, expected * 1.2);
    expected = std::min(expected * 1.6, absl::Seconds(1));
  }
}

TEST(ByteMessageTest, AppendedPayloadIsValidProtobuf) {
  v1::GroupChunk header;
  header.set_group_id(0xffeeddccbbaa9988);
  header.set_total(300000);
  const auto payload = std::make_shared<std::string>(300000, 'p');
  const grpc::ByteBuffer bytes =
      EncodeWithPayload(v1::WorkerMessage::kGroupChunkFieldNumber, header,
                        v1::GroupChunk::kPayloadFieldNumber, ShareString(payload, 10, 200000));
  v1::WorkerMessage expected;
  *expected.mutable_group_chunk() = header;
  expected.mutable_group_chunk()->set_payload(std::string(200000, 'p'));
  EXPECT_EQ(Text(bytes), expected.SerializeAsString());
  v1::WorkerMessage decoded;
  COHORT_ASSERT_OK(DecodeMessage(bytes, &decoded));
  EXPECT_EQ(decoded.SerializeAsString(), expected.SerializeAsString());
}

grpc::ByteBuffer InPieces(const std::string& bytes, size_t piece) {
  std::vector<grpc::Slice> slices;
  for (size_t i = 0; i < bytes.size(); i += piece) slices.emplace_back(bytes.substr(i, piece));
  return grpc::ByteBuffer(slices.data(), slices.size());
}

std::optional<std::string> PayloadOf(const grpc::ByteBuffer& bytes, v1::GroupChunk* header) {
  const std::optional<ReceivedPayload> payload =
      DecodeWithPayload(bytes, v1::WorkerMessage::kGroupChunkFieldNumber, header,
                        v1::GroupChunk::kPayloadFieldNumber);
  if (!payload.has_value()) return std::nullopt;
  return absl::StrJoin(payload->pieces, "");
}

TEST(ByteMessageTest, ThePayloadIsFoundHoweverTheBytesAreCut) {
  v1::WorkerMessage message;
  v1::GroupChunk* chunk = message.mutable_group_chunk();
  chunk->set_group_id(0xffeeddccbbaa9988);
  chunk->set_total(3000);
  chunk->set_payload(std::string(1000, 'p'));
  const std::string bytes = message.SerializeAsString();
  for (size_t piece : {size_t{1}, size_t{3}, size_t{100}, bytes.size()}) {
    v1::GroupChunk header;
    EXPECT_EQ(PayloadOf(InPieces(bytes, piece), &header), std::string(1000, 'p')) << piece;
    EXPECT_EQ(header.group_id(), 0xffeeddccbbaa9988);
    EXPECT_EQ(header.total(), 3000u);
    EXPECT_EQ(header.payload(), "");
  }
}

TEST(ByteMessageTest, OnlyAMessageThatEndsWithThePayloadHasOne) {
  v1::WorkerMessage message;
  message.mutable_group_chunk()->set_payload("payload");
  const std::string bytes = message.SerializeAsString();
  v1::GroupChunk header;
  EXPECT_EQ(PayloadOf(Bytes(bytes), &header), "payload");
  EXPECT_EQ(PayloadOf(Bytes(bytes + bytes), &header), std::nullopt);
  EXPECT_EQ(PayloadOf(Bytes(bytes.substr(0, bytes.size() - 1)), &header), std::nullopt);
  EXPECT_EQ(PayloadOf(Bytes(""), &header), std::nullopt);
  message.mutable_group_chunk()->clear_payload();
  EXPECT_EQ(PayloadOf(Bytes(message.SerializeAsString()), &header), std::nullopt);
}

TEST(ByteMessageTest, EmptyPayloadAndGarbage) {
  v1::GroupChunk header;
  header.set_lease_id(3);
  const grpc::ByteBuffer bytes =
      EncodeWithPayload(v1::WorkerMessage::kGroupChunkFieldNumber, header,
                        v1::GroupChunk::kPayloadFieldNumber, SharedBytes{});
  v1::WorkerMessage message;
  COHORT_ASSERT_OK(DecodeMessage(bytes, &message));
  EXPECT_EQ(message.group_chunk().lease_id(), 3u);
  EXPECT_THAT(
      DecodeMessage(Bytes("\xff\xff garbage"), &message),
      StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("cohort.v1.WorkerMessage")));
}

}  // namespace
}  // namespace cohort
