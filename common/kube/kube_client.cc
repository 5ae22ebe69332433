#include "common/kube/kube_client.h"

#include <httplib.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/host_port.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

constexpr char kAccount[] = "/var/run/secrets/kubernetes.io/serviceaccount/";
constexpr size_t kMaxAnswerBytes = size_t{4} << 20;
constexpr size_t kMaxReason = 300;
constexpr char kScheme[] = "https://";

// The API answers errors with an object of kind Status.
std::string ReasonOf(const std::string& body) {
  const nlohmann::json json = nlohmann::json::parse(body, nullptr, false);
  const bool status = json.is_object() && json.contains("message") && json["message"].is_string();
  const std::string text = status ? json["message"].get<std::string>() : body;
  return absl::CHexEscape(text.substr(0, kMaxReason));
}

absl::StatusCode CodeOf(int http) {
  if (http == 404) return absl::StatusCode::kNotFound;
  if (http == 401 || http == 403) return absl::StatusCode::kPermissionDenied;
  return absl::StatusCode::kUnavailable;
}

absl::StatusOr<std::string> Variable(const char* name) {
  const char* value = std::getenv(name);
  if (value != nullptr && *value != '\0') return std::string(value);
  return absl::FailedPreconditionError(
      absl::StrCat("expected the environment of a pod, found no ", name,
                   ": run this in the cluster, or name the API with --api"));
}

}  // namespace

bool IsKubeName(const std::string& name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  };
  return !name.empty() && name.size() <= 253 && name[0] != '.' &&
         std::all_of(name.begin(), name.end(), allowed);
}

absl::StatusOr<KubeOptions> InClusterKube() {
  COHORT_ASSIGN_OR_RETURN(const std::string host, Variable("KUBERNETES_SERVICE_HOST"));
  COHORT_ASSIGN_OR_RETURN(const std::string port, Variable("KUBERNETES_SERVICE_PORT"));
  const bool v6 = absl::StrContains(host, ':');
  KubeOptions options;
  options.api = absl::StrCat(kScheme, v6 ? "[" : "", host, v6 ? "]" : "", ":", port);
  options.token_file = absl::StrCat(kAccount, "token");
  options.ca_file = absl::StrCat(kAccount, "ca.crt");
  return options;
}

absl::StatusOr<std::string> InClusterNamespace() {
  COHORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(absl::StrCat(kAccount, "namespace")));
  return std::string(absl::StripAsciiWhitespace(text));
}

absl::StatusOr<KubeClient> KubeClient::Create(const KubeOptions& options) {
  constexpr int kHttpsPort = 443;
  const absl::Status wrong = absl::InvalidArgumentError(
      absl::StrCat("the Kubernetes API: expected https://HOST:PORT, found \"", options.api, "\""));
  if (!absl::StartsWith(options.api, kScheme)) return wrong;
  std::string where = options.api.substr(sizeof(kScheme) - 1);
  if (absl::EndsWith(where, "/")) where.pop_back();
  absl::StatusOr<HostPort> parsed = ParseHostPort(where);
  if (!parsed.ok()) parsed = ParseHostPort(absl::StrCat(where, ":", kHttpsPort));
  if (!parsed.ok()) return wrong;
  return KubeClient(options, parsed->host, parsed->port);
}

absl::StatusOr<nlohmann::json> KubeClient::Get(const std::string& path) const {
  COHORT_ASSIGN_OR_RETURN(const std::string body, Call("GET", path, ""));
  nlohmann::json json = nlohmann::json::parse(body, nullptr, false);
  if (json.is_object()) return json;
  return absl::UnavailableError(
      absl::StrCat("GET ", path, " at ", options_.api, ": the answer is no JSON object"));
}

absl::Status KubeClient::Patch(const std::string& path, const nlohmann::json& patch) const {
  return Call("PATCH", path, patch.dump()).status();
}

absl::StatusOr<std::string> KubeClient::Call(const std::string& method, const std::string& path,
                                             const std::string& body) const {
  const absl::StatusOr<std::string> token = ReadFile(options_.token_file);
  // Not as it is: NotFound is the API's word for an object that is not there.
  if (!token.ok()) return absl::UnavailableError(token.status().message());
  const absl::Time deadline = absl::Now() + options_.timeout;
  httplib::SSLClient client(host_, port_);
  client.set_ca_cert_path(options_.ca_file.c_str());
  client.enable_server_certificate_verification(true);
  client.set_connection_timeout(absl::ToChronoSeconds(options_.timeout));
  client.set_read_timeout(absl::ToChronoSeconds(options_.timeout));
  client.set_write_timeout(absl::ToChronoSeconds(options_.timeout));
  httplib::Request request;
  request.method = method;
  request.path = path;
  request.headers = {{"Authorization", absl::StrCat("Bearer ", absl::StripAsciiWhitespace(*token))},
                     {"Accept", "application/json"}};
  if (!body.empty()) {
    request.headers.emplace("Content-Type", "application/merge-patch+json");
    request.body = body;
  }
  std::string answer;
  request.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
    answer.append(data, size);
    return answer.size() <= kMaxAnswerBytes && absl::Now() < deadline;
  };
  const httplib::Result result = client.send(request);
  const std::string call = absl::StrCat(method, " ", path, " at ", options_.api, ": ");
  if (!result) {
    return absl::UnavailableError(absl::StrCat(call, httplib::to_string(result.error()),
                                               " (certificates of ", options_.ca_file, ")"));
  }
  if (result->status >= 200 && result->status < 300) return answer;
  return absl::Status(CodeOf(result->status),
                      absl::StrCat(call, "HTTP ", result->status, ": ", ReasonOf(answer)));
}

}  // namespace cohort
