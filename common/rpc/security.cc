#include "common/rpc/security.h"

#include <fcntl.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/concurrency/executor.h"
#include "common/rpc/refusals.h"

namespace cohort {
namespace {

constexpr absl::string_view kRolePrefix = "urn:cohort:role:";
constexpr char kSecretKey[] = "cohort-secret";
constexpr size_t kSecretBytes = 32;
constexpr size_t kShortestSecret = 32;
constexpr size_t kMaxSecretBytes = 4096;
// A warning comes so long before the end, or in the last fifth of a short life.
constexpr absl::Duration kWarnBeforeExpiry = absl::Hours(48);

absl::string_view View(grpc::string_ref text) { return {text.data(), text.size()}; }

std::string Day(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M UTC", time, absl::UTCTimeZone());
}

std::string RoleList(const std::vector<Role>& roles) {
  return absl::StrJoin(roles, " or ",
                       [](std::string* out, Role role) { absl::StrAppend(out, RoleName(role)); });
}

// Names of a certificate, for a message: they come from outside.
std::string Shown(const std::vector<std::string>& names) {
  if (names.empty()) return "no names at all";
  return absl::StrCat("'", EscapeControls(absl::StrJoin(names, "', '").substr(0, 200)), "'");
}

// `names` are URI and DNS names alike: some tools that make certificates know only the latter.
bool HasRole(const std::vector<std::string>& names, Role role) {
  return std::find(names.begin(), names.end(), RoleUri(role)) != names.end();
}

absl::Status CheckRole(const Certificates& certificates, const SecurityOptions& options) {
  for (const Role role : options.roles) {
    if (HasRole(certificates.names, role)) return absl::OkStatus();
  }
  if (options.roles.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("certificate ", options.files.cert, ": expected the role ",
                   RoleList(options.roles), " (URI name ", RoleUri(options.roles[0]), "), found ",
                   Shown(certificates.names), ": give this program a certificate of its own role"));
}

CertificateUse UseOf(const std::vector<Role>& roles) {
  CertificateUse use;
  for (const Role role : roles) {
    use.server = use.server || role == Role::kLearner || role == Role::kReward;
    use.client = use.client || role != Role::kReward;
  }
  if (roles.size() > 1) use.server = false;  // a command that borrows another program's certificate
  return use;
}

absl::StatusOr<Certificates> ReadChecked(const SecurityOptions& options) {
  COHORT_ASSIGN_OR_RETURN(Certificates certificates,
                          ReadCertificates(options.files, UseOf(options.roles)));
  COHORT_RETURN_IF_ERROR(CheckRole(certificates, options));
  return certificates;
}

// The certificates in force. Reads the files again and again; only a set that passes every check
// takes the place of the one before.
class CertificateStore {
 public:
  CertificateStore(SecurityOptions options, Certificates first)
      : options_(std::move(options)),
        current_(std::make_shared<const Certificates>(std::move(first))),
        ticker_(std::make_unique<Ticker>("certificates", options_.reload_interval,
                                         [this] { Reload(); })) {}
  ~CertificateStore() { ticker_.reset(); }

  std::shared_ptr<const Certificates> current() const {
    absl::MutexLock lock(&mu_);
    return current_;
  }
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }
  uint64_t readings() const { return readings_.load(std::memory_order_acquire); }

 private:
  void Reload() {
    TakeWhatIsThere();
    readings_.fetch_add(1, std::memory_order_release);
  }

  void TakeWhatIsThere() {
    const std::shared_ptr<const Certificates> before = current();
    WarnOfExpiry(*before);
    const absl::StatusOr<Certificates> read = ReadChecked(options_);
    if (!read.ok()) return Complain(std::string(read.status().message()));
    complaint_.clear();
    if (read->ca_pem == before->ca_pem && read->cert_pem == before->cert_pem &&
        read->key_pem == before->key_pem) {
      return;
    }
    {
      absl::MutexLock lock(&mu_);
      current_ = std::make_shared<const Certificates>(*read);
    }
    generation_.fetch_add(1, std::memory_order_release);
    warned_ = false;
    COHORT_LOG(INFO) << "certificate " << options_.files.cert << " was renewed, valid until "
                     << Day(read->expires) << "; new connections use it";
  }

  // What is wrong twice in a row is no rotation in progress.
  void Complain(std::string why) {
    if (why != complaint_) {
      complaint_ = std::move(why);
      said_ = false;
      return;
    }
    if (std::exchange(said_, true)) return;
    COHORT_LOG(WARNING) << "the certificate files are not taken, the ones before stay in force: "
                        << complaint_;
  }

