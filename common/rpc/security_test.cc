#include "common/rpc/security.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "cohort/v1/session.grpc.pb.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/rpc/channel.h"
#include "common/rpc/grpc_status.h"
#include "common/rpc/refusals.h"
#include "common/rpc/server_host.h"
#include "common/rpc/test_certificates.h"

namespace cohort {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kReload = absl::Milliseconds(20);
constexpr absl::Duration kSoon = absl::Seconds(10);

class SecurityTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::shared_ptr<const Security>> Make(const CertificateFiles& files, Role role) {
    return Security::Create({.files = files, .roles = {role}, .reload_interval = kReload});
  }
  std::string Path(const std::string& name) const {
    return absl::StrCat(folder_.path(), "/", name);
  }
  CertificateFiles Learner() { return authority_.Write(folder_.path(), Role::kLearner); }

  TemporaryFolder folder_;
  TestAuthority authority_;
};

// ---- Create ----

TEST_F(SecurityTest, TakesCertificatesOfItsRole) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto security, Make(Learner(), Role::kLearner));
  EXPECT_TRUE(security->tls());
  EXPECT_GT(security->expires(), absl::Now() + absl::Hours(23));
}

TEST_F(SecurityTest, TakesTheRoleAsADnsNameToo) {
  const CertificateFiles files = authority_.Write(
      folder_.path(), "learner", {.names = "DNS:urn:cohort:role:learner,DNS:localhost"});
  COHORT_EXPECT_OK(Make(files, Role::kLearner).status());
}

TEST_F(SecurityTest, WithoutCertificatesThereIsNoTls) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto security, Security::Create({}));
  EXPECT_FALSE(security->tls());
}

TEST_F(SecurityTest, WantsAllThreeFilesOrNone) {
  CertificateFiles files = Learner();
  files.key.clear();
  EXPECT_THAT(Make(files, Role::kLearner),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("all three"), HasSubstr("no key_file (--tls-key)"))));
}

TEST_F(SecurityTest, CertificatesAndInsecureContradictEachOther) {
  EXPECT_THAT(Security::Create({.files = Learner(), .insecure = true}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("contradict")));
}

TEST_F(SecurityTest, NamesAFileThatIsNotThere) {
  CertificateFiles files = Learner();
  files.cert = Path("none.crt");
  EXPECT_THAT(Make(files, Role::kLearner),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("none.crt")));
}

TEST_F(SecurityTest, RefusesAKeyOfAnotherCertificate) {
  const CertificateFiles other = authority_.Write(folder_.path(), Role::kRollout);
  CertificateFiles files = Learner();
  files.key = other.key;
  EXPECT_THAT(Make(files, Role::kLearner),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("rollout.key"), HasSubstr("not the key of"))));
}

TEST_F(SecurityTest, RefusesACertificateOfAnotherAuthority) {
  CertificateFiles files = Learner();
  files.ca = Path("other.crt");
  COHORT_ASSERT_OK(WriteFileAtomic(files.ca, TestAuthority().pem()));
  EXPECT_THAT(Make(files, Role::kLearner),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("does not vouch for it")));
}

TEST_F(SecurityTest, SaysWhenACertificateExpired) {
  const CertificateFiles files =
      authority_.Write(folder_.path(), "learner",
                       {.role_name = RoleUri(Role::kLearner), .valid_for = -absl::Minutes(1)});
  EXPECT_THAT(Make(files, Role::kLearner),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("it expired at 20")));
}

TEST_F(SecurityTest, RefusesTheCertificateOfAnotherProgram) {
  EXPECT_THAT(
      Make(Learner(), Role::kRollout),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("expected the role rollout"),
                                                         HasSubstr("urn:cohort:role:learner"))));
}

TEST_F(SecurityTest, RefusesAServersCertificateThatIsForClientsOnly) {
  const CertificateFiles files = authority_.Write(
      folder_.path(), "learner", {.role_name = RoleUri(Role::kLearner), .usage = "clientAuth"});
  EXPECT_THAT(Make(files, Role::kLearner),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("purpose")));
}

// ---- plaintext ----

