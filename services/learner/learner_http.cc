#include "services/learner/learner_http.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace cohort {

absl::StatusOr<std::unique_ptr<LearnerHttp>> LearnerHttp::Start(const std::string& listen) {
  std::unique_ptr<LearnerHttp> http(new LearnerHttp());
  HttpCallbacks callbacks;
  LearnerHttp* const self = http.get();
  callbacks.healthy = [self] { return self->Healthy(); };
  callbacks.ready = [self] { return self->Ready(); };
  callbacks.status_json = [self] { return self->StatusJson(); };
  callbacks.status_html = [self] { return self->StatusPage(); };
  callbacks.metrics = [self] { return self->Metrics(); };
  COHORT_ASSIGN_OR_RETURN(http->host_, HttpHost::Start(listen, &http->program_, callbacks));
  return http;
}

LearnerHttp::~LearnerHttp() {
  if (host_ != nullptr) host_->Stop();
}

void LearnerHttp::WaitFor(const std::string& what) {
  absl::MutexLock lock(&mu_);
  waits_for_ = what;
}

void LearnerHttp::Show(HttpCallbacks pages, const MetricRegistry* metrics) {
  absl::MutexLock lock(&mu_);
  pages_ = std::move(pages);
  metrics_ = metrics;
  shown_ = true;
}

// The pages are made with the lock shared, so that this waits for them.
void LearnerHttp::Hide(const std::string& why) {
  absl::MutexLock lock(&mu_);
  waits_for_ = why;
  shown_ = false;
  pages_ = {};
}

void LearnerHttp::Forget() {
  absl::MutexLock lock(&mu_);
  metrics_ = nullptr;
}

absl::Status LearnerHttp::Healthy() const {
  absl::ReaderMutexLock lock(&mu_);
  return pages_.healthy ? pages_.healthy() : absl::OkStatus();
}

absl::Status LearnerHttp::Ready() const {
  absl::ReaderMutexLock lock(&mu_);
  if (!shown_) return absl::UnavailableError(waits_for_);
  return pages_.ready ? pages_.ready() : absl::OkStatus();
}

std::string LearnerHttp::StatusJson() const {
  absl::ReaderMutexLock lock(&mu_);
  if (pages_.status_json) return pages_.status_json();
  return nlohmann::json{{"phase", waits_for_}}.dump();
}

std::string LearnerHttp::StatusPage() const {
  absl::ReaderMutexLock lock(&mu_);
  if (pages_.status_html) return pages_.status_html();
  return absl::StrCat(
      "<!doctype html><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"2\">"
      "<title>Cohort</title><h1>Cohort learner</h1><p>",
      waits_for_, "</p>\n");
}

std::string LearnerHttp::Metrics() const {
  scrapes_.Scraped();
  absl::ReaderMutexLock lock(&mu_);
  return metrics_ != nullptr ? metrics_->Text() : program_.Text();
}

}  // namespace cohort
