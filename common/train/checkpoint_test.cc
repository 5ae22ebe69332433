#include "common/train/checkpoint.h"

#include <ATen/ATen.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/train/train_testing.h"

namespace cohort {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Learner {
  explicit Learner(at::ScalarType dtype)
      : model(TinyTrainModel(dtype)),
        collective(MakeLocalCollective()),
        trainer(TinyOptions(), model.get(), nullptr, collective.get()) {}

  void Train(int steps) {
    for (int i = 0; i < steps; ++i) {
      const uint64_t seed = 100 + static_cast<uint64_t>(trainer.batches());
      const std::vector<Group> groups = MakeGroups(2, 4, 31, seed);
      COHORT_ASSERT_OK(trainer.Step(groups, trainer.batches()));
    }
  }

  CheckpointState State() const {
    CheckpointState state;
    state.step = state.version = trainer.batches();
    state.optimizer_steps = trainer.optimizer().steps();
    state.config_hash = "abc";
    state.extra_json = "{\"cursor\": 5}";
    return state;
  }

  std::unique_ptr<CausalLm> model;
  std::unique_ptr<Collective> collective;
  Trainer trainer;
};

class Checkpoint : public testing::TestWithParam<at::ScalarType> {};

TEST_P(Checkpoint, ResumingContinuesAsIfNothingHadHappened) {
  TemporaryFolder folder;
  Learner whole(GetParam());
  whole.Train(2);
  CheckpointStore store(folder.path() + "/checkpoints", 2);
  COHORT_ASSERT_OK(store.Open());
  COHORT_ASSERT_OK(store.Save(*whole.model, whole.trainer.optimizer(), whole.State()));
  whole.Train(3);

  Learner resumed(GetParam());
  COHORT_ASSERT_OK_AND_ASSIGN(const std::string newest, store.Newest());
  COHORT_ASSERT_OK_AND_ASSIGN(
      const CheckpointState state,
      LoadCheckpoint(newest, resumed.model.get(), &resumed.trainer.optimizer()));
  EXPECT_EQ(state.step, 2);
  EXPECT_EQ(state.config_hash, "abc");
  EXPECT_THAT(state.extra_json, HasSubstr("5"));
  resumed.trainer.Restore(state.step, state.kl_coef);
  resumed.Train(3);
  EXPECT_EQ(WeightDifference(*resumed.model, *whole.model), 0);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Checkpoint,
                         testing::Values(at::kFloat, at::kBFloat16, at::kDouble),
                         [](const auto& tested) {
                           return std::string(at::toString(tested.param));
                         });

class DamagedCheckpoints : public testing::Test {
 protected:
  DamagedCheckpoints() {
    EXPECT_THAT(store_.Open(), IsOk());
    for (int step = 1; step <= 3; ++step) {
      learner_.Train(1);
      EXPECT_THAT(store_.Save(*learner_.model, learner_.trainer.optimizer(), learner_.State()),
                  IsOk());
    }
  }
  absl::StatusOr<LoadedCheckpoint> Load(const absl::Status& check = absl::OkStatus()) {
    return store_.LoadNewest(learner_.model.get(), &learner_.trainer.optimizer(), {},
                             [&](const LoadedCheckpoint&) { return check; });
  }
  void Truncate(int64_t step, const std::string& file) {
    std::filesystem::resize_file(store_.PathOf(step) + "/" + file, 100);
  }

  TemporaryFolder folder_;
  Learner learner_{at::kFloat};
  CheckpointStore store_{folder_.path() + "/checkpoints", 3};
};

TEST_F(DamagedCheckpoints, TheNewestWholeOneIsLoadedAndTheOthersSetAside) {
  Truncate(3, "optimizer.safetensors");
  COHORT_ASSERT_OK(WriteFileAtomic(store_.PathOf(2) + "/state.json", ""));
  COHORT_ASSERT_OK_AND_ASSIGN(const LoadedCheckpoint loaded, Load());
  EXPECT_EQ(loaded.path, store_.PathOf(1));
  EXPECT_EQ(loaded.state.step, 1);
  EXPECT_THAT(store_.Steps(), ElementsAre(1));
  EXPECT_TRUE(std::filesystem::exists(folder_.path() + "/checkpoints/damaged-step-00000003"));

  // The step that is made again is saved again.
  learner_.trainer.Restore(1, 0);
  learner_.Train(1);
  COHORT_ASSERT_OK(store_.Save(*learner_.model, learner_.trainer.optimizer(), learner_.State()));
  EXPECT_EQ(Load()->state.step, 2);
}

TEST_F(DamagedCheckpoints, WhereNoneIsWholeTheNewestIsNamedAndAllAreLeftAlone) {
  for (const int64_t step : {1, 2, 3}) Truncate(step, "model.safetensors");
  EXPECT_THAT(Load().status(), StatusIs(absl::StatusCode::kInvalidArgument,
                                        testing::AllOf(HasSubstr(store_.PathOf(3)),
                                                       HasSubstr("no older checkpoint"))));
  EXPECT_THAT(store_.Steps(), ElementsAre(1, 2, 3));
}

TEST_F(DamagedCheckpoints, OneThatMayNotBeContinuedIsNoDamage) {
  EXPECT_THAT(Load(absl::FailedPreconditionError("of another run")).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, "of another run"));
  EXPECT_THAT(store_.Steps(), ElementsAre(1, 2, 3));
}