  void WarnOfExpiry(const Certificates& current) {
    const absl::Time expires = current.expires;
    const absl::Duration before = std::min(kWarnBeforeExpiry, (expires - current.begins) / 5);
    if (absl::Now() + before < expires || std::exchange(warned_, true)) return;
    COHORT_LOG(WARNING) << "certificate " << options_.files.cert << " expires at " << Day(expires)
                        << ": renew the file, it is read again without a restart";
  }

  const SecurityOptions options_;
  mutable absl::Mutex mu_;
  std::shared_ptr<const Certificates> current_ ABSL_GUARDED_BY(mu_);
  std::atomic<uint64_t> generation_{1};
  std::atomic<uint64_t> readings_{0};
  // Of the ticker's thread alone.
  std::string complaint_;
  bool said_ = false;
  bool warned_ = false;
  std::unique_ptr<Ticker> ticker_;  // last: its thread uses the rest
};

// ---- the server's side ----

// gRPC asks before every handshake whether there are other certificates. (Its own watcher of files
// drops a pair that is unreadable for a moment and takes a key that does not fit.)
class ReloadingServerCredentials final : public grpc::ServerCredentials {
 public:
  explicit ReloadingServerCredentials(std::shared_ptr<const CertificateStore> store)
      : store_(std::move(store)) {
    grpc_ssl_server_credentials_options* options =
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY, &Fetch, this);
    credentials_ = grpc_ssl_server_credentials_create_with_options(options);
  }
  ~ReloadingServerCredentials() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {
    COHORT_LOG(FATAL) << "calls are authorized by Security::Authorize";
  }

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  // One call at a time for a port.
  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self, grpc_ssl_server_certificate_config** config) {
    return static_cast<ReloadingServerCredentials*>(self)->FetchNewer(config);
  }
  grpc_ssl_certificate_config_reload_status FetchNewer(
      grpc_ssl_server_certificate_config** config) {
    const uint64_t generation = store_->generation();
    if (given_.exchange(generation) == generation)
      return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const std::shared_ptr<const Certificates> current = store_->current();
    const grpc_ssl_pem_key_cert_pair pair = {current->key_pem.c_str(), current->cert_pem.c_str()};
    *config = grpc_ssl_server_certificate_config_create(current->ca_pem.c_str(), &pair, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const std::shared_ptr<const CertificateStore> store_;
  std::atomic<uint64_t> given_{0};
  grpc_server_credentials* credentials_ = nullptr;
};

// ---- the client's side ----

bool MatchesName(absl::string_view pattern, absl::string_view host) {
  if (absl::EqualsIgnoreCase(pattern, host)) return true;
  const size_t dot = host.find('.');
  return absl::StartsWith(pattern, "*.") && dot != absl::string_view::npos && dot > 0 &&
         absl::EqualsIgnoreCase(pattern.substr(1), host.substr(dot));  // the star: one label
}

std::string HostOf(absl::string_view target) {
  const absl::StatusOr<HostPort> parsed = ParseHostPort(target);
  if (parsed.ok() && !IsIpAddress(target)) return parsed->host;
  return std::string(target);
}

std::vector<std::string> Strings(const std::vector<grpc::string_ref>& refs) {
  std::vector<std::string> out;
  for (const grpc::string_ref& ref : refs) out.emplace_back(ref.data(), ref.size());
  return out;
}

// The chain is verified by gRPC before it asks here.
class RoleVerifier final : public grpc::experimental::ExternalCertificateVerifier {
 public:
  explicit RoleVerifier(Role role) : role_(role) {}

  bool Verify(grpc::experimental::TlsCustomVerificationCheckRequest* request,
              std::function<void(grpc::Status)>, grpc::Status* status) override {
    const std::string host = HostOf(View(request->target_name()));
    std::vector<std::string> names = Strings(request->uri_names());
    for (const grpc::string_ref& name : request->dns_names()) names.emplace_back(View(name));
    const std::string wrong = WhatIsWrong(host, names);
    if (!wrong.empty()) {
      CountRefused(Refused::kWrongRole, wrong);
      *status = grpc::Status(grpc::StatusCode::UNAUTHENTICATED, wrong);
    }
    return true;  // decided here
  }
  void Cancel(grpc::experimental::TlsCustomVerificationCheckRequest*) override {}

 private:
  std::string WhatIsWrong(const std::string& host, const std::vector<std::string>& names) const {
    if (!HasRole(names, role_)) {
      return absl::StrCat("the server at ", host, " is no ", RoleName(role_),
                          ": expected a certificate with the name ", RoleUri(role_), ", found ",
                          Shown(names));
    }
    if (IsIpAddress(host)) return "";
    for (const std::string& name : names) {
      if (MatchesName(name, host)) return "";
    }
    return absl::StrCat("the certificate of the server at ", host, " is for other names (",
                        Shown(names), "): dial one of these, or add the name to the certificate");
  }

  const Role role_;
};

}  // namespace

