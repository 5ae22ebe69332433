#include "common/telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/log.h"
#include "common/base/utf8.h"

namespace cohort {
namespace {

prometheus::Histogram::BucketBoundaries Boundaries(Buckets buckets) {
  switch (buckets) {
    case Buckets::kSeconds:
      return {0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800};
    case Buckets::kTokens:
      return {1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};
    case Buckets::kVersions:
      return {0, 1, 2, 3, 4, 6, 8, 12, 16, 32};
    case Buckets::kReward:
      return {-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1, 2};
    case Buckets::kNone:
      return {};
  }
  return {};
}

constexpr size_t kMaxLabelBytes = 256;

// A value that is no UTF-8 makes Prometheus refuse the whole page; such values come from outside.
Labels Escaped(const Labels& labels) {
  Labels out;
  for (const auto& [name, value] : labels) {
    out[name] = EscapeControls(absl::string_view(value).substr(0, kMaxLabelBytes));
  }
  return out;
}

}  // namespace

void Counter::Add(double amount) const { impl_->Increment(amount); }
void Counter::RaiseTo(double total) const {
  if (const double counted = Value(); total > counted) Add(total - counted);
}
double Counter::Value() const { return impl_->Value(); }
void Gauge::Set(double value) const { impl_->Set(value); }
void Gauge::Add(double amount) const { impl_->Increment(amount); }
double Gauge::Value() const { return impl_->Value(); }
void Histogram::Observe(double value) const { impl_->Observe(value); }

// prometheus::Registry and its families are thread-safe; the maps that find them are ours to guard.
struct MetricRegistry::Impl {
  template <typename T>
  using Families = std::map<std::string, prometheus::Family<T>*>;

  template <typename T, typename Builder>
  prometheus::Family<T>& Family(Families<T>* families, Builder builder, const MetricInfo& info)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    auto [it, added] = families->emplace(info.name, nullptr);
    if (added) it->second = &builder.Name(info.name).Help(info.help).Register(registry);
    return *it->second;
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

Counter MetricRegistry::Counter(const MetricInfo& info, const Labels& labels) {
  COHORT_CHECK(info.kind == MetricKind::kCounter) << info.name;
  absl::MutexLock lock(&impl_->mu);
  auto& family = impl_->Family(&impl_->counters, prometheus::BuildCounter(), info);
  return cohort::Counter(&family.Add(Escaped(labels)));
}

Gauge MetricRegistry::Gauge(const MetricInfo& info, const Labels& labels) {
  COHORT_CHECK(info.kind == MetricKind::kGauge) << info.name;
  absl::MutexLock lock(&impl_->mu);
  auto& family = impl_->Family(&impl_->gauges, prometheus::BuildGauge(), info);
  return cohort::Gauge(&family.Add(Escaped(labels)));
}

Histogram MetricRegistry::Histogram(const MetricInfo& info, const Labels& labels) {
  COHORT_CHECK(info.kind == MetricKind::kHistogram) << info.name;
  absl::MutexLock lock(&impl_->mu);
  auto& family = impl_->Family(&impl_->histograms, prometheus::BuildHistogram(), info);
  return cohort::Histogram(&family.Add(Escaped(labels), Boundaries(info.buckets)));
}

void MetricRegistry::RemoveGauge(const MetricInfo& info, const Labels& labels) {
  absl::MutexLock lock(&impl_->mu);
  auto& family = impl_->Family(&impl_->gauges, prometheus::BuildGauge(), info);
  family.Remove(&family.Add(Escaped(labels)));
}

std::string MetricRegistry::Text() const {
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace cohort
