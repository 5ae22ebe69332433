// What only a GPU decides: generation and training give there what they give on the CPU, and NCCL
// reduces, broadcasts and can be aborted. Without a GPU every test skips.
#include <ATen/ATen.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <thread>

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

  // The same random weights on another device.
  static std::unique_ptr<CausalLm> Model(const ModelConfig& config, at::Device device,
                                         bool trainable) {
    CausalLmOptions options;
    options.dtype = at::kFloat;
    options.device = device;
    options.trainable = trainable;
    auto model = CausalLm::Random(config, options, 11);
    COHORT_CHECK(model.ok()) << model.status();
    if (device.is_cpu()) return *std::move(model);
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

// A world of one rank per GPU, all in this process; `body` runs in a thread of each.
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
  static absl::StatusOr<std::unique_ptr<Collective>> World() {
    C10dOptions options;
    options.store_host = "127.0.0.1";
    options.store_port = FreePort();
    options.backend = "nccl";
    options.timeout = absl::Seconds(30);
    return MakeC10dCollective(options);
  }
};

TEST_F(NcclTest, ReducesAndBroadcasts) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto nccl, World());
  at::Tensor x = at::arange(1000, at::TensorOptions(at::kCUDA).dtype(at::kFloat));
  const at::Tensor wanted = x.clone();
  COHORT_ASSERT_OK(nccl->AllReduceSum(x, "test"));
  COHORT_ASSERT_OK(nccl->Broadcast(x, 0, "test"));
  COHORT_ASSERT_OK(nccl->Barrier("test"));
  EXPECT_TRUE(at::equal(x.cpu(), wanted.cpu()));
  std::string bytes = "configuration";
  COHORT_ASSERT_OK(nccl->BroadcastBytes(bytes, 0, "test"));
  EXPECT_EQ(bytes, "configuration");
}

TEST_F(NcclTest, AnAbortMakesLaterCallsFail) {
  COHORT_ASSERT_OK_AND_ASSIGN(const auto nccl, World());
  nccl->Abort();
  at::Tensor x = at::ones({8}, at::TensorOptions(at::kCUDA).dtype(at::kFloat));
  std::future<absl::Status> failed =
      std::async(std::launch::async, [&] { return nccl->AllReduceSum(x, "after the abort"); });
  ASSERT_EQ(failed.wait_for(std::chrono::seconds(40)), std::future_status::ready);
  EXPECT_FALSE(failed.get().ok());
}

}  // namespace
}  // namespace cohort
