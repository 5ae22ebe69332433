#include <numeric>
#include <stdexcept>

#include "common/rl/aggregation.h"
#include "common/rl/algorithm_names.h"
#include "common/rl/kl.h"
#include "common/rl/offpolicy.h"
#include "common/rl/policy_loss.h"
#include "services/cli/vector_methods.h"

namespace cohort {
namespace {

std::vector<double> Flatten(const Matrix& m) {
  std::vector<double> out;
  for (const auto& row : m) out.insert(out.end(), row.begin(), row.end());
  return out;
}

std::vector<uint8_t> Flatten(const MaskMatrix& m) {
  std::vector<uint8_t> out;
  for (const auto& row : m) out.insert(out.end(), row.begin(), row.end());
  return out;
}

std::vector<double> OptionalMatrix(const Json& in, const char* key) {
  return in.contains(key) ? Flatten(in[key].get<Matrix>()) : std::vector<double>();
}

Matrix Unflatten(const std::vector<double>& flat, const MaskMatrix& mask) {
  Matrix out;
  size_t next = 0;
  for (const auto& row : mask) {
    out.emplace_back();
    for (size_t t = 0; t < row.size(); ++t) out.back().push_back(flat[next++]);
  }
  return out;
}

int64_t CountValid(const std::vector<uint8_t>& mask) {
  return std::accumulate(mask.begin(), mask.end(), int64_t{0});
}

AggregationSpec ReadAggregation(const Json& in, const char* mode_key, const std::string& mode) {
  AggregationSpec spec;
  spec.mode = OrThrow(ParseName<Aggregation>("agg", in.value(mode_key, mode)));
  spec.constant = in.value("const", 1.0);
  spec.empty_rows = OrThrow(ParseName<EmptyRows>("empty", in.value("empty", "exclude")));
  return spec;
}

// Per token: the aggregation weight where valid, 0 elsewhere.
std::vector<double> TokenWeights(const AggregationSpec& spec, const MaskMatrix& mask) {
  std::vector<AggregationRow> rows;
  for (const auto& row : mask) rows.push_back({CountValid(row), 0, 0});
  const std::vector<double> weights = AggregationWeights(spec, rows);
  std::vector<double> out;
  for (size_t i = 0; i < mask.size(); ++i) {
    for (uint8_t m : mask[i]) out.push_back(m ? weights[i] : 0);
  }
  return out;
}

double WeightedSum(const std::vector<double>& weights, const std::vector<double>& values) {
  double sum = 0;
  for (size_t t = 0; t < values.size(); ++t) {
    if (weights[t] != 0) sum += weights[t] * values[t];
  }
  return sum;
}

Json Aggregate(const Json& in) {
  const auto weights =
      TokenWeights(ReadAggregation(in, "mode", "token_mean"), in.at("mask").get<MaskMatrix>());
  return WeightedSum(weights, Flatten(in.at("loss").get<Matrix>()));
}

// What each rank backpropagates when gradients are averaged: world size times its share.
Json AggregateRanks(const Json& in) {
  MaskMatrix mask;
  for (const Json& rank : in.at("ranks")) {
    for (const Json& row : rank.at("mask")) mask.push_back(row);
  }
  const auto weights = TokenWeights(ReadAggregation(in, "mode", "token_mean"), mask);
  const double world = static_cast<double>(in["ranks"].size());
  Json per_rank = Json::array();
  double global = 0;
  auto next = weights.begin();
  for (const Json& rank : in["ranks"]) {
    const std::vector<double> loss = Flatten(rank.at("loss").get<Matrix>());
    const auto end = next + static_cast<std::ptrdiff_t>(loss.size());
    const double share = WeightedSum({next, end}, loss);
    per_rank.push_back(world * share);
    global += share;
    next = end;
  }
  return {{"per_rank_loss", per_rank}, {"global_loss", global}};
}

ClipSpec ReadClip(const Json& in) {
  ClipSpec clip{in.value("clip_low", 0.2), in.value("clip_high", 0.2), {}, {}};
  if (in.contains("dual_c") && !in["dual_c"].is_null()) clip.dual_c = in["dual_c"].get<double>();
  if (in.contains("delta") && !in["delta"].is_null()) clip.delta = in["delta"].get<double>();
  return clip;
}

PolicyLossSpec ReadLoss(const std::string& kind, const Json& in) {
  PolicyLossSpec spec;
  if (kind == "ppo") spec.trust.clip = ReadClip(in);
  if (kind == "pg") spec.ratio = Ratio::kNone;
  if (kind == "gspo") {
    spec.ratio = Ratio::kSequenceGeo;
    spec.trust.clip = ReadClip(in);
  }
  if (kind == "gmpo") {
    spec.ratio = Ratio::kGeoClipped;
    spec.trust.log_clip = LogClipSpec{in.value("clip_low", 0.4), in.value("clip_high", 0.4)};
  }
  if (kind == "cispo") {
    spec.trust.detach_clip =
        DetachClipSpec{in.value("ratio_min", 0.0), in.value("ratio_max", 5.0), {}};
  }
  if (kind == "sapo") {
    spec.trust.soft_gate = SoftGateSpec{in.value("tau_pos", 1.0), in.value("tau_neg", 1.05)};
  }
  if (kind == "kl_cov") {
    spec.trust.kl_cov = KlCovSpec{in.at("frac").get<double>(), in.value("coef", 1.0)};
  }
  if (kind == "clip_cov") {
    spec.trust.clip_cov =
        ClipCovSpec{in.at("frac").get<double>(), in.value("lb", 1.0), in.value("ub", 5.0)};
    spec.trust.clip = ReadClip(in);
  }
  if (in.contains("kl_coef")) {
    spec.kl.placement = KlPlacement::kLoss;
    spec.kl.estimator = OrThrow(ParseName<KlEstimator>("kl_est", in.value("kl_est", "k3")));
    spec.kl_coef = in["kl_coef"].get<double>();
  }
  return spec;
}

// Advantages per row or per token, as one value per token.
std::vector<double> ReadAdvantages(const Json& advantages, const MaskMatrix& mask) {
  if (advantages.at(0).is_array()) return Flatten(advantages.get<Matrix>());
  std::vector<double> out;
  for (size_t i = 0; i < mask.size(); ++i) {
    out.insert(out.end(), mask[i].size(), advantages.at(i).get<double>());
  }
  return out;
}

// [row, t] of the selected tokens.
Json Positions(const std::vector<uint8_t>& selected, const MaskMatrix& mask) {
  Json out = Json::array();
  size_t next = 0;
  for (size_t i = 0; i < mask.size(); ++i) {
    for (size_t t = 0; t < mask[i].size(); ++t) {
      if (selected[next++]) out.push_back({i, t});
    }
  }
  return out;
}

// The row's ratio: that of its first valid token.
Json RowRatios(const std::vector<double>& ratio, const MaskMatrix& mask) {
  const Matrix rows = Unflatten(ratio, mask);
  Json out = Json::array();
  for (size_t i = 0; i < rows.size(); ++i) {
    size_t t = 0;
    while (t + 1 < rows[i].size() && !mask[i][t]) ++t;
    out.push_back(rows[i][t]);
  }
  return out;
}

Json EvaluateLoss(const std::string& kind, const Json& in, const Json& advantages) {
  const MaskMatrix mask = in.at("mask");
  const std::vector<uint8_t> flat_mask = Flatten(mask);
  const std::vector<double> logprob = Flatten(in.at("logp").get<Matrix>());
  const std::vector<double> old = OptionalMatrix(in, "old");
  const std::vector<double> reference = OptionalMatrix(in, "ref");
  const std::vector<double> correction = OptionalMatrix(in, "weights");
  const std::vector<double> advantage = ReadAdvantages(advantages, mask);
  const bool sequence = kind == "gspo" || kind == "gmpo";
  const std::vector<double> weight = TokenWeights(
      ReadAggregation(in, "agg", sequence ? "seq_mean_token_mean" : "token_mean"), mask);
  std::vector<int64_t> offsets{0};
  for (const auto& row : mask) offsets.push_back(offsets.back() + static_cast<int64_t>(row.size()));
  const PolicyLossSpec spec = ReadLoss(kind, in);
  const std::vector<uint8_t> selected =
      SelectByCovariance(spec.trust, logprob, old, advantage, flat_mask, 0);
  PolicyTokens tokens;
  tokens.logprob = logprob;
  tokens.old = old;
  tokens.advantage = advantage;
  tokens.weight = weight;
  tokens.correction = correction;
  tokens.reference = reference;
  tokens.mask = flat_mask;
  tokens.selected = selected;
  tokens.row_offsets = offsets;
  const PolicyLoss loss = OrThrow(ComputePolicyLoss(spec, tokens));
  return {{"loss", loss.loss},
          {"grad_logp", Unflatten(loss.d_logprob, mask)},
          {"ratio", RowRatios(loss.ratio, mask)},
          {"selected", Positions(selected, mask)},
          {"dropped", Positions(selected, mask)}};
}

VectorMethod Loss(const std::string& kind) {
  return [kind](const Json& in) { return EvaluateLoss(kind, in, in.at("advantages")); };
}

Json EndToEnd(const Json& in) {
  GroupedRewards groups = ReadGroups(in.at("rewards"));
  MaskMatrix mask = in.at("mask");
  SetMasks(&mask, &groups.rows);
  Json inputs = in;
  inputs["mask"] = mask;
  const Json& options = in.at("adv");
  const std::string kind = options.at("kind").get<std::string>();
  const Advantages a = OrThrow(ComputeAdvantages(ReadAdvantageSpec(kind, options), groups.rows));
  Json out = EvaluateLoss(in.at("loss").get<std::string>(), inputs, a.row);
  out["advantages"] = a.row;
  if (kind == "rpp_baseline") {
    Matrix tokens;
    for (size_t i = 0; i < mask.size(); ++i) {
      tokens.emplace_back();
      for (uint8_t m : mask[i]) tokens.back().push_back(m ? a.row[i] : 0);
    }
    out["advantages"] = tokens;
  }
  return out;
}

Json Kl(const Json& in) {
  KlSpec spec;
  spec.estimator =
      OrThrow(ParseName<KlEstimator>("estimator", in.at("estimator").get<std::string>()));
  Json value = Json::array(), gradient = Json::array();
  for (size_t i = 0; i < in.at("logp").size(); ++i) {
    const KlTerm term =
        EstimateKl(spec, in["logp"][i].get<double>(), in.at("ref").at(i).get<double>());
    value.push_back(term.value);
    gradient.push_back(term.gradient);
  }
  return {{"value", value}, {"grad_logp", gradient}};
}

Json KlAdaptive(const Json& in) {
  return AdaptiveKlCoef(in.at("coef"), in.at("kl"), in.at("target"), in.at("n_steps"),
                        in.at("horizon"));
}

// Rows of an off-policy vector; the matrices live in it.
struct OffPolicyInputs {
  Matrix old, rollout;
  MaskMatrix mask;
  std::vector<OffPolicyRow> rows;

