#include "common/rl/advantage.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

using Rows = absl::Span<const AdvantageRow>;

struct Moments {
  double mean = 0;
  double std = 0;
  bool constant = true;  // max == min: deviations are exactly 0, whatever rounding says
};

Moments MomentsOf(absl::Span<const double> x, int64_t ddof) {
  Moments m;
  if (x.empty()) return m;
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  m.constant = *low == *high;
  for (double v : x) m.mean += v;
  m.mean /= static_cast<double>(x.size());
  if (m.constant) return m;
  double squares = 0;
  for (double v : x) squares += (v - m.mean) * (v - m.mean);
  m.std = std::sqrt(squares / static_cast<double>(static_cast<int64_t>(x.size()) - ddof));
  return m;
}

int64_t ValidTokens(const AdvantageRow& row) {
  return std::count_if(row.mask.begin(), row.mask.end(), [](uint8_t m) { return m != 0; });
}

// Scorable rows of one prompt.
struct GroupRows {
  std::vector<size_t> index;
  std::vector<double> reward;
};

std::vector<GroupRows> SplitGroups(Rows rows) {
  std::unordered_map<int64_t, size_t> slot;
  std::vector<GroupRows> groups;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].scorable) continue;
    const auto [it, added] = slot.try_emplace(rows[i].group, groups.size());
    if (added) groups.emplace_back();
    groups[it->second].index.push_back(i);
    groups[it->second].reward.push_back(rows[i].reward);
  }
  return groups;
}

bool AllFinite(absl::Span<const double> x, absl::Span<const uint8_t> mask) {
  for (size_t t = 0; t < x.size(); ++t) {
    if (mask[t] && !std::isfinite(x[t])) return false;
  }
  return true;
}

absl::Status CheckFinite(Rows rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    const AdvantageRow& row = rows[i];
    if (!row.scorable) continue;
    if (!std::isfinite(row.reward) || !std::isfinite(row.greedy_reward) ||
        !AllFinite(row.token_reward, row.mask) || !AllFinite(row.value, row.mask) ||
        !AllFinite(row.process, row.mask)) {
      return absl::InvalidArgumentError(
          absl::StrCat("advantages: expected finite rewards; row ", i, " of group ", row.group,
                       " has one that is not (reward ", row.reward, ")"));
    }
  }
  return absl::OkStatus();
}

// --- centring ---------------------------------------------------------------------------------

double LengthWeightedMean(Rows rows, const GroupRows& group) {
  double weighted = 0, tokens = 0, sum = 0;
  for (size_t j = 0; j < group.index.size(); ++j) {
    const double length = static_cast<double>(ValidTokens(rows[group.index[j]]));
    weighted += length * group.reward[j];
    tokens += length;
    sum += group.reward[j];
  }
  return tokens > 0 ? weighted / tokens : sum / static_cast<double>(group.index.size());
}

void CentreSecondBest(const GroupRows& group, std::vector<double>* out) {
  const size_t best = static_cast<size_t>(
      std::max_element(group.reward.begin(), group.reward.end()) - group.reward.begin());
  double second = -HUGE_VAL;
  for (size_t j = 0; j < group.reward.size(); ++j) {
    if (j != best) second = std::max(second, group.reward[j]);
  }
  (*out)[group.index[best]] = group.reward[best] - second;
}

bool ComparesRows(AdvantageBaseline baseline) {
  return baseline == AdvantageBaseline::kGroupMean || baseline == AdvantageBaseline::kLeaveOneOut ||
         baseline == AdvantageBaseline::kLengthWeighted ||
         baseline == AdvantageBaseline::kSecondBest || baseline == AdvantageBaseline::kPrimeLoo;
}

