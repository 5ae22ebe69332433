// Whole optimizer batches on tiny models, on one rank and on several, for the tests of this folder.
#pragma once

#include <ATen/ATen.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/base/status_matchers.h"
#include "common/collective/collective.h"
#include "common/train/train_testing.h"

namespace cohort {

inline int FreePort() {
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

// The tiny model with a scalar head.
inline std::unique_ptr<CausalLm> TinyCritic(at::ScalarType dtype) {
  CausalLmOptions options;
  options.dtype = dtype;
  options.trainable = true;
  ModelConfig config = TinyTrainConfig();
  config.num_labels = 1;
  auto model = CausalLm::Random(config, options, 13);
  TORCH_CHECK(model.ok(), model.status().ToString());
  return *std::move(model);
}

struct Outcome {
  std::unique_ptr<CausalLm> model;
  std::unique_ptr<CausalLm> critic, process;  // where the baseline needs them
  StepReport report;
  std::vector<at::Tensor> gradients;  // of the last update
};

// `steps` batches over the same groups on this rank of `collective`.
inline void TrainOnRank(const TrainerOptions& options, const std::vector<Group>& groups,
                        at::ScalarType dtype, int steps, Collective* collective, Outcome* out) {
  out->model = TinyTrainModel(dtype);
  const auto reference = TinyTrainModel(dtype, false);
  const AdvantageBaseline baseline = options.algorithm.advantage.baseline;
  if (baseline == AdvantageBaseline::kCriticGae) out->critic = TinyCritic(dtype);
  if (baseline == AdvantageBaseline::kPrimeLoo) out->process = TinyTrainModel(dtype);
  BesideModels beside;
  beside.reference = beside.process_reference = reference.get();
  beside.critic = out->critic.get();
  beside.process = out->process.get();
  Trainer trainer(options, out->model.get(), beside, collective);
  for (int step = 0; step < steps; ++step) {
    auto report = trainer.Step(groups, step);
    EXPECT_THAT(report, IsOk());
    if (report.ok()) out->report = *report;
  }
  for (const at::Tensor& g : trainer.gradients().tensors()) out->gradients.push_back(g.clone());
}

inline Outcome TrainAlone(const TrainerOptions& options, const std::vector<Group>& groups,
                          at::ScalarType dtype = at::kDouble, int steps = 2) {
  Outcome out;
  const auto local = MakeLocalCollective();
  TrainOnRank(options, groups, dtype, steps, local.get(), &out);
  return out;
}

// `work` on `world` ranks, each in a thread.
inline void OnRanks(int world, const std::function<void(int, Collective&)>& work) {
  const int port = FreePort();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world; ++rank) {
    threads.emplace_back([&, rank] {
      C10dOptions c10d;
      c10d.rank = rank;
      c10d.world_size = world;
      c10d.store_host = "127.0.0.1";
      c10d.store_port = port;
      c10d.timeout = absl::Seconds(30);
      auto collective = MakeC10dCollective(c10d);
      COHORT_ASSERT_OK(collective);
      work(rank, **collective);
      COHORT_EXPECT_OK((*collective)->Barrier("end"));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// The same on `world` ranks: every rank's outcome.
inline std::vector<Outcome> TrainOnRanks(int world, const TrainerOptions& options,
                                         const std::vector<Group>& groups, at::ScalarType dtype,
                                         int steps) {
  std::vector<Outcome> outcomes(static_cast<size_t>(world));
  OnRanks(world, [&](int rank, Collective& collective) {
    TrainOnRank(options, groups, dtype, steps, &collective, &outcomes[static_cast<size_t>(rank)]);
  });
  return outcomes;
}

// Two steps in fp64, after which ranks must agree; the outcome of rank 0.
inline Outcome TrainTogether(int world, const TrainerOptions& options,
                             const std::vector<Group>& groups) {
  std::vector<Outcome> outcomes = TrainOnRanks(world, options, groups, at::kDouble, 2);
  EXPECT_EQ(WeightDifference(*outcomes[0].model, *outcomes[1].model), 0);
  return std::move(outcomes[0]);
}

// Some numbers of every parameter against the central difference of `loss`.
inline void ExpectFiniteDifferences(const CausalLm& model, const std::vector<at::Tensor>& gradients,
                                    const std::function<double()>& loss, const std::string& what) {
  const c10::NoGradGuard no_grad;
  const double h = 1e-6;
  double largest = 0;
  for (size_t i = 0; i < gradients.size(); ++i) {
    double* weight = model.StorageParameters()[i].tensor.detach().data_ptr<double>();
    const int64_t size = gradients[i].numel();
    for (int64_t j : {size / 3, size - 1}) {
      const double before = weight[j];
      weight[j] = before + h;
      const double up = loss();
      weight[j] = before - h;
      const double down = loss();
      weight[j] = before;
      const double gradient = gradients[i].view(-1)[j].item<double>();
      largest = std::max(largest, std::abs(gradient));
      EXPECT_NEAR(gradient, (up - down) / (2 * h), 1e-6) << what << ", tensor " << i << " at " << j;
    }
  }
  EXPECT_GT(largest, 1e-5) << what << ": no gradient at all";
}

}  // namespace cohort