TEST(CheckpointStore, KeepsTheLastOnesAndTheBest) {
  TemporaryFolder folder;
  CheckpointStore store(folder.path(), 2);
  COHORT_ASSERT_OK(store.Open());
  Learner learner(at::kFloat);
  for (int step = 1; step <= 5; ++step) {
    learner.trainer.Restore(step, 0);
    COHORT_ASSERT_OK(store.Save(*learner.model, learner.trainer.optimizer(), learner.State()));
    if (step != 2) continue;
    COHORT_ASSERT_OK(store.MarkBest(2, 0.75));
  }
  EXPECT_THAT(store.Steps(), ElementsAre(2, 4, 5));
  CheckpointStore again(folder.path(), 2);
  COHORT_ASSERT_OK(again.Open());
  EXPECT_EQ(again.best().step, 2);
  EXPECT_EQ(again.best().score, 0.75);
  COHORT_ASSERT_OK(again.MarkBest(5, 0.8));
  EXPECT_THAT(again.Steps(), ElementsAre(4, 5));
}

TEST(CheckpointStore, WhatAnInterruptedWriteLeftIsRemovedAndNeverRead) {
  TemporaryFolder folder;
  std::filesystem::create_directories(folder.path() + "/.writing-7");
  std::filesystem::create_directories(folder.path() + "/step-00000009");  // without its state
  COHORT_ASSERT_OK(WriteFileAtomic(folder.path() + "/.writing-7/model.safetensors", "half"));
  CheckpointStore store(folder.path(), 2);
  COHORT_ASSERT_OK(store.Open());
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/.writing-7"));
  EXPECT_THAT(store.Newest(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no checkpoint")));
}

TEST(CheckpointStore, DamagedStateNamesTheFile) {
  TemporaryFolder folder;
  COHORT_ASSERT_OK(WriteFileAtomic(folder.path() + "/state.json", "{\"step\": \"x\"}"));
  Learner learner(at::kFloat);
  EXPECT_THAT(LoadCheckpoint(folder.path(), learner.model.get(), &learner.trainer.optimizer()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("state.json")));
}

TEST(CheckpointStore, AnotherModelsCheckpointIsRefused) {
  TemporaryFolder folder;
  CheckpointStore store(folder.path(), 2);
  COHORT_ASSERT_OK(store.Open());
  Learner learner(at::kFloat);
  COHORT_ASSERT_OK(store.Save(*learner.model, learner.trainer.optimizer(), learner.State()));
  auto other = TinyTrainModel(at::kFloat, true, /*vocab=*/37);
  AdamW optimizer(other.get(), {});
  EXPECT_THAT(LoadCheckpoint(store.PathOf(0), other.get(), &optimizer),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("another model")));
}

// In a child, where files may not grow beyond a few bytes, as on a full disk.
int SaveOnAFullDisk(const std::string& folder) {
  Learner learner(at::kFloat);
  CheckpointStore store(folder, 2);
  if (!store.Open().ok()) return 2;
  signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  getrlimit(RLIMIT_FSIZE, &limit);
  rlimit small = limit;
  small.rlim_cur = 4096;
  setrlimit(RLIMIT_FSIZE, &small);
  if (store.Save(*learner.model, learner.trainer.optimizer(), learner.State()).ok()) return 3;
  if (std::filesystem::exists(folder + "/.writing-0")) return 4;
  if (!store.Steps().empty()) return 5;
  setrlimit(RLIMIT_FSIZE, &limit);
  if (!store.Save(*learner.model, learner.trainer.optimizer(), learner.State()).ok()) return 6;
  return store.Steps().size() == 1 ? 0 : 7;
}

TEST(CheckpointStore, AFullDiskLeavesNothingBehindAndTheNextWriteWorks) {
  TemporaryFolder folder;
  const pid_t child = fork();
  if (child == 0) _exit(SaveOnAFullDisk(folder.path()));
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace cohort
