#include "common/rpc/byte_stream.h"

#include <grpcpp/generic/generic_stub.h>

#include <utility>

#include "absl/time/clock.h"
#include "common/rpc/grpc_status.h"

namespace cohort {

ByteStream::ByteStream(const Options& options, Executor* executor)
    : options_(options), executor_(executor), last_received_(absl::Now()) {}

void ByteStream::Open(std::shared_ptr<ByteStream> self, std::shared_ptr<StreamHandler> handler) {
  absl::MutexLock lock(&mu_);
  self_ = std::move(self);
  handler_ = std::move(handler);
  opened_ = true;
  if (cancelled_.has_value()) {
    CancelOp();
    return End(*cancelled_);
  }
  ReadNext();
  WriteNext();
}

// ---- sending ----

void ByteStream::Send(grpc::ByteBuffer message, Lane lane) {
  absl::MutexLock lock(&mu_);
  if (ended_ || write_broken_ || finishing_.has_value()) return;
  if (lane == Lane::kData) {
    queued_data_bytes_ += message.Length();
    data_.push_back(std::move(message));
  } else {
    control_.push_back(std::move(message));
  }
  WriteNext();
}

void ByteStream::WriteNext() {
  if (!opened_ || ended_ || writing_ || write_broken_) return;
  if (control_.empty() && data_.empty()) {
    if (!finishing_.has_value()) return;
    if (is_server()) {
      End(*finishing_);
    } else if (!half_closed_) {
      half_closed_ = true;
      HalfCloseOp();
    }
    return;
  }
  outgoing_is_data_ = control_.empty();
  std::deque<grpc::ByteBuffer>& lane = outgoing_is_data_ ? data_ : control_;
  outgoing_ = std::move(lane.front());
  lane.pop_front();
  writing_ = true;
  StartWriteOp(&outgoing_);
}

void ByteStream::WriteDone(bool ok) {
  absl::MutexLock lock(&mu_);
  writing_ = false;
  if (outgoing_is_data_ && queued_data_bytes_ >= outgoing_.Length()) {
    queued_data_bytes_ -= outgoing_.Length();
  }
  outgoing_.Clear();
  if (!ok) {
    write_broken_ = true;  // the end of the call itself is seen by the read
    DropQueues();
    if (is_server()) End(absl::UnavailableError("the peer is gone"));
    return;
  }
  WriteNext();
  if (read_held_back_) ReadNext();
}

// ---- receiving ----

bool ByteStream::Blocked() const {
  return options_.max_queued_data_bytes != 0 && queued_data_bytes_ > options_.max_queued_data_bytes;
}

void ByteStream::ReadNext() {
  if (ended_ || reading_ || handling_) return;
  read_held_back_ = Blocked();
  if (read_held_back_) return;
  reading_ = true;
  StartReadOp(&incoming_);
}

void ByteStream::ReadDone(bool ok) {
  absl::MutexLock lock(&mu_);
  reading_ = false;
  if (!ok) {
    if (!is_server()) {
      End(absl::OkStatus());
    } else if (!finishing_.has_value()) {  // the client has half-closed, or is gone
      finishing_ = absl::OkStatus();
      WriteNext();
    }
    return;
  }
  last_received_ = absl::Now();
  handling_ = true;
  if (!executor_->Post([self = self_] { self->Handle(); })) {
    handling_ = false;
    CancelLocked(absl::CancelledError("stopped"));
  }
}

void ByteStream::Handle() {
  StreamHandler* handler = nullptr;
  {
    absl::MutexLock lock(&mu_);
    handler = handler_.get();
  }
  handler->OnMessage(incoming_);
  bool close = false;
  {
    absl::MutexLock lock(&mu_);
    incoming_.Clear();
    handling_ = false;
    close = closing_.has_value();
    if (!close) ReadNext();
  }
  if (close) Close();
}

// ---- ending ----

void ByteStream::Finish(const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  if (ended_ || finishing_.has_value()) return;
  finishing_ = status;
  WriteNext();
}

void ByteStream::Cancel(const absl::Status& why) {
  absl::MutexLock lock(&mu_);
  CancelLocked(why);
}

void ByteStream::CancelLocked(const absl::Status& why) {
  if (closing_.has_value() || cancelled_.has_value()) return;
  cancelled_ = why;
  DropQueues();
  if (!opened_) return;
  // A clean status reaches the peer only when no write is stuck in front of it.
  if (!is_server() || writing_ || ended_) CancelOp();
  End(why);
}

void ByteStream::PeerGone(const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  if (!cancelled_.has_value()) cancelled_ = status;
  DropQueues();
  End(status);
}

void ByteStream::DropQueues() {
  control_.clear();
  data_.clear();
  queued_data_bytes_ = 0;
}

void ByteStream::End(const absl::Status& status) {
  if (ended_) return;
  ended_ = true;
  EndOp(status);
}

void ByteStream::AllDone(const absl::Status& status) {
  // This runs on a thread of gRPC's, which must not drop the last reference: with it may go the
  // last one to the channel, and gRPC would then destroy the queue that this very thread serves.
  std::shared_ptr<ByteStream> self;
  {
    absl::MutexLock lock(&mu_);
    closing_ = cancelled_.has_value() ? *cancelled_ : status;
    if (handling_) return;  // Handle closes
    self = self_;
  }
  ByteStream* const stream = self.get();
  if (!executor_->Post([self = std::move(self)] { self->Close(); })) stream->Close();
}

void ByteStream::Close() {
  std::shared_ptr<ByteStream> self;
  std::shared_ptr<StreamHandler> handler;
  absl::Status status;
  {
    absl::MutexLock lock(&mu_);
    closed_ = true;
    self.swap(self_);
    handler.swap(handler_);
    status = *closing_;
  }
  handler->OnClosed(status);
}

absl::Time ByteStream::last_received() const {
  absl::MutexLock lock(&mu_);
  return last_received_;
}

size_t ByteStream::queued_data_bytes() const {
  absl::MutexLock lock(&mu_);
  return queued_data_bytes_;
}

bool ByteStream::closed() const {
  absl::MutexLock lock(&mu_);
  return closed_;
}

// ---- the two sides ----

namespace {

class ServerStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                           public ByteStream {
 public:
  ServerStream(grpc::CallbackServerContext* context, const Options& options, Executor* executor)
      : ByteStream(options, executor), context_(context) {}
  using ByteStream::Open;

