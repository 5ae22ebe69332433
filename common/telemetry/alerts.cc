#include "common/telemetry/alerts.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace cohort {
namespace {

constexpr char kMark[] = "ALERT ";

nlohmann::json JsonOf(const Alert& alert, absl::Time now) {
  return {{"time", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", now, absl::UTCTimeZone())},
          {"step", alert.step},
          {"alert", alert.name},
          {"text", alert.text},
          {"over", alert.over}};
}

}  // namespace

std::string AlertLine(absl::string_view name, absl::string_view text) {
  return absl::StrCat(kMark, name, ": ", text);
}

std::string AlertText(const std::string& json) {
  const nlohmann::json line = nlohmann::json::parse(json, nullptr, false);
  if (!line.is_object() || !line.contains("alert") || !line["alert"].is_string()) return "";
  const std::string name = line["alert"];
  if (line.value("over", nlohmann::json(false)) == true)
    return EscapeControls(absl::StrCat("over: ", name));
  const nlohmann::json text = line.value("text", nlohmann::json(""));
  return EscapeControls(AlertLine(name, text.is_string() ? text.get<std::string>() : ""));
}

absl::StatusOr<std::unique_ptr<AlertLog>> AlertLog::Open(const std::string& path,
                                                         MetricRegistry* registry) {
  COHORT_ASSIGN_OR_RETURN(std::unique_ptr<JsonlWriter> file, JsonlWriter::Open(path));
  return std::unique_ptr<AlertLog>(new AlertLog(std::move(file), registry));
}

AlertLog::AlertLog(std::unique_ptr<JsonlWriter> file, MetricRegistry* registry)
    : file_(std::move(file)), registry_(registry) {
  for (const std::string& name : ClosedLabelOf(metric::kAlertActive).values) {
    registry_->Gauge(metric::kAlertActive, {{"alert", name}}).Set(0);
  }
}

void AlertLog::SetStep(int64_t step) {
  absl::MutexLock lock(&mu_);
  step_ = step;
}

void AlertLog::Raise(absl::string_view name, absl::string_view text) {
  COHORT_LOG(ERROR) << AlertLine(name, text);
  const Labels labels = {{"alert", std::string(name)}};
  absl::MutexLock lock(&mu_);
  registry_->Counter(metric::kAlerts, labels).Add();
  registry_->Gauge(metric::kAlertActive, labels).Set(1);
  auto alert = alerts_.begin();
  while (alert != alerts_.end() && alert->name != name) ++alert;
  if (alert == alerts_.end()) {
    alert = alerts_.insert(alert, Alert());
    alert->name = std::string(name);
  }
  alert->text = std::string(text);
  alert->raised = absl::Now();
  alert->step = step_;
  alert->count += 1;
  alert->over = false;
  Write(*alert);
}

bool AlertLog::RaiseFrom(const absl::Status& status) {
  absl::string_view line = status.message();
  if (!absl::ConsumePrefix(&line, kMark)) return false;
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(line, absl::MaxSplits(": ", 1));
  Raise(parts.first, parts.second);
  return true;
}

void AlertLog::Clear(absl::string_view name) {
  absl::MutexLock lock(&mu_);
  for (Alert& alert : alerts_) {
    if (alert.name != name || alert.over) continue;
    alert.over = true;
    registry_->Gauge(metric::kAlertActive, {{"alert", alert.name}}).Set(0);
    COHORT_LOG(INFO) << "over: the alert " << name;
    Write(alert);
  }
}

std::vector<Alert> AlertLog::Snapshot() const {
  absl::MutexLock lock(&mu_);
  return alerts_;
}

void AlertLog::Write(const Alert& alert) {
  const absl::Status written = file_->WriteLine(
      JsonOf(alert, absl::Now()).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  if (written.ok()) return;
  registry_->Counter(metric::kFileWriteFailures, {{"file", "alerts"}}).Add();
  COHORT_LOG(ERROR) << "alerts.jsonl: " << written.message();
}

}  // namespace cohort
