// What the learner says, in one line, when its configuration, model, data or run folder are wrong.
#include <algorithm>
#include <csignal>

#include "absl/strings/match.h"
#include "tests/integration/learner_process.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class LearnerSetup : public LearnerProcess {};

TEST_F(LearnerSetup, ResumingNothingIsRefusedInOneLine) {
  WriteConfig(2);
  const auto learner = Learner(0, 1, {"--resume"});
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), kExitBadSetup);
  EXPECT_THAT(ErrorLines(learner->Log()),
              OneErrorLine("cohort-learner", "--resume: no run in ", Path("out"),
                           "leave out --resume to start one there", "--resume=auto"));
  EXPECT_FALSE(std::filesystem::exists(Path("out")));
}

TEST_F(LearnerSetup, ResumeTakesNoOtherValueThanAuto) {
  WriteConfig(2);
  const auto learner = Learner(0, 1, {"--resume=always"});
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), kExitBadSetup);
  EXPECT_THAT(ErrorLines(learner->Log()),
              OneErrorLine("cohort-learner", "--resume: expected ", "found --resume=always"));
}

TEST_F(LearnerSetup, AFolderInWhichALearnerRunsIsLeftAlone) {
  WriteConfig(100000);
  const auto learner = Learner();
  const std::string address = Address();
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << learner->Log();
  for (const std::string resume : {"", "--resume", "--resume=auto"}) {
    std::vector<std::string> argv = {bin_ + "/cohort-learner",
                                     "--config",
                                     Path("run.yaml"),
                                     "--listen",
                                     "127.0.0.1:0",
                                     "--out",
                                     Path("out")};
    if (!resume.empty()) argv.push_back(resume);
    Process second(argv, Path("second.log"));
    EXPECT_EQ(second.Wait(absl::Seconds(30)), kExitFailed) << second.Log();
    EXPECT_THAT(
        ErrorLines(second.Log()),
        OneErrorLine("cohort-learner", Path("out") + " is in use by cohort-learner on host ",
                     absl::StrCat(", process ", learner->pid(), ", since ")));
  }
  EXPECT_EQ(Address(), address);
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), ExitOfSignal(SIGTERM)) << learner->Log();
}

TEST_F(LearnerSetup, ARunIsNotContinuedUnderAnotherConfiguration) {
  WriteConfig(1);
  auto learner = Learner();
  const auto worker = Worker();
  ASSERT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  learner = Learner(0, 1, {"--resume=auto", "--set", "run.seed=8"});
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), kExitBadSetup) << learner->Log();
  EXPECT_THAT(ErrorLines(learner->Log()), OneErrorLine("cohort-learner", "run.seed was \"7\""));
}

TEST_F(LearnerSetup, NewTokensThatFillTheContextAreSaidInOneLine) {
  WriteConfig(2);
  const auto learner = Learner(0, 1, {"--set", "rollout.max_new_tokens=100000"});
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), kExitBadSetup);
  EXPECT_THAT(
      ErrorLines(learner->Log()),
      OneErrorLine("cohort-learner", "rollout.max_new_tokens: 100000 new tokens leave no room"));
}

TEST_F(LearnerSetup, AnHttpAddressThatIsNoneIsAnErrorOfTheSetupOfBothPrograms) {
  WriteConfig(3);
  const auto learner = Learner(0, 1, {"--http-listen", "9090"});
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), kExitBadSetup) << learner->Log();
  EXPECT_THAT(ErrorLines(learner->Log()),
              OneErrorLine("cohort-learner", "--http-listen", "HOST:PORT", "'9090'"));
  Process worker({bin_ + "/cohort-rollout", "--learner", "127.0.0.1:1", "--http-listen", "9090"},
                 Path("worker.log"));
  EXPECT_EQ(worker.Wait(absl::Seconds(60)), kExitBadSetup) << worker.Log();
}

TEST_F(LearnerSetup, AMistypedKeyIsSaidInOneLineWithItsPlaceAndTheNearestKey) {
  WriteConfig(3, "optimiser: {lr: 1e-6}\n");
  const std::string config = ReadFile(Path("run.yaml")).value_or("");
  const auto lines = std::count(config.begin(), config.end(), '\n');
  const auto learner = Learner();
  EXPECT_EQ(learner->Wait(absl::Seconds(20)), kExitBadSetup);
  EXPECT_THAT(ErrorLines(learner->Log()),
              OneErrorLine("cohort-learner", absl::StrCat(Path("run.yaml"), ":", lines, ": "),
                           "unknown key 'optimiser'; did you mean 'optimizer'?"));
}

TEST_F(LearnerSetup, TruncatedWeightsAreSaidInOneLine) {
  WriteConfig(3);
  const std::string weights = Path("model/model.safetensors");
  const auto size = std::filesystem::file_size(weights);
  std::filesystem::resize_file(weights, size - 4);
  auto learner = Learner();
  EXPECT_EQ(learner->Wait(absl::Seconds(20)), kExitBadSetup);
  EXPECT_THAT(ErrorLines(learner->Log()),
              OneErrorLine("cohort-learner", weights + ": tensor ", "do not lie in the file's ",
                           "the file is truncated or damaged"));

  std::filesystem::resize_file(weights, 1000);  // in the middle of the header
  learner = Learner();
  EXPECT_EQ(learner->Wait(absl::Seconds(20)), kExitBadSetup);
  EXPECT_THAT(ErrorLines(learner->Log()),
              OneErrorLine("cohort-learner", weights + ": the header says it is ",
                           "the file has 1000;", "it is truncated or not a safetensors file"));
}

