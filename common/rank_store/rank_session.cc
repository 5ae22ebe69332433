#include "common/rank_store/rank_session.h"

#include <unistd.h>

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

constexpr absl::Duration kHold = absl::Seconds(1);
// One is pending at any moment, also between the answer to the other and its successor: the store
// sees a process that dies by the call that breaks.
constexpr int kPendingBeats = 2;
constexpr absl::Duration kBeatTimeout = absl::Seconds(6);
constexpr absl::Duration kJoinTimeout = absl::Seconds(5);
constexpr absl::Duration kAgain = absl::Milliseconds(200);
constexpr absl::Duration kSayEvery = absl::Seconds(5);
// As the store counts it for the other ranks.
constexpr absl::Duration kLostAfter = absl::Seconds(2);
// The rank's earlier process may be about to die, and rank 0 about to make the run's secret.
constexpr absl::Duration kJustStarted = absl::Seconds(10);

std::string Seconds(absl::Duration duration) {
  return absl::StrCat(absl::ToInt64Seconds(duration), " s");
}

// What a later attempt may find otherwise.
bool MayPass(const absl::Status& status, absl::Time start) {
  if (absl::IsAlreadyExists(status) || absl::IsUnauthenticated(status)) {
    return absl::Now() - start < kJustStarted;
  }
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

// Says in the log what is waited for, first after a moment and then every few seconds, and to the
// session's owner whenever it changes.
class Notice {
 public:
  explicit Notice(const std::function<void(const std::string&)>& owner)
      : owner_(owner), start_(absl::Now()), next_(start_ + absl::Seconds(2)) {}
  void Say(const std::string& text) {
    if (owner_ && text != said_) owner_(text);
    said_ = text;
    const absl::Time now = absl::Now();
    if (now < next_) return;
    next_ = now + kSayEvery;
    COHORT_LOG(INFO) << text << " for " << Seconds(now - start_);
  }

 private:
  const std::function<void(const std::string&)>& owner_;
  const absl::Time start_;
  std::string said_;
  absl::Time next_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RankSession>> RankSession::Meet(const Options& options) {
  const absl::Time deadline = absl::Now() + options.timeout;
  std::unique_ptr<RankSession> session(new RankSession(options));
  COHORT_RETURN_IF_ERROR(session->Join(deadline));
  for (int i = 0; i < kPendingBeats; ++i) {
    session->beats_.emplace_back([self = session.get()] { self->Beats(); });
  }
  COHORT_RETURN_IF_ERROR(session->AwaitOthers(deadline));
  return session;
}

RankSession::~RankSession() { Leave(); }

absl::Status RankSession::Join(absl::Time deadline) {
  v1::StoreJoin request;
  request.set_protocol_version(kRankProtocol);
  request.set_rank(options_.rank);
  request.set_world(options_.world);
  request.set_run_hash(options_.run_hash);
  request.set_host(ThisHost());
  request.set_pid(static_cast<uint32_t>(getpid()));
  std::random_device random;
  request.set_process(uint64_t{random()} << 32 | random());
  const absl::Time start = absl::Now();
  Notice notice(options_.waits_for);
  while (true) {
    COHORT_ASSIGN_OR_RETURN(calls_, options_.connect());
    const absl::StatusOr<v1::StoreJoined> joined =
        calls_->Join(request, std::min(kJoinTimeout, deadline - absl::Now()));
    if (joined.ok()) {
      generation_ = joined->generation();
      absl::MutexLock lock(&mu_);
      heard_ = absl::Now();
      return absl::OkStatus();
    }
    const std::string why(joined.status().message());
    if (!MayPass(joined.status(), start)) return joined.status();
    if (absl::Now() + kAgain >= deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("rank ", options_.rank, " of ", options_.world, " timed out after ",
                       Seconds(options_.timeout), ": ", why, "; start rank 0 or correct --store"));
    }
    notice.Say(
        absl::StrCat("waiting for rank 0 and its store at ", options_.store, " (", why, ")"));
    absl::SleepFor(kAgain);  // between two attempts; what it waits for is another process
  }
}

absl::Status RankSession::AwaitOthers(absl::Time deadline) {
  const auto met = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return !ended_.empty() || (replied_ && reply_.absent().empty());
  };
  Notice notice(options_.waits_for);
  while (true) {
    std::string absent;
    {
      absl::MutexLock lock(&mu_);
      const bool done = mu_.AwaitWithTimeout(absl::Condition(&met), kAgain);
      if (!ended_.empty()) return absl::UnavailableError(ended_);
      if (done) return absl::OkStatus();
      absent = absl::StrCat("ranks ", absl::StrJoin(reply_.absent(), ", "), " of ", options_.world);
    }
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("timed out after ", Seconds(options_.timeout), ": ", absent,
                       " did not come to the store at ", options_.store,
                       "; start them with the same --world and --store"));
    }
    notice.Say(absl::StrCat("waiting for ", absent, " at ", options_.store));
  }
}