  explicit OffPolicyInputs(const Json& in)
      : old(in.at("train_old")), rollout(in.at("rollout")), mask(in.at("mask")) {
    for (size_t i = 0; i < mask.size(); ++i) rows.push_back({old.at(i), rollout.at(i), mask[i]});
  }
};

OffPolicySpec ReadOffPolicy(const Json& in) {
  OffPolicySpec spec;
  const std::string mode = in.at("mode").get<std::string>();
  if (mode == "token_tis" || mode == "seq_tis") spec.kind = OffPolicy::kTis;
  if (mode == "seq_tis") spec.level = OffPolicyLevel::kSequence;
  if (mode == "token_icepop") spec.kind = OffPolicy::kIcepop;
  if (mode == "seq_mask") spec.kind = OffPolicy::kSeqMask;
  if (mode == "seq_mask") spec.stat = OffPolicyStat::kSeqSumK1;
  if (mode == "geo_reject") spec.kind = OffPolicy::kReject;
  if (spec.kind == OffPolicy::kNone) throw std::runtime_error("unknown mode " + mode);
  spec.cap = in.value("cap", 2.0);
  if (in.contains("low") && !in["low"].is_null()) spec.low = in["low"].get<double>();
  if (in.contains("high") && !in["high"].is_null()) spec.high = in["high"].get<double>();
  return spec;
}

Json Correct(const Json& in) {
  const OffPolicyInputs inputs(in);
  const Correction c = OrThrow(CorrectOffPolicy(ReadOffPolicy(in), inputs.rows));
  return {{"weights", c.weight}, {"mask", c.mask}};
}

Json Mismatch(const Json& in) {
  const MismatchSums sums = OrThrow(MeasureMismatch(OffPolicyInputs(in).rows));
  return {{"kl", sums.Kl()},
          {"k3_kl", sums.K3()},
          {"ess", sums.Ess()},
          {"chi2_token", sums.Chi2Token()},
          {"chi2_seq", sums.Chi2Sequence()},
          {"ppl_train", sums.PerplexityOld()},
          {"ppl_rollout", sums.PerplexityRollout()}};
}

Json NegSeqMask(const Json& in) {
  const Matrix sampling = in.at("sampling"), current = in.at("logp");
  const MaskMatrix mask = in.at("mask");
  Json keep = Json::array();
  for (size_t i = 0; i < mask.size(); ++i) {
    keep.push_back(KeepNegativeSequence(in.at("advantages").at(i), sampling.at(i), current.at(i),
                                        mask[i], in.at("delta"))
                       ? 1
                       : 0);
  }
  return keep;
}

Json Bias(const Json& in) {
  Json out = Json::array();
  for (const Json& ratio : in.at("ratios")) {
    out.push_back(ClipBias(ReadClip(in), in.at("a"), ratio.get<double>()));
  }
  return out;
}

}  // namespace

VectorMethods LossVectors() {
  VectorMethods methods = {{"agg", Aggregate},
                           {"agg.dp", AggregateRanks},
                           {"e2e", EndToEnd},
                           {"kl.estimator", Kl},
                           {"kl.adaptive", KlAdaptive},
                           {"offpolicy.correct", Correct},
                           {"offpolicy.metrics", Mismatch},
                           {"offpolicy.neg_seq_mask", NegSeqMask},
                           {"analysis.clip_bias", Bias}};
  for (const char* kind : {"ppo", "gspo", "gmpo", "cispo", "sapo", "pg", "kl_cov", "clip_cov"}) {
    methods[std::string("loss.") + kind] = Loss(kind);
  }
  return methods;
}

}  // namespace cohort
