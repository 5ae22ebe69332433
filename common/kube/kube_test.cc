// The watch for a run's end against a small API server over TLS.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/kube/finish_watch.h"
#include "common/kube/job_state.h"
#include "common/kube/kube_client.h"
#include "common/rpc/test_certificates.h"

namespace cohort {
namespace {

using nlohmann::json;
using ::testing::_;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kJob[] = "/apis/batch/v1/namespaces/ns/jobs/learner";
constexpr char kScale[] = "/apis/apps/v1/namespaces/ns/deployments/workers/scale";

json Job(const std::string& uid, const std::string& condition) {
  json job = {{"metadata", {{"uid", uid}}}, {"spec", {{"suspend", false}}}};
  if (!condition.empty()) {
    job["status"]["conditions"] = {
        {{"type", condition}, {"status", "True"}, {"message", "backoff limit"}}};
  }
  return job;
}

struct Answer {
  int status = 200;
  std::string body;
};
Answer Found(const json& job) { return {200, job.dump()}; }

// Answers GETs of the Job one after the other (the last one again and again), and notes what comes.
class FakeApi {
 public:
  explicit FakeApi(const CertificateFiles& files, std::vector<Answer> jobs)
      : jobs_(std::move(jobs)), server_(files.cert.c_str(), files.key.c_str()) {
    server_.Get(".*", [this](const httplib::Request& request, httplib::Response& response) {
      absl::MutexLock lock(&mu_);
      const Answer& answer = jobs_[std::min(gets_.size(), jobs_.size() - 1)];
      gets_.push_back(request.path);
      tokens_.push_back(request.get_header_value("Authorization"));
      response.status = answer.status;
      response.set_content(answer.body, "application/json");
    });
    server_.Patch(".*", [this](const httplib::Request& request, httplib::Response& response) {
      absl::MutexLock lock(&mu_);
      patches_.push_back(absl::StrCat(request.path, " ", request.get_header_value("Content-Type"),
                                      " ", request.body));
      response.status = patch_status_;
      response.set_content("{}", "application/json");
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
  }
  ~FakeApi() {
    while (!server_.is_running()) std::this_thread::yield();
    server_.stop();
    thread_.join();
  }

  std::string url() const { return absl::StrCat("https://127.0.0.1:", port_); }
  void AnswerPatchesWith(int status) {
    absl::MutexLock lock(&mu_);
    patch_status_ = status;
  }
  std::vector<std::string> gets() {
    absl::MutexLock lock(&mu_);
    return gets_;
  }
  std::vector<std::string> tokens() {
    absl::MutexLock lock(&mu_);
    return tokens_;
  }
  std::vector<std::string> patches() {
    absl::MutexLock lock(&mu_);
    return patches_;
  }

 private:
  const std::vector<Answer> jobs_;
  absl::Mutex mu_;
  int patch_status_ ABSL_GUARDED_BY(mu_) = 200;
  std::vector<std::string> gets_ ABSL_GUARDED_BY(mu_), tokens_ ABSL_GUARDED_BY(mu_),
      patches_ ABSL_GUARDED_BY(mu_);
  httplib::SSLServer server_;
  int port_ = 0;
  std::thread thread_;
};

class KubeTest : public ::testing::Test {
 protected:
  KubeTest() : files_(authority_.Write(folder_.path(), "api", {})) {
    COHORT_EXPECT_OK(WriteFileAtomic(token_file(), "first\n"));
  }

  std::string token_file() const { return folder_.path() + "/token"; }

  KubeClient Client(const std::string& url) {
    const auto client =
        KubeClient::Create({url, token_file(), folder_.path() + "/ca.crt", absl::Seconds(5)});
    COHORT_EXPECT_OK(client);
    return *client;
  }

  // Watches without waiting; the test ends it after `polls` looks.
  absl::Status Watch(const std::string& url, int polls = 50) {
    FinishWatchOptions options;
    options.job = "learner";
    options.deployment = "workers";
    options.name_space = "ns";
    options.pause = [this, polls](absl::Duration pause) {
      pauses_.push_back(pause);
      return static_cast<int>(pauses_.size()) >= polls;
    };
    return WatchForFinish(Client(url), options);
  }

  TemporaryFolder folder_;
  TestAuthority authority_;
  const CertificateFiles files_;
  std::vector<absl::Duration> pauses_;
};

TEST(JobState, ReadsConditionsAndTakesNothingForGranted) {
  using Kind = JobState::Kind;
  EXPECT_EQ(JobStateOf(Job("a", "")).kind, Kind::kRunning);
  EXPECT_EQ(JobStateOf(Job("a", "Complete")).kind, Kind::kComplete);
  EXPECT_EQ(JobStateOf(Job("a", "Failed")).kind, Kind::kFailed);
  EXPECT_EQ(JobStateOf(Job("a", "Failed")).reason, "backoff limit");
  EXPECT_EQ(JobStateOf(Job("a", "FailureTarget")).kind, Kind::kRunning);
  json job = Job("a", "Complete");
  job["status"]["conditions"][0]["status"] = "False";
  EXPECT_EQ(JobStateOf(job).kind, Kind::kRunning);
  job = Job("a", "Complete");
  job["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z";
  EXPECT_EQ(JobStateOf(job).kind, Kind::kDeleted);
  job = Job("a", "");
  job["spec"]["suspend"] = true;
  EXPECT_EQ(JobStateOf(job).kind, Kind::kSuspended);
  for (const char* odd : {"{}", "[]", "7", R"({"status": 1})", R"({"status": {"conditions": 3}})",
                          R"({"status": {"conditions": [1, null, {"type": 2}]}})",
                          R"({"spec": {"suspend": "yes"}, "metadata": []})"}) {
    EXPECT_EQ(JobStateOf(json::parse(odd)).kind, Kind::kRunning) << odd;
  }
}

TEST_F(KubeTest, ScalesToZeroOnceTheJobIsCompleteAndNotBefore) {
  json suspended = Job("a", "");
  suspended["spec"]["suspend"] = true;
  FakeApi api(files_, {Found(Job("a", "")),
                       Found(suspended),
                       {404, "{}"},
                       {500, "boom"},
                       Found(Job("b", "")),
                       Found(Job("b", "Complete"))});
  COHORT_EXPECT_OK(Watch(api.url()));
  EXPECT_THAT(api.gets(), AllOf(SizeIs(7), Each(kJob)));
  EXPECT_THAT(api.patches(),
              ElementsAre(absl::StrCat(
                  kScale, " application/merge-patch+json {\"spec\":{\"replicas\":0}}")));
}

TEST_F(KubeTest, AFailedJobEndsItTooAndAReplacedOneBeginsAnew) {
  json going = Job("a", "Failed");
  going["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z";
  FakeApi api(files_, {Found(Job("a", "Failed")), Found(going), Found(Job("b", "")),
                       Found(Job("b", "Complete")), Found(Job("c", "Failed"))});
  COHORT_EXPECT_OK(Watch(api.url()));
  EXPECT_THAT(api.gets(), SizeIs(6));
  EXPECT_THAT(api.patches(), SizeIs(1));
}

TEST_F(KubeTest, ADeploymentThatIsGoneIsNothingToDo) {
  FakeApi api(files_, {Found(Job("a", "Complete"))});
  api.AnswerPatchesWith(404);
  COHORT_EXPECT_OK(Watch(api.url()));
}

TEST_F(KubeTest, KeepsTryingWhenThePatchIsRefusedAndBacksOff) {
  FakeApi api(files_, {Found(Job("a", "Complete"))});
  api.AnswerPatchesWith(403);
  EXPECT_TRUE(absl::IsCancelled(Watch(api.url(), 12)));
  EXPECT_THAT(api.patches(), SizeIs(11));
  EXPECT_GT(pauses_.back(), absl::Seconds(20));
  EXPECT_LT(pauses_.back(), absl::Seconds(40));
}

TEST_F(KubeTest, ReadsTheTokenAgainForEveryCall) {
  FakeApi api(files_, {Found(Job("a", ""))});
  const KubeClient client = Client(api.url());
  COHORT_ASSERT_OK(client.Get(kJob));
  COHORT_ASSERT_OK(WriteFileAtomic(token_file(), "second\n"));
  COHORT_ASSERT_OK(client.Get(kJob));
  EXPECT_THAT(api.tokens(), ElementsAre("Bearer first", "Bearer second"));
}

TEST_F(KubeTest, ErrorsSayWhatTheApiAnsweredAndNeverTheToken) {
  FakeApi api(files_, {{403, R"({"kind":"Status","message":"jobs is\nforbidden"})"}, {200, "[1]"}});
  const KubeClient client = Client(api.url());
  const auto refused = client.Get(kJob);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kPermissionDenied,
                                AllOf(HasSubstr("jobs is\\nforbidden"), HasSubstr("HTTP 403"),
                                      HasSubstr(kJob), Not(HasSubstr("first")))));
  EXPECT_THAT(client.Get(kJob), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no JSON")));
}

TEST_F(KubeTest, AnApiWithAnotherAuthoritysCertificateIsNotTrusted) {
  FakeApi api(files_, {Found(Job("a", "Complete"))});
  const TestAuthority other;
  COHORT_ASSERT_OK(WriteFileAtomic(folder_.path() + "/ca.crt", other.pem()));
  EXPECT_THAT(Client(api.url()).Get(kJob), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(api.tokens(), SizeIs(0));
}

TEST_F(KubeTest, NamesAndAddressesAreChecked) {
  FinishWatchOptions options;
  options.job = "../secrets/x";
  options.deployment = "workers";
  options.name_space = "ns";
  EXPECT_THAT(WatchForFinish(Client("https://127.0.0.1:1"), options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--job")));
  EXPECT_THAT(KubeClient::Create({.api = "http://127.0.0.1:1", .token_file = "", .ca_file = ""}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("https://HOST:PORT")));
  COHORT_EXPECT_OK(
      KubeClient::Create({.api = "https://api.example", .token_file = "", .ca_file = ""}));
}

}  // namespace
}  // namespace cohort
