// A running gRPC server: callback services behind one port.
#pragma once

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace cohort {

// Thread-safe.
class ServerHost {
 public:
  struct Options {
    std::string listen = "127.0.0.1:0";    // HOST:PORT; port 0: any free one
    std::vector<grpc::Service*> services;  // outlive the host
    std::shared_ptr<grpc::ServerCredentials> credentials = nullptr;  // null: insecure
  };
  // InvalidArgument or AlreadyExists (in use), with the address, the reason and what to do.
  static absl::StatusOr<std::unique_ptr<ServerHost>> Start(const Options& options);
  ~ServerHost();  // Shuts down within a second.
  ServerHost(const ServerHost&) = delete;
  ServerHost& operator=(const ServerHost&) = delete;

  const std::string& address() const { return address_; }  // with the actual port
  // Accepts nothing more, lets calls end, and cancels those that have not ended within `limit`.
  // Idempotent.
  void Shutdown(absl::Duration limit);

 private:
  ServerHost(std::unique_ptr<grpc::Server> server, std::string address)
      : server_(std::move(server)), address_(std::move(address)) {}
  std::unique_ptr<grpc::Server> server_;
  const std::string address_;
};

}  // namespace cohort
