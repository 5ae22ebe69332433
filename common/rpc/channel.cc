#include "common/rpc/channel.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rpc/refusals.h"

namespace cohort {
namespace {

constexpr absl::Duration kSlice = absl::Milliseconds(200);
constexpr absl::Duration kFirstNotice = absl::Seconds(2);

grpc::ChannelArguments Arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // Despite its name the time that one attempt to connect is given: a busy machine needs some.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // A connection of its own: block transfers do not share one with heartbeats.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // A learner whose pod was replaced has another address under the same name.
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 1000);
  // A block of weights is one frame, not 64.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, 1 << 20);
  // Proxies of the environment are for the internet, not for a peer named by address.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

void LogAsDebug(gpr_log_func_args* args) {
  if (absl::StrContains(args->message, "assertion failed")) {  // the process is about to abort
    COHORT_LOG(ERROR) << "grpc: " << args->file << ":" << args->line << ": " << args->message;
  } else {
    CountFailedHandshake(args->message);
    COHORT_LOG(DEBUG) << "grpc: " << args->message;
  }
}

// Debian builds Abseil without NDEBUG: every lock, gRPC's included, then goes through one global
// graph of lock orders. Our own order is checked in the other presets.
void IgnoreLockOrder() {
#if defined(NDEBUG)
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
}

void LogProtobufAsDebug(google::protobuf::LogLevel, const char*, int, const std::string& message) {
  COHORT_LOG(DEBUG) << "protobuf: " << message;
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address,
                                                           const Security* security, Role peer) {
  if (security == nullptr) return MakeChannel(address);
  COHORT_RETURN_IF_ERROR(security->CheckDial(address));
  SetUpRpc();
  return grpc::CreateCustomChannel(address, security->channel(peer), Arguments());
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  SetUpRpc();
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), Arguments());
}

namespace {

// Whether something takes connections there, although it does not answer. Only for numeric
// addresses: looking a name up may take longer than a stop may wait.
bool SomethingListens(const std::string& address) {
  const absl::StatusOr<HostPort> where = ParseHostPort(address);
  if (!where.ok()) return false;
  const std::string host = where->host == "localhost" ? "127.0.0.1" : where->host;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST;
  addrinfo* found = nullptr;
  const std::string port = absl::StrCat(where->port);
  if (getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) return false;
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  bool connected = fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0;
  if (fd >= 0 && !connected && errno == EINPROGRESS) {
    pollfd waited{fd, POLLOUT, 0};
    int error = 0;
    socklen_t size = sizeof(error);
    connected = poll(&waited, 1, static_cast<int>(absl::ToInt64Milliseconds(kSlice))) == 1 &&
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
  }
  freeaddrinfo(found);
  if (fd >= 0) close(fd);
  return connected;
}

// Why `peer` may not be reached, as far as this side can tell.
std::string WhyNot(const std::string& peer, const std::string& address, absl::Time start) {
  const std::string refusal = LastRefusalSince(start);
  if (!refusal.empty() || !SomethingListens(address)) return refusal;
  return absl::StrCat("; a program listens there and does not answer as a ", peer,
                      " does: perhaps one side has certificates and the other has none (--tls-ca, "
                      "--tls-cert, --tls-key)");
}

}  // namespace

absl::Status WaitForPeer(const std::function<std::shared_ptr<grpc::Channel>()>& channel,
                         const std::string& peer, const std::string& address, absl::Time deadline,
                         const StopToken& stop) {
  const absl::Time start = absl::Now();
  absl::Duration notice = kFirstNotice;
  while (!stop.stopped()) {
    const absl::Time until = std::min(deadline, absl::Now() + kSlice);
    if (channel()->WaitForConnected(absl::ToChronoTime(until))) return absl::OkStatus();
    const absl::Duration waited = absl::Now() - start;
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("no ", peer, " at ", address, " after ", absl::ToInt64Seconds(waited),
                       " s: start it or correct the address", WhyNot(peer, address, start)));
    }
    if (waited >= notice) {
      COHORT_LOG(INFO) << "waiting for " << peer << " at " << address << " for "
                       << absl::ToInt64Seconds(waited) << " s" << WhyNot(peer, address, start);
      notice = std::min(notice * 2, notice + absl::Seconds(30));
    }
  }
  return absl::CancelledError(absl::StrCat("stopped while waiting for ", peer, " at ", address));
}

void SetUpRpc() {
  static std::once_flag once;
  std::call_once(once, [] {
    IgnoreLockOrder();
    gpr_set_log_function(&LogAsDebug);
    google::protobuf::SetLogHandler(&LogProtobufAsDebug);
  });
}

}  // namespace cohort
