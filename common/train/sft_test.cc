#include "common/train/sft.h"

#include <ATen/ATen.h>
#include <arpa/inet.h>
#include <c10/core/GradMode.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "common/base/status_matchers.h"
#include "common/train/train_testing.h"

namespace cohort {
namespace {

using testing::HasSubstr;

// One response each; a part of the tokens is read, not learned.
std::vector<Group> Examples(int count) {
  std::vector<Group> examples = MakeGroups(count, 1);
  for (size_t i = 0; i < examples.size(); ++i) {
    Row& row = examples[i].rows[0];
    if (row.mask.size() > 2) row.mask[i % row.mask.size()] = 0;
  }
  return examples;
}

SftOptions Options(int64_t budget = 4096) {
  SftOptions options;
  options.lr.lr = 1e-2;
  options.adamw.eps = 1e-3;
  options.tokens_per_micro_batch = budget;
  return options;
}

struct Outcome {
  std::unique_ptr<CausalLm> model = TinyTrainModel(at::kDouble);
  std::vector<SftReport> reports;
};

void Train(SftTrainer& trainer, const std::vector<Group>& examples, int steps, Outcome* out) {
  for (int i = 0; i < steps; ++i) {
    auto report = trainer.Step(examples);
    COHORT_ASSERT_OK(report);
    out->reports.push_back(*report);
  }
}

Outcome TrainAlone(const SftOptions& options, const std::vector<Group>& examples, int steps = 2) {
  Outcome out;
  const auto local = MakeLocalCollective();
  SftTrainer trainer(options, out.model.get(), local.get());
  Train(trainer, examples, steps, &out);
  return out;
}

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(fd);
  return ntohs(address.sin_port);
}

TEST(SftTest, TheLossIsTheMeanOverLearnedTokensOfOnePlainForwardPassEach) {
  const std::vector<Group> examples = Examples(5);
  const auto model = TinyTrainModel(at::kDouble);
  double sum = 0, tokens = 0;
  for (const Group& example : examples) {
    const std::vector<double> logprobs = NaiveLogprobs(*model, example, example.rows[0]);
    for (size_t t = 0; t < logprobs.size(); ++t) {
      if (example.rows[0].mask[t] == 0) continue;
      sum -= logprobs[t];
      tokens += 1;
    }
  }
  const Outcome out = TrainAlone(Options(), examples, 1);
  EXPECT_NEAR(out.reports[0].loss, sum / tokens, 1e-10);
  EXPECT_EQ(out.reports[0].learned_tokens, tokens);
  EXPECT_EQ(out.reports[0].examples, 5);
}

TEST(SftTest, TheGradientIsThatOfFiniteDifferences) {
  const std::vector<Group> examples = Examples(3);
  const auto model = TinyTrainModel(at::kDouble);
  const auto local = MakeLocalCollective();
  SftOptions options = Options();
  options.lr.lr = 0;
  options.adamw.weight_decay = 0;
  SftTrainer trainer(options, model.get(), local.get());
  COHORT_ASSERT_OK(trainer.Step(examples));
  const c10::NoGradGuard no_grad;
  for (size_t p = 0; p < model->StorageParameters().size(); ++p) {
    at::Tensor flat = model->StorageParameters()[p].tensor.view(-1);
    const int64_t at = static_cast<int64_t>(p * 7) % flat.numel();
    const double gradient = trainer.gradients().tensors()[p].reshape(-1)[at].item<double>();
    const double before = flat[at].item<double>();
    double loss[2];
    for (int side = 0; side < 2; ++side) {
      flat[at].fill_(before + (side == 0 ? -1e-5 : 1e-5));
      COHORT_ASSERT_OK_AND_ASSIGN(const SftReport report, trainer.Score(examples));
      loss[side] = report.loss;
    }
    flat[at].fill_(before);
    EXPECT_NEAR(gradient, (loss[1] - loss[0]) / 2e-5, 1e-7)
        << model->StorageParameters()[p].name << " [" << at << "]";
  }
}

TEST(SftTest, SmallMicroBatchesMakeTheSameStep) {
  const std::vector<Group> examples = Examples(7);
  const Outcome whole = TrainAlone(Options(), examples);
  const Outcome cut = TrainAlone(Options(20), examples);
  EXPECT_LT(WeightDifference(*whole.model, *cut.model), 1e-10);
  EXPECT_NEAR(whole.reports[1].loss, cut.reports[1].loss, 1e-10);
  EXPECT_NEAR(whole.reports[1].grad_norm, cut.reports[1].grad_norm, 1e-10);
}

TEST(SftTest, AnExampleDoesNotSeeItsNeighbours) {
  std::vector<Group> examples = Examples(4);
  const auto model = TinyTrainModel(at::kDouble);
  const auto local = MakeLocalCollective();
  SftTrainer trainer(Options(), model.get(), local.get());
  double sum = 0, tokens = 0;
  for (const Group& example : examples) {
    const SftReport alone = *trainer.Score({example});
    sum += alone.loss * static_cast<double>(alone.learned_tokens);
    tokens += static_cast<double>(alone.learned_tokens);
  }
  EXPECT_NEAR(trainer.Score(examples)->loss, sum / tokens, 1e-10);
}

TEST(SftTest, TwoRanksMakeTheStepOfOne) {
  const std::vector<Group> examples = Examples(6);
  const Outcome alone = TrainAlone(Options(), examples);
  const int port = FreePort();
  std::vector<Outcome> outcomes(2);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      C10dOptions c10d;
      c10d.rank = rank;
      c10d.world_size = 2;
      c10d.store_host = "127.0.0.1";
      c10d.store_port = port;
      c10d.timeout = absl::Seconds(30);
      auto collective = MakeC10dCollective(c10d);
      COHORT_ASSERT_OK(collective);
      Outcome& out = outcomes[static_cast<size_t>(rank)];
      SftTrainer trainer(Options(), out.model.get(), collective->get());
      COHORT_EXPECT_OK(trainer.SyncWeights());
      Train(trainer, examples, 2, &out);
      COHORT_EXPECT_OK((*collective)->Barrier("end"));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(WeightDifference(*outcomes[0].model, *outcomes[1].model), 0);
  EXPECT_LT(WeightDifference(*outcomes[0].model, *alone.model), 1e-10);
  EXPECT_NEAR(outcomes[0].reports[1].loss, alone.reports[1].loss, 1e-10);
}

TEST(SftTest, ATinyModelLearnsByHeart) {
  const std::vector<Group> examples = Examples(4);
  const Outcome out = TrainAlone(Options(), examples, 120);
  EXPECT_LT(out.reports.back().loss, 0.2 * out.reports.front().loss);
}

TEST(SftTest, ABatchWithoutALearnedTokenIsRefused) {
  std::vector<Group> examples = Examples(1);
  examples[0].rows[0].mask.assign(examples[0].rows[0].mask.size(), 0);
  const auto model = TinyTrainModel(at::kDouble);
  const auto local = MakeLocalCollective();
  SftTrainer trainer(Options(), model.get(), local.get());
  EXPECT_THAT(trainer.Step(examples).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no token to learn")));
}

}  // namespace
}  // namespace cohort