TEST_F(SecurityTest, PlaintextStaysOnLoopbackUnlessInsecure) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto local, Security::Create({}));
  for (const char* address : {"127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "localhost:1"}) {
    COHORT_EXPECT_OK(local->CheckListen(address));
    COHORT_EXPECT_OK(local->CheckDial(address));
  }
  for (const char* address : {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "learner:1", "127.evil:1"}) {
    EXPECT_THAT(local->CheckListen(address),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--tls-ca")));
    EXPECT_THAT(local->CheckDial(address),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--insecure")));
  }
  COHORT_ASSERT_OK_AND_ASSIGN(const auto open, Security::Create({.insecure = true}));
  COHORT_EXPECT_OK(open->CheckListen("0.0.0.0:1"));
  COHORT_EXPECT_OK(open->CheckDial("learner:1"));
}

// ---- the secret ----

TEST_F(SecurityTest, TheSecretFileIsTheUsersAloneAndStays) {
  COHORT_ASSERT_OK_AND_ASSIGN(const std::string secret, EnsureSecretFile(Path("secret")));
  EXPECT_EQ(secret.size(), 64U);
  struct stat info{};
  ASSERT_EQ(stat(Path("secret").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  COHORT_ASSERT_OK_AND_ASSIGN(const std::string again, EnsureSecretFile(Path("secret")));
  EXPECT_EQ(again, secret);
}

TEST_F(SecurityTest, ASecretThatOthersMayKnowIsRefusedWithItsMode) {
  COHORT_ASSERT_OK(EnsureSecretFile(Path("secret")).status());
  for (const mode_t mode : {0644, 0640, 0604}) {
    ASSERT_EQ(chmod(Path("secret").c_str(), mode), 0);
    EXPECT_THAT(EnsureSecretFile(Path("secret")),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(Path("secret")), HasSubstr(absl::StrFormat("%04o", mode)),
                               HasSubstr("Remove it"))));
  }
  ASSERT_EQ(chmod(Path("secret").c_str(), 0400), 0);
  COHORT_EXPECT_OK(EnsureSecretFile(Path("secret")).status());
}

TEST_F(SecurityTest, WhatIsNoRegularFileIsRefusedAtOnce) {
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  CertificateFiles files = Learner();
  for (const std::string& path : {Path("pipe"), std::string("/dev/zero"), folder_.path()}) {
    files.cert = path;
    EXPECT_THAT(Make(files, Role::kLearner),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(path), HasSubstr("expected a regular file"))));
    EXPECT_THAT(ReadSecretFile(path),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected a regular file")));
  }
}

TEST_F(SecurityTest, ProcessesThatStartTogetherAgreeOnTheSecret) {
  std::vector<std::string> found(8);
  std::vector<std::thread> threads;
  for (std::string& secret : found) {
    threads.emplace_back([&] { secret = EnsureSecretFile(Path("secret")).value_or("none"); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& secret : found) EXPECT_EQ(secret, found[0]);
  EXPECT_EQ(found[0].size(), 64U);
}

TEST_F(SecurityTest, RefusesASecretFileWithoutASecret) {
  COHORT_ASSERT_OK(WriteFileAtomic(Path("secret"), "short\n"));
  EXPECT_THAT(ReadSecretFile(Path("secret")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("32 characters"), ::testing::Not(HasSubstr("short")))));
}

// ---- calls ----

// Answers Status to rollouts and commands.
class GuardedService final : public v1::Session::CallbackService {
 public:
  explicit GuardedService(const Security* security) : security_(security) {}
  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context, const v1::StatusRequest*,
                                   v1::StatusReply*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpc(AuthorizeCall(security_, *context, {Role::kRollout, Role::kCli})));
    return reactor;
  }

 private:
  const Security* const security_;
};