absl::string_view RoleName(Role role) {
  switch (role) {
    case Role::kLearner:
      return "learner";
    case Role::kRollout:
      return "rollout";
    case Role::kCli:
      return "cli";
    case Role::kReward:
      return "reward";
  }
  return "unknown";
}

std::string RoleUri(Role role) { return absl::StrCat(kRolePrefix, RoleName(role)); }

class Security::Impl {
 public:
  SecurityOptions options;
  std::shared_ptr<const CertificateStore> store;  // null: plaintext
};

Security::Security(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Security::~Security() = default;

namespace {

absl::Status CheckOptions(const SecurityOptions& options) {
  const CertificateFiles& files = options.files;
  const int given = int{!files.ca.empty()} + int{!files.cert.empty()} + int{!files.key.empty()};
  if (given != 0 && given != 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("tls: expected all three of ca_file, cert_file and key_file or none, found ",
                     files.ca.empty()     ? "no ca_file (--tls-ca)"
                     : files.cert.empty() ? "no cert_file (--tls-cert)"
                                          : "no key_file (--tls-key)"));
  }
  if (given == 3 && options.insecure) {
    return absl::InvalidArgumentError(
        "tls: certificates and `insecure` contradict each other; leave out one of them");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Security>> Security::Create(const SecurityOptions& options) {
  COHORT_RETURN_IF_ERROR(CheckOptions(options));
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  if (!options.files.ca.empty()) {
    COHORT_ASSIGN_OR_RETURN(Certificates certificates, ReadChecked(options));
    impl->store = std::make_shared<const CertificateStore>(options, std::move(certificates));
  }
  if (options.insecure) {
    COHORT_LOG(WARNING) << "INSECURE: connections are neither encrypted nor authenticated, and "
                           "whoever reaches the port may join the run";
  }
  return std::shared_ptr<const Security>(new Security(std::move(impl)));
}

bool Security::tls() const { return impl_->store != nullptr; }
absl::Time Security::expires() const {
  return tls() ? impl_->store->current()->expires : absl::InfiniteFuture();
}
uint64_t Security::generation() const { return tls() ? impl_->store->generation() : 0; }
uint64_t Security::readings() const {
  return impl_->store == nullptr ? 0 : impl_->store->readings();
}

// ---- server ----

namespace {

absl::Status NotInPlaintext(absl::string_view doing, const std::string& address) {
  return absl::InvalidArgumentError(absl::StrCat(
      doing, " ", address,
      " without certificates: plaintext stays on loopback addresses. Give --tls-ca, --tls-cert and "
      "--tls-key (scripts/dev-certs makes a set), or --insecure on a network that is closed"));
}

}  // namespace

absl::Status Security::CheckListen(const std::string& address) const {
  COHORT_ASSIGN_OR_RETURN(const HostPort where, ParseHostPort(address));
  if (tls() || impl_->options.insecure || IsLoopbackHost(where.host)) return absl::OkStatus();
  return NotInPlaintext("listening on", address);
}

std::shared_ptr<grpc::ServerCredentials> Security::server() const {
  if (!tls()) return grpc::InsecureServerCredentials();
  return std::make_shared<ReloadingServerCredentials>(impl_->store);
}

namespace {

bool SameSecret(absl::string_view given, absl::string_view expected) {
  return given.size() == expected.size() &&
         CRYPTO_memcmp(given.data(), expected.data(), expected.size()) == 0;
}

absl::Status CheckSecret(const grpc::ServerContextBase& context, const std::string& secret) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(kSecretKey);
  if (found != metadata.end() && SameSecret(View(found->second), secret)) return absl::OkStatus();
  const absl::string_view what = found == metadata.end() ? "no secret" : "another secret";
  CountRefused(Refused::kSecret, absl::StrCat("a call from ", context.peer(), " with ", what));
  return absl::UnauthenticatedError(
      absl::StrCat("expected the run's secret, found ", what,
                   ": name the file `secret` of the run's folder with --secret-file"));
}

absl::Status CheckCaller(const grpc::ServerContextBase& context,
                         std::initializer_list<Role> allowed) {
  const auto peer = context.auth_context();
  std::vector<std::string> names;
  if (peer != nullptr && peer->IsPeerAuthenticated()) {
    names = Strings(peer->FindPropertyValues(GRPC_X509_SAN_PROPERTY_NAME));
  }
  for (const Role role : allowed) {
    if (HasRole(names, role)) return absl::OkStatus();
  }
  const std::string message = absl::StrCat("this call is for the role ", RoleList(allowed),
                                           "; the caller's certificate has ", Shown(names));
  CountRefused(Refused::kWrongRole, absl::StrCat(context.peer(), ": ", message));
  return absl::PermissionDeniedError(message);
}

}  // namespace

absl::Status Security::Authorize(const grpc::ServerContextBase& context,
                                 std::initializer_list<Role> allowed) const {
  if (tls()) COHORT_RETURN_IF_ERROR(CheckCaller(context, allowed));
  if (!impl_->options.secret.empty()) {
    COHORT_RETURN_IF_ERROR(CheckSecret(context, impl_->options.secret));
  }
  return absl::OkStatus();
}

absl::Status AuthorizeCall(const Security* security, const grpc::ServerContextBase& context,
                           std::initializer_list<Role> allowed) {
  return security == nullptr ? absl::OkStatus() : security->Authorize(context, allowed);
}

// ---- client ----

absl::Status Security::CheckDial(const std::string& address) const {
  COHORT_ASSIGN_OR_RETURN(const HostPort where, ParseHostPort(address));
  if (tls() || impl_->options.insecure || IsLoopbackHost(where.host)) return absl::OkStatus();
  return NotInPlaintext("connecting to", address);
}

std::shared_ptr<grpc::ChannelCredentials> Security::channel(Role peer) const {
  if (!tls()) return grpc::InsecureChannelCredentials();
  const std::shared_ptr<const Certificates> current = impl_->store->current();
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(
      std::make_shared<grpc::experimental::StaticDataCertificateProvider>(
          current->ca_pem, std::vector<grpc::experimental::IdentityKeyCertPair>{
                               {current->key_pem, current->cert_pem}}));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_verify_server_certs(true);
  options.set_check_call_host(false);  // the verifier compares the name
  options.set_certificate_verifier(
      grpc::experimental::ExternalCertificateVerifier::Create<RoleVerifier>(peer));
  return grpc::experimental::TlsCredentials(options);
}

void Security::Prepare(grpc::ClientContext* context) const {
  std::string secret = impl_->options.secret;
  for (const std::string& file : impl_->options.secret_files) {
    if (secret.empty()) secret = ReadSecretFile(file).value_or("");
  }
  if (!secret.empty()) context->AddMetadata(kSecretKey, secret);
}

// ---- the secret ----

namespace {

absl::Status WriteAll(const std::string& path, absl::string_view text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("cannot create ", path));
  const ssize_t written = write(fd, text.data(), text.size());
  const int error = written < 0 ? errno : EIO;
  if (close(fd) != 0 || written != static_cast<ssize_t>(text.size())) {
    unlink(path.c_str());
    return ErrnoStatus(error, absl::StrCat("cannot write ", path));
  }
  return absl::OkStatus();
}

absl::Status CheckOwn(const std::string& path, const struct stat& info) {
  if (info.st_uid == geteuid() && (info.st_mode & 077) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "secret file %s: expected one of user %d that nobody else may read (mode 0600), found user "
      "%d, mode %04o: its secret may be known. Remove it, and a new one is made",
      path, geteuid(), info.st_uid, info.st_mode & 07777));
}

}  // namespace

