// Counter-based random numbers (Philox4x32-10, Salmon et al. 2011): the value depends only on the
// key and the counter, so a sample can be regenerated anywhere and in any batch.
#pragma once

#include <array>
#include <cstdint>

namespace cohort {

// One Philox block: 128 random bits for (key, counter).
std::array<uint32_t, 4> Philox(uint64_t key, uint64_t counter_high, uint64_t counter_low);

// Uniform in the open interval (0, 1) with 52 random bits: never exactly 0 or 1, so logs are
// finite.
double UniformOpen(uint64_t key, uint64_t counter_high, uint64_t counter_low);

// A stream of draws over one key, for shuffles and procedural tasks. Copyable; not thread-safe.
class CounterRng {
 public:
  explicit CounterRng(uint64_t key, uint64_t stream = 0) : key_(key), stream_(stream) {}
  uint64_t Next64();
  double Uniform();                            // (0, 1)
  uint64_t Below(uint64_t bound);              // [0, bound), unbiased; bound > 0
  int64_t Between(int64_t low, int64_t high);  // inclusive; low <= high

 private:
  uint64_t key_;
  uint64_t stream_;
  uint64_t counter_ = 0;
};

}  // namespace cohort
