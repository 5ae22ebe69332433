// What the learner's HTTP port says before, during and after a run, and the checks behind it.
#include <gtest/gtest.h>
#include <httplib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/host_port.h"
#include "common/base/status_matchers.h"
#include "common/telemetry/http_host.h"
#include "services/learner/learner_http.h"
#include "services/learner/readiness.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// "STATUS BODY".
std::string Ask(const std::string& address, const std::string& path) {
  httplib::Client client(absl::StrCat("http://", address));
  client.set_read_timeout(10);
  const auto answer = client.Get(path.c_str());
  return answer ? absl::StrCat(answer->status, " ", answer->body) : "no answer";
}

TEST(LearnerHttpTest, IsHealthyAndNotReadyUntilThereIsARun) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto http, LearnerHttp::Start("127.0.0.1:0", "127.0.0.1:0"));
  EXPECT_EQ(Ask(http->address(), "/healthz"), "200 ok\n");
  http->WaitFor("waiting for ranks");
  EXPECT_EQ(Ask(http->address(), "/readyz"), "503 waiting for ranks\n");
  EXPECT_THAT(Ask(http->address(), "/status"), HasSubstr("\"phase\":\"waiting for ranks\""));
  EXPECT_THAT(Ask(http->address(), "/"), HasSubstr("waiting for ranks"));
  EXPECT_THAT(Ask(http->address(), "/metrics"),
              AllOf(HasSubstr("200 "), HasSubstr("cohort_build_info")));
}

TEST(LearnerHttpTest, ShowsTheRunWhileItLasts) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto http, LearnerHttp::Start("127.0.0.1:0", "127.0.0.1:0"));
  {
    MetricRegistry registry;
    registry.Gauge(metric::kLearnerStep).Set(5);
    LearnerShown shown;
    shown.healthy = [] { return absl::DeadlineExceededError("the ticker hangs"); };
    shown.status = [](v1::StatusReply* reply) { reply->set_run("tiny"); };
    http->Show(shown, &registry);
    EXPECT_EQ(Ask(http->address(), "/healthz"), "503 the ticker hangs\n");
    EXPECT_EQ(Ask(http->address(), "/readyz"), "200 ok\n");
    EXPECT_THAT(Ask(http->address(), "/status"), HasSubstr("\"run\":\"tiny\""));
    EXPECT_THAT(Ask(http->address(), "/metrics"), HasSubstr("cohort_learner_step 5"));
    http->Hide("the run is over");
    EXPECT_THAT(Ask(http->address(), "/metrics"), HasSubstr("cohort_learner_step 5"));
    http->Forget();
  }
  EXPECT_THAT(Ask(http->address(), "/status"),
              AllOf(HasSubstr("\"run\":\"tiny\""), HasSubstr("\"phase\":\"the run is over\"")));
  EXPECT_EQ(Ask(http->address(), "/healthz"), "200 ok\n");
  EXPECT_EQ(Ask(http->address(), "/readyz"), "503 the run is over\n");
  EXPECT_THAT(Ask(http->address(), "/metrics"), HasSubstr("200 "));
}

TEST(LearnerHttpTest, ThePageHasAPortOfItsOwnWhereTheChecksAreServedBeyondThisMachine) {
  EXPECT_EQ(PageListen("127.0.0.1:9090", ""), "127.0.0.1:9090");
  EXPECT_EQ(PageListen("[::1]:0", ""), "[::1]:0");
  EXPECT_EQ(PageListen("0.0.0.0:9090", ""), "127.0.0.1:0");
  EXPECT_EQ(PageListen("0.0.0.0:9090", "0.0.0.0:9091"), "0.0.0.0:9091");
  COHORT_ASSERT_OK_AND_ASSIGN(const auto http,
                              LearnerHttp::Start("0.0.0.0:0", PageListen("0.0.0.0:0", "")));
  const std::string checks =
      absl::StrCat("127.0.0.1:", ParseHostPort(http->address()).value().port);
  ASSERT_NE(http->page_address(), http->address());
  EXPECT_THAT(Ask(http->page_address(), "/"), HasSubstr("200 <!doctype"));
  EXPECT_THAT(Ask(http->page_address(), "/status"), HasSubstr("200 {"));
  EXPECT_THAT(Ask(http->page_address(), "/metrics"), HasSubstr("404"));
  EXPECT_THAT(Ask(checks, "/status"), HasSubstr("404"));
  EXPECT_THAT(Ask(checks, "/"), HasSubstr("404"));
  EXPECT_EQ(Ask(checks, "/healthz"), "200 ok\n");
}

TEST(LearnerHttpTest, ARankWithoutAPageShowsNone) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto http, LearnerHttp::Start("127.0.0.1:0", ""));
  EXPECT_EQ(http->page_address(), "");
  EXPECT_THAT(Ask(http->address(), "/status"), HasSubstr("404"));
}

TEST(CachedCheckTest, AsksAtMostOnceInItsTime) {
  FakeClock clock;
  int asked = 0;
  CachedCheck check(
      [&] { return ++asked == 1 ? absl::OkStatus() : absl::UnavailableError("away"); },
      absl::Seconds(5), &clock);
  EXPECT_THAT(check(), IsOk());
  clock.Advance(absl::Seconds(4));
  EXPECT_THAT(check(), IsOk());
  clock.Advance(absl::Seconds(1));
  EXPECT_THAT(check(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("away")));
  EXPECT_EQ(asked, 2);
}

TEST(ReadinessTest, AFolderMustBeThereWritableAndHaveRoom) {
  TemporaryFolder folder;
  EXPECT_THAT(CanWrite(folder.path(), 1), IsOk());
  EXPECT_THAT(CanWrite(folder.path(), int64_t{1} << 60),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("make room")));
  EXPECT_THAT(CanWrite(folder.path() + "/gone", 1),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("gone")));
  // Also for root, whom permissions do not stop.
  ASSERT_EQ(mkdir((folder.path() + "/.writable").c_str(), 0755), 0);
  EXPECT_THAT(CanWrite(folder.path(), 1).message(), HasSubstr("not writable"));
}

}  // namespace
}  // namespace cohort
