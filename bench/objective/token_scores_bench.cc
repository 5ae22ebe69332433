// Log-probs of chosen tokens from hidden states, forward and backward, for the shape of the
// toolchain.md workload (about 500 response tokens, SmolLM2-135M's head): the chunked function
// against the plain one that keeps the [tokens, vocab] matrix. Items are tokens.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <c10/core/GradMode.h>

#include "common/objective/token_scores.h"

namespace cohort {
namespace {

constexpr int64_t kTokens = 480, kWidth = 576, kVocab = 49152;

struct Inputs {
  at::Tensor hidden, head, targets;
};

Inputs MakeInputs(at::ScalarType type) {
  at::set_num_threads(2);
  at::manual_seed(1);
  return {at::randn({kTokens, kWidth}).to(type).requires_grad_(true),
          at::randn({kVocab, kWidth}).mul_(0.05).to(type).requires_grad_(true),
          at::randint(kVocab, {kTokens}, at::kLong)};
}

at::Tensor Plain(const Inputs& in) {
  const at::Tensor logits = at::mm(in.hidden, in.head.t()).to(at::kFloat);
  return at::log_softmax(logits, 1).gather(1, in.targets.unsqueeze(1)).squeeze(1);
}

at::Tensor Chunked(const Inputs& in) { return ScoreTokens(in.hidden, in.head, in.targets).logprob; }

template <typename Score>
void Run(benchmark::State& state, Score score) {
  const Inputs in = MakeInputs(state.range(0) != 0 ? at::kBFloat16 : at::kFloat);
  const bool backward = state.range(1) != 0;
  for (auto unused : state) {
    const c10::AutoGradMode grad_mode(backward);
    at::Tensor loss = score(in).sum();
    if (backward) loss.backward();
    benchmark::DoNotOptimize(loss.item<float>());
    in.hidden.mutable_grad() = at::Tensor();
    in.head.mutable_grad() = at::Tensor();
  }
  state.SetItemsProcessed(state.iterations() * kTokens);
}

void ChunkedScores(benchmark::State& state) { Run(state, Chunked); }
void PlainScores(benchmark::State& state) { Run(state, Plain); }

BENCHMARK(ChunkedScores)
    ->ArgNames({"bf16", "backward"})
    ->ArgsProduct({{0, 1}, {0, 1}})
    ->UseRealTime();
BENCHMARK(PlainScores)
    ->ArgNames({"bf16", "backward"})
    ->ArgsProduct({{0, 1}, {0, 1}})
    ->UseRealTime();

}  // namespace
}  // namespace cohort
