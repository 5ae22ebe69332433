#include "common/rl/offpolicy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

constexpr double kLogRatioClamp = 20;

double Clamp(double lr) { return std::clamp(lr, -kLogRatioClamp, kLogRatioClamp); }

// Clamped log-ratios of the valid tokens and their positions.
struct RowRatios {
  std::vector<double> lr;
  std::vector<size_t> at;

  double Sum() const {
    double sum = 0;
    for (double x : lr) sum += x;
    return Clamp(sum);
  }
  double Mean() const {
    double sum = 0;
    for (double x : lr) sum += x;
    return lr.empty() ? 0 : sum / static_cast<double>(lr.size());
  }
};

absl::StatusOr<RowRatios> RatiosOf(const OffPolicyRow& row, size_t index) {
  RowRatios out;
  for (size_t t = 0; t < row.mask.size(); ++t) {
    if (!row.mask[t]) continue;
    const double lr = row.old[t] - row.rollout[t];
    if (std::isnan(lr)) {
      return absl::InvalidArgumentError(
          absl::StrCat("off-policy correction: log-ratio of row ", index, " token ", t,
                       " is not a number (old ", row.old[t], ", rollout ", row.rollout[t], ")"));
    }
    out.lr.push_back(Clamp(lr));
    out.at.push_back(t);
  }
  return out;
}

double K2(double lr) { return lr * lr / 2; }
double K3(double lr) { return std::expm1(lr) - lr; }

template <typename F>
double MeanOf(const RowRatios& row, F f) {
  double sum = 0;
  for (double x : row.lr) sum += f(x);
  return row.lr.empty() ? 0 : sum / static_cast<double>(row.lr.size());
}

template <typename F>
double MaxOf(const RowRatios& row, F f) {
  double best = 0;
  for (double x : row.lr) best = std::max(best, f(x));
  return best;
}

bool Within(double x, const std::optional<double>& low, const std::optional<double>& high) {
  return (!low || x >= *low) && (!high || x <= *high);
}

// The k1 statistic is -lr, so its bounds are those of the inverse ratio rollout / old; a bound on
// one side only means [1/high, high].
bool KeepK1(const OffPolicySpec& spec, double lr) {
  std::optional<double> low = spec.low;
  if (!low && spec.high && *spec.high > 0) low = 1 / *spec.high;
  return Within(std::exp(-lr), low, spec.high);
}

bool KeepUpper(const OffPolicySpec& spec, double statistic) {
  return !spec.high || statistic <= *spec.high;
}

bool KeepRow(const OffPolicySpec& spec, const RowRatios& row) {
  const double n = static_cast<double>(row.lr.size());
  switch (spec.stat) {
    case OffPolicyStat::kSeqSumK1:
      return KeepK1(spec, row.Sum());
    case OffPolicyStat::kSeqMeanK1:
      return KeepK1(spec, row.Mean());
    case OffPolicyStat::kSeqSumK2:
      return KeepUpper(spec, n * MeanOf(row, K2));
    case OffPolicyStat::kSeqSumK3:
      return KeepUpper(spec, n * MeanOf(row, K3));
    case OffPolicyStat::kSeqMeanK2:
      return KeepUpper(spec, MeanOf(row, K2));
    case OffPolicyStat::kSeqMeanK3:
      return KeepUpper(spec, MeanOf(row, K3));
    case OffPolicyStat::kSeqMaxK2:
      return KeepUpper(spec, MaxOf(row, K2));
    case OffPolicyStat::kSeqMaxK3:
      return KeepUpper(spec, MaxOf(row, K3));
    case OffPolicyStat::kTokenK1:
    case OffPolicyStat::kTokenK2:
    case OffPolicyStat::kTokenK3:
      return true;
  }
  return true;
}

bool KeepToken(const OffPolicySpec& spec, double lr) {
  if (spec.stat == OffPolicyStat::kTokenK1) return KeepK1(spec, lr);
  if (spec.stat == OffPolicyStat::kTokenK2) return KeepUpper(spec, K2(lr));
  if (spec.stat == OffPolicyStat::kTokenK3) return KeepUpper(spec, K3(lr));
  return true;
}

// Weight of the j-th valid token of the row.
double TokenCorrection(const OffPolicySpec& spec, const RowRatios& row, size_t j) {
  switch (spec.kind) {
    case OffPolicy::kTis:
      return std::min(std::exp(spec.level == OffPolicyLevel::kSequence ? row.Sum() : row.lr[j]),
                      spec.cap);
    case OffPolicy::kIcepop: {
      const double w = std::exp(row.lr[j]);
      return Within(w, spec.low, spec.high) ? w : 0;
    }
    case OffPolicy::kSeqMask: {
      const bool product = spec.stat == OffPolicyStat::kSeqSumK1;
      const double s = std::exp(product ? row.Sum() : row.Mean());
      if (!Within(s, spec.low, spec.high)) return 0;
      return product ? s : std::exp(row.lr[j]);
    }
    case OffPolicy::kNone:
    case OffPolicy::kBypass:
    case OffPolicy::kReject:
      return 1;
  }
  return 1;
}

