#include "common/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace cohort {
namespace {

// Share of the decay that is over, in [0, 1].
double Progress(const LrOptions& options, int64_t steps_done) {
  const int64_t length = options.total_steps - options.warmup_steps;
  if (length <= 0) return 0;
  const double done = static_cast<double>(steps_done - options.warmup_steps);
  return std::clamp(done / static_cast<double>(length), 0.0, 1.0);
}

}  // namespace

double LearningRate(const LrOptions& options, int64_t steps_done) {
  if (steps_done < options.warmup_steps) {
    return options.lr * static_cast<double>(steps_done + 1) /
           static_cast<double>(options.warmup_steps);
  }
  const double progress = Progress(options, steps_done);
  double share = 1;
  if (options.schedule == LrSchedule::kLinear) share = 1 - progress;
  if (options.schedule == LrSchedule::kCosine) {
    share = (1 + std::cos(std::numbers::pi * progress)) / 2;
  }
  return options.lr * (options.min_lr_ratio + (1 - options.min_lr_ratio) * share);
}

}  // namespace cohort
