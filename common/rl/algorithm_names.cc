#include "common/rl/algorithm_names.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace cohort {
namespace {

using Names = std::vector<std::string>;

template <typename E>
const Names& Table();

#define COHORT_ENUM_NAMES(E, ...)             \
  template <>                                 \
  const Names& Table<E>() {                   \
    static const Names names = {__VA_ARGS__}; \
    return names;                             \
  }

COHORT_ENUM_NAMES(RewardSource, "rule_math", "rule_gsm8k", "rule_dapo", "code_tests",
                  "reward_model", "implicit_prm", "majority_online", "majority_offline",
                  "semantic_frequency", "neg_entropy_mean", "neg_entropy_sum", "seq_logprob",
                  "random", "incorrect_label", "format_boxed", "contains")
COHORT_ENUM_NAMES(Shaping, "overlong_soft", "truncated", "kimi_length", "l1_exact", "l1_max",
                  "dast", "cosine", "repetition", "serial_decay", "format_floor", "clip")
COHORT_ENUM_NAMES(TruncatedAction, "zero", "scale", "set", "mask")
COHORT_ENUM_NAMES(PromptFilter, "none", "dynamic", "band", "min_valid")
COHORT_ENUM_NAMES(FilterScore, "accuracy", "shaped_reward")
COHORT_ENUM_NAMES(RowFilter, "none", "topk", "drop_truncated")
COHORT_ENUM_NAMES(RowMetric, "shortest", "token_efficiency")
COHORT_ENUM_NAMES(RowDenominator, "all", "kept")
COHORT_ENUM_NAMES(Gate, "none", "fewer_clusters_than_n", "entropy_band")
COHORT_ENUM_NAMES(DataSelect, "none", "variance_topk", "lim")
COHORT_ENUM_NAMES(AdvantageBaseline, "none", "group_mean", "leave_one_out", "length_weighted",
                  "greedy", "critic_gae", "second_best", "prime_loo")
COHORT_ENUM_NAMES(AdvantageScale, "none", "group_std", "batch_reward_std", "token_whiten",
                  "valid_fraction")
COHORT_ENUM_NAMES(WhitenVariance, "population", "bessel")
COHORT_ENUM_NAMES(VarianceFloor, "max", "add")
COHORT_ENUM_NAMES(SingleRowGroup, "zero", "raw")
COHORT_ENUM_NAMES(AdvantageLevel, "sequence", "returns")
COHORT_ENUM_NAMES(Ratio, "none", "token", "sequence_geo", "sequence_prod", "geo_clipped")
COHORT_ENUM_NAMES(KlPlacement, "none", "loss", "reward")
COHORT_ENUM_NAMES(KlEstimator, "k1", "k2", "k3", "abs", "k3_k2grad")
COHORT_ENUM_NAMES(KlControllerKind, "fixed", "adaptive")
COHORT_ENUM_NAMES(Aggregation, "token_mean", "seq_mean_token_mean", "seq_mean_token_sum",
                  "seq_mean_token_sum_const", "token_mean_group", "token_mean_local")
COHORT_ENUM_NAMES(EmptyRows, "auto", "exclude", "count")
COHORT_ENUM_NAMES(OffPolicy, "none", "bypass", "tis", "icepop", "seq_mask", "reject")
COHORT_ENUM_NAMES(OffPolicyLevel, "token", "sequence")
COHORT_ENUM_NAMES(OffPolicyStat, "token_k1", "token_k2", "token_k3", "seq_sum_k1", "seq_sum_k2",
                  "seq_sum_k3", "seq_mean_k1", "seq_mean_k2", "seq_mean_k3", "seq_max_k2",
                  "seq_max_k3")
COHORT_ENUM_NAMES(Objective, "policy_gradient", "entropy_direct", "inference_entropy")
COHORT_ENUM_NAMES(EntropyAlign, "predict", "reference")
COHORT_ENUM_NAMES(EntropyReduction, "token_mean", "seq_sum")
#undef COHORT_ENUM_NAMES

}  // namespace

template <typename E>
std::string AllNames() {
  return absl::StrJoin(Table<E>(), ", ");
}

template <typename E>
std::string NameOf(E value) {
  return Table<E>()[static_cast<size_t>(value)];
}

template <typename E>
absl::StatusOr<E> ParseName(absl::string_view field, absl::string_view name) {
  const Names& names = Table<E>();
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<E>(i);
  }
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": expected one of ", AllNames<E>(), "; found '", name, "'"));
}

#define COHORT_INSTANTIATE(E)         \
  template std::string AllNames<E>(); \
  template std::string NameOf<E>(E);  \
  template absl::StatusOr<E> ParseName<E>(absl::string_view, absl::string_view);
COHORT_INSTANTIATE(RewardSource)
COHORT_INSTANTIATE(Shaping)
COHORT_INSTANTIATE(TruncatedAction)
COHORT_INSTANTIATE(PromptFilter)
COHORT_INSTANTIATE(FilterScore)
COHORT_INSTANTIATE(RowFilter)
COHORT_INSTANTIATE(RowMetric)
COHORT_INSTANTIATE(RowDenominator)
COHORT_INSTANTIATE(Gate)
COHORT_INSTANTIATE(DataSelect)
COHORT_INSTANTIATE(AdvantageBaseline)
COHORT_INSTANTIATE(AdvantageScale)
COHORT_INSTANTIATE(WhitenVariance)
COHORT_INSTANTIATE(VarianceFloor)
COHORT_INSTANTIATE(SingleRowGroup)
COHORT_INSTANTIATE(AdvantageLevel)
COHORT_INSTANTIATE(Ratio)
COHORT_INSTANTIATE(KlPlacement)
COHORT_INSTANTIATE(KlEstimator)
COHORT_INSTANTIATE(KlControllerKind)
COHORT_INSTANTIATE(Aggregation)
COHORT_INSTANTIATE(EmptyRows)
COHORT_INSTANTIATE(OffPolicy)
COHORT_INSTANTIATE(OffPolicyLevel)
COHORT_INSTANTIATE(OffPolicyStat)
COHORT_INSTANTIATE(Objective)
COHORT_INSTANTIATE(EntropyAlign)
COHORT_INSTANTIATE(EntropyReduction)
#undef COHORT_INSTANTIATE

}  // namespace cohort
