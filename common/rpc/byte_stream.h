// One bidirectional stream of raw messages, the same class on both sides.
//
// One read and one write are in flight. gRPC's threads only enqueue: a message that arrived is
// handled on the executor, and the next one is asked for when it has been handled (that is the
// backpressure). What is sent waits in two lanes: control messages (heartbeats, acks, leases)
// always go before data.
//
// States: open -> finishing (what is queued is still written) -> closed; Cancel and a broken
// connection go to closed at once. OnClosed is called exactly once, after the last OnMessage.
//
// Thread-safe. The stream keeps itself alive until it is closed and then lets go of its handler;
// its executor must run until then.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>
#include <grpcpp/support/server_callback.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/concurrency/executor.h"
#include "common/rpc/security.h"

namespace cohort {

// Called on the executor, one call at a time, without locks held.
class StreamHandler {
 public:
  virtual ~StreamHandler() = default;
  virtual void OnMessage(const grpc::ByteBuffer& message) = 0;
  // The peer's status on the client's side; how it ended on the server's side. OK: both sides were
  // done.
  virtual void OnClosed(const absl::Status& status) = 0;
};

enum class Lane { kControl, kData };

class ByteStream {
 public:
  struct Options {
    // Reading stops while more data than this is queued to be sent; 0: never.
    size_t max_queued_data_bytes = 0;
  };
  virtual ~ByteStream() = default;

  // Never blocks. Dropped when the stream is finishing or closed.
  void Send(grpc::ByteBuffer message, Lane lane) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends this side after what is queued was written; a server sends `status`.
  void Finish(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the stream now; `why` is what OnClosed says.
  void Cancel(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mu_);

  absl::Time last_received() const ABSL_LOCKS_EXCLUDED(mu_);  // or when it was opened
  size_t queued_data_bytes() const ABSL_LOCKS_EXCLUDED(mu_);
  bool closed() const ABSL_LOCKS_EXCLUDED(mu_);

 protected:
  ByteStream(const Options& options, Executor* executor);

  // Begins to read; keeps `self` and `handler` until closed.
  void Open(std::shared_ptr<ByteStream> self, std::shared_ptr<StreamHandler> handler)
      ABSL_LOCKS_EXCLUDED(mu_);
  void ReadDone(bool ok) ABSL_LOCKS_EXCLUDED(mu_);
  void WriteDone(bool ok) ABSL_LOCKS_EXCLUDED(mu_);
  void PeerGone(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  void AllDone(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);

  // What the two sides do differently. Called with the lock held: gRPC runs no reaction inside.
  virtual void StartReadOp(grpc::ByteBuffer* buffer) = 0;
  virtual void StartWriteOp(const grpc::ByteBuffer* buffer) = 0;
  virtual void EndOp(const absl::Status& status) = 0;  // no operation may be started afterwards
  virtual void HalfCloseOp() = 0;                      // client: nothing more will be written
  virtual void CancelOp() = 0;
  virtual bool is_server() const = 0;

 private:
  bool Blocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Handle() ABSL_LOCKS_EXCLUDED(mu_);
  void ReadNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropQueues() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CancelLocked(const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Close() ABSL_LOCKS_EXCLUDED(mu_);

  const Options options_;
  Executor* const executor_;

  mutable absl::Mutex mu_;
  bool opened_ ABSL_GUARDED_BY(mu_) = false;  // before, nothing is started: it may be sent to early
  std::shared_ptr<ByteStream> self_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<StreamHandler> handler_ ABSL_GUARDED_BY(mu_);
  std::deque<grpc::ByteBuffer> control_ ABSL_GUARDED_BY(mu_);
  std::deque<grpc::ByteBuffer> data_ ABSL_GUARDED_BY(mu_);
  size_t queued_data_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  grpc::ByteBuffer incoming_;  // of the read in flight, then of OnMessage
  grpc::ByteBuffer outgoing_ ABSL_GUARDED_BY(mu_);
  bool outgoing_is_data_ ABSL_GUARDED_BY(mu_) = false;
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool handling_ ABSL_GUARDED_BY(mu_) = false;
  bool read_held_back_ ABSL_GUARDED_BY(mu_) = false;  // until the queue is shorter
  bool write_broken_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> finishing_ ABSL_GUARDED_BY(mu_);
  bool half_closed_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;                   // no operation may be started
  std::optional<absl::Status> closing_ ABSL_GUARDED_BY(mu_);  // every operation is done
  std::optional<absl::Status> cancelled_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  absl::Time last_received_ ABSL_GUARDED_BY(mu_);
};

// What a raw callback method returns, and the stream to keep.
struct AcceptedStream {
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* reactor = nullptr;
  std::shared_ptr<ByteStream> stream;
};
// Reading begins with `AcceptedStream::stream` known to nobody else: a handler that answers needs
// the stream, so `make_handler` is given it before the first message.
using HandlerFactory =
    std::function<std::shared_ptr<StreamHandler>(const std::shared_ptr<ByteStream>&)>;
AcceptedStream AcceptStream(grpc::CallbackServerContext* context,
                            const ByteStream::Options& options, Executor* executor,
                            const HandlerFactory& make_handler);

// For a caller without the right to the method: ends his stream with `status`, which is not OK.
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* RefuseStream(
    const absl::Status& status);

// Calls `method` ("/cohort.v1.Session/Connect"). The channel is kept until the stream is closed.
// `security`, if any, prepares the call.
std::shared_ptr<ByteStream> OpenStream(const std::shared_ptr<grpc::Channel>& channel,
                                       const std::string& method,
                                       const ByteStream::Options& options, Executor* executor,
                                       const HandlerFactory& make_handler,
                                       const Security* security = nullptr);

}  // namespace cohort
