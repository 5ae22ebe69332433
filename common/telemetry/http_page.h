// One page of the HTTP port, made on a thread of its own: a page that is slow, or whose maker is
// held up, keeps no other page from being answered, and a thousand who ask at once cost two
// makings, not a thousand.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace cohort {

struct HttpAnswer {
  int status = 200;
  std::string type;  // the media type
  std::string body;
  std::string policy = {};  // its Content-Security-Policy; empty: nothing may be loaded or run
};

// Thread-safe.
class HttpPage {
 public:
  static constexpr size_t kMaxWaiting = 100;
  using Reply = std::function<void(std::shared_ptr<const HttpAnswer>)>;

  // `make` runs on the page's thread. Who is not answered within `patience` gets 503 instead, which
  // names `path`.
  HttpPage(std::string path, absl::Duration patience, std::function<HttpAnswer()> make);
  ~HttpPage();  // Stops.
  HttpPage(const HttpPage&) = delete;
  HttpPage& operator=(const HttpPage&) = delete;

  // `reply` is called once, soon, on a thread of the page or of Expire's or Stop's caller. It sees
  // an answer whose making began after this call. On this thread, with 503, once the page is
  // stopped or kMaxWaiting wait already: who waits holds a connection that another page's client
  // may need.
  void Ask(Reply reply);
  // Answers those whose patience is over at `now`.
  void Expire(absl::Time now);
  // Waits for the making that is under way, and answers all that still wait. Idempotent.
  void Stop();

 private:
  struct Waiting {
    Reply reply;
    absl::Time deadline;
  };
  void Run();
  std::list<Waiting> TakeLate(std::list<Waiting>* waiting, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::shared_ptr<const HttpAnswer> NoAnswer(const std::string& why) const;

  const std::string path_;
  const absl::Duration patience_;
  const std::function<HttpAnswer()> make_;
  absl::Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::list<Waiting> next_ ABSL_GUARDED_BY(mu_);  // for the making that has not begun
  std::list<Waiting> now_ ABSL_GUARDED_BY(mu_);   // for the one under way
  std::thread thread_;
};

}  // namespace cohort
