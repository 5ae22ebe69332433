#include "services/cli/progress.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/html/html.h"
#include "common/telemetry/alerts.h"
#include "common/telemetry/metric_names.h"

namespace cohort {
namespace {

constexpr size_t kRecentSteps = 10;
constexpr char kPaused[] = "  PAUSED, see the ALERT above";
constexpr double kInvisible = 5e-5;  // below the last digit shown

// Appends the value under `key`, formatted, when there is a number.
void Append(const nlohmann::json& metrics, const char* key, const absl::FormatSpec<double>& format,
            std::string* out) {
  const auto value = metrics.find(key);
  if (value != metrics.end() && value->is_number()) {
    const double number = value->get<double>();
    // Rounding errors of an exact zero would show as -0.0000.
    absl::StrAppendFormat(out, format, std::abs(number) < kInvisible ? 0 : number);
  }
}

double NumberOr(const nlohmann::json& metrics, const char* key, double otherwise) {
  const auto value = metrics.find(key);
  return value != metrics.end() && value->is_number() ? value->get<double>() : otherwise;
}

std::string TextOr(const nlohmann::json& object, const char* key) {
  const auto value = object.find(key);
  return value != object.end() && value->is_string() ? value->get<std::string>() : "";
}

std::string Ratio(double value) { return absl::StrFormat("%.1f%%", 100 * value); }

}  // namespace

// ---- LineFollower ----

LineFollower::LineFollower(std::string path, bool skip_existing) : path_(std::move(path)) {
  struct stat info{};
  if (skip_existing && stat(path_.c_str(), &info) == 0) {
    inode_ = info.st_ino;
    offset_ = static_cast<uint64_t>(info.st_size);
  }
}

std::vector<std::string> LineFollower::Poll() {
  std::vector<std::string> lines;
  struct stat info{};
  if (stat(path_.c_str(), &info) != 0) return lines;
  const auto size = static_cast<uint64_t>(info.st_size);
  if (inode_ != 0 && (info.st_ino != inode_ || size < offset_)) offset_ = size;
  inode_ = info.st_ino;
  if (size <= offset_) return lines;
  std::ifstream file(path_, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset_));
  std::string line;
  while (std::getline(file, line) && !file.eof()) {  // at the end: a line without its break yet
    offset_ += line.size() + 1;
    lines.push_back(line);
  }
  return lines;
}

// ---- texts ----

std::string StepLine(const nlohmann::json& metrics, int64_t steps, absl::string_view time_left) {
  const auto step = static_cast<int64_t>(NumberOr(metrics, metric::kStep, 0));
  std::string out = absl::StrFormat("step %d/%d", step, steps);
  Append(metrics, metric::kRewardMean, absl::FormatSpec<double>("  reward %.3f"), &out);
  const double degenerate = NumberOr(metrics, metric::kFracRewardZeroStd, -1);
  if (degenerate >= 0) absl::StrAppendFormat(&out, "  mixed %.0f%%", 100 * (1 - degenerate));
  Append(metrics, metric::kEntropy, absl::FormatSpec<double>("  entropy %.3f"), &out);
  const bool has_reference = NumberOr(metrics, metric::kKlRef, -1) >= 0;
  Append(metrics, has_reference ? metric::kKlRef : metric::kMismatchKl,
         absl::FormatSpec<double>("  kl %.4f"), &out);
  Append(metrics, metric::kResponseLengthMean, absl::FormatSpec<double>("  length %.1f"), &out);
  Append(metrics, metric::kRolloutTokensPerSecond, absl::FormatSpec<double>("  %.0f tok/s"), &out);
  Append(metrics, metric::kOffPolicyMean, absl::FormatSpec<double>("  staleness %.3g"), &out);
  Append(metrics, metric::kWaitLearner, absl::FormatSpec<double>("  wait learner %.1fs"), &out);
  Append(metrics, metric::kWaitRollout, absl::FormatSpec<double>(" rollout %.1fs"), &out);
  if (!time_left.empty()) absl::StrAppend(&out, "  left ", time_left);
  return out;
}

std::string EvalLine(const nlohmann::json& metrics) {
  std::string out;
  for (const auto& [key, value] : metrics.items()) {
    absl::string_view name = key;
    if (!absl::ConsumePrefix(&name, "eval/") || !absl::ConsumeSuffix(&name, "/accuracy")) continue;
    if (!value.is_number()) continue;
    absl::StrAppend(&out, out.empty() ? "evaluation: " : ", ", name, " ",
                    Ratio(value.get<double>()));
  }
  return out;
}

