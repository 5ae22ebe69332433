#include "common/rank_store/rank_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

constexpr double kMaxHoldSeconds = 5;
constexpr double kMaxWaitSeconds = 7 * 24 * 3600;
constexpr size_t kMaxText = 200;
// Between two ticks; more means that this process itself stood still, not that the ranks did.
constexpr absl::Duration kStoodStill = absl::Seconds(2);

// What a rank says of itself goes into log lines.
std::string Printable(const std::string& text) {
  return absl::CHexEscape(text.size() <= kMaxText ? text : text.substr(0, kMaxText) + "...");
}

// Not a number and negative ones: zero.
absl::Duration Bounded(double seconds, double limit) {
  return absl::Seconds(seconds > 0 ? std::min(seconds, limit) : 0.0);
}

std::string Seconds(absl::Duration duration) {
  return absl::StrCat(absl::ToInt64Seconds(duration), " s");
}

absl::Status CheckKey(const std::string& key) {
  if (!key.empty() && key.size() <= RankStore::kMaxKeyBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a key of the ranks' store must have 1 to ",
                                                 RankStore::kMaxKeyBytes, " bytes, found ",
                                                 key.size()));
}

absl::Status CheckKeys(const v1::StoreKeys& request) {
  if (request.keys_size() < 1 || request.keys_size() > RankStore::kMaxKeysInCall) {
    return absl::InvalidArgumentError(absl::StrCat("a call of the ranks' store must name 1 to ",
                                                   RankStore::kMaxKeysInCall, " keys, found ",
                                                   request.keys_size()));
  }
  for (const std::string& key : request.keys()) COHORT_RETURN_IF_ERROR(CheckKey(key));
  return absl::OkStatus();
}

std::vector<std::string> KeysOf(const v1::StoreKeys& request) {
  return {request.keys().begin(), request.keys().end()};
}

void CallAll(const std::vector<std::function<void()>>& ready) {
  for (const auto& call : ready) call();
}

}  // namespace

RankStore::RankStore(const Options& options)
    : options_(options),
      base_(static_cast<uint64_t>(absl::ToUnixNanos(absl::Now()))),
      ranks_(static_cast<size_t>(options.world)),
      last_tick_(options.clock->Now()) {}

RankStore::~RankStore() { Abort("the ranks' store is closed"); }

absl::Status RankStore::CheckJoin(const v1::StoreJoin& request, absl::Time now) {
  if (request.protocol_version() != kRankProtocol) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the ranks' store speaks protocol ", kRankProtocol, ", this rank speaks ",
        request.protocol_version(), ": start all ranks from the same version of the program"));
  }
  if (request.world() != options_.world) {
    return absl::FailedPreconditionError(
        absl::StrCat("rank ", request.rank(), " was started for ", request.world(),
                     " ranks, rank 0 for ", options_.world, ": give every rank the same --world"));
  }
  if (request.rank() < 0 || request.rank() >= options_.world) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank must be 0 to ", options_.world - 1, ", found ", request.rank()));
  }
  if (request.run_hash() != options_.run_hash) {
    return absl::FailedPreconditionError(absl::StrCat(
        "rank ", request.rank(), " is of another run: its configuration or model has hash ",
        Printable(request.run_hash()), ", rank 0's ", options_.run_hash,
        "; start every rank with the same configuration, --set and model"));
  }
  return CheckPlace(request, now);
}

