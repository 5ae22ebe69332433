#include "common/reward_service/circuit.h"

namespace cohort {

Circuit::State Circuit::At(absl::Time now) const {
  if (options_.failures <= 0 || in_a_row_ < options_.failures) return State::kClosed;
  return now < open_until_ ? State::kOpen : State::kTrying;
}

bool Circuit::Failed(absl::Time now) {
  ++in_a_row_;
  open_until_ = now + options_.pause;
  return in_a_row_ == options_.failures;
}

bool Circuit::Succeeded() {
  const bool was_open = options_.failures > 0 && in_a_row_ >= options_.failures;
  in_a_row_ = 0;
  return was_open;
}

}  // namespace cohort
