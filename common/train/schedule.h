// The learning rate over a run.
#pragma once

#include <cstdint>

namespace cohort {

enum class LrSchedule { kConstant, kLinear, kCosine };

struct LrOptions {
  double lr = 1e-6;
  LrSchedule schedule = LrSchedule::kConstant;
  int64_t warmup_steps = 0;  // optimizer steps of a linear ramp from 0
  int64_t total_steps = 0;   // optimizer steps of the run; linear and cosine end there
  double min_lr_ratio = 0;   // floor of linear and cosine, as a share of lr
};

// For the optimizer step that follows `steps_done` others. The first step of a warm-up of n has
// lr / n, the n-th has lr.
double LearningRate(const LrOptions& options, int64_t steps_done);

}  // namespace cohort