std::string RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  COHORT_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()),
                          static_cast<int>(bytes.size())) == 1)
      << "the system gives no random numbers";
  return bytes;
}

absl::StatusOr<std::string> ReadSecretFile(const std::string& path) {
  COHORT_ASSIGN_OR_RETURN(const std::string content, ReadRegularFile(path, kMaxSecretBytes));
  const std::string secret(absl::StripAsciiWhitespace(content));
  const bool printable = std::all_of(secret.begin(), secret.end(), absl::ascii_isgraph);
  if (printable && secret.size() >= kShortestSecret) return secret;
  return absl::InvalidArgumentError(
      absl::StrCat("secret file ", path, ": expected one line of at least ", kShortestSecret,
                   " characters without spaces, found ", secret.size(), " bytes"));
}

absl::StatusOr<std::string> EnsureSecretFile(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) == 0) {
    COHORT_RETURN_IF_ERROR(CheckOwn(path, info));
    return ReadSecretFile(path);
  }
  const std::string secret = absl::BytesToHexString(RandomBytes(kSecretBytes));
  // Written beside and linked: another process that starts at the same time sees all of it or none.
  const std::string beside =
      absl::StrCat(path, ".", absl::BytesToHexString(RandomBytes(kSecretBytes / 4)));
  COHORT_RETURN_IF_ERROR(WriteAll(beside, secret + "\n"));
  bool made = link(beside.c_str(), path.c_str()) == 0;
  int error = made ? 0 : errno;
  if (error == EPERM || error == EOPNOTSUPP || error == ENOSYS) {
    // A file system without hard links: whoever renames last wins, and rank 0 alone makes it.
    made = rename(beside.c_str(), path.c_str()) == 0;
    error = errno;
  }
  unlink(beside.c_str());
  if (made || error == EEXIST) return ReadSecretFile(path);
  return ErrnoStatus(error, absl::StrCat("cannot create ", path));
}

}  // namespace cohort
