// The curves of metrics.jsonl, for `cohort report`.
#include <algorithm>

#include "absl/strings/match.h"
#include "common/telemetry/metric_names.h"
#include "services/cli/report_data.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr size_t kCurvePoints = 400;  // longer curves are averaged

// Means of neighbours where there are more points than a plot can show.
json Thin(const std::vector<std::pair<double, double>>& points) {
  const size_t stride = (points.size() + kCurvePoints - 1) / kCurvePoints;
  json out = json::array();
  for (size_t i = 0; i < points.size(); i += std::max<size_t>(1, stride)) {
    const size_t end = std::min(points.size(), i + stride);
    double x = 0, y = 0;
    for (size_t j = i; j < end; ++j) {
      x += points[j].first;
      y += points[j].second;
    }
    const double count = static_cast<double>(end - i);
    out.push_back({x / count, y / count});
  }
  return out;
}

json Series(const std::vector<json>& metrics, const std::string& key, bool complement) {
  std::vector<std::pair<double, double>> points;
  for (const json& line : metrics) {
    const auto step = line.find(metric::kStep), value = line.find(key);
    if (step == line.end() || value == line.end()) continue;
    if (!step->is_number() || !value->is_number()) continue;
    const double number = value->get<double>();
    points.push_back({step->get<double>(), complement ? 1 - number : number});
  }
  return Thin(points);
}

}  // namespace

json TrainingCurves(const std::vector<ReportRun>& runs) {
  struct Curve {
    const char* name;
    const char* key;
    bool complement;
  };
  static constexpr Curve kCurves[] = {{"reward", metric::kRewardMean, false},
                                      {"accuracy", metric::kAccuracyMean, false},
                                      {"loss", metric::kLoss, false},
                                      {"entropy", metric::kEntropy, false},
                                      {"length", metric::kResponseLengthMean, false},
                                      {"truncated", metric::kResponseLengthClipRatio, false},
                                      {"mixed_groups", metric::kFracRewardZeroStd, true},
                                      {"kl_reference", metric::kKlRef, false},
                                      {"clipped_low", metric::kClipLow, false},
                                      {"clipped_high", metric::kClipHigh, false},
                                      {"ratio_max", "ratio/max", false},
                                      {"ppo_kl", metric::kPpoKl, false},
                                      {"mismatch_kl", metric::kMismatchKl, false},
                                      {"grad_norm", metric::kGradNorm, false}};
  json out = json::array();
  for (const ReportRun& run : runs) {
    if (run.metrics.empty()) continue;
    json series = json::object();
    for (const Curve& curve : kCurves) {
      json points = Series(run.metrics, curve.key, curve.complement);
      if (points.empty()) continue;
      const bool supervised = absl::string_view(curve.key) == metric::kLoss &&
                              run.metrics.back().contains("sft/examples");
      series[supervised ? "sft_loss" : curve.name] = std::move(points);
    }
    for (const auto& [key, value] : run.metrics.back().items()) {
      if (absl::StartsWith(key, "eval/") && absl::EndsWith(key, "/accuracy")) {
        series["heldout_accuracy"] = Series(run.metrics, key, false);
        break;
      }
    }
    out.push_back({{"run", run.name}, {"series", series}});
  }
  return out;
}

}  // namespace cohort
