#include "common/telemetry/process_families.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/process.h"
#include "common/telemetry/metrics.h"

namespace cohort {
namespace {

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

std::optional<double> CpuSeconds() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return std::nullopt;
  return Seconds(usage.ru_utime) + Seconds(usage.ru_stime);
}

std::optional<double> ResidentBytes() {
  const absl::StatusOr<std::string> text = ReadFile("/proc/self/statm");
  if (!text.ok()) return std::nullopt;
  const std::vector<std::string> pages = absl::StrSplit(*text, ' ');
  double resident = 0;
  if (pages.size() < 2 || !absl::SimpleAtod(pages[1], &resident)) return std::nullopt;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

std::optional<double> OpenFds() {
  std::error_code error;
  double count = 0;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
       it.increment(error)) {
    ++count;
  }
  if (error) return std::nullopt;
  return count - 1;  // the one that this reads with
}

std::optional<double> MaxFds() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::nullopt;
  return static_cast<double>(limit.rlim_cur);
}

// The same at every call, to the last bit: a change of it is a restart.
std::optional<double> StartTime() {
  static const double kStart =
      absl::ToDoubleSeconds(absl::Now() - ProcessAge() - absl::UnixEpoch());
  return kStart;
}

void Add(const MetricInfo& info, std::optional<double> value,
         std::vector<prometheus::MetricFamily>* out) {
  if (!value) return;
  const bool counter = info.kind == MetricKind::kCounter;
  prometheus::MetricFamily& family = out->emplace_back();
  family.name = info.name;
  family.help = info.help;
  family.type = counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
  prometheus::ClientMetric& metric = family.metric.emplace_back();
  (counter ? metric.counter.value : metric.gauge.value) = *value;
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessFamilies() {
  std::vector<prometheus::MetricFamily> out;
  Add(metric::kProcessCpu, CpuSeconds(), &out);
  Add(metric::kProcessResident, ResidentBytes(), &out);
  Add(metric::kProcessOpenFds, OpenFds(), &out);
  Add(metric::kProcessMaxFds, MaxFds(), &out);
  Add(metric::kProcessStart, StartTime(), &out);
  return out;
}

}  // namespace cohort
