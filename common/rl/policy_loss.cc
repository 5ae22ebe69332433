#include "common/rl/policy_loss.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rl/kl.h"

namespace cohort {
namespace {

constexpr double kLogRatioClamp = 20;

double Sign(double x) { return x > 0 ? 1 : (x < 0 ? -1 : 0); }

double ClampLogRatio(double d) { return std::clamp(d, -kLogRatioClamp, kLogRatioClamp); }

// A ratio and whether gradient flows through it (not where a clamp or GMPO's clip is active).
struct RatioValue {
  double log = 0;
  double value = 1;
  bool free = true;
};

RatioValue RatioOf(double d) {
  const double clamped = ClampLogRatio(d);
  return {clamped, std::exp(clamped), clamped == d};
}

TokenLoss SoftGateLoss(const SoftGateSpec& gate, double a, double ratio) {
  const double tau = a > 0 ? gate.tau_pos : gate.tau_neg;
  const double s = 1 / (1 + std::exp(-tau * (ratio - 1)));
  return {-a * 4 / tau * s, -a * 4 * s * (1 - s) * ratio};
}

// The clipped ratio is detached: every kept token has the gradient -clip(ratio) * A.
TokenLoss DetachClipLoss(const DetachClipSpec& clip, double a, double ratio, double logprob) {
  TokenLoss out;
  out.clipped_low = ratio < clip.min;
  out.clipped_high = ratio > clip.max;
  if (clip.mask) {  // drops what PPO's clip would
    const bool low = a < 0 && ratio < 1 - clip.mask->low;
    const bool high = a > 0 && ratio > 1 + clip.mask->high;
    out.clipped_low |= low;
    out.clipped_high |= high;
    if (low || high) return out;
  }
  const double weight = std::clamp(ratio, clip.min, clip.max);
  out.loss = -weight * a * logprob;
  out.gradient = -weight * a;
  return out;
}

TokenLoss KlCovLoss(const KlCovSpec& cov, double a, const RatioValue& ratio, bool selected) {
  TokenLoss out{-a * ratio.value, -a * ratio.value};
  if (selected) {
    out.loss += cov.coef * std::abs(ratio.log);
    out.gradient += cov.coef * Sign(ratio.log);
  }
  return out;
}

TokenLoss QuadraticLoss(const QuadraticSpec& spec, double a, double d, double logprob) {
  return {-(a * logprob - spec.beta / 2 * d * d), -(a - spec.beta * d)};
}

TokenLoss ClipCovLoss(const ClipSpec& clip, double a, double ratio, bool selected) {
  return selected ? TokenLoss{} : ClippedLoss(clip, a, ratio);
}

// Loss of one token; the gradient is zero where the ratio is not free.
TokenLoss TrustLoss(const PolicyLossSpec& spec, double a, double logprob, const RatioValue& ratio,
                    bool selected) {
  const TrustSpec& trust = spec.trust;
  if (spec.ratio == Ratio::kNone) return {-a * logprob, -a};
  if (trust.detach_clip) return DetachClipLoss(*trust.detach_clip, a, ratio.value, logprob);
  if (trust.quadratic) return QuadraticLoss(*trust.quadratic, a, ratio.log, logprob);
  TokenLoss out{-a * ratio.value, -a * ratio.value};
  if (trust.soft_gate) out = SoftGateLoss(*trust.soft_gate, a, ratio.value);
  if (trust.kl_cov) out = KlCovLoss(*trust.kl_cov, a, ratio, selected);
  if (trust.clip_cov) {
    out = ClipCovLoss(trust.clip.value_or(ClipSpec{}), a, ratio.value, selected);
  } else if (trust.clip) {
    out = ClippedLoss(*trust.clip, a, ratio.value);
  }
  if (!ratio.free) out.gradient = 0;
  return out;
}

// One evaluation over packed tokens.
class Evaluation {
 public:
  Evaluation(const PolicyLossSpec& spec, const PolicyTokens& tokens)
      : spec_(spec), tokens_(tokens) {
    const size_t n = tokens.logprob.size();
    out_.d_logprob.assign(n, 0);
    out_.ratio.assign(n, 0);
    if (spec.entropy_coef != 0) out_.d_entropy.assign(n, 0);
  }

  absl::StatusOr<PolicyLoss> Run() {
    for (size_t row = 0; row + 1 < tokens_.row_offsets.size(); ++row) {
      COHORT_RETURN_IF_ERROR(AddRow(row));
    }
    out_.loss = out_.policy + out_.kl + out_.entropy;
    return std::move(out_);
  }