// reward minus baseline, of the rows of one group with at least two scorable rows.
void CentreGroup(AdvantageBaseline baseline, Rows rows, const GroupRows& group,
                 const Moments& moments, std::vector<double>* out) {
  if (moments.constant) return;
  if (baseline == AdvantageBaseline::kSecondBest) return CentreSecondBest(group, out);
  const double n = static_cast<double>(group.index.size());
  const bool leave_one_out =
      baseline == AdvantageBaseline::kLeaveOneOut || baseline == AdvantageBaseline::kPrimeLoo;
  const double mean = baseline == AdvantageBaseline::kLengthWeighted
                          ? LengthWeightedMean(rows, group)
                          : moments.mean;
  const double factor = leave_one_out ? n / (n - 1) : 1;
  for (size_t j = 0; j < group.index.size(); ++j) {
    (*out)[group.index[j]] = factor * (group.reward[j] - mean);
  }
}

// --- scaling ----------------------------------------------------------------------------------

double BatchRewardStd(Rows rows, int64_t ddof) {
  std::vector<double> rewards;
  for (const AdvantageRow& row : rows) {
    if (row.scorable) rewards.push_back(row.reward);
  }
  return MomentsOf(rewards, ddof).std;
}

// Rows over rows of groups with different rewards; 0 when there is none.
double ValidFractionAlpha(absl::Span<const GroupRows> groups) {
  double total = 0, mixed = 0;
  for (const GroupRows& group : groups) {
    const double n = static_cast<double>(group.index.size());
    total += n;
    if (!MomentsOf(group.reward, 1).constant) mixed += n;
  }
  return mixed > 0 ? total / mixed : 0;
}

// Centred and scaled value of each row, before any token structure.
struct RowScaler {
  const AdvantageSpec& spec;
  Rows rows;
  double batch_std = 0;
  double alpha = 1;

  double Divisor(double group_std) const {
    if (spec.scale == AdvantageScale::kGroupStd) return group_std + spec.eps;
    if (spec.scale == AdvantageScale::kBatchRewardStd) return batch_std + spec.eps;
    return 1;
  }

  void Apply(const GroupRows& group, std::vector<double>* out) const {
    Moments moments = MomentsOf(group.reward, spec.ddof);
    if (!ComparesRows(spec.baseline)) {
      const bool greedy =
          spec.baseline == AdvantageBaseline::kGreedy && spec.level == AdvantageLevel::kSequence;
      for (size_t i : group.index) {
        (*out)[i] = rows[i].reward - (greedy ? rows[i].greedy_reward : 0);
      }
    } else if (group.index.size() > 1) {
      CentreGroup(spec.baseline, rows, group, moments, out);
    } else if (spec.n1 == SingleRowGroup::kRaw) {
      (*out)[group.index[0]] = group.reward[0];
      moments.std = 1;
    }
    const double divisor = Divisor(moments.std);
    for (size_t i : group.index) {
      if ((*out)[i] != 0) (*out)[i] = alpha * (*out)[i] / divisor;
    }
  }
};

// --- tokens -----------------------------------------------------------------------------------

// Reward of each valid token: `row_value` on the last one, plus the row's token rewards.
std::vector<double> TokenRewards(const AdvantageRow& row, double row_value) {
  std::vector<double> r(row.mask.size(), 0);
  bool last = true;
  for (size_t t = row.mask.size(); t-- > 0;) {
    if (!row.mask[t]) continue;
    r[t] = (last ? row_value : 0) + (row.token_reward.empty() ? 0 : row.token_reward[t]);
    last = false;
  }
  return r;
}

// Discounted sums from each valid token on; masked tokens cost no discount.
std::vector<double> ReturnsToGo(absl::Span<const uint8_t> mask, std::vector<double> r,
                                double gamma) {
  double sum = 0;
  for (size_t t = r.size(); t-- > 0;) {
    if (!mask[t]) continue;
    sum = r[t] + gamma * sum;
    r[t] = sum;
  }
  return r;
}

