// One row of logits at a time, while it is in cache: log-sum-exp, entropy and their gradients
// without a second [rows, vocab] buffer. CPU only. Lanes are fixed (16), so results do not depend
// on the machine's vector width beyond fused multiply-add.
#pragma once

#include <cstdint>

namespace cohort {

// Element types of the logits. kBf16 rows are uint16_t bit patterns.
enum class LogitType { kFp32, kBf16, kFp64 };

// Arithmetic is fp32 for kFp32 and kBf16, fp64 for kFp64; results are doubles on the way out.
struct RowScore {
  double logprob = 0;  // of the target under softmax(logits * inverse_temperature)
  double logsumexp = 0;
  double entropy = 0;
};

RowScore ScoreRow(LogitType type, const void* logits, int64_t vocab, int64_t target,
                  double inverse_temperature);

// Replaces the row's logits by d/d logits of (logprob_gradient * logprob + entropy_gradient *
// entropy). `score` is what ScoreRow returned.
void RowBackward(LogitType type, void* logits, int64_t vocab, int64_t target,
                 double inverse_temperature, const RowScore& score, double logprob_gradient,
                 double entropy_gradient);

}  // namespace cohort
