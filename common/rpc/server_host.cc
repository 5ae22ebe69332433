#include "common/rpc/server_host.h"

#include <grpcpp/server_builder.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "common/base/host_port.h"
#include "common/base/status_macros.h"
#include "common/rpc/channel.h"

namespace cohort {
namespace {

// gRPC only says that it failed; a plain bind says why.
std::string WhyNotBound(const HostPort& where) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string port = absl::StrCat(where.port);
  if (const int error = getaddrinfo(where.host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return gai_strerror(error);
  }
  int reason = 0;
  const int fd = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
  if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0) reason = errno;
  if (fd >= 0) close(fd);
  freeaddrinfo(found);
  return reason == 0 ? "the port could not be bound" : std::strerror(reason);
}

absl::Status NotListening(const HostPort& where) {
  const std::string why = WhyNotBound(where);
  const std::string message = absl::StrCat(
      "cannot listen on ", where.host, ":", where.port, ": ", why,
      "; choose another address (port 0: any free one) or stop the process that holds it");
  return why == std::strerror(EADDRINUSE) ? absl::AlreadyExistsError(message)
                                          : absl::InvalidArgumentError(message);
}

void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Otherwise a second server would silently share the port.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServerHost>> ServerHost::Start(const Options& options) {
  QuietRpcLogs();
  COHORT_ASSIGN_OR_RETURN(const HostPort where, ParseHostPort(options.listen));
  grpc::ServerBuilder builder;
  SetLimits(builder);
  int port = 0;
  builder.AddListeningPort(
      options.listen,
      options.credentials != nullptr ? options.credentials : grpc::InsecureServerCredentials(),
      &port);
  for (grpc::Service* service : options.services) builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port <= 0) return NotListening(where);
  return std::unique_ptr<ServerHost>(
      new ServerHost(std::move(server),
                     absl::StrCat(options.listen.substr(0, options.listen.rfind(':')), ":", port)));
}

ServerHost::~ServerHost() { Shutdown(absl::Seconds(1)); }

void ServerHost::Shutdown(absl::Duration limit) {
  server_->Shutdown(absl::ToChronoTime(absl::Now() + limit));
}

}  // namespace cohort