std::vector<double> Gae(const AdvantageSpec& spec, const AdvantageRow& row,
                        const std::vector<double>& r) {
  std::vector<double> advantage(r.size(), 0);
  double next_value = 0, sum = 0;
  for (size_t t = r.size(); t-- > 0;) {
    if (!row.mask[t]) continue;
    const double delta = r[t] + spec.gamma * next_value - row.value[t];
    sum = delta + spec.gamma * spec.lam * sum;
    advantage[t] = sum;
    next_value = row.value[t];
  }
  return advantage;
}

double MaskedMean(absl::Span<const double> x, absl::Span<const uint8_t> mask) {
  double sum = 0, count = 0;
  for (size_t t = 0; t < x.size(); ++t) {
    if (mask[t]) sum += x[t], count += 1;
  }
  return count > 0 ? sum / count : 0;
}

// Leave-one-out process rewards of PRIME, added to `r` of the group's rows.
void AddProcessRewards(const AdvantageSpec& spec, Rows rows, const GroupRows& group,
                       std::vector<std::vector<double>>* r) {
  double mean = 0, n = 0;
  for (size_t i : group.index) {
    if (ValidTokens(rows[i]) == 0) continue;
    mean += MaskedMean(rows[i].process, rows[i].mask);
    n += 1;
  }
  if (n < 2) return;
  mean /= n;
  for (size_t i : group.index) {
    for (size_t t = 0; t < rows[i].mask.size(); ++t) {
      if (!rows[i].mask[t]) continue;
      (*r)[i][t] += spec.process_coef * n / (n - 1) * (rows[i].process[t] - mean);
    }
  }
}

void SubtractGreedy(Rows rows, std::vector<std::vector<double>>* token) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].scorable) continue;
    for (size_t t = 0; t < rows[i].mask.size(); ++t) {
      if (rows[i].mask[t]) (*token)[i][t] -= rows[i].greedy_reward;
    }
  }
}

void ComputeTokenLevel(const AdvantageSpec& spec, Rows rows, absl::Span<const GroupRows> groups,
                       Advantages* out) {
  const bool prime = spec.baseline == AdvantageBaseline::kPrimeLoo;
  std::vector<std::vector<double>> r;
  for (size_t i = 0; i < rows.size(); ++i) {
    r.push_back(TokenRewards(rows[i], (prime ? spec.outcome_coef : 1) * out->row[i]));
  }
  if (prime) {
    for (const GroupRows& group : groups) AddProcessRewards(spec, rows, group, &r);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const size_t tokens = rows[i].mask.size();
    if (!rows[i].scorable) {
      out->token.emplace_back(tokens, 0);
      out->returns.emplace_back(tokens, 0);
    } else if (spec.baseline == AdvantageBaseline::kCriticGae) {
      out->token.push_back(Gae(spec, rows[i], r[i]));
      out->returns.push_back(out->token.back());
      for (size_t t = 0; t < tokens; ++t) {
        if (rows[i].mask[t]) out->returns[i][t] += rows[i].value[t];
      }
    } else {
      out->returns.push_back(ReturnsToGo(rows[i].mask, std::move(r[i]), spec.gamma));
      out->token.push_back(out->returns.back());
    }
  }
  if (spec.baseline == AdvantageBaseline::kGreedy) SubtractGreedy(rows, &out->token);
  out->row.clear();
}

// --- whitening --------------------------------------------------------------------------------

// Calls visit(row, token) for every valid token that takes part in whitening.
template <typename Visit>
void ForEachValid(Rows rows, Visit visit) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].scorable) continue;
    for (size_t t = 0; t < rows[i].mask.size(); ++t) {
      if (rows[i].mask[t]) visit(i, t);
    }
  }
}

double WhitenScale(const AdvantageSpec& spec, const Moments& moments) {
  const double variance = moments.std * moments.std;
  const bool add = spec.whiten_floor == VarianceFloor::kAdd;
  return 1 / std::sqrt(add ? variance + spec.whiten_eps : std::max(variance, spec.whiten_eps));
}

