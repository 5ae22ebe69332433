// Workers that are told nothing but where their learner is: configuration, tokenizer, reward models
// and weights come from there.
#include <algorithm>

#include "absl/strings/match.h"
#include "tests/integration/learner_process.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class LearnerOnlyWorker : public LearnerProcess {
 protected:
  // All that a worker on the learner's machine is told: where it is, and the secret of its run.
  std::vector<std::string> BareCommand(const std::string& address) const {
    return {bin_ + "/cohort-rollout", "--learner",       address, "--cache", Path("cache"),
            "--secret-file",          Path("out/secret")};
  }
  std::unique_ptr<Process> Bare(const std::vector<std::string>& extra = {},
                                const std::string& name = "worker") {
    std::vector<std::string> argv = BareCommand(Address());
    argv.insert(argv.end(), extra.begin(), extra.end());
    return std::make_unique<Process>(argv, Path(name + ".log"));
  }

  // Trains `steps` with one worker; the hash of the last weights. Rows are decoded few at a time:
  // then the last bits of a row's log-probs do not depend on who is decoded beside it
  // (cpu_few_rows.h), which on a busy machine is another row at every run.
  std::string Train(int steps, bool bare) {
    std::error_code error;
    std::filesystem::remove_all(Path("out"), error);
    WriteConfig(steps);
    const auto learner = Learner(0, 1, {"--set", "rollout.max_batch_rows=8"});
    const auto worker = bare ? Bare() : Worker();
    EXPECT_EQ(learner->Wait(absl::Seconds(120)), 0) << learner->Log() << worker->Log();
    EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
    worker_log_ = worker->Log();
    const std::vector<nlohmann::json> lines = Metrics();
    EXPECT_EQ(lines.size(), static_cast<size_t>(steps) + 1);
    for (size_t step = 1; step < lines.size(); ++step) {
      EXPECT_LT(lines[step]["sampling/logp_difference/max"].get<double>(), 1e-4);
    }
    return lines.empty() ? "" : lines.back().value("weights/hash", "");
  }

  std::vector<std::filesystem::path> CacheFiles() const {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(Path("cache"))) {
      files.push_back(entry.path());
    }
    return files;
  }

  std::string worker_log_;
};

TEST_F(LearnerOnlyWorker, TrainsTheSameWeightsAsOneWithItsOwnModel) {
  const std::string with_model = Train(3, /*bare=*/false);
  ASSERT_FALSE(with_model.empty());
  EXPECT_EQ(Train(3, /*bare=*/true), with_model);
  EXPECT_THAT(worker_log_, AllOf(HasSubstr("fetched 5 of the run's 5 files"),
                                 HasSubstr(Path("model") + " of the learner in fp32")));
  EXPECT_EQ(CacheFiles().size(), 5U) << "more than the files of the model was left behind";

  EXPECT_EQ(Train(3, /*bare=*/true), with_model);
  EXPECT_THAT(worker_log_, HasSubstr("fetched 0 of the run's 5 files"));

  for (const auto& file : CacheFiles()) {
    if (std::filesystem::file_size(file) > 1000) std::filesystem::resize_file(file, 1000);
  }
  EXPECT_EQ(Train(3, /*bare=*/true), with_model);
  EXPECT_THAT(worker_log_, AllOf(HasSubstr("is damaged"), HasSubstr("fetched again"),
                                 Not(HasSubstr("fetched 0 "))));
}

TEST_F(LearnerOnlyWorker, TwoShareACacheAndTakeWorkFromTheFirstStepOn) {
  WriteConfig(1000);
  const auto learner = Learner();
  const auto first = Bare({"--worker-id", "first"}, "first");
  const auto second = Bare({"--worker-id", "second"}, "second");
  const auto serving = [&](const std::string& name) {
    return absl::StrContains(ReadFile(Path(name + ".log")).value_or(""), "first token");
  };
  EXPECT_TRUE(WaitFor([&] { return serving("first") && serving("second"); }))
      << first->Log() << second->Log();
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(30)), ExitOfSignal(SIGTERM)) << learner->Log();
  for (Process* worker : {first.get(), second.get()}) {
    worker->Signal(SIGTERM);
    EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
  }
  EXPECT_EQ(CacheFiles().size(), 5U);
}

TEST_F(LearnerOnlyWorker, WaitsForALearnerThatComesLaterAndEndsAtOnceWhenItIsStopped) {
  WriteConfig(2);
  const std::string address = absl::StrCat("127.0.0.1:", FreePort());
  const std::vector<std::string> argv = BareCommand(address);
  const std::string notice = absl::StrCat("waiting for learner at ", address);
  Process stopped(argv, Path("stopped.log"));
  Process worker(argv, Path("worker.log"));
  for (const Process* process : {&stopped, &worker}) {
    ASSERT_TRUE(WaitFor([&] { return absl::StrContains(process->Log(), notice); }));
  }
  stopped.Signal(SIGTERM);
  EXPECT_EQ(stopped.Wait(absl::Seconds(5)), 0) << stopped.Log();

  Process learner({bin_ + "/cohort-learner", "--config", Path("run.yaml"), "--listen", address,
                   "--out", Path("out")},
                  Path("learner.log"));
  EXPECT_EQ(learner.Wait(absl::Seconds(60)), 0) << learner.Log();
  EXPECT_EQ(worker.Wait(absl::Seconds(20)), 0) << worker.Log();
}

