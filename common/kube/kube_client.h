// The few calls of the Kubernetes API that Cohort makes, as a pod's service account.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace cohort {

struct KubeOptions {
  std::string api;         // https://HOST:PORT
  std::string token_file;  // of the service account; read for every call, since it is renewed
  std::string ca_file;     // certificates of the authority that signed the API's
  absl::Duration timeout = absl::Seconds(15);  // of one call
};

// What every pod with a service-account token has: KUBERNETES_SERVICE_HOST and _PORT, and the files
// below /var/run/secrets. FailedPrecondition says what is missing.
absl::StatusOr<KubeOptions> InClusterKube();
// The namespace of this pod.
absl::StatusOr<std::string> InClusterNamespace();

// A connection anew for every call. Thread-safe. Errors name the call, the address and what the API
// answered: NotFound, PermissionDenied (401, 403), Unavailable for everything else that may pass.
class KubeClient {
 public:
  // InvalidArgument: the address is not https://HOST[:PORT].
  static absl::StatusOr<KubeClient> Create(const KubeOptions& options);

  absl::StatusOr<nlohmann::json> Get(const std::string& path) const;
  // A merge patch (RFC 7386).
  absl::Status Patch(const std::string& path, const nlohmann::json& patch) const;

 private:
  KubeClient(KubeOptions options, std::string host, int port)
      : options_(std::move(options)), host_(std::move(host)), port_(port) {}
  absl::StatusOr<std::string> Call(const std::string& method, const std::string& path,
                                   const std::string& body) const;

  KubeOptions options_;
  std::string host_;
  int port_;
};

// Whether `name` may stand in a path: at most 253 of a-z, 0-9, '-' and '.'.
bool IsKubeName(const std::string& name);

}  // namespace cohort
