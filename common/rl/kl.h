// Estimators of KL(policy || reference) per token, and the coefficient's controller
// (algorithms.md section 2.5). Log-probs and values in nats. Pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/rl/algorithm_spec.h"

namespace cohort {

struct KlTerm {
  double value = 0;
  double gradient = 0;  // with respect to the policy's log-prob; 0 where a clamp is active
};

// k1 = logp - ref, k2 = k1^2/2, k3 = exp(-k1) - 1 + k1, abs = |k1|; k3_k2grad has the value of k3
// and the gradient of k2. Only k3's exponential is clamped, as spec.log_ratio_clamp and value_clamp
// say.
KlTerm EstimateKl(const KlSpec& spec, double logprob, double reference);

// Reward placement: -coef * estimate per token, 0 where masked. `old` is the policy that rewards
// are computed under. All spans have one entry per token.
std::vector<double> KlTokenPenalty(const KlSpec& spec, double coef, absl::Span<const double> old,
                                   absl::Span<const double> reference,
                                   absl::Span<const uint8_t> mask);

// Adaptive controller: coef * (1 + clip(kl/target - 1, -0.2, 0.2) * rows/horizon).
double AdaptiveKlCoef(double coef, double kl, double target, double rows, double horizon);

// The coefficient over a run. One per run, on rank 0; its state is `coef()`.
class KlController {
 public:
  explicit KlController(const KlSpec& spec) : spec_(spec), coef_(spec.coef) {}
  double coef() const { return coef_; }
  void Restore(double coef) { coef_ = coef; }
  // `kl`: mean estimate of the batch; `rows`: rows of the batch over all ranks.
  void Update(double kl, double rows);

 private:
  KlSpec spec_;
  double coef_;
};

}  // namespace cohort