 private:
  void OnReadDone(bool ok) override { ReadDone(ok); }
  void OnWriteDone(bool ok) override { WriteDone(ok); }
  void OnCancel() override { PeerGone(absl::UnavailableError("the peer is gone")); }
  void OnDone() override { AllDone(end_status_); }

  void StartReadOp(grpc::ByteBuffer* buffer) override { StartRead(buffer); }
  void StartWriteOp(const grpc::ByteBuffer* buffer) override { StartWrite(buffer); }
  void EndOp(const absl::Status& status) override {
    end_status_ = status;
    grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>::Finish(ToGrpc(status));
  }
  void HalfCloseOp() override {}
  void CancelOp() override { context_->TryCancel(); }
  bool is_server() const override { return true; }

  grpc::CallbackServerContext* const context_;  // gRPC's, until OnDone
  absl::Status end_status_;                     // written before Finish, read after it in OnDone
};

class ClientStream final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                           public ByteStream {
 public:
  ClientStream(std::shared_ptr<grpc::Channel> channel, const Options& options, Executor* executor)
      : ByteStream(options, executor), channel_(std::move(channel)) {}

  void Call(const std::string& method, const Security* security, std::shared_ptr<ByteStream> self,
            std::shared_ptr<StreamHandler> handler) {
    if (security != nullptr) security->Prepare(&context_);
    grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub(channel_);
    stub.PrepareBidiStreamingCall(&context_, method, grpc::StubOptions(), this);
    AddHold();  // operations are started outside of reactions; removed by EndOp
    Open(std::move(self), std::move(handler));
    StartCall();
  }

 private:
  void OnReadDone(bool ok) override { ReadDone(ok); }
  void OnWriteDone(bool ok) override { WriteDone(ok); }
  void OnDone(const grpc::Status& status) override { AllDone(FromGrpc(status)); }

  void StartReadOp(grpc::ByteBuffer* buffer) override { StartRead(buffer); }
  void StartWriteOp(const grpc::ByteBuffer* buffer) override { StartWrite(buffer); }
  void EndOp(const absl::Status&) override { RemoveHold(); }
  void HalfCloseOp() override { StartWritesDone(); }
  void CancelOp() override { context_.TryCancel(); }
  bool is_server() const override { return false; }

  const std::shared_ptr<grpc::Channel> channel_;
  grpc::ClientContext context_;
};

// Says no and is gone.
class RefusedStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit RefusedStream(const absl::Status& status) { Finish(ToGrpc(status)); }

 private:
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* RefuseStream(
    const absl::Status& status) {
  return new RefusedStream(status);
}

AcceptedStream AcceptStream(grpc::CallbackServerContext* context,
                            const ByteStream::Options& options, Executor* executor,
                            const HandlerFactory& make_handler) {
  auto stream = std::make_shared<ServerStream>(context, options, executor);
  stream->Open(stream, make_handler(stream));
  return {stream.get(), stream};
}

std::shared_ptr<ByteStream> OpenStream(const std::shared_ptr<grpc::Channel>& channel,
                                       const std::string& method,
                                       const ByteStream::Options& options, Executor* executor,
                                       const HandlerFactory& make_handler,
                                       const Security* security) {
  auto stream = std::make_shared<ClientStream>(channel, options, executor);
  stream->Call(method, security, stream, make_handler(stream));
  return stream;
}

}  // namespace cohort