class CallTest : public SecurityTest {
 protected:
  void Serve(const std::shared_ptr<const Security>& security) {
    server_ = security;
    service_ = std::make_unique<GuardedService>(server_.get());
    COHORT_ASSERT_OK_AND_ASSIGN(
        host_, ServerHost::Start({.services = {service_.get()}, .security = server_}));
  }
  void Serve(const CertificateFiles& files) {
    COHORT_ASSERT_OK_AND_ASSIGN(const auto security, Make(files, Role::kLearner));
    Serve(security);
  }
  absl::Status Call(const std::shared_ptr<const Security>& client, std::string address = "") {
    if (address.empty()) address = host_->address();
    COHORT_ASSIGN_OR_RETURN(const auto channel, MakeChannel(address, client.get(), Role::kLearner));
    return CallOn(channel, client);
  }
  static absl::Status CallOn(const std::shared_ptr<grpc::Channel>& channel,
                             const std::shared_ptr<const Security>& client) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kSoon));
    if (client != nullptr) client->Prepare(&context);
    v1::StatusReply reply;
    return FromGrpc(v1::Session::NewStub(channel)->Status(&context, {}, &reply));
  }
  std::shared_ptr<const Security> Client(Role role, const TestAuthority& authority) {
    return *Make(authority.Write(clients_.path(), role), role);
  }
  // Looks until it holds, for as long as a busy machine may need.
  static bool Within(const std::function<bool()>& condition) {
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    while (!condition()) {
      if (absl::Now() > deadline) return false;
      absl::SleepFor(kReload);
    }
    return true;
  }
  // The server has read its files twice from now on: the first time may have begun before.
  bool ReadAgain() const {
    const uint64_t before = server_->readings();
    return Within([&] { return server_->readings() >= before + 2; });
  }
  std::string Port() const { return host_->address().substr(host_->address().rfind(':')); }

  TemporaryFolder clients_;  // their files: the authority's may be another one
  std::shared_ptr<const Security> server_;
  std::unique_ptr<GuardedService> service_;
  std::unique_ptr<ServerHost> host_;
};

TEST_F(CallTest, AdmitsTheRolesOfTheMethod) {
  Serve(Learner());
  COHORT_EXPECT_OK(Call(Client(Role::kRollout, authority_)));
  COHORT_EXPECT_OK(Call(Client(Role::kCli, authority_), "localhost" + Port()));
}

TEST_F(CallTest, TheRoleAsADnsNameCountsOnBothSides) {
  Serve(authority_.Write(folder_.path(), "learner",
                         {.names = "DNS:urn:cohort:role:learner,DNS:*.learner.ns.svc"}));
  const CertificateFiles files =
      authority_.Write(clients_.path(), "rollout", {.names = "DNS:urn:cohort:role:rollout"});
  COHORT_ASSERT_OK_AND_ASSIGN(const auto client, Make(files, Role::kRollout));
  COHORT_EXPECT_OK(Call(client));
  const CertificateFiles none = authority_.Write(clients_.path(), "none", {});
  COHORT_ASSERT_OK_AND_ASSIGN(const auto nobody, Security::Create({.files = none}));
  EXPECT_THAT(Call(nobody), StatusIs(absl::StatusCode::kPermissionDenied, _));
}

TEST_F(CallTest, RefusesAnotherRoleAndCountsIt) {
  Serve(Learner());
  const uint64_t before = RefusedCount(Refused::kWrongRole);
  EXPECT_THAT(Call(Client(Role::kReward, authority_)),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("rollout or cli")));
  EXPECT_EQ(RefusedCount(Refused::kWrongRole), before + 1);
}

