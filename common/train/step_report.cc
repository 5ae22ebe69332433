#include "common/train/step_report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "common/rl/staleness.h"

namespace cohort {
namespace {

double Quotient(double sum, double count) { return count > 0 ? sum / count : 0; }

void DescribeRewards(const TrainBatch& batch, const RewardScaleSpec& scale, StepReport* report) {
  double count = 0, sum = 0, squares = 0, accuracy = 0, judged = 0;
  std::map<std::string, std::pair<double, double>> components;  // sum, count
  for (const TrainRow& row : batch.rows) {
    const Row& source = batch.SourceRow(row);
    if (source.unscorable || source.finish == FinishReason::kAborted) continue;
    const Group& group = batch.groups[static_cast<size_t>(row.group)];
    count += 1;
    sum += row.reward;
    squares += row.reward * row.reward;
    if (const double truth = RowTruth(group, source, scale); !std::isnan(truth)) {
      accuracy += truth;
      judged += 1;
    }
    const size_t known = std::min(group.reward_names.size(), source.rewards.size());
    for (size_t i = 0; i < known; ++i) {
      auto& [component_sum, component_count] = components[group.reward_names[i]];
      component_sum += static_cast<double>(source.rewards[i]);
      component_count += 1;
    }
  }
  report->reward_mean = Quotient(sum, count);
  report->reward_std = std::sqrt(
      std::max(0.0, Quotient(squares, count) - report->reward_mean * report->reward_mean));
  report->accuracy_mean = judged > 0 ? accuracy / judged : std::numeric_limits<double>::quiet_NaN();
  for (const auto& [name, total] : components) {
    report->component_means.emplace_back(name, Quotient(total.first, total.second));
  }
}

// Means over the groups that have the signal.
void DescribeSignals(const TrainBatch& batch, StepReport* report) {
  std::map<std::string, std::pair<double, double>> signals;  // sum, count
  for (const Group& group : batch.groups) {
    for (const auto& [name, value] : group.signals) {
      signals[name].first += value;
      signals[name].second += 1;
    }
  }
  for (const auto& [name, total] : signals) {
    report->signal_means.emplace_back(name, Quotient(total.first, total.second));
  }
}

void DescribeResponses(const TrainBatch& batch, StepReport* report) {
  double truncated = 0;
  for (const TrainRow& row : batch.rows) {
    report->response_max = std::max(report->response_max, row.length);
    report->response_tokens += row.length;
    truncated += row.truncated ? 1 : 0;
  }
  const double rows = static_cast<double>(batch.rows.size());
  report->response_mean = Quotient(static_cast<double>(report->response_tokens), rows);
  report->truncated_fraction = Quotient(truncated, rows);
}

// NaN where one side does not vary.
double Correlation(const std::vector<double>& x, const std::vector<double>& y) {
  const double n = static_cast<double>(x.size());
  double mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0;
  // Summed first: exact for lengths, so that equal ones are equal to their mean.
  for (size_t i = 0; i < x.size(); ++i) mean_x += x[i], mean_y += y[i];
  mean_x /= n, mean_y /= n;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    yy += (y[i] - mean_y) * (y[i] - mean_y);
    xy += (x[i] - mean_x) * (y[i] - mean_y);
  }
  if (xx == 0 || yy == 0) return std::numeric_limits<double>::quiet_NaN();
  return xy / std::sqrt(xx * yy);
}

// As shaping counts a response: its parents' tokens and its own.
void DescribeRequests(const TrainBatch& batch, StepReport* report) {
  std::vector<double> asked, used;
  double error = 0;
  for (const TrainRow& row : batch.rows) {
    const Group& group = batch.groups[static_cast<size_t>(row.group)];
    const Row& source = batch.SourceRow(row);
    const auto request = static_cast<double>(RequestedLength(group));
    if (request <= 0 || source.finish == FinishReason::kAborted) continue;
    asked.push_back(request);
    used.push_back(static_cast<double>(group.ResponseOf(source).size()));
    error += std::abs(used.back() - request) / request;
  }
  if (asked.empty()) return;
  report->length_request = {Correlation(asked, used),
                            Quotient(error, static_cast<double>(asked.size()))};
}

}  // namespace

void DescribeGroups(const TrainBatch& batch, const RewardScaleSpec& scale, int64_t version,
                    StepReport* report) {
  report->groups = batch.num_groups();
  report->rows = static_cast<int64_t>(batch.rows.size());
  report->unscorable_rows = batch.unscorable_rows;
  report->frac_zero_std = Quotient(static_cast<double>(batch.degenerate_groups),
                                   static_cast<double>(batch.scorable_groups));
  DescribeRewards(batch, scale, report);
  DescribeSignals(batch, report);
  DescribeResponses(batch, report);
  DescribeRequests(batch, report);
  report->whitening_skipped = batch.whitening_skipped;
  double staleness = 0;
  for (const Group& group : batch.groups) {
    const int64_t behind = Staleness(group.OldestVersion(), version);
    report->staleness_max = std::max(report->staleness_max, behind);
    staleness += static_cast<double>(behind);
  }
  report->staleness_mean = Quotient(staleness, static_cast<double>(report->groups));
}

}  // namespace cohort
