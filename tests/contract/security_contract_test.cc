// Who gets in: every service of the learner against callers without a certificate, of another
// authority, of another role, with an expired one, and across a renewal.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "cohort/v1/session.grpc.pb.h"
#include "common/rpc/grpc_status.h"
#include "common/rpc/refusals.h"
#include "common/rpc/test_certificates.h"
#include "services/learner/session_service.h"
#include "services/learner/weight_service.h"
#include "services/rollout/session_client.h"
#include "tests/contract/contract_groups.h"
#include "tests/contract/peers.h"

namespace cohort {
namespace {

using ::testing::HasSubstr;
using Sessions = RawClient<v1::WorkerMessage, v1::LearnerMessage>;
using Weights = RawClient<v1::WeightRequest, v1::WeightReply>;

constexpr absl::Duration kReload = absl::Milliseconds(20);

class SecureLearnerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_ = Load(authority_.Write(folder_.path(), Role::kLearner), Role::kLearner);
    Serve();
  }
  void TearDown() override {
    if (session_ != nullptr) session_->Shutdown();
    if (weights_ != nullptr) weights_->Shutdown();
    if (host_ != nullptr) host_->Shutdown(absl::Seconds(1));
  }
  void Serve(const std::string& listen = "127.0.0.1:0") {
    TearDown();
    dispatcher_ = std::make_unique<Dispatcher>(
        Dispatcher::Options{.run_seed = 1, .groups_per_step = 4, .max_staleness = 0}, TestPrompt,
        nullptr, &log_, Clock::Real());
    SessionService::Options session;
    session.security = server_;
    session_ = std::make_unique<SessionService>(session, dispatcher_.get());
    WeightService::Options weights;
    weights.security = server_;
    weights_ = std::make_unique<WeightService>(weights, &store_);
    COHORT_ASSERT_OK_AND_ASSIGN(
        host_, ServerHost::Start({.listen = listen,
                                  .services = {session_->grpc_service(), weights_->grpc_service()},
                                  .security = server_}));
  }
  static std::shared_ptr<const Security> Load(const CertificateFiles& files, Role role) {
    auto security = Security::Create({.files = files, .roles = {role}, .reload_interval = kReload});
    EXPECT_THAT(security, IsOk());
    return security.ok() ? *security : nullptr;
  }
  std::shared_ptr<const Security> Peer(Role role, const TestAuthority& authority) {
    return Load(authority.Write(peers_.path(), role), role);
  }

  absl::Status Connect(const std::shared_ptr<const Security>& peer) const {
    return EndOf<Sessions>("/cohort.v1.Session/Connect", peer);
  }
  absl::Status Follow(const std::shared_ptr<const Security>& peer) const {
    return EndOf<Weights>("/cohort.v1.Weights/Follow", peer);
  }
  // How a stream ended to which nothing is sent: by itself it does not.
  template <typename Client>
  absl::Status EndOf(const char* method, const std::shared_ptr<const Security>& peer) const {
    Client client(host_->address(), method, peer);
    return client.Open()->WaitClosed();
  }
  absl::Status Ask(const std::shared_ptr<const Security>& peer) const {
    const auto channel = MakeChannel(host_->address(), peer.get(), Role::kLearner);
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(TestDeadline()));
    if (peer != nullptr) peer->Prepare(&context);
    v1::StatusReply reply;
    return FromGrpc(v1::Session::NewStub(*channel)->Status(&context, {}, &reply));
  }
  void ExpectNobodyGetsIn(const std::shared_ptr<const Security>& peer, absl::StatusCode code,
                          Refused reason) {
    const uint64_t before = RefusedCount(reason);
    for (const absl::Status& status : {Connect(peer), Follow(peer), Ask(peer)}) {
      EXPECT_EQ(status.code(), code) << status;
    }
    EXPECT_GE(RefusedCount(reason), before + 3) << RefusedName(reason);
    EXPECT_EQ(session_->counters().connections, 0U);
    EXPECT_EQ(weights_->counters().followers, 0);
  }

  TemporaryFolder folder_, peers_;
  TestAuthority authority_;
  MemoryGroupLog log_;
  WeightStore store_{{.block_bytes = 1024, .keep_versions = 2}};
  std::shared_ptr<const Security> server_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<SessionService> session_;
  std::unique_ptr<WeightService> weights_;
  std::unique_ptr<ServerHost> host_;
};

