// Times a forward and backward pass of a policy-gradient-like loss over `rows` sequences.
//
//   forward_backward MODEL fp32|bf16 ROWS PROMPT RESPONSE ITERATIONS THREADS shared|repeated
//
// `repeated`: every row carries its own prompt and loss on all tokens but the first, the work that
// transformers does for a batch of ROWS x (PROMPT + RESPONSE). `shared`: groups of 8 rows share one
// prompt and only response tokens carry loss, the learner's real layout. Prints one JSON line.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randint.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/log.h"
#include "common/model/causal_lm.h"
#include "common/model/packed_attention.h"
#include "common/objective/token_scores.h"

namespace cohort {
namespace {

struct Layout {
  std::vector<Segment> segments;
  std::vector<at::Tensor> positions;
  std::vector<at::Tensor> loss_rows;  // indices of hidden states that predict a token with loss
  int64_t num_tokens = 0;

  int Add(int64_t length, int parent, int64_t first_position) {
    segments.push_back(
        {.begin = num_tokens,
         .length = length,
         .parent = parent,
         .parent_tokens = parent < 0 ? 0 : segments[static_cast<size_t>(parent)].length});
    positions.push_back(at::arange(first_position, first_position + length));
    num_tokens += length;
    return static_cast<int>(segments.size()) - 1;
  }
};

Layout Repeated(int64_t rows, int64_t prompt, int64_t response) {
  Layout layout;
  for (int64_t row = 0; row < rows; ++row) {
    layout.Add(prompt + response, -1, 0);
    layout.loss_rows.push_back(
        at::arange(layout.num_tokens - prompt - response, layout.num_tokens - 1));
  }
  return layout;
}

Layout Shared(int64_t rows, int64_t prompt, int64_t response) {
  constexpr int64_t kGroup = 8;
  Layout layout;
  for (int64_t group = 0; group < rows / kGroup; ++group) {
    const int root = layout.Add(prompt, -1, 0);
    for (int64_t row = 0; row < kGroup; ++row) {
      layout.Add(response, root, prompt);
      layout.loss_rows.push_back(at::arange(layout.num_tokens - response, layout.num_tokens - 1));
    }
  }
  return layout;
}

int Main(int argc, char** argv) {
  COHORT_CHECK(argc == 9)
      << "usage: forward_backward MODEL fp32|bf16 ROWS PROMPT RESPONSE ITERATIONS "
         "THREADS shared|repeated";
  const auto number = [&](int index) { return std::strtoll(argv[index], nullptr, 10); };
  at::set_num_threads(static_cast<int>(number(7)));
  const CausalLmOptions options{
      .dtype = std::string(argv[2]) == "bf16" ? at::kBFloat16 : at::kFloat, .trainable = true};
  auto model = CausalLm::Load(argv[1], options);
  COHORT_CHECK(model.ok()) << model.status().ToString();
  const Layout layout = std::string(argv[8]) == "shared"
                            ? Shared(number(3), number(4), number(5))
                            : Repeated(number(3), number(4), number(5));
  const at::Tensor tokens = at::randint(1000, 40000, {layout.num_tokens}, at::kLong);
  const at::Tensor positions = at::cat(layout.positions);
  const at::Tensor loss_rows = at::cat(layout.loss_rows);
  PackedAttention attention(layout.segments);

  std::vector<double> seconds;
  for (int64_t iteration = 0; iteration <= number(6); ++iteration) {
    const absl::Time start = absl::Now();
    const at::Tensor hidden = (*model)->Forward(tokens, positions, attention);
    const TokenScores scores =
        ScoreTokens(hidden.index_select(0, loss_rows), (*model)->head_weight(),
                    tokens.index_select(0, loss_rows.add(1)));
    scores.logprob.mean().neg().backward();
    for (const NamedTensor& parameter : (*model)->StorageParameters()) {
      parameter.tensor.mutable_grad().reset();
    }
    // The first pass warms caches and thread pools up.
    if (iteration > 0) seconds.push_back(absl::ToDoubleSeconds(absl::Now() - start));
  }
  std::sort(seconds.begin(), seconds.end());
  std::printf("{\"min\": %.4f, \"median\": %.4f, \"tokens\": %lld, \"loss_tokens\": %lld}\n",
              seconds.front(), seconds[seconds.size() / 2],
              static_cast<long long>(layout.num_tokens), static_cast<long long>(loss_rows.numel()));
  return 0;
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) { return cohort::Main(argc, argv); }