// Whether the rank's place is free. The same process may ask again: the answer may have been lost.
absl::Status RankStore::CheckPlace(const v1::StoreJoin& request, absl::Time now) {
  const Rank& there = ranks_[static_cast<size_t>(request.rank())];
  const bool same = there.process == request.process();
  const bool alive =
      there.broken == absl::InfiniteFuture() && now - there.heard <= options_.silence;
  if (Lives(there) && !same && alive) {
    return absl::AlreadyExistsError(
        absl::StrCat(Describe(request.rank()), " is there already and gave a sign of life ",
                     Seconds(now - there.heard), " ago: start each rank once"));
  }
  if (!aborted_.empty() || (complete_ && !(Lives(there) && same))) {
    return absl::UnavailableError(absl::StrCat("the ranks have met already and must end first",
                                               aborted_.empty() ? "" : ": ", aborted_));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::StoreJoined> RankStore::Join(const v1::StoreJoin& request) {
  Ready ready;
  v1::StoreJoined joined;
  absl::Status refused;
  {
    absl::MutexLock lock(&mu_);
    const absl::Time now = options_.clock->Now();
    if (const absl::Status checked = CheckJoin(request, now); !checked.ok()) {
      // Whoever has a successor does not come back.
      const bool replaced = absl::IsUnavailable(checked) && aborted_.empty() &&
                            Lives(ranks_[static_cast<size_t>(request.rank())]);
      if (replaced) Lose(request.rank(), now, &ready);
      refused = checked;
    } else {
      joined.set_generation(Place(request, now));
      complete_ = complete_ || Absent().empty();
      AnswerBeats(&ready);
    }
  }
  CallAll(ready);
  if (!refused.ok()) return refused;
  return joined;
}

uint64_t RankStore::Place(const v1::StoreJoin& request, absl::Time now) {
  Rank& rank = ranks_[static_cast<size_t>(request.rank())];
  rank = Rank();
  rank.generation = base_ + ++joins_;
  rank.host = Printable(request.host());
  rank.pid = request.pid();
  rank.process = request.process();
  rank.doing = "the start";
  rank.heard = now;
  return rank.generation;
}

absl::Status RankStore::Admit(uint64_t generation) const {
  if (!aborted_.empty()) return absl::AbortedError(aborted_);
  for (const Rank& rank : ranks_) {
    if (generation != 0 && rank.generation == generation && !rank.left) return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("generation ", generation,
                   " is not of this meeting of the ranks: rank 0 has started again, or another "
                   "process took this rank's place; this one must end"));
}

absl::Status RankStore::Put(const std::string& key, const std::string& value, Ready* ready) {
  COHORT_RETURN_IF_ERROR(CheckKey(key));
  if (value.size() > kMaxValueBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a value of the ranks' store may have ",
                                                   kMaxValueBytes, " bytes, found ", value.size(),
                                                   " for key ", Printable(key)));
  }
  const auto found = values_.find(key);
  const size_t before = found == values_.end() ? 0 : key.size() + found->second.size();
  const size_t bytes = bytes_ - before + key.size() + value.size();
  if (bytes > kMaxTotalBytes || (found == values_.end() && values_.size() >= kMaxKeys)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the ranks' store is full: ", values_.size(), " keys, ", bytes_, " bytes"));
  }
  bytes_ = bytes;
  values_[key] = value;
  for (auto it = waits_.begin(); it != waits_.end();) {
    if (!Have(it->second.keys)) {
      ++it;
      continue;
    }
    ready->push_back(
        [done = std::move(it->second.done), first = FirstValue(it->second.keys)] { done(first); });
    it = waits_.erase(it);
  }
  return absl::OkStatus();
}

absl::Status RankStore::Set(const v1::StoreSet& request) {
  Ready ready;
  {
    absl::MutexLock lock(&mu_);
    COHORT_RETURN_IF_ERROR(Admit(request.generation()));
    COHORT_RETURN_IF_ERROR(Put(request.key(), request.value(), &ready));
  }
  CallAll(ready);
  return absl::OkStatus();
}

// As c10d defines it: an absent key takes the desired value when nothing was expected, and
// otherwise the answer is what was expected; a present one answers with what it holds afterwards.
absl::StatusOr<v1::StoreValue> RankStore::CompareSet(const v1::StoreCompareSet& request) {
  Ready ready;
  v1::StoreValue value;
  {
    absl::MutexLock lock(&mu_);
    COHORT_RETURN_IF_ERROR(Admit(request.generation()));
    const auto found = values_.find(request.key());
    const bool absent = found == values_.end();
    const bool matches = absent ? request.expected().empty() : found->second == request.expected();
    if (matches) COHORT_RETURN_IF_ERROR(Put(request.key(), request.desired(), &ready));
    if (matches) {
      value.set_value(request.desired());
    } else {
      value.set_value(absent ? request.expected() : found->second);
    }
  }
  CallAll(ready);
  return value;
}

absl::StatusOr<bool> RankStore::Check(const v1::StoreKeys& request) {
  COHORT_RETURN_IF_ERROR(CheckKeys(request));
  absl::MutexLock lock(&mu_);
  COHORT_RETURN_IF_ERROR(Admit(request.generation()));
  return Have(KeysOf(request));
}

