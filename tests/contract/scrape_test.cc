// Whatever the catalogue of metrics declares is there when a learner and a worker are scraped.
#include <httplib.h>

#include <set>

#include "absl/strings/match.h"
#include "cohort/v1/session.grpc.pb.h"
#include "common/rpc/channel.h"
#include "common/telemetry/metrics.h"
#include "tests/integration/learner_process.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class Scrape : public LearnerProcess {
 protected:
  v1::StatusReply Status(const std::string& learner) const {
    const auto security = *Security::Create({.secret_files = {Path("out/secret")}});
    const auto stub = v1::Session::NewStub(MakeChannel(learner));
    grpc::ClientContext context;
    security->Prepare(&context);
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    v1::StatusReply reply;
    EXPECT_TRUE(stub->Status(&context, {}, &reply).ok());
    return reply;
  }
  static std::string Scraped(const std::string& address) {
    httplib::Client client("http://" + address);
    client.set_read_timeout(20);
    const auto response = client.Get("/metrics");
    return response ? response->body : "";
  }
  std::string LearnerAddress() const {
    const std::string text = ReadFile(Path("out/address")).value_or("");
    return text.substr(0, text.find('\n'));
  }
  static bool Has(const std::string& scrape, const MetricInfo& info) {
    return absl::StrContains(scrape, absl::StrCat("# TYPE ", info.name, " "));
  }
};

TEST_F(Scrape, EveryMetricOfTheCatalogueIsThere) {
  WriteConfig(100000);
  const auto learner = Learner(0, 1, {"--set", "checkpoint.every_steps=1"});
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(2); })) << learner->Log();
  const v1::StatusReply status = Status(LearnerAddress());
  ASSERT_EQ(status.workers_size(), 1);
  std::string of_learner, of_worker;
  // The ledgers are exported every other second.
  const auto complete = [&] {
    of_learner = Scraped(status.http_address());
    of_worker = Scraped(status.workers(0).http_address());
    return absl::StrContains(of_learner, "cohort_groups_total{state=\"trained\"}") &&
           absl::StrContains(of_worker, "cohort_rollout_connected 1");
  };
  ASSERT_TRUE(WaitFor(complete)) << of_learner << of_worker;
  for (const MetricInfo* info : metric::LearnerMetrics()) {
    if (info == &metric::kRankSilence) continue;  // there is one
    EXPECT_TRUE(Has(of_learner, *info)) << info->name;
  }
  for (const MetricInfo* info : metric::RolloutMetrics()) {
    EXPECT_TRUE(Has(of_worker, *info)) << info->name;
  }
  for (const MetricInfo* info : metric::ProcessMetrics()) {
    // These two live by a secret, and nothing is wrong.
    if (info == &metric::kCertificateExpiry || info == &metric::kMetricValuesRefused) continue;
    EXPECT_TRUE(Has(of_learner, *info) && Has(of_worker, *info)) << info->name;
  }
  EXPECT_THAT(of_learner + of_worker,
              testing::Not(testing::ContainsRegex("(state|reason|outcome|limit)=\"other\"")));
  for (const std::string& scrape : {of_learner, of_worker}) {
    EXPECT_THAT(scrape, HasSubstr("cohort_build_info{version="));
  }
  EXPECT_THAT(of_learner, HasSubstr("cohort_groups_imbalance 0"));
  EXPECT_THAT(of_worker, HasSubstr("cohort_rollout_reconnects_total 0"));
  EXPECT_THAT(of_worker, HasSubstr("cohort_weight_sync_failures_total{reason=\"damaged\"} 0"));

  // The same balance in `cohort status`, whatever the moment.
  int64_t shown = 0;
  for (const auto& [name, count] : status.ordinals()) shown += name == "dispatched" ? 0 : count;
  EXPECT_EQ(shown, status.ordinals().at("dispatched"));
  EXPECT_EQ(status.ordinals().at("imbalance"), 0);
  EXPECT_TRUE(status.ordinals().contains("training"));
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), ExitOfSignal(SIGTERM)) << learner->Log();
  worker->Signal(SIGTERM);
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
}

TEST_F(Scrape, ACompleteRunStaysForThoseWhoReadItsMetrics) {
  WriteConfig(2);
  const auto learner = Learner();
  ASSERT_TRUE(WaitFor([&] { return !LearnerAddress().empty(); })) << learner->Log();
  const std::string address = Status(LearnerAddress()).http_address();
  EXPECT_THAT(Scraped(address), HasSubstr("cohort_learner_finished 0"));
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return absl::StrContains(learner->Log(), "/metrics stays"); }))
      << learner->Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << "nobody read its metrics: " << worker->Log();
  EXPECT_EQ(learner->Wait(absl::Milliseconds(500)), -1) << "it waits";
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(Scraped(address),
                AllOf(HasSubstr("cohort_learner_finished 1"), HasSubstr("cohort_learner_step 2\n"),
                      HasSubstr("cohort_groups_in_flight 0\n")));
  }
  EXPECT_EQ(learner->Wait(absl::Seconds(20)), 0) << learner->Log();
}

}  // namespace
}  // namespace cohort
