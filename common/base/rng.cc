#include "common/base/rng.h"

#include "common/base/log.h"

namespace cohort {

std::array<uint32_t, 4> Philox(uint64_t key, uint64_t counter_high, uint64_t counter_low) {
  std::array<uint32_t, 4> x = {
      static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
      static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * x[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * x[2];
    x = {static_cast<uint32_t>(p1 >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ x[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return x;
}

namespace {
double ToOpenUnit(uint32_t a, uint32_t b) {
  const uint64_t bits = ((uint64_t{a} << 32) | b) >> 12;  // 52 bits: the sum below stays exact
  return (static_cast<double>(bits) + 0.5) * 0x1.0p-52;
}
}  // namespace

double UniformOpen(uint64_t key, uint64_t counter_high, uint64_t counter_low) {
  const auto x = Philox(key, counter_high, counter_low);
  return ToOpenUnit(x[0], x[1]);
}

uint64_t CounterRng::Next64() {
  const auto x = Philox(key_, stream_, counter_++);
  return (uint64_t{x[0]} << 32) | x[1];
}

double CounterRng::Uniform() { return UniformOpen(key_, stream_, counter_++); }

uint64_t CounterRng::Below(uint64_t bound) {
  COHORT_CHECK(bound > 0);
  // Values under 2^64 mod bound would favour small results: draw again.
  const uint64_t threshold = (0 - bound) % bound;
  for (;;) {
    if (const uint64_t value = Next64(); value >= threshold) return value % bound;
  }
}

int64_t CounterRng::Between(int64_t low, int64_t high) {
  COHORT_CHECK(low <= high);
  return low + static_cast<int64_t>(Below(static_cast<uint64_t>(high - low) + 1));
}

}  // namespace cohort