void CorrectRow(const OffPolicySpec& spec, const RowRatios& ratios, size_t tokens,
                Correction* out) {
  std::vector<double> weight(tokens, 0);
  std::vector<uint8_t> mask(tokens, 0);
  const bool reject = spec.kind == OffPolicy::kReject;
  const bool keep_row = !reject || KeepRow(spec, ratios);
  for (size_t j = 0; j < ratios.at.size(); ++j) {
    weight[ratios.at[j]] = TokenCorrection(spec, ratios, j);
    const bool keep = keep_row && (!reject || KeepToken(spec, ratios.lr[j]));
    mask[ratios.at[j]] = keep ? 1 : 0;
    out->rejected_tokens += (!keep || weight[ratios.at[j]] == 0) ? 1 : 0;
  }
  out->weight.push_back(std::move(weight));
  out->mask.push_back(std::move(mask));
}

void SetMean(absl::Span<const OffPolicyRow> rows, bool normalize, Correction* out) {
  double sum = 0, tokens = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t t = 0; t < rows[i].mask.size(); ++t) {
      if (rows[i].mask[t]) sum += out->weight[i][t], tokens += 1;
    }
  }
  if (tokens > 0) out->weight_mean = sum / tokens;
  if (!normalize || out->weight_mean <= 0) return;
  for (auto& row : out->weight) {
    for (double& w : row) w /= out->weight_mean;
  }
}

double Quotient(double a, double b, double empty) { return b > 0 ? a / b : empty; }

}  // namespace

absl::StatusOr<Correction> CorrectOffPolicy(const OffPolicySpec& spec,
                                            absl::Span<const OffPolicyRow> rows) {
  Correction out;
  for (size_t i = 0; i < rows.size(); ++i) {
    COHORT_ASSIGN_OR_RETURN(const RowRatios ratios, RatiosOf(rows[i], i));
    CorrectRow(spec, ratios, rows[i].mask.size(), &out);
  }
  SetMean(rows, spec.batch_normalize, &out);
  return out;
}

MismatchSums& MismatchSums::operator+=(const MismatchSums& other) {
  tokens += other.tokens;
  log_ratio += other.log_ratio;
  k3 += other.k3;
  ratio += other.ratio;
  ratio_squared += other.ratio_squared;
  old += other.old;
  rollout += other.rollout;
  rows += other.rows;
  sequence_ratio_squared += other.sequence_ratio_squared;
  max_log_difference = std::max(max_log_difference, other.max_log_difference);
  max_probability_difference =
      std::max(max_probability_difference, other.max_probability_difference);
  return *this;
}

double MismatchSums::Kl() const { return -Quotient(log_ratio, tokens, 0); }
double MismatchSums::K3() const { return Quotient(k3, tokens, 0); }
double MismatchSums::Ess() const { return Quotient(ratio * ratio, tokens * ratio_squared, 1); }
double MismatchSums::Chi2Token() const { return Quotient(ratio_squared, tokens, 1) - 1; }
double MismatchSums::Chi2Sequence() const { return Quotient(sequence_ratio_squared, rows, 1) - 1; }
double MismatchSums::PerplexityOld() const { return std::exp(-Quotient(old, tokens, 0)); }
double MismatchSums::PerplexityRollout() const { return std::exp(-Quotient(rollout, tokens, 0)); }

absl::StatusOr<MismatchSums> MeasureMismatch(absl::Span<const OffPolicyRow> rows) {
  MismatchSums out;
  for (size_t i = 0; i < rows.size(); ++i) {
    COHORT_ASSIGN_OR_RETURN(const RowRatios ratios, RatiosOf(rows[i], i));
    if (ratios.lr.empty()) continue;
    out.rows += 1;
    out.sequence_ratio_squared += std::exp(2 * ratios.Sum());
    for (size_t j = 0; j < ratios.lr.size(); ++j) {
      const double lr = ratios.lr[j], w = std::exp(lr);
      const double old = rows[i].old[ratios.at[j]], rollout = rows[i].rollout[ratios.at[j]];
      out.tokens += 1;
      out.log_ratio += lr;
      out.k3 += cohort::K3(lr);
      out.ratio += w;
      out.ratio_squared += w * w;
      out.old += old;
      out.rollout += rollout;
      out.max_log_difference = std::max(out.max_log_difference, std::abs(old - rollout));
      out.max_probability_difference =
          std::max(out.max_probability_difference, std::abs(std::exp(old) - std::exp(rollout)));
    }
  }
  return out;
}

bool KeepNegativeSequence(double advantage, absl::Span<const double> rollout,
                          absl::Span<const double> current, absl::Span<const uint8_t> mask,
                          double delta) {
  if (advantage >= 0) return true;
  double sum = 0, tokens = 0;
  for (size_t t = 0; t < mask.size(); ++t) {
    if (mask[t]) sum += rollout[t] - current[t], tokens += 1;
  }
  return tokens == 0 || sum / tokens <= delta;
}

}  // namespace cohort
