// The scalar that a micro-batch backpropagates, with its gradient in closed form (algorithms.md
// sections 2.5, 4 and 5):
//   loss = sum_t w_t c_t l_t  +  kl_coef * sum_t w_t kl_t  -  entropy_coef * sum_t w_t H_t
// l_t: policy loss of ratio x trust; w_t: aggregation weight (aggregation.h); c_t: detached
// off-policy correction, applied after the clip. All in fp64 on plain arrays: the arrays have one
// entry per token, so their cost vanishes beside the model's, and the arithmetic is exact where
// the model's is not. common/objective joins it to autograd.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/rl/algorithm_spec.h"

namespace cohort {

struct PolicyLossSpec {
  Ratio ratio = Ratio::kToken;
  TrustSpec trust;
  KlSpec kl;           // used when its placement is loss
  double kl_coef = 0;  // of this step
  double entropy_coef = 0;
};

// Of a whole algorithm, with kl.coef of the specification. objective.entropy_direct has no policy
// term and entropy_coef -1.
PolicyLossSpec MakePolicyLossSpec(const AlgorithmSpec& spec);

// Packed tokens of whole rows: row i is [row_offsets[i], row_offsets[i + 1]). The spans stay the
// caller's and have one entry per token unless they may be empty.
struct PolicyTokens {
  absl::Span<const double> logprob;  // current policy, nats
  absl::Span<const double> old;      // at the start of the batch; empty: sg[logprob], ratio 1
  absl::Span<const double> advantage;
  absl::Span<const double> weight;      // 0 on masked tokens
  absl::Span<const double> correction;  // empty: 1
  absl::Span<const double> reference;   // needed by kl.loss
  absl::Span<const double> entropy;     // needed by entropy_coef
  absl::Span<const uint8_t> mask;       // empty: all valid; masked entries of the others are junk
  absl::Span<const uint8_t> selected;   // clip_cov: loses its loss; kl_cov: penalised; empty: none
  absl::Span<const int64_t> row_offsets;
};

// Sums over valid tokens; add those of other micro-batches and ranks, then divide by `tokens`.
struct PolicyStats {
  double tokens = 0;
  double clipped_low = 0;   // A < 0 and ratio < 1 - low
  double clipped_high = 0;  // A > 0 and ratio > 1 + high
  double clipped_dual = 0;  // A < 0 and the cap dual_c (or delta) is active
  double ppo_kl = 0;        // old - logprob
  double ratio = 0;
  double ratio_max = 0;
  double kl = 0;  // estimate against the reference
  double entropy = 0;

  PolicyStats& operator+=(const PolicyStats& other);
};

struct PolicyLoss {
  double loss = 0;  // the sum of the three
  double policy = 0;
  double kl = 0;                  // includes kl_coef
  double entropy = 0;             // includes -entropy_coef
  std::vector<double> d_logprob;  // d loss / d logprob; 0 where masked
  std::vector<double> d_entropy;  // d loss / d entropy; empty when entropy_coef is 0
  std::vector<double> ratio;      // per token; of a sequence ratio, the row's; 0 where masked
  PolicyStats stats;
};

// Fails when a log-ratio or a row's loss is not finite, and names the row.
absl::StatusOr<PolicyLoss> ComputePolicyLoss(const PolicyLossSpec& spec,
                                             const PolicyTokens& tokens);

// One token's policy loss and its derivative with respect to the log-prob, at a given ratio.
struct TokenLoss {
  double loss = 0;
  double gradient = 0;
  bool clipped_low = false;
  bool clipped_high = false;
  bool clipped_dual = false;
};
TokenLoss ClippedLoss(const ClipSpec& clip, double advantage, double ratio);

// Mean gradient of the clipped loss over advantages +a and -a (section 4.1, clip bias). An analysis
// of ClippedLoss for test vectors and simulations; training has no use for it.
double ClipBias(const ClipSpec& clip, double a, double ratio);

// clip_cov / kl_cov (section 4.6): which tokens are selected, by the covariance of advantage and
// log-prob over the valid tokens given. For scope mini_batch pass the old log-probs of the whole
// mini-batch as `logprob`. `old` may be empty. clip_cov draws its quota with `seed`.
std::vector<uint8_t> SelectByCovariance(const TrustSpec& trust, absl::Span<const double> logprob,
                                        absl::Span<const double> old,
                                        absl::Span<const double> advantage,
                                        absl::Span<const uint8_t> mask, uint64_t seed);

}  // namespace cohort
