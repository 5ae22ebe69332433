// What only a GPU decides: generation and training give there what they give on the CPU, and NCCL
// reduces, broadcasts and can be aborted. Without a GPU every test skips.
#include <ATen/ATen.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <functional>
#include <future>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_matchers.h"
#include "common/collective/collective.h"
#include "common/generate/test_models.h"
#include "common/tensor/device.h"
#include "common/train/train_testing.h"

namespace cohort {
namespace {

class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    const absl::StatusOr<at::Device> device = ResolveDevice("cuda");
    if (!device.ok()) GTEST_SKIP() << "needs a GPU: " << device.status().message();
  }

  // The same random weights on another device, rounded to `dtype`.
  static std::unique_ptr<CausalLm> Model(const ModelConfig& config, at::Device device,
                                         bool trainable, at::ScalarType dtype = at::kFloat) {
    CausalLmOptions options;
    options.dtype = dtype;
    options.device = device;
    options.trainable = trainable;
    auto model = CausalLm::Random(config, options, 11);
    COHORT_CHECK(model.ok()) << model.status();
    if (device.is_cpu() && dtype == at::kFloat) return *std::move(model);
    const auto source = Model(config, at::kCPU, false);
    const c10::NoGradGuard no_grad;
    const std::vector<NamedTensor> from = source->StorageParameters();
    std::vector<NamedTensor> to = (*model)->StorageParameters();
    for (size_t i = 0; i < to.size(); ++i) to[i].tensor.detach().copy_(from[i].tensor.detach());
    return *std::move(model);
  }
};

TEST_F(GpuTest, GreedyGenerationIsThatOfTheCpu) {
  const auto cpu = Model(TinyConfig(), at::kCPU, false);
  const auto gpu = Model(TinyConfig(), at::kCUDA, false);
  const std::vector<GroupRequest> requests = {MakeRequest(1, 4, 24, 0), MakeRequest(2, 2, 12, 0)};
  const std::vector<Group> wanted = Generate(*cpu, {}, requests);
  const std::vector<Group> found = Generate(*gpu, {}, requests);
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t g = 0; g < wanted.size(); ++g) {
    for (size_t r = 0; r < wanted[g].rows.size(); ++r) {
      const Row &a = wanted[g].rows[r], &b = found[g].rows[r];
      ASSERT_EQ(b.tokens, a.tokens) << "group " << g << " row " << r;
      for (size_t t = 0; t < a.tokens.size(); ++t) EXPECT_NEAR(b.logprobs[t], a.logprobs[t], 1e-4);
    }
  }
}

TEST_F(GpuTest, SampledLogProbsAreThoseOfOneForwardPass) {
  const auto cpu = Model(TinyConfig(), at::kCPU, false);
  const auto gpu = Model(TinyConfig(), at::kCUDA, false);
  const GroupRequest request = MakeRequest(7, 8, 24);
  const std::vector<Group> groups = Generate(*gpu, {}, {request});
  for (const Row& row : groups[0].rows) {
    const std::vector<float> wanted = FullLogprobs(*cpu, request.prompt, row.tokens, 1.0);
    for (size_t t = 0; t < wanted.size(); ++t) EXPECT_NEAR(row.logprobs[t], wanted[t], 1e-4);
  }
}

TEST_F(GpuTest, Bf16LogProbsFollowOneForwardPassOfTheCpuInFp32) {
  // The CPU has the same rounded weights, so that only the GPU's arithmetic differs.
  const auto gpu = Model(TinyConfig(), at::kCUDA, false, at::kBFloat16);
  const auto cpu = Model(TinyConfig(), at::kCPU, false);
  const c10::NoGradGuard no_grad;
  const std::vector<NamedTensor> from = gpu->StorageParameters();
  std::vector<NamedTensor> to = cpu->StorageParameters();
  for (size_t i = 0; i < to.size(); ++i) to[i].tensor.detach().copy_(from[i].tensor.detach());
  const GroupRequest request = MakeRequest(7, 8, 24);
  const std::vector<Group> groups = Generate(*gpu, {}, {request});
  double sum = 0, tokens = 0;
  for (const Row& row : groups[0].rows) {
    const std::vector<float> wanted = FullLogprobs(*cpu, request.prompt, row.tokens, 1.0);
    for (size_t t = 0; t < wanted.size(); ++t) {
      EXPECT_NEAR(row.logprobs[t], wanted[t], 1.0);
      sum += std::abs(double{row.logprobs[t]} - double{wanted[t]});
      tokens += 1;
    }
  }
  EXPECT_LT(sum / tokens, 0.15);
}

