// The inner loop of AdamW over contiguous memory on the CPU.
#pragma once

#include <cstdint>

namespace cohort {

struct AdamWNumbers {
  double beta1 = 0, beta2 = 0, eps = 0;
  double gradient_scale = 1;
  double decay = 1;           // 1 - lr * weight_decay
  double step_size = 0;       // lr / (1 - beta1^t)
  double inverse_sqrt_v = 1;  // 1 / sqrt(1 - beta2^t)
};

// Updates p, m and v in place from g; writes p rounded to bf16 when `compute` is not null.
void AdamWUpdate(float* p, float* m, float* v, const float* g, uint16_t* compute, int64_t size,
                 const AdamWNumbers& numbers);
void AdamWUpdate(double* p, double* m, double* v, const double* g, int64_t size,
                 const AdamWNumbers& numbers);

}  // namespace cohort
