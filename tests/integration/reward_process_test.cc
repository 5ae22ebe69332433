// A run of real processes whose reward is a service that breaks in every way and comes back.
#include <atomic>
#include <cmath>
#include <limits>

#include "absl/strings/str_replace.h"
#include "cohort/v1/reward.grpc.pb.h"
#include "common/rpc/server_host.h"
#include "tests/integration/learner_process.h"

namespace cohort {
namespace {

using nlohmann::json;
using testing::HasSubstr;

enum class Mode { kScores, kHalf, kNan, kEmpty, kFails };

// Scores by length, or as `mode` says.
class ModalService final : public v1::Reward::CallbackService {
 public:
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext* context,
                                  const v1::ScoreRequest* request, v1::ScoreReply* reply) override {
    const Mode now = mode;
    auto* reactor = context->DefaultReactor();
    if (now == Mode::kFails) {
      reactor->Finish(grpc::Status(grpc::StatusCode::UNKNOWN, "KeyError"));
      return reactor;
    }
    for (const v1::ScoreItem& item : request->items()) {
      if (now == Mode::kEmpty || (now == Mode::kHalf && item.index() % 2 == 1)) continue;
      const double length = item.response_ids_size();
      v1::ItemScore* score = reply->add_scores();
      score->set_index(item.index());
      score->set_score(now == Mode::kNan && item.index() == 0
                           ? std::numeric_limits<double>::quiet_NaN()
                           : length / 8);
      (*score->mutable_components())["length"] = length;
    }
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  std::atomic<Mode> mode{Mode::kScores};
};

class RewardProcess : public LearnerProcess {
 protected:
  void StartService(const std::string& listen) {
    auto host = ServerHost::Start({.listen = listen, .services = {&service_}});
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = *std::move(host);
  }
  // Waits until `count` more steps have been made of which all have `fits`.
  template <typename Fits>
  bool StepsThat(size_t count, const Fits& fits) {
    return WaitFor(
        [&] {
          const std::vector<json> lines = Metrics();
          size_t row = 0;
          for (const json& line : lines) {
            row = !line.is_discarded() && line.contains("loss") && fits(line) ? row + 1 : 0;
          }
          return row >= count;
        },
        absl::Seconds(120));
  }
  static double Unscorable(const json& line) { return line.value("rows/unscorable", -1.0); }

  ModalService service_;
  std::unique_ptr<ServerHost> host_;
};

TEST_F(RewardProcess, AServiceThatBreaksCostsItsSamplesAndNothingElse) {
  StartService("127.0.0.1:0");
  const std::string address = host_->address();
  WriteConfig(100000, absl::StrCat("reward: {service: {timeout_seconds: 5, failures: 2, "
                                   "pause_seconds: 0.3}}\n"));
  const std::string sources = absl::StrCat(
      "algorithm.reward.sources=[task,{name: service, weight: 0.5, components: [length], address: "
      "'",
      address, "'}]");
  const auto learner = Learner(0, 1, {"--set", sources});
  const auto worker = Worker();
  EXPECT_TRUE(StepsThat(2, [](const json& line) { return Unscorable(line) == 0; }))
      << learner->Log();
  const json scored = Metrics().back();
  for (const char* key :
       {"reward/task/mean", "reward/service/mean", "reward/service.length/mean"}) {
    EXPECT_TRUE(scored.contains(key)) << key;
  }
  EXPECT_NEAR(
      scored.value("reward/mean", 0.0),
      scored.value("reward/task/mean", 0.0) + 0.5 * scored.value("reward/service/mean", 0.0), 1e-5);

  service_.mode = Mode::kHalf;  // of 4 rows x 4 groups
  EXPECT_TRUE(StepsThat(2, [](const json& line) { return Unscorable(line) == 8; }));
  service_.mode = Mode::kNan;
  EXPECT_TRUE(StepsThat(2, [](const json& line) { return Unscorable(line) == 4; }));
  for (const Mode mode : {Mode::kEmpty, Mode::kFails}) {
    service_.mode = mode;
    EXPECT_TRUE(StepsThat(1, [](const json& line) { return Unscorable(line) == 16; }));
    service_.mode = Mode::kScores;
    EXPECT_TRUE(StepsThat(1, [](const json& line) { return Unscorable(line) == 0; }));
  }
  // Gone for longer than the steps after which a run's own reward would be given up.
  host_->Shutdown(absl::ZeroDuration());
  host_.reset();
  EXPECT_TRUE(StepsThat(12, [](const json& line) { return Unscorable(line) == 16; }))
      << learner->Log();
  StartService(address);
  EXPECT_TRUE(StepsThat(2, [](const json& line) { return Unscorable(line) == 0; }))
      << worker->Log();

  for (const json& line : Metrics()) {
    // Scores are at least 1/8 here: a mean of 0 would be a broken score that was counted.
    if (line.contains("reward/service/mean")) {
      EXPECT_GT(line["reward/service/mean"], 0.1);
    }
  }
  EXPECT_THAT(worker->Log(), HasSubstr("without a reward because of unavailable"));
  EXPECT_THAT(worker->Log(), HasSubstr("scores again"));
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), ExitOfSignal(SIGTERM)) << learner->Log();
}

TEST_F(RewardProcess, AServiceThatDoesNotStartEndsItsWorkerWithTheReason) {
  WriteConfig(3);
  const auto sources = [](const std::string& script) {
    return absl::StrCat("algorithm.reward.sources=[{name: service, command: [sh, -c, '", script,
                        "']}]");
  };
  auto learner = Learner(0, 1, {"--set", sources("exit 3")});
  auto worker = Worker();
  EXPECT_EQ(worker->Wait(absl::Seconds(60)), kExitBadSetup) << worker->Log();
  EXPECT_THAT(worker->Log(), HasSubstr("service.command: the reward service"));
  EXPECT_THAT(worker->Log(), HasSubstr("ended with exit code 3"));
  learner->Signal(SIGTERM);
  learner->Wait(absl::Seconds(60));
}

TEST_F(RewardProcess, AMissingInterpreterEndsTheWorkerWithTheFieldsName) {
  WriteConfig(3, "reward: {code: {interpreter: [no-such-python]}}\n");
  // Prompts without tests would end the learner.
  COHORT_ASSERT_OK(WriteFileAtomic(
      Path("problems.jsonl"),
      "{\"prompt\": \"Write f.\", \"answer\": \"\", \"tests\": [\"assert f() == 1\"]}\n"));
  const std::string config = absl::StrReplaceAll(
      ReadFile(Path("run.yaml")).value_or(""),
      {{"task: addition-1", absl::StrCat("sources: [{path: ", Path("problems.jsonl"), "}]")}});
  COHORT_ASSERT_OK(WriteFileAtomic(Path("run.yaml"), config));
  const auto learner = Learner(0, 1, {"--set", "algorithm.reward.sources=[{name: code_tests}]"});
  const auto worker = Worker();
  EXPECT_EQ(worker->Wait(absl::Seconds(60)), kExitBadSetup) << worker->Log();
  EXPECT_THAT(worker->Log(), HasSubstr("reward.code.interpreter"));
}

}  // namespace
}  // namespace cohort