TEST_F(CallTest, RefusesACallerWithoutCertificate) {
  Serve(Learner());
  const uint64_t before = RefusedCount(Refused::kHandshake);
  EXPECT_THAT(Call(nullptr), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_GT(RefusedCount(Refused::kHandshake), before);
}

TEST_F(CallTest, RefusesTlsWithoutAClientsCertificate) {
  Serve(Learner());
  const uint64_t before = RefusedCount(Refused::kNoCertificate);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = authority_.pem();
  const auto channel = grpc::CreateChannel("localhost" + Port(), grpc::SslCredentials(options));
  EXPECT_THAT(CallOn(channel, nullptr), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_GT(RefusedCount(Refused::kNoCertificate), before);
}

TEST_F(CallTest, NeitherSideTrustsAnotherAuthority) {
  Serve(Learner());
  const uint64_t before = RefusedCount(Refused::kUntrustedCertificate);
  EXPECT_THAT(Call(Client(Role::kRollout, TestAuthority("another"))),
              StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_GT(RefusedCount(Refused::kUntrustedCertificate), before);
}

TEST_F(CallTest, TheServerDoesNotTrustAnotherAuthority) {
  Serve(Learner());
  const uint64_t before = RefusedCount(Refused::kUntrustedCertificate);
  CertificateFiles files = TestAuthority().Write(clients_.path(), Role::kRollout);
  COHORT_ASSERT_OK_AND_ASSIGN(const auto own, Make(files, Role::kRollout));
  // One that trusts the server all the same.
  COHORT_ASSERT_OK_AND_ASSIGN(const Certificates read, ReadCertificates(files, {.client = true}));
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = authority_.pem();
  options.pem_private_key = read.key_pem;
  options.pem_cert_chain = read.cert_pem;
  const auto channel = grpc::CreateChannel("localhost" + Port(), grpc::SslCredentials(options));
  EXPECT_THAT(CallOn(channel, nullptr), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_GT(RefusedCount(Refused::kUntrustedCertificate), before);
}

TEST_F(CallTest, AServerOfAnotherRoleIsNotTheLearner) {
  const CertificateFiles files = authority_.Write(folder_.path(), Role::kRollout);
  COHORT_ASSERT_OK_AND_ASSIGN(const auto impostor, Make(files, Role::kRollout));
  Serve(impostor);
  const absl::Time start = absl::Now();
  EXPECT_THAT(Call(Client(Role::kRollout, authority_)),
              StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(LastRefusalSince(start), HasSubstr("is no learner"));
}

TEST_F(CallTest, ANameThatIsDialledMustBeInTheCertificate) {
  Serve(authority_.Write(folder_.path(), "learner",
                         {.role_name = RoleUri(Role::kLearner), .names = "DNS:*.example.test"}));
  const auto client = Client(Role::kRollout, authority_);
  COHORT_EXPECT_OK(Call(client));  // by its IP address
  const absl::Time start = absl::Now();
  EXPECT_THAT(Call(client, "localhost" + Port()), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(LastRefusalSince(start), HasSubstr("is for other names"));
}

TEST_F(CallTest, ARenewedCertificateServesNewConnectionsAndLeavesTheOldOnes) {
  Serve(Learner());
  const auto client = Client(Role::kRollout, authority_);
  COHORT_ASSERT_OK_AND_ASSIGN(const auto old_one,
                              MakeChannel(host_->address(), client.get(), Role::kLearner));
  COHORT_ASSERT_OK(CallOn(old_one, client));
  const uint64_t before = server_->generation();
  const TestAuthority next;
  next.Write(folder_.path(), Role::kLearner);
  ASSERT_TRUE(Within([&] { return server_->generation() != before; }));
  COHORT_EXPECT_OK(CallOn(old_one, client));  // its connection lives
  EXPECT_THAT(Call(client), StatusIs(absl::StatusCode::kUnavailable, _));
  COHORT_EXPECT_OK(Call(Client(Role::kRollout, next)));
}

TEST_F(CallTest, AHalfWrittenRenewalLeavesTheOldCertificatesInForce) {
  const CertificateFiles files = Learner();
  Serve(files);
  const auto client = Client(Role::kRollout, authority_);
  COHORT_ASSERT_OK_AND_ASSIGN(const std::string old_key, ReadFile(files.key));
  const uint64_t before = server_->generation();
  authority_.Write(folder_.path(), Role::kLearner);
  COHORT_ASSERT_OK(WriteFileAtomic(files.key, old_key));  // the certificate is new, the key is not
  ASSERT_TRUE(ReadAgain());
  COHORT_EXPECT_OK(Call(client));
  std::remove(files.key.c_str());
  ASSERT_TRUE(ReadAgain());
  COHORT_EXPECT_OK(Call(client));
  EXPECT_LE(server_->generation(), before + 1);  // at most the pair between the two writes
  authority_.Write(folder_.path(), Role::kLearner);
  const uint64_t broken = server_->generation();
  ASSERT_TRUE(Within([&] { return server_->generation() != broken; }));
  COHORT_EXPECT_OK(Call(client));
}

TEST_F(CallTest, WithoutCertificatesEveryCallMustCarryTheSecret) {
  const std::string secret(64, 'a');
  COHORT_ASSERT_OK_AND_ASSIGN(const auto server, Security::Create({.secret = secret}));
  Serve(server);
  COHORT_EXPECT_OK(Call(server));
  COHORT_ASSERT_OK_AND_ASSIGN(const auto without, Security::Create({}));
  COHORT_ASSERT_OK_AND_ASSIGN(const auto other, Security::Create({.secret = std::string(64, 'b')}));
  const uint64_t before = RefusedCount(Refused::kSecret);
  EXPECT_THAT(Call(without),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       AllOf(HasSubstr("--secret-file"), ::testing::Not(HasSubstr(secret)))));
  EXPECT_THAT(Call(other), StatusIs(absl::StatusCode::kUnauthenticated, _));
  EXPECT_EQ(RefusedCount(Refused::kSecret), before + 2);
}

}  // namespace
}  // namespace cohort
