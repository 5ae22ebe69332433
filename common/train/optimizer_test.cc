#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "common/base/status_matchers.h"
#include "common/train/adamw.h"
#include "common/train/adamw_kernel.h"
#include "common/train/schedule.h"
#include "common/train/train_testing.h"

namespace cohort {
namespace {

// The formula of adamw.h, written out for one number.
struct Reference {
  double p, m = 0, v = 0;
  int64_t t = 0;
  void Step(double g, double lr, const AdamWOptions& o) {
    ++t;
    m = o.beta1 * m + (1 - o.beta1) * g;
    v = o.beta2 * v + (1 - o.beta2) * g * g;
    const double m_hat = m / (1 - std::pow(o.beta1, static_cast<double>(t)));
    const double v_hat = v / (1 - std::pow(o.beta2, static_cast<double>(t)));
    p -= lr * o.weight_decay * p;
    p -= lr * m_hat / (std::sqrt(v_hat) + o.eps);
  }
};

std::vector<at::Tensor> GradientsLike(const AdamW& optimizer, uint64_t seed) {
  at::manual_seed(seed);
  std::vector<at::Tensor> out;
  for (const at::Tensor& master : optimizer.masters()) {
    out.push_back(at::randn(master.sizes(), master.options()));
  }
  return out;
}

TEST(AdamW, FollowsTheFormulaOverManySteps) {
  const AdamWOptions options{0.8, 0.95, 1e-6, 0.1};
  auto model = TinyTrainModel(at::kDouble);
  AdamW optimizer(model.get(), options);
  const at::Tensor first = optimizer.masters()[0];
  Reference expected{first.view(-1)[3].item<double>()};
  for (uint64_t step = 0; step < 20; ++step) {
    const std::vector<at::Tensor> gradients = GradientsLike(optimizer, step);
    optimizer.Step(gradients, 0.01, 0.5);
    expected.Step(0.5 * gradients[0].view(-1)[3].item<double>(), 0.01, options);
    ASSERT_NEAR(first.view(-1)[3].item<double>(), expected.p, 1e-13) << step;
  }
  EXPECT_EQ(optimizer.steps(), 20);
}

TEST(AdamW, TheFp32KernelAgreesWithFp64) {
  auto exact = TinyTrainModel(at::kDouble);
  auto single = TinyTrainModel(at::kFloat);
  AdamW a(exact.get(), {}), b(single.get(), {});
  for (uint64_t step = 0; step < 5; ++step) {
    std::vector<at::Tensor> gradients = GradientsLike(b, step), wide;
    for (const at::Tensor& g : gradients) wide.push_back(g.to(at::kDouble));
    a.Step(wide, 1e-3, 1);
    b.Step(gradients, 1e-3, 1);
  }
  EXPECT_LT(WeightDifference(*single, *exact), 1e-6);
}

TEST(AdamW, ABf16ModelIsItsMastersRoundedToNearest) {
  auto model = TinyTrainModel(at::kBFloat16);
  AdamW optimizer(model.get(), {});
  ASSERT_TRUE(optimizer.separate_masters());
  for (uint64_t step = 0; step < 3; ++step) {
    optimizer.Step(GradientsLike(optimizer, step), 1e-4, 1);
  }
  for (size_t i = 0; i < optimizer.masters().size(); ++i) {
    const at::Tensor rounded = optimizer.masters()[i].to(at::kBFloat16);
    EXPECT_TRUE(at::equal(model->StorageParameters()[i].tensor.detach(), rounded)) << i;
  }
}

TEST(AdamWKernel, RoundsTiesToEvenAndKeepsNan) {
  // With these numbers the update leaves p as it is.
  AdamWNumbers still;
  still.eps = 1;
  float p[] = {1.00390625f, 1.01171875f, -1.00390625f, std::nanf(""), 3.0e38f};
  float m[5] = {}, v[5] = {}, g[5] = {};
  uint16_t bf16[5] = {};
  AdamWUpdate(p, m, v, g, bf16, 5, still);
  const uint16_t expected[] = {0x3F80, 0x3F82, 0xBF80, 0x7FC0, 0x7F62};
  for (int i = 0; i < 5; ++i) EXPECT_EQ(bf16[i], expected[i]) << i;
}

TEST(LearningRate, WarmsUpAndDecays) {
  LrOptions options;
  options.lr = 1;
  options.warmup_steps = 4;
  options.total_steps = 14;
  EXPECT_DOUBLE_EQ(LearningRate(options, 0), 0.25);
  EXPECT_DOUBLE_EQ(LearningRate(options, 3), 1);
  EXPECT_DOUBLE_EQ(LearningRate(options, 1000), 1);
  options.schedule = LrSchedule::kLinear;
  options.min_lr_ratio = 0.1;
  EXPECT_DOUBLE_EQ(LearningRate(options, 4), 1);
  EXPECT_DOUBLE_EQ(LearningRate(options, 9), 0.55);
  EXPECT_DOUBLE_EQ(LearningRate(options, 20), 0.1);
  options.schedule = LrSchedule::kCosine;
  EXPECT_NEAR(LearningRate(options, 9), 0.55, 1e-12);
  EXPECT_NEAR(LearningRate(options, 14), 0.1, 1e-12);
}

}  // namespace
}  // namespace cohort
