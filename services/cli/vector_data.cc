#include <stdexcept>
#include <utility>

#include "absl/time/time.h"
#include "common/generate/group_state.h"
#include "common/rewards/extract.h"
#include "common/rl/eval_stats.h"
#include "common/rl/filter.h"
#include "common/rl/label_free.h"
#include "common/rl/learning_curves.h"
#include "common/rl/metrics.h"
#include "common/rl/shaping.h"
#include "services/cli/vector_methods.h"

namespace cohort {
namespace {

std::vector<Answer> ReadAnswers(const Json& in) {
  std::vector<Answer> out;
  for (const Json& a : in) out.push_back(a.is_null() ? Answer() : Answer(a.get<std::string>()));
  return out;
}

Json AnswerJson(const Answer& answer) { return answer ? Json(*answer) : Json(); }

// --- rewards ----------------------------------------------------------------------------------

Json Overlong(const Json& in) {
  Json out = Json::array();
  for (const Json& n : in.at("lengths")) {
    out.push_back(OverlongPenalty(n.get<int64_t>(), in.at("max_len"), in.at("cache")));
  }
  return out;
}

Json Kimi(const Json& in) {
  return KimiLengthRewards(in.at("lengths").get<std::vector<int64_t>>(),
                           in.at("correct").get<std::vector<bool>>());
}

Json L1(const Json& in) {
  const std::string kind = in.at("kind").get<std::string>();
  Json out = Json::array();
  for (size_t i = 0; i < in.at("used").size(); ++i) {
    const bool correct = in.at("correct").at(i);
    const int64_t target = in.at("target").at(i), used = in["used"][i];
    const double alpha = in.at("alpha");
    out.push_back(kind == "exact" ? L1ExactReward(correct, target, used, alpha)
                                  : L1MaxReward(correct, target, used, alpha,
                                                in.value("delta", 0.5), kind == "max_code"));
  }
  return out;
}

Json Dast(const Json& in) {
  Json out = Json::array();
  for (size_t i = 0; i < in.at("lengths").size(); ++i) {
    const Json& mean = in.at("mean_correct_len").at(i);
    out.push_back(DastReward(in.at("correct").at(i), in["lengths"][i], in.at("acc").at(i),
                             mean.is_null() ? 0 : mean.get<double>(), in.at("max_len")));
  }
  return out;
}

Json Cosine(const Json& in) {
  ShapingSpec spec;
  spec.max_length = in.at("max_len");
  spec.min_correct = in.at("min_correct");
  spec.max_correct = in.at("max_correct");
  spec.min_wrong = in.at("min_wrong");
  spec.max_wrong = in.at("max_wrong");
  Json out = Json::array();
  for (size_t i = 0; i < in.at("lengths").size(); ++i) {
    out.push_back(CosineReward(spec, in.at("correct").at(i), in["lengths"][i]));
  }
  return out;
}

Json Repetition(const Json& in) {
  Json out = Json::array();
  for (const Json& ids : in.at("ids")) {
    out.push_back(
        RepetitionPenalty(ids.get<std::vector<int32_t>>(), in.at("n"), in.at("max_penalty")));
  }
  return out;
}

// Advantages of one group of rewards.
std::vector<double> GroupAdvantages(const std::string& kind, const std::vector<double>& rewards) {
  const GroupedRewards group = ReadGroups(Json::array({rewards}));
  const Json options = {{"scale", "none"}};
  return OrThrow(ComputeAdvantages(ReadAdvantageSpec(kind, options), group.rows)).row;
}

Json SerialGroup(const Json& in) {
  const auto rewards = SerialDecayRewards(in.at("correct").get<std::vector<bool>>());
  return {{"rewards", rewards}, {"advantages", GroupAdvantages("group", rewards)}};
}

Json Ttrl(const Json& in) {
  const std::vector<Answer> answers = ReadAnswers(in.at("answers"));
  const absl::Span<const Answer> all(answers);
  const Vote vote =
      MajorityVote(all.first(std::min<size_t>(in.at("n_votes").get<size_t>(), all.size())));
  const auto rewards = LabelRewards(
      all.first(std::min<size_t>(in.at("n_train").get<size_t>(), all.size())), vote.label);
  return {{"label", AnswerJson(vote.label)}, {"rewards", rewards}, {"majority_ratio", vote.ratio}};
}

Json Empo(const Json& in) {
  const GateSpec gate{Gate::kFewerClustersThanN, 0, 0};
  Json out = Json::array();
  for (const Json& group : in.at("answers")) {
    const std::vector<Answer> answers = ReadAnswers(group);
    const SemanticClusters clusters = ClusterAnswers(answers);
    out.push_back({{"entropy", clusters.entropy},
                   {"rewards", SemanticFrequencyRewards(answers, clusters, gate)}});
  }
  return out;
}

Json Rent(const Json& in) {
  const Matrix entropy = in.at("entropy");
  const MaskMatrix mask = in.at("mask");
  Json out = Json::array();
  for (size_t i = 0; i < mask.size(); ++i) {
    const bool has_answer = !in.contains("has_answer") || in["has_answer"].at(i).get<bool>();
    out.push_back(NegEntropyMean(entropy.at(i), mask[i], has_answer, in.value("base", 7.0)));
  }
  return out;
}

Json EmRl(const Json& in) {
  const bool sequence = in.at("kind").get<std::string>() == "sequence";
  Json rewards = Json::array(), advantages = Json::array();
  for (const Json& group : in.at("groups")) {
    std::vector<double> r;
    for (const auto& row : group.get<Matrix>()) {
      const std::vector<uint8_t> mask(row.size(), 1);
      r.push_back(sequence ? SequenceLogprob(row, mask) : NegEntropySum(row, mask));
    }
    rewards.push_back(r);
    advantages.push_back(GroupAdvantages("rloo", r));
  }
  return {{"rewards", rewards}, {"advantages", advantages}};
}

// --- filters and selection --------------------------------------------------------------------

PromptFilterSpec ReadFilter(PromptFilter kind, const Json& in) {
  PromptFilterSpec spec;
  spec.kind = kind;
  spec.low = in.at("low");
  spec.high = in.at("high");
  return spec;
}

Json FilterDynamic(const Json& in) {
  const PromptSelection s = SelectPrompts(ReadFilter(PromptFilter::kDynamic, in),
                                          in.at("acc").get<Matrix>(), in.at("train_prompts"));
  return {{"kept", s.kept}, {"need_more", s.need_more}};
}

Json FilterBand(const Json& in) {
  return SelectPrompts(ReadFilter(PromptFilter::kBand, in), in.at("acc").get<Matrix>(), 0).kept;
}

// What is there of numbers of which some are null.
std::vector<double> Known(const Json& in) {
  std::vector<double> out;
  for (const Json& value : in) {
    if (!value.is_null()) out.push_back(value.get<double>());
  }
  return out;
}

Json SelectLim(const Json& in) {
  AccuracyHistory history;
  for (const Json& curve : in.at("curves")) {
    history.emplace_back();
    for (const Json& value : curve) {
      history.back().push_back(value.is_null() ? std::nullopt
                                               : std::optional<double>(value.get<double>()));
    }
  }
  const CompleteCurves complete = CompleteHistory(history);
  const std::vector<double> scores = LimScores(complete.curves);
  std::vector<Json> out(history.size());
  for (size_t i = 0; i < scores.size(); ++i) out[complete.prompts[i]] = scores[i];
  return out;
}

Json SelectVariance(const Json& in) {
  Matrix history;
  for (const Json& curve : in.at("history")) history.push_back(Known(curve));
  const VarianceRanking r = RankByVariance(history);
  return {{"std", r.std}, {"ranking", r.ranking}};
}

// --- metrics ----------------------------------------------------------------------------------

Json PassAt(const Json& in) {
  Json out = Json::array();
  for (size_t i = 0; i < in.at("n").size(); ++i) {
    const absl::StatusOr<double> p = PassAtK(in["n"][i], in.at("c").at(i), in.at("k").at(i));
    out.push_back(p.ok() ? Json(*p) : Json());
  }
  return out;
}

Json MajAtK(const Json& in) {
  const absl::StatusOr<double> p =
      MajorityAtK(ReadAnswers(in.at("answers")), in.at("gold"), in.at("k"));
  return p.ok() ? Json(*p) : Json();
}

Json Majority(const Json& in) {
  Json out = Json::array();
  for (size_t i = 0; i < in.at("answers").size(); ++i) {
    out.push_back(MajorityCorrect(ReadAnswers(in["answers"][i]), in.at("gold").at(i)));
  }
  return out;
}

Json AvgAtK(const Json& in) {
  std::vector<double> per_problem;
  for (const Json& correct : in.at("correct")) {
    per_problem.push_back(AverageCorrect(Known(correct)));
  }
  const double average = BootstrapMeans({per_problem}, /*seed=*/0)[0].mean;
  return {{"per_problem", per_problem}, {"avg", average}};
}

// --- text and masks ---------------------------------------------------------------------------

VectorMethod Extract(std::optional<std::string> (*extract)(absl::string_view)) {
  return [extract](const Json& in) {
    Json out = Json::array();
    for (const Json& text : in.at("texts"))
      out.push_back(AnswerJson(extract(text.get<std::string>())));
    return out;
  };
}

Json FormatBoxed(const Json& in) {
  Json out = Json::array();
  for (const Json& text : in.at("texts")) out.push_back(FormatBoxedReward(text.get<std::string>()));
  return out;
}

// What the engine's rule for ending a row makes of these tokens, sampled one after another.
Row EndedRow(const std::vector<int32_t>& ids, const Json& eos) {
  StopRules rules;
  rules.stop_tokens = eos.get<std::vector<int32_t>>();
  rules.max_context = static_cast<int64_t>(ids.size()) + 2;
  GroupRequest request;
  request.prompt = {0};
  request.plans.resize(1);
  request.plans[0].max_new_tokens = static_cast<int32_t>(ids.size());
  const auto group = MakeGroupState(std::move(request), nullptr, absl::UnixEpoch());
  RowState& row = group->rows[0];
  BeginRow(row);
  row.row.finish = FinishReason::kLength;  // until a token ends it
  SampledToken sampled;
  for (const int32_t id : ids) {
    sampled.token = id;
    if (OrThrow(AppendToken(row, sampled, 0, rules))) break;
  }
  return row.row;
}

Json MaskResponse(const Json& in) {
  Json out = Json::array();
  for (const Json& ids : in.at("ids")) {
    std::vector<uint8_t> mask = EndedRow(ids.get<std::vector<int32_t>>(), in.at("eos")).mask;
    mask.resize(ids.size(), 0);  // the vectors' rows are padded, Cohort's end
    out.push_back(mask);
  }
  return out;
}

Json MaskTruncated(const Json& in) {
  Json out = Json::array();
  for (const Json& ids : in.at("ids")) {
    out.push_back(EndedRow(ids.get<std::vector<int32_t>>(), in.at("eos")).finish ==
                  FinishReason::kLength);
  }
  return out;
}

}  // namespace

VectorMethods RewardVectors() {
  return {{"reward.overlong", Overlong},
          {"reward.kimi_length", Kimi},
          {"reward.l1", L1},
          {"reward.dast", Dast},
          {"reward.cosine", Cosine},
          {"reward.repetition", Repetition},
          {"reward.s_grpo", SerialGroup},
          {"reward.ttrl", Ttrl},
          {"reward.empo", Empo},
          {"reward.rent", Rent},
          {"reward.em_rl", EmRl},
          {"reward.format_boxed", FormatBoxed}};
}

VectorMethods DataVectors() {
  return {
      {"filter.dynamic", FilterDynamic},
      {"filter.band", FilterBand},
      {"select.lim", SelectLim},
      {"select.variance", SelectVariance},
      {"metric.pass_at_k", PassAt},
      {"metric.maj_at_k", MajAtK},
      {"metric.majority", Majority},
      {"metric.avg_at_k", AvgAtK},
      {"mask.response", MaskResponse},
      {"mask.truncated", MaskTruncated},
      {"extract.boxed", Extract([](absl::string_view t) { return ExtractBoxedCompat(t); })},
      {"extract.gsm8k", Extract([](absl::string_view t) { return ExtractGsm8kStrict(t); })},
      {"extract.dapo_answer", Extract([](absl::string_view t) { return ExtractDapoAnswer(t); })}};
}

}  // namespace cohort
