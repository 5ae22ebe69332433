// Times generation: ROWS rows of NEW tokens each after one shared prompt of PROMPT tokens, nothing
// stops a row early.
//
//   decode MODEL fp32|bf16 ROWS PROMPT NEW ITERATIONS THREADS
//
// Prints one JSON line: seconds of a whole run (prefill, sampling and all), median and minimum over
// the iterations after a warm-up, the median seconds of prefill and of one decode step, and the
// machine's own roofline measured between the iterations: bytes of weights read per second, and the
// arithmetic rate of a large product.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/log.h"
#include "common/generate/engine.h"
#include "common/model/causal_lm.h"

namespace cohort {
namespace {

double Seconds(absl::Time since) { return absl::ToDoubleSeconds(absl::Now() - since); }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Times {
  std::vector<double> run, prefill, step;
};

GroupRequest Request(GroupId id, int64_t rows, int64_t prompt, int64_t new_tokens) {
  GroupRequest request;
  request.id = id;
  for (int64_t i = 0; i < prompt; ++i) request.prompt.push_back(static_cast<int32_t>(1000 + i * 7));
  SamplePlan plan;
  plan.max_new_tokens = static_cast<int32_t>(new_tokens);
  request.plans.assign(static_cast<size_t>(rows), plan);
  return request;
}

void RunOnce(GroupGenerator& engine, GroupRequest request, Times& times) {
  const absl::Time start = absl::Now();
  COHORT_CHECK(engine.Submit(std::move(request)).ok());
  while (!engine.idle()) {
    const absl::Time step = absl::Now();
    const StepResult result = engine.Step();
    if (result.prefilled_tokens == 0) times.step.push_back(Seconds(step));
    for (const FinishedGroup& group : result.finished) {
      COHORT_CHECK(group.status.ok()) << group.status;
      times.prefill.push_back(group.group.timings.prefill_seconds);
    }
  }
  times.run.push_back(Seconds(start));
}

// Bytes per second of reading every weight once: a sum over each fused matrix.
double ReadRate(const CausalLm& model) {
  double bytes = 0;
  const absl::Time start = absl::Now();
  for (const NamedTensor& parameter : model.StorageParameters()) {
    at::sum(parameter.tensor.detach().view({-1}).view(at::kFloat));
    bytes += static_cast<double>(parameter.tensor.nbytes());
  }
  return bytes / Seconds(start);
}

// Floating-point operations per second of a product large enough to be bound by arithmetic.
double ProductRate(at::ScalarType dtype) {
  constexpr int64_t kRows = 660, kIn = 576, kOut = 1536;
  const at::Tensor x = at::randn({kRows, kIn}, at::kFloat).to(dtype);
  const at::Tensor weight = at::randn({kOut, kIn}, at::kFloat).to(dtype);
  double best = 0;
  for (int i = 0; i < 10; ++i) {
    const absl::Time start = absl::Now();
    at::linear(x, weight);
    best = std::max(best, 2.0 * static_cast<double>(kRows * kIn * kOut) / Seconds(start));
  }
  return best;
}

int Main(int argc, char** argv) {
  COHORT_CHECK(argc == 8) << "usage: decode MODEL fp32|bf16 ROWS PROMPT NEW ITERATIONS THREADS";
  const auto number = [&](int index) { return std::strtoll(argv[index], nullptr, 10); };
  at::set_num_threads(static_cast<int>(number(7)));
  CausalLmOptions options;
  options.dtype = std::string(argv[2]) == "bf16" ? at::kBFloat16 : at::kFloat;
  const auto model = CausalLm::Load(argv[1], options);
  COHORT_CHECK(model.ok()) << model.status();
  EngineOptions engine_options;
  engine_options.max_rows = static_cast<int>(number(3));
  engine_options.stop_tokens = std::vector<int32_t>();
  const auto engine = GroupGenerator::Create(model->get(), engine_options);
  COHORT_CHECK(engine.ok()) << engine.status();

  Times times;
  std::vector<double> read, product;
  for (int64_t iteration = 0; iteration <= number(6); ++iteration) {
    if (iteration == 1) times = Times();  // the first one warms caches and thread pools up
    const auto id = static_cast<GroupId>(iteration + 1);
    RunOnce(**engine, Request(id, number(3), number(4), number(5)), times);
    read.push_back(ReadRate(**model));
    product.push_back(ProductRate(options.dtype));
  }
  std::printf(
      "{\"median\": %.5f, \"min\": %.5f, \"prefill\": %.5f, \"step\": %.6f, "
      "\"read_bytes_per_second\": %.4g, \"product_flop_per_second\": %.4g}\n",
      Median(times.run), *std::min_element(times.run.begin(), times.run.end()),
      Median(times.prefill), Median(times.step), *std::max_element(read.begin(), read.end()),
      *std::max_element(product.begin(), product.end()));
  return 0;
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) { return cohort::Main(argc, argv); }