 private:
  size_t Begin(size_t row) const { return static_cast<size_t>(tokens_.row_offsets[row]); }
  size_t End(size_t row) const { return static_cast<size_t>(tokens_.row_offsets[row + 1]); }
  bool Valid(size_t t) const { return tokens_.mask.empty() || tokens_.mask[t] != 0; }
  bool Selected(size_t t) const { return !tokens_.selected.empty() && tokens_.selected[t] != 0; }
  double LogRatio(size_t t) const {
    return tokens_.old.empty() ? 0 : tokens_.logprob[t] - tokens_.old[t];
  }

  absl::Status AddRow(size_t row) {
    const double before = out_.policy + out_.kl + out_.entropy;
    COHORT_RETURN_IF_ERROR(CheckRow(row));
    AddPolicy(row);
    for (size_t t = Begin(row); t < End(row); ++t) {
      if (Valid(t)) AddKlAndEntropy(t);
    }
    const double added = out_.policy + out_.kl + out_.entropy - before;
    if (std::isfinite(added)) return absl::OkStatus();
    return absl::InternalError(
        absl::StrCat("policy loss: row ", row, " of the micro-batch has a loss of ", added));
  }

  absl::Status CheckRow(size_t row) const {
    for (size_t t = Begin(row); t < End(row); ++t) {
      if (!Valid(t)) continue;
      if (!std::isnan(LogRatio(t)) && !std::isnan(tokens_.logprob[t])) continue;
      return absl::InternalError(
          absl::StrCat("policy loss: log-ratio of row ", row, " token ", t - Begin(row),
                       " is not a number (log-prob ", tokens_.logprob[t], ", old ",
                       tokens_.old.empty() ? tokens_.logprob[t] : tokens_.old[t], ")"));
    }
    return absl::OkStatus();
  }

  // Mean (or sum) of a row's log-ratios, each mapped by `f`.
  template <typename F>
  double RowLogRatio(size_t row, bool mean, F f) const {
    double sum = 0, count = 0;
    for (size_t t = Begin(row); t < End(row); ++t) {
      if (Valid(t)) sum += f(LogRatio(t), tokens_.advantage[t]), count += 1;
    }
    return mean && count > 0 ? sum / count : sum;
  }

  double LogClipped(double d, double a) const {
    const LogClipSpec clip = spec_.trust.log_clip.value_or(LogClipSpec{});
    return a >= 0 ? std::min(d, clip.high) : std::max(d, -clip.low);
  }

  RatioValue RowRatio(size_t row) const {
    const auto same = [](double d, double) { return d; };
    switch (spec_.ratio) {
      case Ratio::kSequenceGeo:
        return RatioOf(RowLogRatio(row, true, same));
      case Ratio::kSequenceProd:
        return RatioOf(RowLogRatio(row, false, same));
      case Ratio::kGeoClipped:
        return RatioOf(
            RowLogRatio(row, true, [this](double d, double a) { return LogClipped(d, a); }));
      case Ratio::kNone:
      case Ratio::kToken:
        break;
    }
    return {};
  }

  RatioValue TokenRatio(size_t t, const RatioValue& row) const {
    if (spec_.ratio == Ratio::kToken) return RatioOf(LogRatio(t));
    RatioValue ratio = row;
    if (spec_.ratio == Ratio::kGeoClipped) {
      const double d = LogRatio(t);
      ratio.free = ratio.free && LogClipped(d, tokens_.advantage[t]) == d;
    }
    return ratio;
  }

  void AddPolicy(size_t row) {
    const RatioValue row_ratio = RowRatio(row);
    double row_gradient = 0;
    for (size_t t = Begin(row); t < End(row); ++t) {
      if (!Valid(t)) continue;
      const RatioValue ratio = TokenRatio(t, row_ratio);
      const TokenLoss term =
          TrustLoss(spec_, tokens_.advantage[t], tokens_.logprob[t], ratio, Selected(t));
      const double weight =
          tokens_.weight[t] * (tokens_.correction.empty() ? 1 : tokens_.correction[t]);
      if (weight != 0) out_.policy += weight * term.loss;
      out_.d_logprob[t] = weight * term.gradient;
      row_gradient += out_.d_logprob[t];
      Count(t, term, ratio.value);
    }
    // A product of ratios depends on every token with the same derivative; a mean's 1/T is already
    // in the aggregation weight of seq_mean_token_mean.
    if (spec_.ratio != Ratio::kSequenceProd) return;
    for (size_t t = Begin(row); t < End(row); ++t) {
      if (Valid(t)) out_.d_logprob[t] = row_gradient;
    }
  }

  void Count(size_t t, const TokenLoss& term, double ratio) {
    PolicyStats& stats = out_.stats;
    out_.ratio[t] = ratio;
    stats.tokens += 1;
    stats.clipped_low += term.clipped_low ? 1 : 0;
    stats.clipped_high += term.clipped_high ? 1 : 0;
    stats.clipped_dual += term.clipped_dual ? 1 : 0;
    stats.ppo_kl -= ClampLogRatio(LogRatio(t));
    stats.ratio += ratio;
    stats.ratio_max = std::max(stats.ratio_max, ratio);
  }

