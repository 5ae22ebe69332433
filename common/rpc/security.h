// Who may talk to whom.
//
// Between machines: mutual TLS. Every process shows a certificate of one authority, whose URI name
// urn:cohort:role:ROLE says what it is (the same text as a DNS name does as well). The client
// accepts a server only in the role that it dialled, and under the name that it dialled: where the
// address is a DNS name, the certificate must carry it (an IP address, such as a pod's or
// 127.0.0.1, is not compared: addresses change hands, roles do not). The server admits a call only
// from the roles that the method is for (Authorize). The files are read again every few seconds: a
// renewed certificate is used by the next connection, streams that are open stay, and a
// half-written or wrong set leaves the old one in force.
//
// On one machine: no certificates, loopback addresses only, and a secret in a file that only the
// user can read, which every call must carry. With `insecure` neither holds: plaintext to anywhere,
// for networks that are closed otherwise.
//
// Thread-safe. Null instead of a Security means plaintext without checks (tests).
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_context.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/rpc/certificates.h"

namespace cohort {

enum class Role { kLearner, kRollout, kCli, kReward };

absl::string_view RoleName(Role role);  // "learner"
std::string RoleUri(Role role);         // "urn:cohort:role:learner"

struct SecurityOptions {
  CertificateFiles files = {};  // all three or none
  bool insecure = false;        // plaintext beyond loopback; only without files
  std::string secret = {};      // that calls must carry and do carry; empty: none
  // Where the secret for one's own calls is looked for, before each, if `secret` is empty: whoever
  // serves makes the file, and may start later.
  std::vector<std::string> secret_files = {};
  std::vector<Role> roles = {};  // of this program: its certificate must have one of them
  absl::Duration reload_interval = absl::Seconds(10);
};

class Security {
 public:
  // InvalidArgument, in one line: some but not all files, `insecure` with files, or what
  // ReadCertificates and the roles find wrong.
  static absl::StatusOr<std::shared_ptr<const Security>> Create(const SecurityOptions& options);
  ~Security();
  Security(const Security&) = delete;
  Security& operator=(const Security&) = delete;

  bool tls() const;
  absl::Time expires() const;  // of the certificate in force; InfiniteFuture without TLS
  // Grows when other files came into force: channels of before keep the certificate that they began
  // with, so that a client makes a new one.
  uint64_t generation() const;
  // How often the files were read again so far, whatever came of it.
  uint64_t readings() const;

  // ---- as a server ----
  // InvalidArgument: plaintext beyond loopback without `insecure`.
  absl::Status CheckListen(const std::string& address) const;
  // For one port; this object must outlive the server (ServerHost sees to it).
  std::shared_ptr<grpc::ServerCredentials> server() const;
  // OK: the caller's certificate has one of `allowed`, or it knows the secret. PermissionDenied,
  // Unauthenticated otherwise; counted and logged.
  absl::Status Authorize(const grpc::ServerContextBase& context,
                         std::initializer_list<Role> allowed) const;

  // ---- as a client ----
  absl::Status CheckDial(const std::string& address) const;
  // Accepts only a server whose certificate has the role `peer`. With the certificates in force
  // now.
  std::shared_ptr<grpc::ChannelCredentials> channel(Role peer) const;
  // Adds the secret, where there is one: before every call.
  void Prepare(grpc::ClientContext* context) const;

 private:
  class Impl;
  explicit Security(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

// Security::Authorize where there is a `security`, otherwise OK.
absl::Status AuthorizeCall(const Security* security, const grpc::ServerContextBase& context,
                           std::initializer_list<Role> allowed);

// From the system's generator, for keys and secrets.
std::string RandomBytes(size_t count);

// The secret of a run on one machine: 64 hexadecimal digits in `path`, mode 0600. Made by whoever
// comes first, complete from its first moment, and kept. InvalidArgument for one that is there and
// that another user owns or may read: it may be known.
absl::StatusOr<std::string> EnsureSecretFile(const std::string& path);
// InvalidArgument unless it is a regular file of one line of 32 characters or more.
absl::StatusOr<std::string> ReadSecretFile(const std::string& path);

}  // namespace cohort