TEST_F(LearnerSetup, MissingWeightsAreSaidInOneLine) {
  WriteConfig(3);
  std::filesystem::remove(Path("model/model.safetensors"));
  const auto learner = Learner();
  EXPECT_EQ(learner->Wait(absl::Seconds(20)), kExitBadSetup);
  EXPECT_THAT(ErrorLines(learner->Log()),
              OneErrorLine("cohort-learner", absl::StrCat("no weights in ", Path("model")),
                           "expected model.safetensors or model.safetensors.index.json"));
}

TEST_F(LearnerSetup, ATokenizerThatDoesNotFitTheModelIsSaidInOneLine) {
  WriteConfig(3);
  auto tokenizer = nlohmann::json::parse(ReadFile(Path("model/tokenizer.json")).value_or(""));
  tokenizer["model"]["vocab"]["beyond the model"] = 99999;
  COHORT_ASSERT_OK(WriteFileAtomic(Path("model/tokenizer.json"), tokenizer.dump()));
  const auto learner = Learner();
  EXPECT_EQ(learner->Wait(absl::Seconds(20)), kExitBadSetup);
  EXPECT_THAT(ErrorLines(learner->Log()), OneErrorLine("cohort-learner", "99999", Path("model")));
}

TEST_F(LearnerSetup, APortInUseIsSaidInOneLine) {
  WriteConfig(3);
  const auto first = Learner();
  const std::string address = Address();
  Process second({bin_ + "/cohort-learner", "--config", Path("run.yaml"), "--listen", address,
                  "--out", Path("other")},
                 Path("second.log"));
  EXPECT_EQ(second.Wait(absl::Seconds(30)), 1);
  EXPECT_THAT(ErrorLines(second.Log()),
              OneErrorLine("cohort-learner", "cannot listen on " + address, "in use",
                           "choose another address", "or stop the process that holds it"));
}

TEST_F(LearnerSetup, WhatOnlyRankZeroReadsIsAnErrorOfTheSetupForAllRanks) {
  WriteConfig(1);
  const std::vector<std::string> missing = {"--set",
                                            absl::StrCat("data.path=", Path("none.jsonl"))};
  auto rank0 = Learner(0, 2, missing), rank1 = Learner(1, 2, missing);
  EXPECT_EQ(rank0->Wait(absl::Seconds(60)), kExitBadSetup) << rank0->Log();
  EXPECT_EQ(rank1->Wait(absl::Seconds(60)), kExitBadSetup) << rank1->Log();

  rank0 = Learner(0, 2), rank1 = Learner(1, 2);
  const auto worker = Worker();
  ASSERT_EQ(rank0->Wait(absl::Seconds(60)), kExitDone) << rank0->Log();
  ASSERT_EQ(rank1->Wait(absl::Seconds(60)), kExitDone) << rank1->Log();
  const std::vector<std::string> other = {"--resume", "--set", "run.seed=8"};
  rank0 = Learner(0, 2, other), rank1 = Learner(1, 2, other);
  EXPECT_EQ(rank0->Wait(absl::Seconds(60)), kExitBadSetup) << rank0->Log();
  EXPECT_EQ(rank1->Wait(absl::Seconds(60)), kExitBadSetup) << rank1->Log();
}

TEST_F(LearnerSetup, MissingDataAndAnUnknownFlagAreErrorsOfTheSetup) {
  WriteConfig(3);
  auto learner = Learner(0, 1, {"--set", absl::StrCat("data.path=", Path("none.jsonl"))});
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), kExitBadSetup) << learner->Log();
  EXPECT_THAT(learner->Log(), HasSubstr(Path("none.jsonl")));
  COHORT_ASSERT_OK(WriteFileAtomic(Path("termination-log"), ""));
  setenv("COHORT_TERMINATION_LOG", Path("termination-log").c_str(), 1);
  learner = Learner(0, 1, {"--lisen", "127.0.0.1:0"});
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), kExitBadSetup) << learner->Log();
  EXPECT_THAT(ReadFile(Path("termination-log")).value_or(""),
              AllOf(StartsWith("cohort-learner: "), HasSubstr("--lisen")));
  Process flag({bin_ + "/cohort-rollout", "--lerner", "127.0.0.1:1"}, Path("flag.log"));
  EXPECT_EQ(flag.Wait(absl::Seconds(60)), kExitBadSetup) << flag.Log();
  EXPECT_THAT(ReadFile(Path("termination-log")).value_or(""), StartsWith("cohort-rollout: "));
  unsetenv("COHORT_TERMINATION_LOG");
  Process worker({bin_ + "/cohort-rollout", "--config", Path("run.yaml"), "--learner",
                  "127.0.0.1:1", "--set", absl::StrCat("model.path=", Path("none"))},
                 Path("worker.log"));
  EXPECT_EQ(worker.Wait(absl::Seconds(60)), kExitBadSetup) << worker.Log();
}

}  // namespace
}  // namespace cohort