  void AddKlAndEntropy(size_t t) {
    const double weight = tokens_.weight[t];
    if (!tokens_.reference.empty()) {
      const KlTerm kl = EstimateKl(spec_.kl, tokens_.logprob[t], tokens_.reference[t]);
      out_.stats.kl += kl.value;
      if (spec_.kl.placement == KlPlacement::kLoss && spec_.kl_coef != 0) {
        out_.kl += spec_.kl_coef * weight * kl.value;
        out_.d_logprob[t] += spec_.kl_coef * weight * kl.gradient;
      }
    }
    if (tokens_.entropy.empty()) return;
    out_.stats.entropy += tokens_.entropy[t];
    if (spec_.entropy_coef == 0) return;
    out_.entropy -= spec_.entropy_coef * weight * tokens_.entropy[t];
    out_.d_entropy[t] = -spec_.entropy_coef * weight;
  }

  const PolicyLossSpec& spec_;
  const PolicyTokens& tokens_;
  PolicyLoss out_;
};

void CheckShapes(const PolicyLossSpec& spec, const PolicyTokens& x) {
  const size_t n = x.logprob.size();
  const auto fits = [n](size_t size) { return size == 0 || size == n; };
  COHORT_CHECK(x.advantage.size() == n && x.weight.size() == n) << "of " << n << " tokens";
  COHORT_CHECK(fits(x.old.size()) && fits(x.correction.size()) && fits(x.reference.size()) &&
               fits(x.entropy.size()) && fits(x.mask.size()) && fits(x.selected.size()));
  COHORT_CHECK(!x.row_offsets.empty() && x.row_offsets.front() == 0 &&
               x.row_offsets.back() == static_cast<int64_t>(n));
  const bool kl = spec.kl.placement == KlPlacement::kLoss && spec.kl_coef != 0;
  COHORT_CHECK(n == 0 || !kl || !x.reference.empty()) << "kl.loss needs reference log-probs";
  COHORT_CHECK(n == 0 || spec.entropy_coef == 0 || !x.entropy.empty()) << "entropies are missing";
}

}  // namespace

PolicyLossSpec MakePolicyLossSpec(const AlgorithmSpec& spec) {
  const double kl_coef = spec.kl.placement == KlPlacement::kLoss ? spec.kl.coef : 0;
  // The entropy itself is what is minimised; no token has an advantage.
  if (spec.objective.kind == Objective::kEntropyDirect)
    return {Ratio::kNone, {}, spec.kl, kl_coef, -1};
  return {spec.ratio, spec.trust, spec.kl, kl_coef, spec.entropy_coef};
}

PolicyStats& PolicyStats::operator+=(const PolicyStats& other) {
  tokens += other.tokens;
  clipped_low += other.clipped_low;
  clipped_high += other.clipped_high;
  clipped_dual += other.clipped_dual;
  ppo_kl += other.ppo_kl;
  ratio += other.ratio;
  ratio_max = std::max(ratio_max, other.ratio_max);
  kl += other.kl;
  entropy += other.entropy;
  return *this;
}

TokenLoss ClippedLoss(const ClipSpec& clip, double a, double ratio) {
  TokenLoss out;
  const double clipped = std::clamp(ratio, 1 - clip.low, 1 + clip.high);
  const double capped = clip.delta ? std::min(ratio, *clip.delta) : ratio;
  out.clipped_low = a < 0 && ratio < 1 - clip.low;
  out.clipped_high = a > 0 && ratio > 1 + clip.high;
  // The larger branch gives the gradient too, unless what bounds it does not move.
  const double plain = -a * capped, bounded = -a * clipped;
  out.loss = std::max(plain, bounded);
  out.clipped_dual = a < 0 && capped < ratio && plain >= bounded;
  const bool moves = (plain >= bounded ? capped : clipped) == ratio;
  out.gradient = moves ? -a * ratio : 0;
  if (a < 0 && clip.dual_c && out.loss > -a * *clip.dual_c) {
    out.loss = -a * *clip.dual_c;
    out.gradient = 0;
    out.clipped_dual = true;
  }
  return out;
}

double ClipBias(const ClipSpec& clip, double a, double ratio) {
  return (ClippedLoss(clip, a, ratio).gradient + ClippedLoss(clip, -a, ratio).gradient) / 2;
}

absl::StatusOr<PolicyLoss> ComputePolicyLoss(const PolicyLossSpec& spec,
                                             const PolicyTokens& tokens) {
  CheckShapes(spec, tokens);
  return Evaluation(spec, tokens).Run();
}

}  // namespace cohort
