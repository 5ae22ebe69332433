// The HTTP port, also with clients that are slow, idle or hostile.
#include "common/telemetry/http_host.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/host_port.h"
#include "common/base/status_matchers.h"
#include "common/telemetry/metrics.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(HttpHostTest, ServesMetricsHealthReadinessAndStatus) {
  MetricRegistry registry;
  registry.Gauge(metric::kLearnerStep).Set(5);
  std::atomic<bool> ready{false};
  HttpCallbacks callbacks;
  callbacks.ready = [&ready] {
    return ready ? absl::OkStatus() : absl::UnavailableError("waits for a worker");
  };
  callbacks.status_json = [] { return std::string("{\"step\":5}"); };
  callbacks.status_html = [] { return std::string("<p>5</p>"); };
  COHORT_ASSERT_OK_AND_ASSIGN(auto host, HttpHost::Start("127.0.0.1:0", &registry, callbacks));
  httplib::Client client(absl::StrCat("http://", host->address()));
  client.set_read_timeout(10);

  auto metrics = client.Get("/metrics");
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->status, 200);
  EXPECT_THAT(metrics->body, HasSubstr("cohort_learner_step 5"));
  EXPECT_EQ(client.Get("/healthz")->status, 200);
  auto waiting = client.Get("/readyz");
  EXPECT_EQ(waiting->status, 503);
  EXPECT_THAT(waiting->body, HasSubstr("waits for a worker"));
  ready = true;
  EXPECT_EQ(client.Get("/readyz")->status, 200);
  EXPECT_EQ(client.Get("/status")->body, "{\"step\":5}");
  EXPECT_EQ(client.Get("/")->body, "<p>5</p>");
  EXPECT_EQ(client.Get("/nothing")->status, 404);
}

TEST(HttpHostTest, ServesEveryAddressOfBothFamilies) {
  MetricRegistry registry;
  COHORT_ASSERT_OK_AND_ASSIGN(auto host, HttpHost::Start("0.0.0.0:0", &registry));
  const int port = ParseHostPort(host->address())->port;
  std::vector<std::string> hosts = {"127.0.0.1"};
  if (HttpHost::Start("[::1]:0", &registry).ok()) hosts.push_back("::1");  // the system has it
  for (const std::string& address : hosts) {
    httplib::Client client(address, port);
    client.set_read_timeout(10);
    const auto health = client.Get("/healthz");
    ASSERT_TRUE(health) << address;
    EXPECT_EQ(health->status, 200) << address;
  }
}

TEST(HttpHostTest, APortInUseIsOneClearError) {
  MetricRegistry registry;
  COHORT_ASSERT_OK_AND_ASSIGN(auto host, HttpHost::Start("127.0.0.1:0", &registry));
  const auto second = HttpHost::Start(host->address(), &registry);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()),
              AllOf(HasSubstr(host->address()), HasSubstr("choose another address")));
}

TEST(HttpHostTest, BadAddressesAreRefused) {
  MetricRegistry registry;
  for (const char* address : {"", "localhost", "127.0.0.1:x", "127.0.0.1:70000"}) {
    EXPECT_THAT(HttpHost::Start(address, &registry).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("HOST:PORT")))
        << address;
  }
}

TEST(HttpHostTest, StopsAtOnceAndTwice) {
  MetricRegistry registry;
  COHORT_ASSERT_OK_AND_ASSIGN(auto host, HttpHost::Start("127.0.0.1:0", &registry));
  host->Stop();
  host->Stop();
}

