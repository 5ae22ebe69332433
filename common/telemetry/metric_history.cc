#include "common/telemetry/metric_history.h"

#include <algorithm>
#include <cmath>

namespace cohort {
namespace {

// `a` stands for `weight_a` steps, `b` for `weight_b`.
HistoryPoint Merged(const HistoryPoint& a, double weight_a, const HistoryPoint& b,
                    double weight_b) {
  const double share = weight_b / (weight_a + weight_b);
  return {.step = a.step + share * (b.step - a.step),
          .value = a.value + share * (b.value - a.value),
          .low = std::min(a.low, b.low),
          .high = std::max(a.high, b.high)};
}

}  // namespace

MetricHistory::MetricHistory(size_t newest, size_t older)
    : newest_(std::max<size_t>(newest, 2)), older_(std::max<size_t>(older, 2)) {}

void MetricHistory::Add(absl::string_view key, int64_t step, double value) {
  if (!std::isfinite(value)) return;
  Curve& curve = curves_[std::string(key)];
  curve.newest.push_back({static_cast<double>(step), value, value, value});
  if (curve.newest.size() <= newest_) return;
  MoveToOlder(curve.newest.front(), &curve);
  curve.newest.pop_front();
}

void MetricHistory::MoveToOlder(const HistoryPoint& point, Curve* curve) const {
  std::vector<HistoryPoint>& older = curve->older;
  if (!older.empty() && curve->in_last < curve->stride) {
    older.back() = Merged(older.back(), static_cast<double>(curve->in_last++), point, 1);
    return;
  }
  if (older.size() == older_) {
    // Every point is whole here. Of an odd number the last one stands for half of what it may.
    const size_t half = older.size() / 2;
    for (size_t i = 0; i < half; ++i) older[i] = Merged(older[2 * i], 1, older[2 * i + 1], 1);
    const bool odd = older.size() % 2 == 1;
    if (odd) older[half] = older.back();
    older.resize(half + (odd ? 1 : 0));
    curve->in_last = odd ? curve->stride : 2 * curve->stride;
    curve->stride *= 2;
    return MoveToOlder(point, curve);
  }
  older.push_back(point);
  curve->in_last = 1;
}

std::vector<std::string> MetricHistory::keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, curve] : curves_) keys.push_back(key);
  return keys;
}

std::vector<HistoryPoint> MetricHistory::Points(absl::string_view key) const {
  const auto found = curves_.find(std::string(key));
  if (found == curves_.end()) return {};
  std::vector<HistoryPoint> points = found->second.older;
  points.insert(points.end(), found->second.newest.begin(), found->second.newest.end());
  return points;
}

}  // namespace cohort
