#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "common/objective/policy_loss.h"
#include "common/objective/token_scores.h"
#include "common/rl/algorithm_names.h"
#include "common/rl/em_inf.h"
#include "common/rl/metrics.h"
#include "services/cli/vector_methods.h"

namespace cohort {
namespace {

at::Tensor ReadLogits(const Matrix& logits) {
  std::vector<at::Tensor> rows;
  for (const auto& row : logits) rows.push_back(at::tensor(row, at::kDouble));
  return at::stack(rows);
}

// Scores of given logits: hidden states that an identity head maps to themselves.
TokenScores ScoreLogits(const at::Tensor& logits, const at::Tensor& targets, double temperature) {
  TokenScoreOptions options;
  options.temperature = temperature;
  options.entropy_gradient = true;
  return ScoreTokens(logits, at::eye(logits.size(1), at::kDouble), targets, options);
}

TokenScores ScoreLogits(const at::Tensor& logits, double temperature) {
  return ScoreLogits(logits, at::zeros({logits.size(0)}, at::kLong), temperature);
}

Matrix ToMatrix(const at::Tensor& x) {
  Matrix out;
  for (int64_t i = 0; i < x.size(0); ++i) {
    const at::Tensor row = x[i].contiguous();
    const double* data = row.const_data_ptr<double>();
    out.emplace_back(data, data + row.numel());
  }
  return out;
}

std::vector<double> ToVector(const at::Tensor& x) { return ToMatrix(x.detach().unsqueeze(0))[0]; }

Json Entropy(const Json& in) {
  const at::Tensor logits = ReadLogits(in.at("logits").get<Matrix>());
  return ToVector(ScoreLogits(logits, in.value("temperature", 1.0)).entropy);
}

Json EntropyGradient(const Json& in) {
  at::Tensor logits = ReadLogits(in.at("logits").get<Matrix>()).requires_grad_(true);
  ScoreLogits(logits, in.value("temperature", 1.0)).entropy.sum().backward();
  return ToMatrix(logits.grad());
}

Json Logprob(const Json& in) {
  const at::Tensor logits = ReadLogits(in.at("logits").get<Matrix>());
  const at::Tensor ids = at::tensor(in.at("ids").get<std::vector<int64_t>>(), at::kLong);
  const int64_t n = ids.size(0) - 1;
  return ToVector(ScoreLogits(logits.narrow(0, 0, n), ids.narrow(0, 1, n).contiguous(),
                              in.value("temperature", 1.0))
                      .logprob);
}

Json EntropyLoss(const Json& in) {
  const EntropyAlign align =
      OrThrow(ParseName<EntropyAlign>("align", in.value("align", "predict")));
  std::vector<int64_t> row_tokens;
  Matrix picked;
  for (size_t i = 0; i < in.at("logits").size(); ++i) {
    const Matrix logits = in["logits"][i];
    const std::vector<int64_t> positions =
        EntropyPositions(in.at("prompt_len").at(i), in.at("total_len").at(i), align);
    for (int64_t t : positions) picked.push_back(logits.at(static_cast<size_t>(t)));
    row_tokens.push_back(static_cast<int64_t>(positions.size()));
  }
  const TokenScores scores = ScoreLogits(ReadLogits(picked), in.value("temperature", 1.0));
  const EntropyReduction reduction =
      OrThrow(ParseName<EntropyReduction>("reduction", in.at("reduction").get<std::string>()));
  return OrThrow(ComputeEntropyLoss(scores.entropy, row_tokens, reduction)).item<double>();
}

Json EmInfStep(const Json& in) {
  const EmInfOptions options{in.at("lr"), in.at("steps"), in.at("kl_weight"), in.at("threshold")};
  const EmInfResult result = MinimizeEntropy(in.at("logits").get<std::vector<double>>(), options);
  return {{"logits", result.logits},
          {"steps_taken", result.steps_taken},
          {"entropy_before", result.entropy_before},
          {"entropy_after", result.entropy_after}};
}

Json LogitMoments(const Json& in) {
  MomentAccumulator moments;
  for (const Json& x : in.at("values")) moments.Add(x.get<double>());
  return {{"mean", moments.mean()}, {"std", moments.std()}, {"skew", moments.skew()}};
}

}  // namespace

VectorMethods LogitVectors() {
  return {{"entropy", Entropy},       {"entropy.grad", EntropyGradient},
          {"logprob", Logprob},       {"em.loss", EntropyLoss},
          {"em_inf.step", EmInfStep}, {"analysis.logit_moments", LogitMoments}};
}

}  // namespace cohort