absl::StatusOr<int64_t> RankStore::Add(const v1::StoreAdd& request) {
  Ready ready;
  int64_t sum = 0;
  {
    absl::MutexLock lock(&mu_);
    COHORT_RETURN_IF_ERROR(Admit(request.generation()));
    const auto found = values_.find(request.key());
    if (found != values_.end() && !absl::SimpleAtoi(found->second, &sum)) {
      return absl::InvalidArgumentError(
          absl::StrCat("key ", Printable(request.key()), " of the ranks' store holds no number"));
    }
    if (__builtin_add_overflow(sum, request.amount(), &sum)) {
      return absl::OutOfRangeError(
          absl::StrCat("key ", Printable(request.key()), " of the ranks' store overflows"));
    }
    COHORT_RETURN_IF_ERROR(Put(request.key(), absl::StrCat(sum), &ready));
  }
  CallAll(ready);
  return sum;
}

absl::StatusOr<bool> RankStore::Delete(const v1::StoreKeys& request) {
  COHORT_RETURN_IF_ERROR(CheckKeys(request));
  absl::MutexLock lock(&mu_);
  COHORT_RETURN_IF_ERROR(Admit(request.generation()));
  bool all = true;
  for (const std::string& key : request.keys()) {
    const auto found = values_.find(key);
    all = all && found != values_.end();
    if (found == values_.end()) continue;
    bytes_ -= key.size() + found->second.size();
    values_.erase(found);
  }
  return all;
}

absl::StatusOr<int64_t> RankStore::Count(const v1::StoreKeys& request) {
  absl::MutexLock lock(&mu_);
  COHORT_RETURN_IF_ERROR(Admit(request.generation()));
  return static_cast<int64_t>(values_.size());
}

bool RankStore::Have(const std::vector<std::string>& keys) const {
  return std::all_of(keys.begin(), keys.end(),
                     [&](const std::string& key) { return values_.contains(key); });
}

v1::StoreValue RankStore::FirstValue(const std::vector<std::string>& keys) const {
  v1::StoreValue value;
  value.set_value(values_.at(keys[0]));
  return value;
}

std::string RankStore::Missing(const PendingWait& wait) const {
  constexpr size_t kShown = 4;
  std::vector<std::string> missing;
  for (const std::string& key : wait.keys) {
    if (!values_.contains(key) && missing.size() < kShown) missing.push_back(Printable(key));
  }
  return absl::StrCat("the ranks' store has not got ", absl::StrJoin(missing, ", "), " of ",
                      wait.keys.size(), " keys after ", Seconds(wait.deadline - wait.start));
}

uint64_t RankStore::Wait(const v1::StoreKeys& request, ValueDone done) {
  const absl::Status checked = CheckKeys(request);
  absl::StatusOr<v1::StoreValue> result = v1::StoreValue();
  uint64_t id = 0;
  if (!checked.ok()) {
    result = checked;
  } else {
    absl::MutexLock lock(&mu_);
    const absl::Time now = options_.clock->Now();
    PendingWait wait{request.generation(), KeysOf(request), now,
                     now + Bounded(request.timeout_seconds(), kMaxWaitSeconds), nullptr};
    if (absl::Status admitted = Admit(request.generation()); !admitted.ok()) {
      result = admitted;
    } else if (Have(wait.keys)) {
      result = FirstValue(wait.keys);
    } else if (wait.deadline <= now) {
      result = absl::DeadlineExceededError(Missing(wait));
    } else if (waits_.size() >= kMaxWaits) {
      result = absl::ResourceExhaustedError(
          absl::StrCat("the ranks' store has ", kMaxWaits, " calls waiting already"));
    } else {
      id = next_id_++;
      wait.done = std::move(done);
      waits_[id] = std::move(wait);
    }
  }
  if (id == 0) done(std::move(result));
  return id;
}

void RankStore::Heard(const v1::StoreBeat& request, Rank* rank, absl::Time now) {
  if (rank->named) {
    COHORT_LOG(INFO) << Describe(request.rank()) << " is back after " << Seconds(now - rank->heard);
  }
  rank->named = false;
  rank->heard = now;
  rank->broken = absl::InfiniteFuture();
  if (!request.doing().empty()) rank->doing = Printable(request.doing());
  rank->left = rank->left || request.leaving();
}

