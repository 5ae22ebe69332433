#include "services/learner/run_view.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <utility>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/utf8.h"
#include "common/telemetry/metric_names.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr size_t kSamplesKept = 12;
constexpr size_t kTextKept = 8000;  // bytes of a prompt or a completion
constexpr size_t kStepsOfTimes = 20;
constexpr double kMostSteps = 1e15;
constexpr char kTimePrefix[] = "time/";

bool IsCurve(absl::string_view key) {
  static constexpr const char* kCurves[] = {metric::kRewardMean,
                                            metric::kAccuracyMean,
                                            metric::kEntropy,
                                            metric::kKlRef,
                                            metric::kPpoKl,
                                            metric::kMismatchKl,
                                            metric::kResponseLengthMean,
                                            metric::kResponseLengthClipRatio,
                                            metric::kOffPolicyMean,
                                            metric::kOffPolicyMax,
                                            metric::kGradNorm,
                                            metric::kTimeStep,
                                            metric::kRolloutTokensPerSecond};
  for (const char* curve : kCurves) {
    if (key == curve) return true;
  }
  return absl::StartsWith(key, "eval/") && absl::EndsWith(key, "/accuracy");
}

std::map<std::string, double> NumbersOf(const MetricRow& row) {
  std::map<std::string, double> numbers;
  for (const auto& [key, value] : row.values()) {
    const double* number = std::get_if<double>(&value);
    if (number != nullptr && std::isfinite(*number)) numbers[key] = *number;
    if (const int64_t* integer = std::get_if<int64_t>(&value)) {
      numbers[key] = static_cast<double>(*integer);
    }
  }
  return numbers;
}

std::map<std::string, double> NumbersOf(const json& line) {
  std::map<std::string, double> numbers;
  for (const auto& [key, value] : line.items()) {
    if (value.is_number()) numbers[key] = value.get<double>();
  }
  return numbers;
}

double Find(const std::map<std::string, double>& numbers, const char* key) {
  const auto found = numbers.find(key);
  return found == numbers.end() ? 0 : found->second;
}

// At most kTextKept bytes of whole characters.
std::string Cut(std::string text) {
  if (text.size() > kTextKept) {
    size_t end = kTextKept;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    const size_t left = text.size() - end;
    text.resize(end);
    absl::StrAppend(&text, "\n[… ", left, " more bytes]");
  }
  return ValidUtf8(text);
}

std::string Text(const json& in, const char* key) {
  const auto found = in.find(key);
  return found != in.end() && found->is_string() ? Cut(found->get<std::string>()) : "";
}

template <typename T>
T NumberOr(const json& in, const char* key, T otherwise) {
  const auto found = in.find(key);
  return found != in.end() && found->is_number_integer() ? found->get<T>() : otherwise;
}

v1::Sample SampleOf(const json& line) {
  v1::Sample sample;
  sample.set_step(NumberOr<int64_t>(line, "step", 0));
  sample.set_ordinal(NumberOr<uint64_t>(line, "ordinal", 0));
  sample.set_version(NumberOr<int64_t>(line, "version", 0));
  sample.set_tokens(NumberOr<int64_t>(line, "tokens", 0));
  sample.set_source(Text(line, "source"));
  sample.set_worker(Text(line, "worker"));
  sample.set_prompt(Text(line, "prompt"));
  sample.set_completion(Text(line, "completion"));
  sample.set_gold(Text(line, "gold"));
  sample.set_finish_reason(Text(line, "finish_reason"));
  sample.set_note(Text(line, "note"));
  sample.set_role(Text(line, "role"));
  const auto has = [&](const char* key) { return line.contains(key) && line[key].is_number(); };
  if (has("reward")) sample.set_reward(line["reward"].get<double>());
  if (has("accuracy")) sample.set_accuracy(line["accuracy"].get<double>());
  const auto rewards = line.find("rewards");
  if (rewards == line.end() || !rewards->is_object()) return sample;
  for (const auto& [name, value] : rewards->items()) {
    if (value.is_number()) (*sample.mutable_rewards())[name] = value.get<double>();
  }
  return sample;
}

}  // namespace

void RunView::Add(Numbers numbers) {
  // Of a file that may be damaged: any number.
  const auto step = static_cast<int64_t>(std::clamp(Find(numbers, metric::kStep), 0.0, kMostSteps));
  for (const auto& [key, value] : numbers) {
    if (IsCurve(key)) history_.Add(key, step, value);
  }
  if (numbers.contains(metric::kLoss)) {
    newest_.push_back(numbers);
    if (newest_.size() > kStepsOfTimes) newest_.pop_front();
  }
  last_ = std::move(numbers);
}

void RunView::AddStep(const MetricRow& row) {
  Numbers numbers = NumbersOf(row);
  absl::MutexLock lock(&mu_);
  Add(std::move(numbers));
}

void RunView::AddSample(const json& sample) {
  v1::Sample made = SampleOf(sample);
  absl::MutexLock lock(&mu_);
  samples_.push_front(std::move(made));
  if (samples_.size() > kSamplesKept) samples_.pop_back();
}

void RunView::Load(const std::string& metrics_file, const std::string& samples_file) {
  std::string text;
  std::ifstream metrics(metrics_file);
  while (std::getline(metrics, text)) {
    const json line = json::parse(text, nullptr, false);
    if (!line.is_object()) continue;
    absl::MutexLock lock(&mu_);
    Add(NumbersOf(line));
  }
  std::ifstream samples(samples_file);
  std::deque<std::string> lines;
  while (std::getline(samples, text)) {
    lines.push_back(text);
    if (lines.size() > kSamplesKept) lines.pop_front();
  }
  for (const std::string& one : lines) {
    const json line = json::parse(one, nullptr, false);
    if (line.is_object()) AddSample(line);
  }
}

void RunView::FillTimes(v1::StatusReply* reply) const {
  if (newest_.empty()) return;
  const double share = 1.0 / static_cast<double>(newest_.size());
  auto& phases = *reply->mutable_phase_seconds();
  double idle = 0;
  for (const Numbers& numbers : newest_) {
    idle += share * Find(numbers, metric::kWaitRollout);
    for (const auto& [key, seconds] : numbers) {
      absl::string_view phase = key;
      if (!absl::ConsumePrefix(&phase, kTimePrefix) || key == metric::kTimeStep ||
          phase == metric::kPhaseEval) {
        continue;
      }
      phases[std::string(phase)] += share * seconds;
    }
  }
  reply->set_worker_idle_seconds(idle);
}

void RunView::Fill(v1::StatusReply* reply) const {
  absl::ReaderMutexLock lock(&mu_);
  for (const auto& [key, value] : last_) (*reply->mutable_metrics())[key] = value;
  for (const std::string& key : history_.keys()) {
    v1::Curve& curve = *reply->add_curves();
    curve.set_key(key);
    for (const HistoryPoint& point : history_.Points(key)) {
      curve.add_step(point.step);
      curve.add_value(point.value);
      curve.add_low(point.low);
      curve.add_high(point.high);
    }
  }
  for (const v1::Sample& sample : samples_) *reply->add_samples() = sample;
  FillTimes(reply);
}

}  // namespace cohort
