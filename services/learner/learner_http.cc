#include "services/learner/learner_http.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rpc/json.h"
#include "services/learner/status_page.h"

namespace cohort {
namespace {

constexpr char kAnyLoopbackPort[] = "127.0.0.1:0";

bool OnLoopback(const std::string& listen) {
  const absl::StatusOr<HostPort> where = ParseHostPort(listen);
  return where.ok() && IsLoopbackHost(where->host);
}

}  // namespace

std::string PageListen(const std::string& http_listen, const std::string& asked) {
  if (!asked.empty()) return asked;
  return OnLoopback(http_listen) ? http_listen : kAnyLoopbackPort;
}

absl::StatusOr<std::unique_ptr<LearnerHttp>> LearnerHttp::Start(const std::string& listen,
                                                                const std::string& page_listen) {
  std::unique_ptr<LearnerHttp> http(new LearnerHttp());
  COHORT_RETURN_IF_ERROR(http->StartPorts(listen, page_listen));
  if (!page_listen.empty() && !OnLoopback(page_listen)) {
    COHORT_LOG(WARNING) << "the page at " << http->page_address_
                        << " shows prompts and completions, unencrypted, to whoever reaches it: "
                           "--page-listen with a loopback address and a forwarded port does not";
  }
  return http;
}

absl::Status LearnerHttp::StartPorts(const std::string& listen, const std::string& page_listen) {
  HttpCallbacks watch, page;
  watch.healthy = [this] { return Healthy(); };
  watch.ready = [this] { return Ready(); };
  watch.metrics = [this] { return Metrics(); };
  page.status_json = [this] { return MessageToJson(Status()); };
  page.status_html = [this] { return StatusPage(Status()); };
  page.status_policy = StatusPagePolicy();
  const bool one_port = page_listen == listen;
  if (one_port) {
    watch.status_json = page.status_json;
    watch.status_html = page.status_html;
    watch.status_policy = page.status_policy;
  }
  COHORT_ASSIGN_OR_RETURN(host_, HttpHost::Start(listen, &program_, watch));
  if (one_port) page_address_ = host_->address();
  if (one_port || page_listen.empty()) return absl::OkStatus();
  COHORT_ASSIGN_OR_RETURN(page_host_, HttpHost::Start(page_listen, nullptr, page));
  page_address_ = page_host_->address();
  return absl::OkStatus();
}

LearnerHttp::~LearnerHttp() {
  if (page_host_ != nullptr) page_host_->Stop();
  if (host_ != nullptr) host_->Stop();
}

void LearnerHttp::WaitFor(const std::string& what) {
  absl::MutexLock lock(&mu_);
  waits_for_ = what;
}

void LearnerHttp::Show(LearnerShown shown, const MetricRegistry* metrics) {
  absl::MutexLock lock(&mu_);
  shown_ = std::move(shown);
  metrics_ = metrics;
  is_shown_ = true;
}

// Whoever asks does it with the lock shared, so that this waits for them.
void LearnerHttp::Hide(const std::string& why) {
  absl::MutexLock lock(&mu_);
  waits_for_ = why;
  if (shown_.status) shown_.status(&last_);
  is_shown_ = false;
  shown_ = {};
}

void LearnerHttp::Forget() {
  absl::MutexLock lock(&mu_);
  metrics_ = nullptr;
}

absl::Status LearnerHttp::Healthy() const {
  absl::ReaderMutexLock lock(&mu_);
  return shown_.healthy ? shown_.healthy() : absl::OkStatus();
}

absl::Status LearnerHttp::Ready() const {
  absl::ReaderMutexLock lock(&mu_);
  if (!is_shown_) return absl::UnavailableError(waits_for_);
  return shown_.ready ? shown_.ready() : absl::OkStatus();
}

v1::StatusReply LearnerHttp::Status() const {
  absl::ReaderMutexLock lock(&mu_);
  v1::StatusReply reply;
  if (shown_.status) {
    shown_.status(&reply);
    return reply;
  }
  reply = last_;
  reply.set_phase(waits_for_);
  reply.set_seconds_in_phase(0);
  reply.set_seconds_left(-1);
  return reply;
}

std::string LearnerHttp::Metrics() const {
  scrapes_.Scraped();
  absl::ReaderMutexLock lock(&mu_);
  return metrics_ != nullptr ? metrics_->Text() : program_.Text();
}

}  // namespace cohort
