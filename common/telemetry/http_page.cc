#include "common/telemetry/http_page.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace cohort {

HttpPage::HttpPage(std::string path, absl::Duration patience, std::function<HttpAnswer()> make)
    : path_(std::move(path)),
      patience_(patience),
      make_(std::move(make)),
      thread_([this] { Run(); }) {}

HttpPage::~HttpPage() { Stop(); }

std::shared_ptr<const HttpAnswer> HttpPage::NoAnswer(const std::string& why) const {
  return std::make_shared<HttpAnswer>(
      HttpAnswer{503, "text/plain; charset=utf-8", absl::StrCat(path_, ": ", why, "\n")});
}

void HttpPage::Ask(Reply reply) {
  const char* why = "the process ends";
  {
    absl::MutexLock lock(&mu_);
    if (!stopped_ && next_.size() + now_.size() < kMaxWaiting) {
      next_.push_back({std::move(reply), absl::Now() + patience_});
      return;
    }
    if (!stopped_) why = "too many ask at once";
  }
  reply(NoAnswer(why));
}

void HttpPage::Run() {
  for (;;) {
    {
      const auto asked = [this]()
                             ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stopped_ || !next_.empty(); };
      absl::MutexLock lock(&mu_, absl::Condition(&asked));
      if (stopped_) return;
      now_ = std::move(next_);
      next_.clear();
    }
    const auto answer = std::make_shared<const HttpAnswer>(make_());
    std::list<Waiting> answered;
    {
      absl::MutexLock lock(&mu_);
      answered.swap(now_);
    }
    for (const Waiting& waiting : answered) waiting.reply(answer);
  }
}

std::list<HttpPage::Waiting> HttpPage::TakeLate(std::list<Waiting>* waiting, absl::Time now) {
  std::list<Waiting> late;
  for (auto it = waiting->begin(); it != waiting->end();) {
    const auto here = it++;
    if (here->deadline <= now) late.splice(late.end(), *waiting, here);
  }
  return late;
}

void HttpPage::Expire(absl::Time now) {
  std::list<Waiting> late;
  {
    absl::MutexLock lock(&mu_);
    late = TakeLate(&now_, now);
    late.splice(late.end(), TakeLate(&next_, now));
  }
  if (late.empty()) return;
  const auto answer = NoAnswer(absl::StrCat("expected an answer from the process within ",
                                            absl::FormatDuration(patience_),
                                            ", found none: what it asks is held up"));
  for (const Waiting& waiting : late) waiting.reply(answer);
}

void HttpPage::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
  }
  if (thread_.joinable()) thread_.join();
  std::list<Waiting> left;
  {
    absl::MutexLock lock(&mu_);
    left.swap(next_);
  }
  const auto answer = NoAnswer("the process ends");
  for (const Waiting& waiting : left) waiting.reply(answer);
}

}  // namespace cohort