uint64_t RankStore::Beat(const v1::StoreBeat& request, BeatDone done) {
  Ready ready;
  uint64_t id = 0;
  {
    absl::MutexLock lock(&mu_);
    const absl::Time now = options_.clock->Now();
    const bool known = request.rank() >= 0 && request.rank() < options_.world;
    Rank* rank = known ? &ranks_[static_cast<size_t>(request.rank())] : nullptr;
    if (rank == nullptr || !Lives(*rank) || rank->generation != request.generation()) {
      ready.push_back([&done] {
        done(absl::FailedPreconditionError(
            "a sign of life of another meeting of the ranks: rank 0 has started again, or another "
            "process took this rank's place; this one must end"));
      });
    } else {
      Heard(request, rank, now);
      if (!request.abort().empty()) End(Printable(request.abort()), &ready);
      if (request.leaving()) AnswerBeats(&ready);
      const absl::Duration hold = Bounded(request.hold_seconds(), kMaxHoldSeconds);
      if (request.leaving() || !aborted_.empty() || hold <= absl::ZeroDuration() ||
          beats_.size() >= kMaxWaits) {
        ready.push_back([&done, reply = Reply(now)] { done(reply); });
      } else {
        id = next_id_++;
        beats_[id] = {request.rank(), now + hold, std::move(done)};
      }
    }
  }
  CallAll(ready);
  return id;
}

void RankStore::Cancel(uint64_t id) {
  Ready ready;
  {
    absl::MutexLock lock(&mu_);
    const absl::Status cancelled = absl::CancelledError("the caller of the ranks' store went away");
    if (const auto wait = waits_.find(id); wait != waits_.end()) {
      ready.push_back([done = std::move(wait->second.done), cancelled] { done(cancelled); });
      waits_.erase(wait);
    }
    if (const auto beat = beats_.find(id); beat != beats_.end()) {
      ready.push_back([done = std::move(beat->second.done), cancelled] { done(cancelled); });
      Rank& rank = ranks_[static_cast<size_t>(beat->second.rank)];
      if (Lives(rank)) rank.broken = options_.clock->Now();
      beats_.erase(beat);
      AnswerBeats(&ready);
    }
  }
  CallAll(ready);
}

void RankStore::Abort(const std::string& reason) {
  Ready ready;
  {
    absl::MutexLock lock(&mu_);
    End(reason, &ready);
  }
  CallAll(ready);
}

void RankStore::End(const std::string& reason, Ready* ready) {
  if (!aborted_.empty()) return;
  aborted_ = reason;
  for (auto& [id, wait] : waits_) {
    ready->push_back([done = std::move(wait.done), reason] { done(absl::AbortedError(reason)); });
  }
  waits_.clear();
  AnswerBeats(ready);
}

void RankStore::AnswerBeats(Ready* ready) {
  if (beats_.empty()) return;
  const v1::StoreBeatReply reply = Reply(options_.clock->Now());
  for (auto& [id, beat] : beats_) {
    ready->push_back([done = std::move(beat.done), reply] { done(reply); });
  }
  beats_.clear();
}

void RankStore::Tick() {
  Ready ready;
  {
    absl::MutexLock lock(&mu_);
    const absl::Time now = options_.clock->Now();
    if (now - last_tick_ > kStoodStill) {
      for (Rank& rank : ranks_) rank.heard += now - last_tick_;
    }
    last_tick_ = now;
    for (int number = 0; number < options_.world; ++number) Judge(number, now, &ready);
    for (auto it = waits_.begin(); it != waits_.end();) {
      const bool due = it->second.deadline <= now;
      if (due) {
        ready.push_back([done = std::move(it->second.done), missing = Missing(it->second)] {
          done(absl::DeadlineExceededError(missing));
        });
      }
      it = due ? waits_.erase(it) : std::next(it);
    }
    for (auto it = beats_.begin(); it != beats_.end();) {
      const bool due = it->second.deadline <= now;
      if (due) {
        ready.push_back([done = std::move(it->second.done), reply = Reply(now)] { done(reply); });
      }
      it = due ? beats_.erase(it) : std::next(it);
    }
  }
  CallAll(ready);
}

void RankStore::Judge(int number, absl::Time now, Ready* ready) {
  Rank& rank = ranks_[static_cast<size_t>(number)];
  if (!Lives(rank) || !aborted_.empty()) return;
  if (now - rank.broken > options_.lost_after) {
    Lose(number, now, ready);
    return;
  }
  const absl::Duration silence = now - rank.heard;
  if (silence > options_.silence && !rank.named) {
    rank.named = true;
    COHORT_LOG(WARNING) << DescribeSilence(number, now);
    AnswerBeats(ready);
  }
  if (silence <= options_.patience) return;
  if (complete_) {
    End(DescribeSilence(number, now), ready);
  } else {
    Lose(number, now, ready);
  }
}

