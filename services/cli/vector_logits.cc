#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <stdexcept>

#include "common/objective/policy_loss.h"
#include "common/objective/token_scores.h"
#include "common/rl/aggregation.h"
#include "common/rl/algorithm_names.h"
#include "common/rl/em_inf.h"
#include "common/rl/metrics.h"
#include "common/train/batch.h"
#include "common/train/flat_tokens.h"
#include "common/train/packing.h"
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

// A prompt with one response for each row of the vector; what the tokens are plays no part.
std::vector<Group> GroupsOfLengths(const Json& in) {
  std::vector<Group> groups(in.at("logits").size());
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto prompt = in.at("prompt_len").at(i).get<size_t>();
    const size_t tokens = in.at("total_len").at(i).get<size_t>() - prompt;
    groups[i].prompt.assign(prompt, 0);
    Row& row = groups[i].rows.emplace_back();
    row.tokens.assign(tokens, 0);
    row.logprobs.assign(tokens, 0);
    row.mask.assign(tokens, 1);
    row.versions.assign(tokens, 0);
  }
  return groups;
}

// The logits at every packed token; a group begins at position 0.
at::Tensor PackedLogits(const Json& logits, const MicroBatch& micro,
                        const PackedMicroBatch& packed) {
  Matrix out;
  size_t pieces = 0;
  const int64_t* positions = packed.positions.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < packed.positions.numel(); ++i) {
    if (positions[i] == 0) ++pieces;
    const auto group = static_cast<size_t>(micro.pieces.at(pieces - 1).group);
    out.push_back(logits.at(group).at(static_cast<size_t>(positions[i])));
  }
  return ReadLogits(out);
}

// As the trainer's step: packed rows, the states that the alignment names, one total loss.
Json EntropyLoss(const Json& in) {
  AlgorithmSpec spec;
  spec.objective.kind = Objective::kEntropyDirect;
  spec.objective.temperature = in.value("temperature", 1.0);
  spec.objective.align = OrThrow(ParseName<EntropyAlign>("align", in.value("align", "predict")));
  spec.objective.reduction =
      OrThrow(ParseName<EntropyReduction>("reduction", in.at("reduction").get<std::string>()));
  const std::vector<Group> groups = GroupsOfLengths(in);
  TrainBatch batch = OrThrow(PrepareBatch(groups, spec, 0));
  if (const auto status = AddAdvantages(spec, 0, &batch); !status.ok()) {
    throw std::runtime_error(std::string(status.message()));
  }
  MicroBatch micro;
  std::vector<AggregationRow> rows;
  for (size_t i = 0; i < batch.rows.size(); ++i) {
    const TrainRow& row = batch.rows[i];
    rows.push_back({batch.ValidTokens(row), row.group, 0});
    if (row.length > 0) micro.pieces.push_back({row.group, {static_cast<int64_t>(i)}, 0, 0});
  }
  if (micro.pieces.empty()) return 0.0;  // no response token, no loss
  const PackedMicroBatch packed = PackMicroBatch(batch, micro, /*share_prompts=*/true,
                                                 spec.objective.align == EntropyAlign::kReference);
  const at::Tensor states = PackedLogits(in.at("logits"), micro, packed);
  const TokenScores scores =
      ScoreLogits(states.index_select(0, packed.predict), spec.objective.temperature);
  const FlatTokens tokens =
      GatherTokens(batch, packed, AggregationWeights(LossAggregation(spec), rows), {});
  return OrThrow(ComputeTotalLoss(MakePolicyLossSpec(spec), scores, tokens.View(packed)))
      .parts.loss;
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
