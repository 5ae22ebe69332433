// Clip-Cov and KL-Cov token selection (algorithms.md section 4.6).
#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/base/rng.h"
#include "common/rl/policy_loss.h"

namespace cohort {
namespace {

struct Candidate {
  size_t at = 0;
  double covariance = 0;
};

// (A - mean A)(logprob - mean logprob) of every valid token.
std::vector<Candidate> Covariances(absl::Span<const double> logprob,
                                   absl::Span<const double> advantage,
                                   absl::Span<const uint8_t> mask) {
  std::vector<Candidate> out;
  double a = 0, l = 0;
  for (size_t t = 0; t < logprob.size(); ++t) {
    if (!mask.empty() && !mask[t]) continue;
    out.push_back({t, 0});
    a += advantage[t];
    l += logprob[t];
  }
  const double n = static_cast<double>(out.size());
  for (Candidate& c : out) c.covariance = (advantage[c.at] - a / n) * (logprob[c.at] - l / n);
  return out;
}

// max(1, int(frac * n)) of n tokens.
size_t Quota(double frac, size_t n) {
  return std::min(n, std::max<size_t>(1, static_cast<size_t>(frac * static_cast<double>(n))));
}

std::vector<Candidate> TopCovariances(std::vector<Candidate> all, size_t count) {
  std::sort(all.begin(), all.end(), [](const Candidate& x, const Candidate& y) {
    return x.covariance != y.covariance ? x.covariance > y.covariance : x.at < y.at;
  });
  all.resize(count);
  return all;
}

// A random subset of at most `count`, by a partial Fisher-Yates shuffle.
void KeepRandom(size_t count, uint64_t seed, std::vector<Candidate>* candidates) {
  if (candidates->size() <= count) return;
  CounterRng rng(seed);
  for (size_t i = 0; i < count; ++i) {
    std::swap((*candidates)[i], (*candidates)[i + rng.Below(candidates->size() - i)]);
  }
  candidates->resize(count);
}

bool AlreadyClipped(const ClipSpec& clip, double advantage, double log_ratio) {
  const TokenLoss loss = ClippedLoss(clip, advantage, std::exp(std::clamp(log_ratio, -20.0, 20.0)));
  return loss.clipped_low || loss.clipped_high || loss.clipped_dual;
}

}  // namespace

std::vector<uint8_t> SelectByCovariance(const TrustSpec& trust, absl::Span<const double> logprob,
                                        absl::Span<const double> old,
                                        absl::Span<const double> advantage,
                                        absl::Span<const uint8_t> mask, uint64_t seed) {
  std::vector<uint8_t> selected(logprob.size(), 0);
  std::vector<Candidate> all = Covariances(logprob, advantage, mask);
  if (all.empty() || (!trust.kl_cov && !trust.clip_cov)) return selected;
  if (trust.kl_cov) {
    all = TopCovariances(std::move(all), Quota(trust.kl_cov->frac, all.size()));
  } else {
    const size_t quota = Quota(trust.clip_cov->frac, all.size());
    const ClipSpec clip = trust.clip.value_or(ClipSpec{});
    std::erase_if(all, [&](const Candidate& c) {
      const double d = old.empty() ? 0 : logprob[c.at] - old[c.at];
      return !(c.covariance > trust.clip_cov->lb && c.covariance < trust.clip_cov->ub) ||
             AlreadyClipped(clip, advantage[c.at], d);
    });
    KeepRandom(quota, seed, &all);
  }
  for (const Candidate& c : all) selected[c.at] = 1;
  return selected;
}

}  // namespace cohort
