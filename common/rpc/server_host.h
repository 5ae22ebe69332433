// A running gRPC server: callback services behind one port. A connection that does not finish its
// handshake, and one without a call, is closed after a while; the port is never deaf for good.
#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/acceptor.h"
#include "common/rpc/security.h"

namespace grpc::experimental {
class ExternalConnectionAcceptor;
}

namespace cohort {

// Thread-safe.
class ServerHost {
 public:
  struct Options {
    std::string listen = "127.0.0.1:0";                  // HOST:PORT; port 0: any free one
    std::vector<grpc::Service*> services;                // outlive the host
    std::shared_ptr<const Security> security = nullptr;  // null: plaintext, no checks
    absl::Duration handshake_limit = absl::Seconds(10);  // then a connection is closed
    Role role = Role::kLearner;                          // what DialSelf expects to find
  };
  // InvalidArgument or AlreadyExists (in use), with the address, the reason and what to do.
  // Services check each call themselves (AuthorizeCall).
  static absl::StatusOr<std::unique_ptr<ServerHost>> Start(const Options& options);
  ~ServerHost();  // Shuts down within a second.
  ServerHost(const ServerHost&) = delete;
  ServerHost& operator=(const ServerHost&) = delete;

  const std::string& address() const { return address_; }  // with the actual port
  // Whether somebody who dials this port now is served: connects to it, handshakes included, within
  // `limit`. Otherwise why not.
  absl::Status DialSelf(absl::Duration limit) const;
  // Accepts nothing more, lets calls end, and cancels those that have not ended within `limit`.
  // Idempotent.
  void Shutdown(absl::Duration limit);

 private:
  ServerHost(std::shared_ptr<const Security> security,
             std::shared_ptr<grpc::ServerCredentials> credentials);
  // gRPC asks both at every handshake: they outlive the server.
  const std::shared_ptr<const Security> security_;
  const std::shared_ptr<grpc::ServerCredentials> credentials_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> connections_;
  std::unique_ptr<Acceptor> acceptor_;  // hands to connections_; ends first
  Role role_ = Role::kLearner;
  std::string address_;
};

}  // namespace cohort