// Before all were there somebody else may take the place.
void RankStore::Lose(int number, absl::Time now, Ready* ready) {
  const std::string who = absl::StrCat(Describe(number), " went away");
  COHORT_LOG(WARNING) << who << ", last in " << ranks_[static_cast<size_t>(number)].doing;
  if (complete_) {
    End(absl::StrCat(who, ", last in ", ranks_[static_cast<size_t>(number)].doing), ready);
  } else {
    ranks_[static_cast<size_t>(number)] = Rank();
    ranks_[static_cast<size_t>(number)].heard = now;
    AnswerBeats(ready);
  }
}

v1::StoreBeatReply RankStore::Reply(absl::Time now) const {
  v1::StoreBeatReply reply;
  for (const int number : Absent()) reply.add_absent(number);
  for (int number = 0; number < options_.world; ++number) {
    const Rank& rank = ranks_[static_cast<size_t>(number)];
    if (Lives(rank) && now - rank.heard > options_.silence) reply.add_silent(number);
  }
  reply.set_trouble(Trouble(now));
  reply.set_aborted(aborted_);
  return reply;
}

std::vector<int> RankStore::Absent() const {
  std::vector<int> absent;
  for (int number = 0; number < options_.world; ++number) {
    if (ranks_[static_cast<size_t>(number)].generation == 0) absent.push_back(number);
  }
  return absent;
}

std::string RankStore::Trouble(absl::Time now) const {
  std::vector<std::string> parts;
  for (int number = 0; number < options_.world; ++number) {
    const Rank& rank = ranks_[static_cast<size_t>(number)];
    if (!Lives(rank)) continue;
    if (rank.broken != absl::InfiniteFuture()) {
      parts.push_back(absl::StrCat(Describe(number), " went away, last in ", rank.doing));
    } else if (now - rank.heard > options_.silence) {
      parts.push_back(DescribeSilence(number, now));
    }
  }
  return absl::StrJoin(parts, "; ");
}

std::string RankStore::Describe(int number) const {
  const Rank& rank = ranks_[static_cast<size_t>(number)];
  return absl::StrCat("rank ", number, " at ", rank.host, " pid ", rank.pid);
}

std::string RankStore::DescribeSilence(int number, absl::Time now) const {
  const Rank& rank = ranks_[static_cast<size_t>(number)];
  return absl::StrCat(Describe(number), " has been silent for ", Seconds(now - rank.heard),
                      ", last in ", rank.doing);
}

bool RankStore::aborted() const {
  absl::MutexLock lock(&mu_);
  return !aborted_.empty();
}

absl::Status RankStore::RanksAlive() const {
  absl::MutexLock lock(&mu_);
  if (!aborted_.empty()) return absl::UnavailableError(aborted_);
  if (!complete_) {
    return absl::UnavailableError(
        absl::StrCat("waiting for ranks ", absl::StrJoin(Absent(), ", "), " of ", options_.world));
  }
  const std::string trouble = Trouble(options_.clock->Now());
  return trouble.empty() ? absl::OkStatus() : absl::UnavailableError(trouble);
}

std::vector<absl::Duration> RankStore::Silences() const {
  absl::MutexLock lock(&mu_);
  const absl::Time now = options_.clock->Now();
  std::vector<absl::Duration> silences;
  for (const Rank& rank : ranks_) {
    const bool broken = rank.broken != absl::InfiniteFuture();
    silences.push_back(!Lives(rank) ? absl::ZeroDuration()
                       : broken     ? absl::InfiniteDuration()
                                    : std::max(absl::ZeroDuration(), now - rank.heard));
  }
  return silences;
}

bool RankStore::OthersLeft() const {
  constexpr absl::Duration kSpeechless = absl::Seconds(5);
  absl::MutexLock lock(&mu_);
  const absl::Time now = options_.clock->Now();
  for (size_t number = 1; number < ranks_.size(); ++number) {
    const Rank& rank = ranks_[number];
    if (Lives(rank) && rank.broken == absl::InfiniteFuture() && now - rank.heard < kSpeechless) {
      return false;
    }
  }
  return true;
}

}  // namespace cohort
