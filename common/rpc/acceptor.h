// A listening socket whose connections are handed to a server.
//
// gRPC's own listener is deaf for good once accept() has failed for want of descriptors; this one
// goes on. It also keeps descriptors free for the process's own files: when they run short, a new
// connection is closed at once, so that its peer tries again, and those that are open stay.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "common/base/host_port.h"
#include "common/base/rate_limit.h"

namespace cohort {

// As many descriptors as the system lets this process have: a server needs one a connection. Call
// at start.
void RaiseDescriptorLimit();

// Thread-safe.
class Acceptor {
 public:
  using HandOver = std::function<void(int listener, int connection)>;

  // Binds and listens; 0.0.0.0 and [::] mean every address of both families where the system has
  // them. AlreadyExists: the port is taken; InvalidArgument otherwise.
  static absl::StatusOr<std::unique_ptr<Acceptor>> Listen(const HostPort& where);
  ~Acceptor();  // Stops.
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  int port() const { return port_; }
  // Accepts on a thread of its own; `hand_over` owns what it is given. Once.
  void Start(HandOver hand_over);
  // Accepts nothing more: whoever dials the port is refused at once. Idempotent.
  void Stop();

 private:
  Acceptor(int listener, int wake, int port) : listener_(listener), wake_(wake), port_(port) {}
  void Run();
  void AcceptAll();
  void AcceptFailed(int error);
  bool MakeRoom();

  std::atomic<int> listener_;  // -1: stopped
  const int wake_;             // eventfd: Stop writes to it
  const int port_;
  int spare_ = -1;  // given up for a moment to close a connection that cannot be kept
  HandOver hand_over_;
  std::atomic<bool> stopping_{false};
  RateLimit said_{absl::Seconds(10)};
  std::thread thread_;
};

}  // namespace cohort
