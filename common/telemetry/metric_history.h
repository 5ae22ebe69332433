// Curves of a run in bounded memory, whatever its length: the newest steps one by one, of older
// ones means over ever more neighbours. A spike that a mean would hide is kept as the largest (or
// least) value of its neighbours.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace cohort {

struct HistoryPoint {
  double step = 0;  // mean over what it stands for
  double value = 0;
  double low = 0, high = 0;
};

// Not thread-safe.
class MetricHistory {
 public:
  // At most so many points of each curve; at least 2.
  explicit MetricHistory(size_t newest = 160, size_t older = 160);

  // Steps of a key rise. A value that is not finite is left out.
  void Add(absl::string_view key, int64_t step, double value);

  std::vector<std::string> keys() const;
  std::vector<HistoryPoint> Points(absl::string_view key) const;  // none: no such curve

 private:
  struct Curve {
    std::deque<HistoryPoint> newest;
    std::vector<HistoryPoint> older;  // each stands for `stride` steps, the last one for fewer
    size_t stride = 1, in_last = 0;
  };
  void MoveToOlder(const HistoryPoint& point, Curve* curve) const;

  const size_t newest_, older_;
  std::map<std::string, Curve, std::less<>> curves_;
};

}  // namespace cohort
