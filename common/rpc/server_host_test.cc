#include "common/rpc/server_host.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cohort/v1/session.grpc.pb.h"
#include "common/base/host_port.h"
#include "common/base/status_matchers.h"
#include "common/rpc/channel.h"
#include "common/rpc/grpc_status.h"
#include "common/rpc/refusals.h"
#include "common/rpc/test_certificates.h"

namespace cohort {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kSoon = absl::Seconds(20);

class EchoService final : public v1::Session::CallbackService {
 public:
  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context, const v1::StatusRequest*,
                                   v1::StatusReply*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

absl::Status Ask(const std::string& address) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kSoon));
  context.set_wait_for_ready(true);
  v1::StatusReply reply;
  return FromGrpc(v1::Session::NewStub(MakeChannel(address))->Status(&context, {}, &reply));
}

// Connected to 127.0.0.1, or -1.
int Connect(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
  close(fd);
  return -1;
}

class ServerHostTest : public ::testing::Test {
 protected:
  void Start(const std::string& listen, std::shared_ptr<const Security> security = nullptr) {
    COHORT_ASSERT_OK_AND_ASSIGN(
        host_, ServerHost::Start(
                   {.listen = listen, .services = {&service_}, .security = std::move(security)}));
  }
  int port() const { return ParseHostPort(host_->address())->port; }

  EchoService service_;
  std::unique_ptr<ServerHost> host_;
};

TEST_F(ServerHostTest, ServesEveryAddressOfBothFamilies) {
  Start("0.0.0.0:0");
  COHORT_EXPECT_OK(Ask(absl::StrCat("127.0.0.1:", port())));
  COHORT_EXPECT_OK(host_->DialSelf(kSoon));
}

TEST_F(ServerHostTest, DialsItselfThroughTls) {
  const TemporaryFolder folder;
  const TestAuthority authority;
  COHORT_ASSERT_OK_AND_ASSIGN(
      auto security, Security::Create({.files = authority.Write(folder.path(), Role::kLearner),
                                       .roles = {Role::kLearner}}));
  Start("127.0.0.1:0", security);
  COHORT_EXPECT_OK(host_->DialSelf(kSoon));
}

TEST_F(ServerHostTest, ADialToAServerThatEndedSaysSo) {
  Start("127.0.0.1:0");
  host_->Shutdown(absl::Seconds(1));
  EXPECT_THAT(host_->DialSelf(absl::Milliseconds(200)),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("was not served within 200ms")));
}

TEST_F(ServerHostTest, APeerThatSaysNothingIsCutOff) {
  COHORT_ASSERT_OK_AND_ASSIGN(
      host_,
      ServerHost::Start({.services = {&service_}, .handshake_limit = absl::Milliseconds(300)}));
  const int fd = Connect(port());
  ASSERT_GE(fd, 0);
  // The server's own greeting comes first; then, after its handshake limit, the end.
  const absl::Time start = absl::Now();
  char byte = 0;
  while (true) {
    pollfd waited = {fd, POLLIN, 0};
    ASSERT_GT(poll(&waited, 1, 30000), 0) << "still open after " << absl::Now() - start;
    if (read(fd, &byte, 1) <= 0) break;
  }
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(250));
  close(fd);
}

TEST_F(ServerHostTest, AfterItsEndThePortIsFreeAndRefusesAtOnce) {
  Start("127.0.0.1:0");
  const std::string address = host_->address();
  host_->Shutdown(absl::Seconds(1));
  EXPECT_EQ(Connect(port()), -1);
  EchoService other;
  COHORT_EXPECT_OK(ServerHost::Start({.listen = address, .services = {&other}}).status());
}

// Descriptors are used up, by connections that say nothing, from both ends.
TEST_F(ServerHostTest, HearsAgainAfterDescriptorsHadRunOut) {
  Start("127.0.0.1:0");
  COHORT_ASSERT_OK(Ask(host_->address()));
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 256;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const uint64_t refused = RefusedCount(Refused::kTooMany);
  std::vector<int> idle;
  for (int fd = Connect(port()); fd >= 0; fd = Connect(port())) idle.push_back(fd);
  for (int fd = dup(0); fd >= 0; fd = dup(0)) idle.push_back(fd);  // the very last ones
  const absl::Time limit = absl::Now() + kSoon;
  while (RefusedCount(Refused::kTooMany) == refused && absl::Now() < limit) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_GT(RefusedCount(Refused::kTooMany), refused);
  for (const int fd : idle) close(fd);
  COHORT_EXPECT_OK(Ask(host_->address()));
  COHORT_EXPECT_OK(host_->DialSelf(kSoon));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST(DescriptorLimitTest, IsRaisedAsFarAsTheSystemAllows) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit low = before;
  low.rlim_cur = 128;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  RaiseDescriptorLimit();
  rlimit after{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &after), 0);
  EXPECT_EQ(after.rlim_cur, before.rlim_max);
}

}  // namespace
}  // namespace cohort