std::string ProgressBar(int64_t step, int64_t steps, absl::Duration elapsed,
                        absl::string_view time_left, int width) {
  std::string text = absl::StrFormat(" %d/%d  elapsed %s", step, steps, DurationText(elapsed));
  if (!time_left.empty()) absl::StrAppend(&text, "  left ", time_left);
  const int columns = std::clamp(width - static_cast<int>(text.size()) - 3, 0, 40);
  const int64_t done = steps > 0 ? std::clamp<int64_t>(step * columns / steps, 0, columns) : 0;
  std::string bar(static_cast<size_t>(done), '#');
  bar.resize(static_cast<size_t>(columns), '.');
  std::string out = absl::StrCat("[", bar, "]", text);
  if (static_cast<int>(out.size()) > width) out.resize(static_cast<size_t>(std::max(0, width)));
  return out;
}

std::string SummaryText(const nlohmann::json& summary) {
  std::string out;
  const auto pair = [&](const char* what, const char* before, const char* after, bool ratio) {
    const auto first = summary.find(before), last = summary.find(after);
    if (first == summary.end() || last == summary.end()) return;
    if (!first->is_number() || !last->is_number()) return;
    const double a = first->get<double>(), b = last->get<double>();
    absl::StrAppendFormat(&out, "%-18s %s -> %s\n", what,
                          ratio ? Ratio(a) : absl::StrFormat("%.3f", a),
                          ratio ? Ratio(b) : absl::StrFormat("%.3f", b));
  };
  pair("held-out accuracy", metric::kSummaryHeldoutBefore, metric::kSummaryHeldoutAfter, true);
  pair("training reward", metric::kSummaryRewardFirst, metric::kSummaryRewardLast, false);
  const double steps = NumberOr(summary, metric::kSummarySteps, -1);
  const double seconds = NumberOr(summary, metric::kSummaryTrainSeconds, -1);
  if (steps >= 0 && seconds >= 0) {
    absl::StrAppendFormat(&out, "%-18s %.0f in %s\n", "steps", steps,
                          DurationText(absl::Seconds(seconds)));
  }
  const double speed = NumberOr(summary, metric::kSummaryTokensPerSecond, -1);
  if (speed >= 0) absl::StrAppendFormat(&out, "%-18s %.0f tokens/s\n", "throughput", speed);
  const auto alerts = summary.find(metric::kSummaryAlerts);
  if (alerts == summary.end() || !alerts->is_array()) return out;
  for (const nlohmann::json& alert : *alerts) {
    if (!alert.is_object()) continue;
    absl::StrAppendFormat(&out, "%-18s %s, raised %.0f times%s\n", "ALERT", TextOr(alert, "alert"),
                          NumberOr(alert, "count", 0),
                          alert.value("over", nlohmann::json()) == true ? ", over" : "");
  }
  return out;
}

// ---- ProgressView ----

void ProgressView::OnMetrics(const std::string& line) {
  const nlohmann::json metrics = nlohmann::json::parse(line, nullptr, false);
  if (!metrics.is_object()) return;
  if (metrics.contains(metric::kLoss)) {
    step_ = static_cast<int64_t>(NumberOr(metrics, metric::kStep, 0));
    recent_.push_back(NumberOr(metrics, metric::kTimeStep, 0));
    if (recent_.size() > kRecentSteps) recent_.pop_front();
    Say(StepLine(metrics, steps_, TimeLeft()));
  }
  const std::string evaluation = EvalLine(metrics);
  if (!evaluation.empty()) Say(evaluation);
}

void ProgressView::OnAlert(const std::string& line) {
  const std::string text = AlertText(line);
  if (text.empty()) return;
  const nlohmann::json alert = nlohmann::json::parse(line, nullptr, false);
  if (TextOr(alert, "alert") == kAlertExhausted) {
    paused_ = alert.value("over", nlohmann::json()) != true;
  }
  Say(text);
}

std::string ProgressView::TimeLeft() const {
  const double sum = std::accumulate(recent_.begin(), recent_.end(), 0.0);
  if (sum <= 0 || step_ > steps_) return "";
  const double mean = sum / static_cast<double>(recent_.size());
  return DurationText(absl::Seconds(mean * static_cast<double>(steps_ - step_)));
}

void ProgressView::Say(absl::string_view text) {
  ClearBar();
  *out_ << text << "\n" << std::flush;
  Tick();
}

void ProgressView::Tick() {
  if (width_ <= 0) return;
  const absl::string_view note = paused_ ? kPaused : "";
  const int width = width_ - 1 - static_cast<int>(note.size());
  *out_ << "\r\x1b[2K"
        << ProgressBar(step_, steps_, absl::Now() - started_, paused_ ? "" : TimeLeft(), width)
        << note << std::flush;
  bar_shown_ = true;
}

void ProgressView::ClearBar() {
  if (bar_shown_) *out_ << "\r\x1b[2K";
  bar_shown_ = false;
}

void ProgressView::Done() {
  ClearBar();
  *out_ << std::flush;
  width_ = 0;
}

}  // namespace cohort