void Whiten(const AdvantageSpec& spec, Rows rows, Advantages* out) {
  std::vector<double> values;
  ForEachValid(rows, [&](size_t i, size_t t) { values.push_back(out->At(i, t)); });
  const Moments moments = MomentsOf(values, spec.whiten == WhitenVariance::kBessel ? 1 : 0);
  out->whitening_skipped = values.size() < 2;
  const double scale = moments.constant ? 0 : WhitenScale(spec, moments);
  const auto whitened = [&](double x) { return scale == 0 ? 0 : (x - moments.mean) * scale; };
  for (size_t i = 0; i < out->row.size(); ++i) {
    if (rows[i].scorable) out->row[i] = whitened(out->row[i]);
  }
  if (!out->token.empty()) {
    ForEachValid(rows, [&](size_t i, size_t t) { out->token[i][t] = whitened(out->token[i][t]); });
  }
}

void CountGroups(absl::Span<const GroupRows> groups, Advantages* out) {
  out->groups = static_cast<int64_t>(groups.size());
  for (const GroupRows& group : groups) {
    out->degenerate_groups += MomentsOf(group.reward, 1).constant ? 1 : 0;
  }
}

}  // namespace

absl::StatusOr<Advantages> ComputeAdvantages(const AdvantageSpec& spec, Rows rows) {
  COHORT_RETURN_IF_ERROR(CheckFinite(rows));
  const std::vector<GroupRows> groups = SplitGroups(rows);
  Advantages out;
  CountGroups(groups, &out);
  RowScaler scaler{spec, rows};
  if (spec.scale == AdvantageScale::kBatchRewardStd) {
    scaler.batch_std = BatchRewardStd(rows, spec.ddof);
  }
  if (spec.scale == AdvantageScale::kValidFraction) {
    out.alpha = scaler.alpha = ValidFractionAlpha(groups);
  }
  out.row.assign(rows.size(), 0);
  for (const GroupRows& group : groups) scaler.Apply(group, &out.row);
  if (spec.level == AdvantageLevel::kReturns) ComputeTokenLevel(spec, rows, groups, &out);
  if (spec.scale == AdvantageScale::kTokenWhiten) Whiten(spec, rows, &out);
  return out;
}

void NormalizeProcessRewards(absl::Span<const std::vector<uint8_t>> mask,
                             std::vector<std::vector<double>>* process, double eps) {
  double largest = 0;
  for (size_t i = 0; i < process->size(); ++i) {
    double sum = 0;
    for (size_t t = mask[i].size(); t-- > 0;) {
      if (mask[i][t]) largest = std::max(largest, std::abs(sum += (*process)[i][t]));
    }
  }
  for (size_t i = 0; i < process->size(); ++i) {
    for (size_t t = 0; t < mask[i].size(); ++t) {
      (*process)[i][t] = mask[i][t] ? (*process)[i][t] / (largest + eps) : 0;
    }
  }
}

double ProcessModelLoss(absl::Span<const std::vector<uint8_t>> mask,
                        absl::Span<const std::vector<double>> process,
                        absl::Span<const double> accuracy, double beta) {
  double loss = 0, rows = 0;
  for (size_t i = 0; i < process.size(); ++i) {
    double sum = 0;
    bool valid = false;
    for (size_t t = 0; t < mask[i].size(); ++t) {
      if (mask[i][t]) sum += process[i][t], valid = true;
    }
    if (!valid) continue;
    // BCE with logits z and label y is softplus(z) - y z, in the form that does not overflow.
    const double z = beta * sum;
    loss += std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z))) - accuracy[i] * z;
    rows += 1;
  }
  return rows > 0 ? loss / rows : 0;
}

double ProcessRowGradient(double process_sum, double accuracy, double beta) {
  return beta * (1 / (1 + std::exp(-beta * process_sum)) - accuracy);
}

}  // namespace cohort