TEST_F(GpuTest, ABf16StepOnFp32MastersFollowsTheFp32StepOfTheCpu) {
  TrainerOptions options = TinyOptions();
  options.tokens_per_micro_batch = 30;
  const std::vector<Group> groups = MakeGroups(4, 4);
  const auto step = [&](CausalLm* model) {
    const auto local = MakeLocalCollective();
    Trainer trainer(options, model, nullptr, local.get());
    COHORT_ASSERT_OK(trainer.Step(groups, 0));
  };
  const auto cpu = Model(TinyTrainConfig(), at::kCPU, true);
  const auto gpu = Model(TinyTrainConfig(), at::kCUDA, true, at::kBFloat16);
  step(cpu.get());
  step(gpu.get());
  const c10::NoGradGuard no_grad;
  for (size_t i = 0; i < cpu->StorageParameters().size(); ++i) {
    const at::Tensor found = gpu->StorageParameters()[i].tensor;
    EXPECT_EQ(found.scalar_type(), at::kBFloat16);
    EXPECT_LT(RelativeDifference(found.cpu(), cpu->StorageParameters()[i].tensor), 0.02) << i;
  }
}

TEST_F(GpuTest, AStepHasTheGradientsOfTheCpu) {
  TrainerOptions options;
  options.tokens_per_micro_batch = 40;
  options.max_grad_norm = 0;
  const std::vector<Group> groups = MakeGroups(4, 6);
  std::vector<at::Tensor> gradients[2];
  for (const at::Device device : {at::Device(at::kCPU), at::Device(at::kCUDA, 0)}) {
    const auto model = Model(TinyTrainConfig(), device, true);
    const auto local = MakeLocalCollective();
    Trainer trainer(options, model.get(), nullptr, local.get());
    COHORT_ASSERT_OK(trainer.Step(groups, 0));
    for (const at::Tensor& g : trainer.gradients().tensors()) {
      gradients[device.is_cpu() ? 0 : 1].push_back(g.cpu().clone());
    }
  }
  for (size_t i = 0; i < gradients[0].size(); ++i) {
    const double scale = gradients[0][i].norm().item<double>();
    EXPECT_LE((gradients[1][i] - gradients[0][i]).norm().item<double>(), 1e-4 * scale + 1e-9);
  }
}

// A world of one rank for each GPU that this process sees; each rank is a thread.
class NcclTest : public GpuTest {
 protected:
  static int FreePort() {
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
  static int Gpus() {
    int count = 0;
    while (ResolveDevice(absl::StrCat("cuda:", count)).ok()) ++count;
    return count;
  }
  static at::TensorOptions OnGpu(int rank) {
    return at::TensorOptions(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(rank)))
        .dtype(at::kFloat);
  }
  static absl::StatusOr<std::unique_ptr<Collective>> Rank(int rank, int world, int port) {
    C10dOptions options;
    options.rank = rank;
    options.world_size = world;
    options.store_host = "127.0.0.1";
    options.store_port = port;
    options.backend = "nccl";
    options.timeout = absl::Seconds(30);
    return MakeC10dCollective(options);
  }
  // Runs `body` in a thread of each rank.
  static void OnRanks(int world, const std::function<void(Collective&)>& body) {
    const int port = FreePort();
    std::vector<std::thread> threads;
    for (int rank = 0; rank < world; ++rank) {
      threads.emplace_back([&, rank] {
        auto nccl = Rank(rank, world, port);
        COHORT_ASSERT_OK(nccl);
        body(**nccl);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
};

TEST_F(NcclTest, ReducesAndBroadcasts) {
  const int world = Gpus();
  OnRanks(world, [world](Collective& nccl) {
    const int rank = nccl.rank();
    at::Tensor x = at::arange(1000, OnGpu(rank)) + rank;
    COHORT_ASSERT_OK(nccl.AllReduceSum(x, "test"));
    const at::Tensor sum = at::arange(1000, at::kFloat) * world + world * (world - 1) / 2;
    EXPECT_TRUE(at::equal(x.cpu(), sum)) << "rank " << rank << " of " << world;
    x.fill_(rank + 1);
    COHORT_ASSERT_OK(nccl.Broadcast(x, world - 1, "test"));
    EXPECT_EQ(x.min().item<float>(), static_cast<float>(world));
    COHORT_ASSERT_OK(nccl.Barrier("test"));
    std::string bytes = rank == 0 ? "configuration" : "";
    COHORT_ASSERT_OK(nccl.BroadcastBytes(bytes, 0, "test"));
    EXPECT_EQ(bytes, "configuration");
    COHORT_ASSERT_OK(nccl.Barrier("end"));
  });
}

TEST_F(NcclTest, AnAbortMakesLaterCallsFail) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto nccl, Rank(0, 1, FreePort()));
  nccl->Abort();
  at::Tensor x = at::ones({8}, OnGpu(0));
  std::future<absl::Status> failed =
      std::async(std::launch::async, [&] { return nccl->AllReduceSum(x, "after the abort"); });
  ASSERT_EQ(failed.wait_for(std::chrono::seconds(40)), std::future_status::ready);
  EXPECT_FALSE(failed.get().ok());
}

}  // namespace
}  // namespace cohort