TEST_F(LearnerOnlyWorker, GivesUpAfterTheTimeThatItIsToWait) {
  const std::string address = absl::StrCat("127.0.0.1:", FreePort());
  std::vector<std::string> argv = BareCommand(address);
  argv.insert(argv.end(), {"--set", "rollout.connect_seconds=1"});
  Process worker(argv, Path("worker.log"));
  EXPECT_EQ(worker.Wait(absl::Seconds(20)), 1) << worker.Log();
  EXPECT_THAT(worker.Log(), HasSubstr(absl::StrCat("no learner at ", address)));
}

TEST_F(LearnerOnlyWorker, ItsOwnSettingsAreTakenAndOnesThatDecideTheTrainingRefused) {
  WriteConfig(2);
  const auto learner = Learner();
  auto worker = Bare({"--set", "rollout.temperature=0.5"});
  EXPECT_EQ(worker->Wait(absl::Seconds(30)), kExitBadSetup) << worker->Log();
  EXPECT_THAT(worker->Log(),
              HasSubstr("--set changes rollout.temperature, which decides what is trained: the "
                        "learner has 1, this worker would have 0.5"));
  worker = Bare({"--set", "rollout.treads=2"});
  EXPECT_EQ(worker->Wait(absl::Seconds(30)), kExitBadSetup) << worker->Log();
  EXPECT_THAT(worker->Log(), HasSubstr("did you mean 'rollout.threads'"));

  worker = Bare({"--set", "rollout.threads=2", "--set", "rollout.device=cpu"});
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
}

TEST_F(LearnerOnlyWorker, EndsWhenAnotherRunTakesItsLearnersPlace) {
  WriteConfig(100000);
  const auto first = Learner();
  const std::string address = Address();
  const auto worker = Bare();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << first->Log() << worker->Log();
  first->Signal(SIGKILL);
  first->Wait(absl::Seconds(10));
  const std::string secret = ReadFile(Path("out/secret")).value_or("");
  std::filesystem::remove_all(Path("out"));
  COHORT_ASSERT_OK(MakeFolders(Path("out")));
  COHORT_ASSERT_OK(WriteFileAtomic(Path("out/secret"), secret));
  std::filesystem::permissions(Path("out/secret"), std::filesystem::perms::owner_read);
  Process second({bin_ + "/cohort-learner", "--config", Path("run.yaml"), "--listen", address,
                  "--out", Path("out"), "--set", "rollout.temperature=0.5"},
                 Path("second.log"));
  EXPECT_EQ(worker->Wait(absl::Seconds(60)), kExitBadSetup) << worker->Log() << second.Log();
  EXPECT_THAT(worker->Log(), HasSubstr("rollout.temperature: learner has 0.5, worker has 1"));
}

TEST_F(LearnerOnlyWorker, AModelOfItsOwnIsUsedWhereItIsTheLearners) {
  WriteConfig(2);
  const auto learner = Learner();
  const std::string make = MakeModelCommand("other", "--hidden 32 --layers 2 --seed 4");
  ASSERT_EQ(std::system(make.c_str()), 0) << make;
  auto worker = Bare({"--set", absl::StrCat("model.path=", Path("other"))});
  EXPECT_EQ(worker->Wait(absl::Seconds(30)), kExitBadSetup) << worker->Log();
  EXPECT_THAT(worker->Log(), HasSubstr("model.sha256: learner has "));

  std::filesystem::copy(Path("model"), Path("copy"));
  worker = Bare({"--set", absl::StrCat("model.path=", Path("copy"))});
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
  EXPECT_THAT(worker->Log(), AllOf(HasSubstr("fetched 0 of the run's 0 files"),
                                   HasSubstr("model " + Path("copy") + " in fp32")));
}

TEST_F(LearnerOnlyWorker, ARewardModelComesFromTheLearner) {
  const std::string make =
      MakeModelCommand("judge", "--hidden 32 --layers 1 --seed 5 --labels 1 --shards 2");
  ASSERT_EQ(std::system(make.c_str()), 0) << make;
  WriteConfig(2);
  const auto learner = Learner(
      0, 1,
      {"--set", absl::StrCat("algorithm.reward.sources=[task, {name: reward_model, weight: 0.1, ",
                             "path: ", Path("judge"), "}]")});
  const auto worker = Bare();
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log() << worker->Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
  const std::vector<nlohmann::json> lines = Metrics();
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_TRUE(lines[2].contains("reward/reward_model/mean")) << lines[2].dump();
  EXPECT_NE(lines[2].value("reward/reward_model/mean", 0.0), 0.0);
}

TEST_F(LearnerOnlyWorker, ACacheThatCannotBeWrittenToCostsOnlyTheCache) {
  COHORT_ASSERT_OK(WriteFileAtomic(Path("cache"), "a file"));
  WriteConfig(2);
  const auto learner = Learner();
  const auto worker = Bare();
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), 0) << learner->Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
  EXPECT_THAT(worker->Log(), HasSubstr("no cache for the learner's files"));
}

}  // namespace
}  // namespace cohort
