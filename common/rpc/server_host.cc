#include "common/rpc/server_host.h"

#include <grpcpp/server_builder.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/host_port.h"
#include "common/base/status_macros.h"
#include "common/rpc/channel.h"
#include "common/rpc/refusals.h"

namespace cohort {
namespace {

void SetLimits(absl::Duration handshake_limit, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // A peer that connects and says nothing, and one that has no call open, holds a descriptor.
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             static_cast<int>(absl::ToInt64Milliseconds(handshake_limit)));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 60000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 64);  // of one connection
}

}  // namespace

ServerHost::ServerHost(std::shared_ptr<const Security> security,
                       std::shared_ptr<grpc::ServerCredentials> credentials)
    : security_(std::move(security)), credentials_(std::move(credentials)) {}

absl::StatusOr<std::unique_ptr<ServerHost>> ServerHost::Start(const Options& options) {
  SetUpRpc();
  COHORT_ASSIGN_OR_RETURN(const HostPort where, ParseHostPort(options.listen));
  if (options.security != nullptr) {
    COHORT_RETURN_IF_ERROR(options.security->CheckListen(options.listen));
  }
  const auto credentials =
      options.security != nullptr ? options.security->server() : grpc::InsecureServerCredentials();
  COHORT_ASSIGN_OR_RETURN(std::unique_ptr<Acceptor> acceptor, Acceptor::Listen(where));
  std::unique_ptr<ServerHost> host(new ServerHost(options.security, credentials));
  host->role_ = options.role;
  host->address_ =
      absl::StrCat(options.listen.substr(0, options.listen.rfind(':')), ":", acceptor->port());
  grpc::ServerBuilder builder;
  SetLimits(options.handshake_limit, builder);
  using Kind = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
  host->connections_ =
      builder.experimental().AddExternalConnectionAcceptor(Kind::FROM_FD, credentials);
  for (grpc::Service* service : options.services) builder.RegisterService(service);
  host->server_ = builder.BuildAndStart();
  if (host->server_ == nullptr) {
    return absl::InternalError(absl::StrCat("gRPC starts no server for ", options.listen));
  }
  host->acceptor_ = std::move(acceptor);
  host->acceptor_->Start([connections = host->connections_.get()](int listener, int fd) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.listener_fd = listener;
    connection.fd = fd;
    connections->HandleNewConnection(&connection);
  });
  return host;
}

absl::Status ServerHost::DialSelf(absl::Duration limit) const {
  COHORT_ASSIGN_OR_RETURN(const HostPort where, ParseHostPort(address_));
  const bool anywhere = where.host == "0.0.0.0" || where.host == "::";
  const std::string self = anywhere ? absl::StrCat("127.0.0.1:", where.port) : address_;
  COHORT_ASSIGN_OR_RETURN(const auto channel, MakeChannel(self, security_.get(), role_));
  const absl::Time start = absl::Now();
  if (channel->WaitForConnected(absl::ToChronoTime(start + limit))) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("nobody can connect: a connection of its own to ",
                                             self, " was not served within ",
                                             absl::FormatDuration(limit), LastRefusalSince(start)));
}

ServerHost::~ServerHost() { Shutdown(absl::Seconds(1)); }

void ServerHost::Shutdown(absl::Duration limit) {
  if (acceptor_ != nullptr) acceptor_->Stop();
  if (server_ == nullptr) return;
  server_->Shutdown(absl::ToChronoTime(absl::Now() + limit));
}

}  // namespace cohort