TEST_F(SecureLearnerTest, PlaintextGetsNothing) {
  ExpectNobodyGetsIn(nullptr, absl::StatusCode::kUnavailable, Refused::kHandshake);
}

TEST_F(SecureLearnerTest, AnotherAuthorityGetsNothing) {
  ExpectNobodyGetsIn(Peer(Role::kRollout, TestAuthority()), absl::StatusCode::kUnavailable,
                     Refused::kUntrustedCertificate);
}

TEST_F(SecureLearnerTest, AnotherRoleGetsNothing) {
  ExpectNobodyGetsIn(Peer(Role::kReward, authority_), absl::StatusCode::kPermissionDenied,
                     Refused::kWrongRole);
}

TEST_F(SecureLearnerTest, ACommandMayAskForTheStatusAndNothingElse) {
  const auto command = Peer(Role::kCli, authority_);
  COHORT_EXPECT_OK(Ask(command));
  EXPECT_THAT(Connect(command),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("rollout")));
  EXPECT_THAT(Follow(command), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("rollout")));
}

TEST_F(SecureLearnerTest, ACertificateThatExpiresMeanwhileGetsNothing) {
  const auto peer =
      Load(authority_.Write(peers_.path(), "rollout",
                            {.role_name = RoleUri(Role::kRollout), .valid_for = absl::Seconds(2)}),
           Role::kRollout);
  COHORT_ASSERT_OK(Ask(peer));
  while (absl::Now() < peer->expires()) absl::SleepFor(absl::Milliseconds(50));
  ExpectNobodyGetsIn(peer, absl::StatusCode::kUnavailable, Refused::kUntrustedCertificate);
}

TEST_F(SecureLearnerTest, WithoutTlsTheSecretIsNeededAndNeverShown) {
  const std::string secret(64, 's');
  server_ = *Security::Create({.secret = secret});
  Serve();
  for (const std::string& wrong : {std::string(), std::string(64, 'x'), secret + "s"}) {
    const auto peer = *Security::Create({.secret = wrong});
    ExpectNobodyGetsIn(peer, absl::StatusCode::kUnauthenticated, Refused::kSecret);
    EXPECT_THAT(std::string(Ask(peer).message()), ::testing::Not(HasSubstr(secret)));
  }
  COHORT_EXPECT_OK(Ask(server_));
}

TEST_F(SecureLearnerTest, ARenewalKeepsTheOpenStreamAndServesTheNextOne) {
  const auto peer = Peer(Role::kRollout, authority_);
  const SessionClient::Options options = {
      .learner = host_->address(), .worker_id = "w-1", .max_rows = 8, .security = peer};
  SessionClient worker(options, {});
  worker.Start();
  COHORT_ASSERT_OK(worker.WaitWelcomed(TestDeadline()));

  // Everything anew, the authority included.
  const uint64_t server_before = server_->generation(), peer_before = peer->generation();
  const TestAuthority next;
  next.Write(folder_.path(), Role::kLearner);
  next.Write(peers_.path(), Role::kRollout);
  const absl::Time deadline = TestDeadline();
  while ((server_->generation() == server_before || peer->generation() == peer_before) &&
         absl::Now() < deadline) {
    absl::SleepFor(kReload);
  }
  EXPECT_TRUE(worker.connected());
  EXPECT_EQ(worker.reconnects(), 0U);
  COHORT_EXPECT_OK(Ask(peer));

  // The learner starts anew: the worker comes back by itself, with its new certificate.
  Serve(host_->address());
  while (worker.reconnects() == 0 && absl::Now() < deadline) absl::SleepFor(kReload);
  EXPECT_EQ(worker.reconnects(), 1U);
  EXPECT_TRUE(worker.connected());
  worker.Stop();
}

}  // namespace
}  // namespace cohort
