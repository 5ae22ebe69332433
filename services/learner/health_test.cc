// What the learner's HTTP port says before, during and after a run, and the checks behind it.
#include <gtest/gtest.h>
#include <httplib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
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
  COHORT_ASSERT_OK_AND_ASSIGN(const auto http, LearnerHttp::Start("127.0.0.1:0"));
  EXPECT_EQ(Ask(http->address(), "/healthz"), "200 ok\n");
  http->WaitFor("waiting for ranks");
  EXPECT_EQ(Ask(http->address(), "/readyz"), "503 waiting for ranks\n");
  EXPECT_EQ(Ask(http->address(), "/status"), "200 {\"phase\":\"waiting for ranks\"}");
  EXPECT_THAT(Ask(http->address(), "/metrics"),
              AllOf(HasSubstr("200 "), HasSubstr("cohort_build_info")));
}

TEST(LearnerHttpTest, ShowsTheRunWhileItLasts) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto http, LearnerHttp::Start("127.0.0.1:0"));
  {
    MetricRegistry registry;
    registry.Gauge(metric::kLearnerStep).Set(5);
    HttpCallbacks pages;
    pages.healthy = [] { return absl::DeadlineExceededError("the ticker hangs"); };
    pages.status_json = [] { return std::string("{}"); };
    http->Show(pages, &registry);
    EXPECT_EQ(Ask(http->address(), "/healthz"), "503 the ticker hangs\n");
    EXPECT_EQ(Ask(http->address(), "/readyz"), "200 ok\n");
    EXPECT_EQ(Ask(http->address(), "/status"), "200 {}");
    EXPECT_THAT(Ask(http->address(), "/metrics"), HasSubstr("cohort_learner_step 5"));
    http->Hide("the run is over");
    EXPECT_THAT(Ask(http->address(), "/metrics"), HasSubstr("cohort_learner_step 5"));
    http->Forget();
  }
  EXPECT_EQ(Ask(http->address(), "/healthz"), "200 ok\n");
  EXPECT_EQ(Ask(http->address(), "/readyz"), "503 the run is over\n");
  EXPECT_THAT(Ask(http->address(), "/metrics"), HasSubstr("200 "));
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
