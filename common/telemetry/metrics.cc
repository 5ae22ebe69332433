#include "common/telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <cmath>
#include <limits>

#include "absl/algorithm/container.h"
#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/log.h"
#include "common/base/utf8.h"
#include "common/telemetry/process_families.h"

namespace cohort {
namespace {

prometheus::Histogram::BucketBoundaries Boundaries(absl::string_view unit) {
  if (unit == "tokens") {
    return {1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};
  }
  if (unit == "versions") return {0, 1, 2, 3, 4, 6, 8, 12, 16, 32};
  if (unit == "reward") return {-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1, 2};
  if (unit == "ratio") return {0, 0.25, 0.5, 0.75, 1};
  return {0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800};
}

constexpr size_t kMaxLabelBytes = 256;
constexpr char kOther[] = "other";

}  // namespace

void Counter::Add(double amount) const {
  if (registry_->Accept(*info_, amount, 0)) impl_->Increment(amount);
}
void Counter::RaiseTo(double total) const {
  if (const double counted = Value(); !(total <= counted)) Add(total - counted);
}
double Counter::Value() const { return impl_->Value(); }
void Gauge::Set(double value) const { impl_->Set(value); }
void Gauge::Add(double amount) const { impl_->Increment(amount); }
double Gauge::Value() const { return impl_->Value(); }
void Histogram::Observe(double value) const {
  constexpr double kAny = std::numeric_limits<double>::lowest();
  if (registry_->Accept(*info_, value, kAny)) impl_->Observe(value);
}

// prometheus::Registry and its families are thread-safe; the maps that find them are ours to guard.
struct MetricRegistry::Impl {
  template <typename T>
  struct Family {
    prometheus::Family<T>* impl = nullptr;
    ClosedLabel closed;
    std::map<Labels, T*> series;  // by the labels asked for
  };
  template <typename T>
  using Families = std::map<absl::string_view, Family<T>>;

  // Values that are no UTF-8 make Prometheus refuse the whole page; some come from outside.
  template <typename T>
  Labels Bounded(const Family<T>& family, const Labels& asked) {
    Labels out;
    for (const auto& [name, value] : asked) {
      const bool known =
          family.closed.name.empty() || absl::c_linear_search(family.closed.values, value);
      const bool room = family.series.size() < kMaxSeries;
      out[name] = known && room ? EscapeControls(absl::string_view(value).substr(0, kMaxLabelBytes))
                                : kOther;
    }
    return out;
  }

  // The series, made by `add` where it is asked for the first time.
  template <typename T, typename Builder, typename Add>
  T* Find(Families<T>* families, Builder builder, const MetricInfo& info, const Labels& labels,
          Add add) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    Family<T>& family = (*families)[info.name];
    if (family.impl == nullptr) {
      family.impl = &builder.Name(info.name).Help(info.help).Register(registry);
      family.closed = ClosedLabelOf(info);
    }
    const auto known = family.series.find(labels);
    if (known != family.series.end()) return known->second;
    const std::vector<std::string> names = LabelNames(info);
    COHORT_CHECK(names.size() == labels.size() &&
                 absl::c_all_of(names, [&](const auto& name) { return labels.contains(name); }))
        << info.name << " is declared with the labels " << info.labels;
    T* const made = &add(family.impl, Bounded(family, labels));
    if (family.series.size() < kMaxSeries) family.series[labels] = made;
    return made;
  }

  absl::Mutex mu;
  prometheus::Registry registry;
  Families<prometheus::Counter> counters ABSL_GUARDED_BY(mu);
  Families<prometheus::Gauge> gauges ABSL_GUARDED_BY(mu);
  Families<prometheus::Histogram> histograms ABSL_GUARDED_BY(mu);
};

MetricRegistry::MetricRegistry() : impl_(std::make_unique<Impl>()) {
  Gauge(metric::kBuildInfo, {{"version", COHORT_VERSION}}).Set(1);
}
MetricRegistry::~MetricRegistry() = default;

void MetricRegistry::Declare(absl::Span<const MetricInfo* const> table) {
  for (const MetricInfo* info : table) {
    std::vector<Labels> all;
    const ClosedLabel closed = ClosedLabelOf(*info);
    for (const std::string& value : closed.values) all.push_back({{closed.name, value}});
    if (LabelNames(*info).empty()) all.push_back({});
    for (const Labels& labels : all) {
      if (info->kind == MetricKind::kCounter) Counter(*info, labels);
      if (info->kind == MetricKind::kHistogram) Histogram(*info, labels);
    }
  }
}

Counter MetricRegistry::Counter(const MetricInfo& info, const Labels& labels) {
  COHORT_CHECK(info.kind == MetricKind::kCounter) << info.name;
  absl::MutexLock lock(&impl_->mu);
  const auto add = [](auto* family, const Labels& bounded) -> auto& {
    return family->Add(bounded);
  };
  return {impl_->Find(&impl_->counters, prometheus::BuildCounter(), info, labels, add), this,
          &info};
}

Gauge MetricRegistry::Gauge(const MetricInfo& info, const Labels& labels) {
  COHORT_CHECK(info.kind == MetricKind::kGauge) << info.name;
  absl::MutexLock lock(&impl_->mu);
  const auto add = [](auto* family, const Labels& bounded) -> auto& {
    return family->Add(bounded);
  };
  return cohort::Gauge(impl_->Find(&impl_->gauges, prometheus::BuildGauge(), info, labels, add));
}

Histogram MetricRegistry::Histogram(const MetricInfo& info, const Labels& labels) {
  COHORT_CHECK(info.kind == MetricKind::kHistogram) << info.name;
  absl::MutexLock lock(&impl_->mu);
  const auto add = [&](auto* family, const Labels& bounded) -> auto& {
    return family->Add(bounded, Boundaries(info.unit));
  };
  return {impl_->Find(&impl_->histograms, prometheus::BuildHistogram(), info, labels, add), this,
          &info};
}

void MetricRegistry::RemoveGauge(const MetricInfo& info, const Labels& labels) {
  absl::MutexLock lock(&impl_->mu);
  const auto family = impl_->gauges.find(info.name);
  if (family == impl_->gauges.end()) return;
  const auto series = family->second.series.find(labels);
  if (series == family->second.series.end()) return;
  // Values that are the same once bounded share one series.
  prometheus::Gauge* const removed = series->second;
  std::erase_if(family->second.series,
                [removed](const auto& one) { return one.second == removed; });
  family->second.impl->Remove(removed);
}

bool MetricRegistry::Accept(const MetricInfo& info, double value, double minimum) {
  if (std::isfinite(value) && value >= minimum) return true;
  Counter(metric::kMetricValuesRefused, {{"metric", info.name}}).Add();
  return false;
}

std::string MetricRegistry::Text() const {
  std::vector<prometheus::MetricFamily> families = impl_->registry.Collect();
  for (prometheus::MetricFamily& family : ProcessFamilies()) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace cohort
