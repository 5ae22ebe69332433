#include <algorithm>
#include <stdexcept>
#include <utility>

#include "common/rl/algorithm_names.h"
#include "common/rl/filter.h"
#include "common/rl/kl.h"
#include "services/cli/vector_methods.h"

namespace cohort {
namespace {

AdvantageScale ReadScale(const std::string& scale) {
  if (scale == "group") return AdvantageScale::kGroupStd;
  if (scale == "batch") return AdvantageScale::kBatchRewardStd;
  return AdvantageScale::kNone;
}

void ReadWhitening(const Json& in, AdvantageSpec* spec) {
  spec->scale = AdvantageScale::kTokenWhiten;
  spec->whiten = in.value("ddof", 0) == 1 ? WhitenVariance::kBessel : WhitenVariance::kPopulation;
  spec->whiten_floor = VarianceFloor::kAdd;
  spec->whiten_eps = in.value("eps", 1e-8);
}

// Masks of the given lengths; they stay alive with the object.
struct LengthMasks {
  MaskMatrix masks;

  LengthMasks(const Json& lengths, std::vector<AdvantageRow>* rows) {
    for (const Json& group : lengths) {
      for (const Json& length : group) {
        masks.emplace_back(length.is_null() ? 0 : length.get<size_t>(), uint8_t{1});
      }
    }
    for (size_t i = 0; i < masks.size(); ++i) rows->at(i).mask = masks[i];
  }
};

Json ScalarAdvantages(const std::string& kind, const Json& in) {
  GroupedRewards groups = ReadGroups(in.at("rewards"));
  const LengthMasks masks(in.value("lengths", Json::array()), &groups.rows);
  const Advantages a = OrThrow(ComputeAdvantages(ReadAdvantageSpec(kind, in), groups.rows));
  const Json nested = NestByGroup(groups, a.row);
  if (kind == "gpg") return {{"alpha", a.alpha}, {"advantages", nested}};
  return nested;
}

VectorMethod Scalar(const std::string& kind) {
  return [kind](const Json& in) { return ScalarAdvantages(kind, in); };
}

Json ReinforcePp(const Json& in) {
  const Matrix old = in.at("logp"), reference = in.at("ref");
  MaskMatrix mask = in.at("mask");
  std::vector<AdvantageRow> rows;
  for (const Json& reward : in.at("rewards")) {
    rows.push_back(ReadRow(static_cast<int64_t>(rows.size()), reward));
  }
  SetMasks(&mask, &rows);
  KlSpec kl;
  kl.estimator = KlEstimator::kK1;
  Matrix penalty;
  for (size_t i = 0; i < mask.size(); ++i) {
    penalty.push_back(
        KlTokenPenalty(kl, in.at("beta").get<double>(), old[i], reference[i], mask[i]));
  }
  for (size_t i = 0; i < rows.size(); ++i) rows[i].token_reward = penalty[i];
  AdvantageSpec spec = ReadAdvantageSpec("none", in);
  spec.level = AdvantageLevel::kReturns;
  spec.gamma = in.value("gamma", 1.0);
  ReadWhitening(in, &spec);
  const Advantages a = OrThrow(ComputeAdvantages(spec, rows));
  return {{"returns", a.returns}, {"advantages", a.token}};
}

// A scalar advantage per row, on its valid tokens.
Matrix Broadcast(const std::vector<double>& values, const MaskMatrix& mask) {
  Matrix out;
  for (size_t i = 0; i < mask.size(); ++i) {
    out.emplace_back();
    for (uint8_t m : mask[i]) out.back().push_back(m ? values[i] : 0);
  }
  return out;
}

Json ReinforcePpBaseline(const Json& in) {
  GroupedRewards groups = ReadGroups(in.at("rewards"));
  MaskMatrix mask = in.at("mask");
  SetMasks(&mask, &groups.rows);
  const Advantages a =
      OrThrow(ComputeAdvantages(ReadAdvantageSpec("rpp_baseline", in), groups.rows));
  return Broadcast(a.row, mask);
}

Json ReMax(const Json& in) {
  const Matrix token_rewards = in.at("token_rewards");
  const MaskMatrix mask = in.at("mask");
  const std::vector<double> greedy = in.at("greedy");
  std::vector<AdvantageRow> rows(mask.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = {static_cast<int64_t>(i), 0,  true, mask[i],
               token_rewards.at(i),     {}, {},   greedy.at(i)};
  }
  AdvantageSpec spec = ReadAdvantageSpec("greedy", in);
  spec.level = AdvantageLevel::kReturns;
  spec.gamma = in.value("gamma", 1.0);
  return OrThrow(ComputeAdvantages(spec, rows)).token;
}

Json CriticGae(const Json& in) {
  const Matrix token_rewards = in.at("token_rewards"), values = in.at("values");
  const MaskMatrix mask = in.at("mask");
  std::vector<AdvantageRow> rows(mask.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = {static_cast<int64_t>(i), 0, true, mask[i], token_rewards.at(i), values.at(i), {}, 0};
  }
  AdvantageSpec spec = ReadAdvantageSpec("gae", in);
  spec.level = AdvantageLevel::kReturns;
  spec.gamma = in.value("gamma", 1.0);
  spec.lam = in.value("lam", 1.0);
  const Advantages a = OrThrow(ComputeAdvantages(spec, rows));
  return {{"advantages", a.token}, {"returns", a.returns}};
}

Json Prime(const Json& in) {
  const Matrix q = in.at("q");
  MaskMatrix mask = in.at("mask");
  const int64_t n = in.at("n").get<int64_t>();
  std::vector<AdvantageRow> rows;
  for (const Json& accuracy : in.at("acc")) {
    rows.push_back(ReadRow(static_cast<int64_t>(rows.size()) / n, accuracy));
    rows.back().process = q.at(rows.size() - 1);
  }
  SetMasks(&mask, &rows);
  AdvantageSpec spec = ReadAdvantageSpec("prime_loo", in);
  spec.level = AdvantageLevel::kReturns;
  spec.process_coef = in.value("proc_coef", 5.0);
  spec.outcome_coef = in.value("out_coef", 5.0);
  spec.scale = AdvantageScale::kTokenWhiten;
  spec.whiten = WhitenVariance::kBessel;
  spec.whiten_floor = VarianceFloor::kAdd;
  const Advantages a = OrThrow(ComputeAdvantages(spec, rows));
  return {{"returns", a.returns}, {"advantages", a.token}};
}

Json PrimeBatchNorm(const Json& in) {
  Matrix q = in.at("q");
  NormalizeProcessRewards(in.at("mask").get<MaskMatrix>(), &q);
  return q;
}

Json PrimeModelLoss(const Json& in) {
  return ProcessModelLoss(in.at("mask").get<MaskMatrix>(), in.at("q").get<Matrix>(),
                          in.at("acc").get<std::vector<double>>(), in.at("beta").get<double>());
}

Json Gfpo(const Json& in) {
  RowFilterSpec filter;
  filter.kind = RowFilter::kTopk;
  filter.k = in.at("k").get<int64_t>();
  filter.metric = OrThrow(ParseName<RowMetric>("metric", in.at("metric").get<std::string>()));
  GroupedRewards groups = ReadGroups(in.at("rewards"));
  Json kept = Json::array();
  size_t first = 0;
  for (size_t g = 0; g < groups.group_sizes.size(); ++g) {
    std::vector<size_t> scorable;
    std::vector<double> rewards;
    std::vector<int64_t> lengths;
    for (size_t j = 0; j < groups.group_sizes[g]; ++j) {
      AdvantageRow& row = groups.rows[first + j];
      if (!std::exchange(row.scorable, false)) continue;
      scorable.push_back(j);
      rewards.push_back(row.reward);
      lengths.push_back(in.at("lengths").at(g).at(j).get<int64_t>());
    }
    kept.push_back(Json::array());
    for (const size_t top : TopRows(filter, rewards, lengths)) {
      kept.back().push_back(scorable[top]);
      groups.rows[first + scorable[top]].scorable = true;
    }
    first += groups.group_sizes[g];
  }
  AdvantageSpec spec = ReadAdvantageSpec("group", in);
  spec.ddof = 0;
  const Advantages a = OrThrow(ComputeAdvantages(spec, groups.rows));
  return {{"kept", kept}, {"advantages", NestByGroup(groups, a.row)}};
}

}  // namespace

AdvantageRow ReadRow(int64_t group, const Json& reward) {
  AdvantageRow row;
  row.group = group;
  row.scorable = !reward.is_null();
  row.reward = row.scorable ? reward.get<double>() : 0;
  return row;
}

void SetMasks(MaskMatrix* mask, std::vector<AdvantageRow>* rows) {
  for (size_t i = 0; i < rows->size(); ++i) {
    AdvantageRow& row = rows->at(i);
    std::vector<uint8_t>& own = mask->at(i);
    if (!row.scorable) std::fill(own.begin(), own.end(), uint8_t{0});
    row.mask = own;
  }
}

GroupedRewards ReadGroups(const Json& rewards) {
  GroupedRewards out;
  for (size_t g = 0; g < rewards.size(); ++g) {
    out.group_sizes.push_back(rewards[g].size());
    for (const Json& reward : rewards[g]) {
      out.rows.push_back(ReadRow(static_cast<int64_t>(g), reward));
    }
  }
  return out;
}

Json NestByGroup(const GroupedRewards& groups, const std::vector<double>& values) {
  Json nested = Json::array();
  size_t next = 0;
  for (size_t size : groups.group_sizes) {
    nested.push_back(Json::array());
    for (size_t j = 0; j < size; ++j) nested.back().push_back(values.at(next++));
  }
  return nested;
}

AdvantageSpec ReadAdvantageSpec(const std::string& kind, const Json& options) {
  static const std::map<std::string, AdvantageBaseline> kBaselines = {
      {"none", AdvantageBaseline::kNone},        {"group", AdvantageBaseline::kGroupMean},
      {"gpg", AdvantageBaseline::kGroupMean},    {"rpp_baseline", AdvantageBaseline::kGroupMean},
      {"rloo", AdvantageBaseline::kLeaveOneOut}, {"opo", AdvantageBaseline::kLengthWeighted},
      {"passk", AdvantageBaseline::kSecondBest}, {"greedy", AdvantageBaseline::kGreedy},
      {"gae", AdvantageBaseline::kCriticGae},    {"prime_loo", AdvantageBaseline::kPrimeLoo}};
  AdvantageSpec spec;
  spec.baseline = kBaselines.at(kind);
  spec.scale = AdvantageScale::kNone;
  spec.eps = options.value("eps", 1e-6);
  spec.ddof = options.value("ddof", 1);
  if (options.contains("n1")) {
    spec.n1 = OrThrow(ParseName<SingleRowGroup>("n1", options["n1"].get<std::string>()));
  }
  if (kind == "group") spec.scale = ReadScale(options.value("scale", "group"));
  if (kind == "gpg") spec.scale = AdvantageScale::kValidFraction;
  if (kind == "passk" && options.value("normalize", true)) spec.scale = AdvantageScale::kGroupStd;
  if (kind == "rpp_baseline") ReadWhitening(options, &spec);
  return spec;
}

VectorMethods AdvantageVectors() {
  return {{"adv.group", Scalar("group")},
          {"adv.rloo", Scalar("rloo")},
          {"adv.opo", Scalar("opo")},
          {"adv.passk", Scalar("passk")},
          {"adv.gpg", Scalar("gpg")},
          {"adv.reinforce_pp", ReinforcePp},
          {"adv.reinforce_pp_baseline", ReinforcePpBaseline},
          {"adv.remax", ReMax},
          {"adv.gae", CriticGae},
          {"adv.prime", Prime},
          {"adv.gfpo", Gfpo},
          {"prime.batch_norm", PrimeBatchNorm},
          {"prime.rm_loss", PrimeModelLoss}};
}

}  // namespace cohort