void RankSession::Beats() {
  while (true) {
    const v1::StoreBeat beat = NextBeat();
    if (beat.leaving()) return;
    Note(calls_->Beat(beat, kBeatTimeout));
    absl::MutexLock lock(&mu_);
    const bool pause = !ended_.empty() || broken_ != absl::InfiniteFuture();
    if (pause) mu_.AwaitWithTimeout(absl::Condition(&leaving_), ended_.empty() ? kAgain : kHold);
  }
}

v1::StoreBeat RankSession::NextBeat() const {
  v1::StoreBeat beat;
  absl::MutexLock lock(&mu_);
  beat.set_generation(generation_);
  beat.set_rank(options_.rank);
  beat.set_doing(doing_);
  beat.set_hold_seconds(replied_ ? absl::ToDoubleSeconds(kHold) : 0);
  beat.set_leaving(leaving_);
  return beat;
}

void RankSession::Note(const absl::StatusOr<v1::StoreBeatReply>& reply) {
  absl::MutexLock lock(&mu_);
  const absl::Time now = absl::Now();
  if (!reply.ok()) {
    if (!leaving_) NoteFailure(reply.status(), now);
    return;
  }
  if (named_) COHORT_LOG(INFO) << "rank 0 is back after " << Seconds(now - heard_);
  named_ = false;
  heard_ = now;
  broken_ = absl::InfiniteFuture();
  store_trouble_.clear();
  replied_ = true;
  reply_ = *reply;
  if (!reply_.aborted().empty()) End(reply_.aborted());
}

// Of rank 0 the others learn only by its answers: a connection that broke and cannot be made again
// says that it is gone, no answer that it stands still.
void RankSession::NoteFailure(const absl::Status& status, absl::Time now) {
  const std::string rank0 = absl::StrCat("rank 0 with the store at ", options_.store);
  if (absl::IsDeadlineExceeded(status)) {
    broken_ = absl::InfiniteFuture();
    const absl::Duration silence = now - heard_;
    const std::string silent = absl::StrCat(rank0, " has been silent for ", Seconds(silence));
    if (silence > options_.silence) {
      store_trouble_ = silent;
      if (!named_) COHORT_LOG(WARNING) << silent;
      named_ = true;
    }
    if (silence > options_.patience) End(silent);
    return;
  }
  if (!absl::IsUnavailable(status)) {
    End(std::string(status.message()));
    return;
  }
  broken_ = std::min(broken_, now);
  store_trouble_ = absl::StrCat(rank0, " went away");
  if (now - broken_ > kLostAfter) {
    End(absl::StrCat(store_trouble_, ": ", std::string(status.message())));
  }
}

void RankSession::End(const std::string& reason) {
  if (ended_.empty()) ended_ = reason;
}

void RankSession::Doing(const std::string& what) {
  absl::MutexLock lock(&mu_);
  doing_ = what;
}

std::string RankSession::ended() const {
  absl::MutexLock lock(&mu_);
  return ended_;
}

std::string RankSession::Trouble(absl::Duration limit) const {
  const auto news = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return HasNews(); };
  absl::MutexLock lock(&mu_);
  mu_.AwaitWithTimeout(absl::Condition(&news), limit);
  if (!ended_.empty()) return ended_;
  return store_trouble_.empty() ? reply_.trouble() : store_trouble_;
}

void RankSession::Abort(const std::string& reason) {
  v1::StoreBeat beat = NextBeat();
  beat.set_hold_seconds(0);
  beat.set_abort(reason);
  {
    absl::MutexLock lock(&mu_);
    End(reason);
    if (leaving_ || broken_ != absl::InfiniteFuture()) return;
  }
  const absl::Status said = calls_->Beat(beat, kJoinTimeout).status();
  if (!said.ok()) COHORT_LOG(WARNING) << "abort of the ranks: " << said.message();
}

void RankSession::Leave() {
  {
    absl::MutexLock lock(&mu_);
    if (leaving_) return;
    leaving_ = true;
  }
  // The store answers the pending sign of life when it hears this. It may be gone: no matter.
  if (calls_ != nullptr && generation_ != 0) (void)calls_->Beat(NextBeat(), absl::Seconds(2));
  for (std::thread& beats : beats_) beats.join();
}

}  // namespace cohort