// A client's connection, spoken to byte by byte.
class RawClient {
 public:
  // `receive_bytes`: of the socket's buffer; 0: the system's default.
  explicit RawClient(const std::string& address, int receive_bytes = 0) {
    const auto where = ParseHostPort(address);
    EXPECT_THAT(where, IsOk());
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_bytes > 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    }
    const timeval limit{20, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(where->port));
    inet_pton(AF_INET, where->host.c_str(), &to.sin_addr);
    EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  }
  RawClient(RawClient&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~RawClient() {
    if (fd_ >= 0) close(fd_);
  }
  bool Send(const std::string& text) const {
    return send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  // At most `bytes`; empty: the other side has closed.
  std::string Read(size_t bytes) const {
    std::string text(bytes, ' ');
    const ssize_t count = recv(fd_, text.data(), bytes, 0);
    text.resize(count > 0 ? static_cast<size_t>(count) : 0);
    return text;
  }
  std::string ReadAll() const {
    std::string all;
    for (std::string part = Read(4096); !part.empty(); part = Read(4096)) all += part;
    return all;
  }

 private:
  int fd_ = -1;
};

class HttpAttackTest : public testing::Test {
 protected:
  HttpAttackTest() {
    rlimit files{};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = std::min<rlim_t>(files.rlim_max, 4096);
    setrlimit(RLIMIT_NOFILE, &files);  // both ends of every connection are here
  }
  void Start(HttpCallbacks callbacks = {}, HttpLimits limits = {}) {
    auto host = HttpHost::Start("127.0.0.1:0", &registry_, std::move(callbacks), limits);
    ASSERT_THAT(host, IsOk());
    host_ = *std::move(host);
  }
  // A page of about a megabyte.
  void FillMetrics() {
    for (int i = 0; i < 20000; ++i) {
      registry_.Gauge(metric::kPolicyMismatchKl, {{"stat", absl::StrCat("stat ", i)}}).Set(i);
    }
  }
  std::vector<RawClient> Clients(int count, const std::string& text, int receive_bytes = 0) {
    std::vector<RawClient> clients;
    for (int i = 0; i < count; ++i) {
      clients.emplace_back(host_->address(), receive_bytes);
      if (!text.empty()) clients.back().Send(text);
    }
    return clients;
  }
  // The status, which came within a second.
  int Ask(const std::string& path, std::string* body = nullptr) {
    httplib::Client client(absl::StrCat("http://", host_->address()));
    client.set_read_timeout(10);
    const absl::Time start = absl::Now();
    const auto answer = client.Get(path.c_str());
    EXPECT_LT(absl::Now() - start, absl::Seconds(1)) << path;
    if (!answer) return 0;
    if (body != nullptr) *body = answer->body;
    return answer->status;
  }
  void ExpectAllAnswer() {
    for (const char* path : {"/healthz", "/readyz", "/metrics"}) EXPECT_EQ(Ask(path), 200) << path;
  }

  MetricRegistry registry_;
  std::unique_ptr<HttpHost> host_;
};

TEST_F(HttpAttackTest, FiveHundredIdleConnectionsDelayNobody) {
  Start();
  const std::vector<RawClient> idle = Clients(500, "");
  ExpectAllAnswer();
}

TEST_F(HttpAttackTest, FiveHundredHalfRequestsDelayNobody) {
  Start();
  const std::vector<RawClient> half = Clients(500, "GET /metrics HTTP/1.1\r\nHost: x");
  ExpectAllAnswer();
}

TEST_F(HttpAttackTest, ClientsThatSendByteByByteDelayNobody) {
  Start();
  const std::vector<RawClient> slow = Clients(16, "GET /metrics HTTP/1.1\r\nX: ");
  for (int round = 0; round < 20; ++round) {
    for (const RawClient& client : slow) client.Send("x");
    ExpectAllAnswer();
  }
}

TEST_F(HttpAttackTest, ClientsThatReadByteByByteOrNeverDelayNobody) {
  FillMetrics();
  Start();
  const std::string request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::vector<RawClient> slow = Clients(16, request, /*receive_bytes=*/2048);
  const std::vector<RawClient> never = Clients(64, request, /*receive_bytes=*/2048);
  for (int round = 0; round < 5; ++round) {
    for (const RawClient& client : slow) EXPECT_EQ(client.Read(1).size(), 1u);
    for (const char* path : {"/healthz", "/readyz"}) EXPECT_EQ(Ask(path), 200) << path;
  }
}

TEST_F(HttpAttackTest, AConnectionEndsAtItsLimitHoweverBusyItIs) {
  Start({}, {.connection = absl::Milliseconds(300)});
  const RawClient slow(host_->address());
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  slow.Send("GET / HTTP/1.1\r\nX: ");
  bool open = true;
  // One byte at a time, as slowly as the server's answer to another client.
  while (open && absl::Now() < deadline) {
    open = slow.Send("x");
    Ask("/healthz");
  }
  EXPECT_FALSE(open);
}

TEST_F(HttpAttackTest, MoreConnectionsThanAreKeptCloseTheOldest) {
  Start();
  const RawClient first(host_->address());
  const std::vector<RawClient> later = Clients(300, "");
  EXPECT_EQ(first.Read(1), "");
  EXPECT_TRUE(later.back().Send("GET /healthz HTTP/1.0\r\n\r\n"));
  EXPECT_THAT(later.back().ReadAll(), HasSubstr("200"));
}

TEST_F(HttpAttackTest, APageThatIsHeldUpHoldsNoOther) {
  absl::Notification go_on;
  HttpCallbacks callbacks;
  callbacks.status_json = [&] {
    go_on.WaitForNotification();
    return std::string("{}");
  };
  Start(callbacks);
  const std::vector<RawClient> held = Clients(1, "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n");
  for (int i = 0; i < 5; ++i) ExpectAllAnswer();
  go_on.Notify();
  EXPECT_THAT(held[0].ReadAll(), HasSubstr("{}"));
  host_->Stop();  // before what its pages look at
}

TEST_F(HttpAttackTest, AThousandWhoWaitForAPageThatIsHeldUpDelayNobody) {
  absl::Notification go_on;
  HttpCallbacks callbacks;
  callbacks.status_json = [&] {
    go_on.WaitForNotification();
    return std::string("{}");
  };
  Start(callbacks);
  const std::vector<RawClient> held =
      Clients(1000, "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ExpectAllAnswer();
  go_on.Notify();
  host_->Stop();  // before what its pages look at
}

TEST_F(HttpAttackTest, ACheckThatIsHeldUpIsAnUnhealthyProcess) {
  absl::Notification go_on;
  HttpCallbacks callbacks;
  callbacks.healthy = [&] {
    go_on.WaitForNotification();
    return absl::OkStatus();
  };
  Start(callbacks);
  std::string body;
  EXPECT_EQ(Ask("/healthz", &body), 503);
  EXPECT_THAT(body, AllOf(HasSubstr("/healthz"), HasSubstr("held up")));
  EXPECT_EQ(Ask("/healthz"), 503);  // also who comes while it is held up
  EXPECT_EQ(Ask("/readyz"), 200);
  go_on.Notify();
  host_->Stop();  // before what its pages look at
}

TEST_F(HttpAttackTest, WhoAsksAtOnceSharesOneMaking) {
  std::atomic<int> made{0};
  absl::Notification started, go_on;
  HttpCallbacks callbacks;
  callbacks.status_json = [&] {
    if (made++ == 0) started.Notify();
    go_on.WaitForNotification();
    return std::string("{}");
  };
  Start(callbacks);
  const std::string request = "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const std::vector<RawClient> first = Clients(1, request);
  started.WaitForNotification();
  const std::vector<RawClient> many = Clients(50, request);
  EXPECT_EQ(Ask("/healthz"), 200);  // the server reads in the order in which they came
  go_on.Notify();
  for (const RawClient& client : many) EXPECT_THAT(client.ReadAll(), HasSubstr("{}"));
  EXPECT_LE(made, 4);
  host_->Stop();  // before what its pages look at
}

TEST_F(HttpAttackTest, StopsWhileClientsWait) {
  absl::Notification started;
  std::atomic<bool> go_on{false};
  HttpCallbacks callbacks;
  callbacks.status_json = [&] {
    if (!started.HasBeenNotified()) started.Notify();
    while (!go_on) std::this_thread::yield();
    return std::string("{}");
  };
  Start(callbacks);
  const std::vector<RawClient> waiting =
      Clients(10, "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n");
  started.WaitForNotification();
  std::thread stop([&] { host_->Stop(); });
  go_on = true;
  stop.join();
}

TEST_F(HttpAttackTest, OnlyReadsAndOnlyOneAnswerAConnection) {
  Start();
  httplib::Client client(absl::StrCat("http://", host_->address()));
  EXPECT_EQ(client.Post("/metrics", "x", "text/plain")->status, 405);
  EXPECT_EQ(client.Put("/nothing", "x", "text/plain")->status, 405);
  const auto head = client.Head("/healthz");
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(head->body, "");
  EXPECT_EQ(head->get_header_value("Content-Length"), "3");
  EXPECT_EQ(head->get_header_value("Connection"), "close");
  EXPECT_EQ(client.Get("/status")->status, 404);
  EXPECT_EQ(client.Get("/healthz?verbose=1")->status, 200);
  const RawClient body(host_->address());
  body.Send("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
  EXPECT_THAT(body.ReadAll(), HasSubstr("200"));
}

TEST_F(HttpAttackTest, HeadsThatAreTooLargeOrNoHttpAreRefused) {
  Start();
  const std::string start = "GET /healthz HTTP/1.1\r\n";
  const std::string bombs[] = {
      absl::StrCat(start, "X: ", std::string(1 << 20, 'x'), "\r\n\r\n"),
      absl::StrCat("GET /", std::string(1 << 20, 'x'), " HTTP/1.1\r\n\r\n"),
      std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + std::string(512, '\0') +
          "\r\n\r\n",
      std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  };
  for (const std::string& bomb : bombs) {
    const RawClient client(host_->address());
    client.Send(bomb);
    const std::string answer = client.ReadAll();
    EXPECT_EQ(answer.find(" 200 "), std::string::npos) << answer.substr(0, 100);
    ExpectAllAnswer();
  }
}

TEST_F(HttpAttackTest, ASiteWhoseNamePointsHereSeesNothingOfTheRun) {
  HttpCallbacks callbacks;
  callbacks.status_json = [] { return std::string("{}"); };
  callbacks.status_html = [] { return std::string("<p>"); };
  Start(callbacks);
  const auto ask = [&](const std::string& path, const std::string& host) {
    const RawClient client(host_->address());
    client.Send(absl::StrCat("GET ", path, " HTTP/1.1\r\n", host, "\r\n"));
    return client.ReadAll();
  };
  for (const char* path : {"/", "/status"}) {
    for (const char* good :
         {"Host: localhost\r\n", "Host: LOCALHOST:8080\r\n", "Host: 127.0.0.1:1\r\n",
          "Host: [::1]\r\n", "Host: [::1]:80\r\n", "Host: 10.0.0.1:9091\r\n"}) {
      EXPECT_THAT(ask(path, good), HasSubstr(" 200 ")) << path << good;
    }
    for (const char* bad : {"Host: evil.example\r\n", "Host: localhost.evil.example:80\r\n",
                            "Host: 127.0.0.1.evil.example\r\n", "Host: \r\n", "Host: :80\r\n"}) {
      EXPECT_THAT(ask(path, bad), testing::AnyOf(HasSubstr(" 421 "), HasSubstr(" 400 ")))
          << path << bad;
    }
  }
  char own[256] = "";
  ASSERT_EQ(gethostname(own, sizeof(own) - 1), 0);
  EXPECT_THAT(ask("/", absl::StrCat("Host: ", own, ":80\r\n")), HasSubstr(" 200 "));
  EXPECT_THAT(ask("/", absl::StrCat("Host: ", own, ".evil.example\r\n")), HasSubstr(" 421 "));
  EXPECT_THAT(ask("/metrics", "Host: a-name-of-this-host\r\n"), HasSubstr(" 200 "));
}

TEST_F(HttpAttackTest, APageHasItsPolicyAndAllElseMayDoNothing) {
  HttpCallbacks callbacks;
  callbacks.status_json = [] { return std::string("{}"); };
  callbacks.status_html = [] { return std::string("<p>"); };
  callbacks.status_policy = "default-src 'none'; script-src 'sha256-x'";
  Start(callbacks);
  httplib::Client client(absl::StrCat("http://", host_->address()));
  for (const char* path : {"/", "/status", "/metrics", "/nothing"}) {
    const auto answer = client.Get(path);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->get_header_value("Content-Security-Policy"),
              std::string(path) == "/" ? "default-src 'none'; script-src 'sha256-x'"
                                       : "default-src 'none'; frame-ancestors 'none'");
    EXPECT_EQ(answer->get_header_value("X-Content-Type-Options"), "nosniff");
    EXPECT_EQ(answer->get_header_value("Cache-Control"), "no-store");
    EXPECT_FALSE(answer->has_header("Access-Control-Allow-Origin"));
  }
}

TEST_F(HttpAttackTest, APortForThePageAloneHasNothingElse) {
  HttpCallbacks callbacks;
  callbacks.status_json = [] { return std::string("{}"); };
  COHORT_ASSERT_OK_AND_ASSIGN(const auto host, HttpHost::Start("127.0.0.1:0", nullptr, callbacks));
  httplib::Client client(absl::StrCat("http://", host->address()));
  EXPECT_EQ(client.Get("/status")->status, 200);
  for (const char* path : {"/metrics", "/healthz", "/readyz"}) {
    EXPECT_EQ(client.Get(path)->status, 404) << path;
  }
}

}  // namespace
}  // namespace cohort
