#include "common/dispatch/dispatcher.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/dispatch/group_check.h"

namespace cohort {

Dispatcher::Dispatcher(Options options, PromptFeed feed, GroupFilter filter, GroupLog* log,
                       Clock* clock, DispatchCursor cursor, int64_t first_step)
    : options_(std::move(options)),
      feed_(std::move(feed)),
      filter_(std::move(filter)),
      log_(log),
      clock_(clock),
      next_ordinal_(cursor.next_ordinal),
      version_(first_step),
      step_(first_step),
      holes_(cursor.holes.begin(), cursor.holes.end()) {
  COHORT_CHECK(options_.groups_per_step > 0);
  COHORT_CHECK(options_.max_staleness >= 0);
}

void Dispatcher::SetLeaseListener(std::function<void()> listener) {
  absl::MutexLock lock(&mu_);
  listener_ = std::move(listener);
}

void Dispatcher::Notify() {
  std::function<void()> listener;
  {
    absl::MutexLock lock(&mu_);
    listener = listener_;
  }
  if (listener) listener();
}

// ---- admission ----

int64_t Dispatcher::PositionOf(uint64_t ordinal) const {
  const auto flights = std::distance(flights_.begin(), flights_.lower_bound(ordinal));
  const auto buffered = std::distance(buffer_.begin(), buffer_.lower_bound(ordinal));
  return static_cast<int64_t>(flights + buffered);
}

int64_t Dispatcher::Places() const {
  // Groups being trained hold their places until their version is published: a lease given out
  // meanwhile would count from weights that are about to change.
  int64_t steps_ahead = options_.max_staleness + 1;
  if (options_.last_step > 0) steps_ahead = std::min(steps_ahead, options_.last_step - version_);
  return steps_ahead * options_.groups_per_step -
         static_cast<int64_t>(flights_.size() + buffer_.size() + training_.size()) -
         trained_unpublished_;
}

absl::StatusOr<bool> Dispatcher::AdmitOne() {
  while (Places() > 0) {
    uint64_t ordinal = 0;
    if (!holes_.empty()) {
      ordinal = *holes_.begin();
      holes_.erase(holes_.begin());
    } else {
      ordinal = next_ordinal_++;
    }
    absl::StatusOr<PromptItem> item = feed_(ordinal);
    if (!item.ok() && !absl::IsOutOfRange(item.status())) return item.status();
    ++counts_.dispatched;
    if (absl::IsOutOfRange(item.status())) {
      End(OrdinalEnd::kPromptTooLong);
      const uint64_t skipped = counts_.ended[static_cast<size_t>(OrdinalEnd::kPromptTooLong)];
      if (skipped <= 10 || skipped % 1000 == 0) {
        COHORT_LOG(WARNING) << "prompt " << ordinal << " is skipped: " << item.status().message()
                            << " (" << skipped << " so far)";
      }
      // A source whose every prompt is too long would loop for ever.
      if (options_.max_prompts_per_batch > 0 && drawn_ > options_.max_prompts_per_batch)
        return false;
      if (counts_.ended[static_cast<size_t>(OrdinalEnd::kPromptTooLong)] >= 10000 &&
          counts_.ended[static_cast<size_t>(OrdinalEnd::kPromptTooLong)] == counts_.TotalEnded()) {
        return absl::FailedPreconditionError(absl::StrCat(
            "the first 10000 prompts are all too long; the last: ", item.status().message()));
      }
      continue;
    }
    Flight flight;
    flight.id = MakeGroupId(options_.run_seed, ordinal, Purpose::kTrain);
    flight.item = *std::move(item);
    ordinals_[flight.id] = ordinal;
    flights_.emplace(ordinal, std::move(flight));
    return true;
  }
  return false;
}

IssuedLease Dispatcher::Issue(Flight& flight, const std::string& worker, int64_t floor) {
  if (flight.was_issued) ++counts_.reissued;
  flight.was_issued = true;
  flight.lease_id = next_lease_++;
  flight.worker = worker;
  flight.expires = clock_->Now() + options_.lease_duration;
  return {.lease_id = flight.lease_id,
          .group_id = flight.id,
          .item = flight.item,
          .version_floor = floor,
          .deadline = options_.lease_duration};
}

void Dispatcher::Requeue(Flight& flight) {
  flight.lease_id = 0;
  flight.worker.clear();
}

absl::StatusOr<std::optional<IssuedLease>> Dispatcher::NextLease(const std::string& worker) {
  absl::MutexLock lock(&mu_);
  if (closed_) return std::nullopt;
  for (EvalItem& item : eval_) {
    if (!item.group.has_value() && item.flight.lease_id == 0) {
      return Issue(item.flight, worker, version_);
    }
  }
  COHORT_RETURN_IF_ERROR(feed_error_);
  auto waiting = std::find_if(flights_.begin(), flights_.end(),
                              [](const auto& entry) { return entry.second.lease_id == 0; });
  if (waiting == flights_.end()) {
    absl::StatusOr<bool> admitted = AdmitOne();
    if (!admitted.ok()) {
      feed_error_ = admitted.status();
      return feed_error_;
    }
    if (!*admitted) return std::nullopt;
    waiting = std::find_if(flights_.begin(), flights_.end(),
                           [](const auto& entry) { return entry.second.lease_id == 0; });
  }
  const int64_t ahead =
      static_cast<int64_t>(training_.size()) + trained_unpublished_ + PositionOf(waiting->first);
  const int64_t trains_at = version_ + ahead / options_.groups_per_step;
  const int64_t floor = std::max<int64_t>(0, trains_at - options_.max_staleness);
  return Issue(waiting->second, worker, floor);
}

// ---- endings ----

void Dispatcher::End(OrdinalEnd end) {
  ++counts_.ended[static_cast<size_t>(end)];
  if (end != OrdinalEnd::kTrained && end != OrdinalEnd::kAbandoned) {
    ++drawn_;
    ++dropped_[std::string(OrdinalEndName(end))];
  }
}

void Dispatcher::EndFlight(uint64_t ordinal, OrdinalEnd end) {
  auto flight = flights_.find(ordinal);
  ordinals_.erase(flight->second.id);
  flights_.erase(flight);
  End(end);
}

// ---- deliveries ----

Dispatcher::DeliveryResult Dispatcher::Count(Delivery outcome, std::string detail) {
  ++counts_.deliveries[static_cast<size_t>(outcome)];
  return {outcome, std::move(detail)};
}

Dispatcher::DeliveryResult Dispatcher::Deliver(const std::string& worker, Group group) {
  DeliveryResult result;
  {
    absl::MutexLock lock(&mu_);
    group.worker = worker;
    result = group.purpose == Purpose::kEval ? DeliverEval(std::move(group))
                                             : DeliverTrain(worker, std::move(group));
  }
  Notify();
  return result;
}

Dispatcher::DeliveryResult Dispatcher::DeliverTrain(const std::string& worker, Group group) {
  if (closed_) return Count(Delivery::kLate, "the run has ended");
  const auto known = ordinals_.find(group.id);
  if (known == ordinals_.end()) {
    return Count(log_->Contains(group.id) ? Delivery::kDuplicate : Delivery::kLate,
                 absl::StrCat("ordinal ", group.ordinal, " is no longer outstanding"));
  }
  const uint64_t ordinal = known->second;
  const auto entry = flights_.find(ordinal);
  if (entry == flights_.end()) {
    return Count(Delivery::kDuplicate, absl::StrCat("ordinal ", ordinal, " has arrived already"));
  }
  Flight& flight = entry->second;
  const GroupId id = flight.id;
  // The staleness bound is checked when the group is taken; here only the shape counts.
  if (absl::Status shape = CheckGroup(group, id, flight.item, /*version_floor=*/0); !shape.ok()) {
    bool ended = false;
    // Only the holder of the lease can give it back: a malformed late copy must not disturb another
    // worker.
    if (flight.worker == worker) FailFlight(flight, false, std::string(shape.message()), &ended);
    return Count(Delivery::kMalformed, std::string(shape.message()));
  }
  if (absl::Status logged = log_->Append(group); !logged.ok()) {
    if (absl::IsAlreadyExists(logged))
      return Count(Delivery::kDuplicate, std::string(logged.message()));
    // Not durable, so not accepted; the lease stays with the worker until it expires.
    return Count(Delivery::kLate, absl::StrCat("the group log refused it: ", logged.message()));
  }
  const bool all_unscorable = std::all_of(group.rows.begin(), group.rows.end(),
                                          [](const Row& row) { return row.unscorable; });
  std::optional<OrdinalEnd> end;
  if (all_unscorable) {
    // Others take its place, up to a batch's worth: while a reward is broken the rest fill the
    // batch as they are, without a loss, so that the step goes on.
    const auto dropped = dropped_.find(std::string(OrdinalEndName(OrdinalEnd::kUnscorable)));
    if (dropped == dropped_.end() || dropped->second < options_.groups_per_step) {
      end = OrdinalEnd::kUnscorable;
    }
  } else if (filter_) {
    end = filter_(group);
  }
  if (end.has_value()) {
    EndFlight(ordinal, *end);
  } else {
    flights_.erase(entry);
    arrivals_.push_back(ordinal);
    buffer_.emplace(ordinal, std::move(group));
  }
  return Count(Delivery::kAccepted, "");
}

Dispatcher::DeliveryResult Dispatcher::DeliverEval(Group group) {
  const auto known = eval_index_.find(group.id);
  if (known == eval_index_.end()) {
    return Count(Delivery::kLate, "its evaluation is over");
  }
  EvalItem& item = eval_[known->second];
  if (item.group.has_value()) {
    return Count(Delivery::kDuplicate, "this evaluation prompt has arrived already");
  }
  if (absl::Status shape = CheckGroup(group, item.flight.id, item.flight.item, version_);
      !shape.ok()) {
    bool ended = false;
    FailFlight(item.flight, false, std::string(shape.message()), &ended);
    if (ended) item.group = Group{};
    return Count(Delivery::kMalformed, std::string(shape.message()));
  }
  item.group = std::move(group);
  return Count(Delivery::kAccepted, "");
}

void Dispatcher::CountBadDelivery(GroupId id, const std::string& worker, Delivery outcome) {
  {
    absl::MutexLock lock(&mu_);
    ++counts_.deliveries[static_cast<size_t>(outcome)];
    if (const auto known = ordinals_.find(id); known != ordinals_.end()) {
      if (auto flight = flights_.find(known->second);
          flight != flights_.end() && flight->second.worker == worker) {
        Requeue(flight->second);
      }
    } else if (const auto eval = eval_index_.find(id); eval != eval_index_.end()) {
      if (eval_[eval->second].flight.worker == worker) Requeue(eval_[eval->second].flight);
    }
  }
  Notify();
}

void Dispatcher::FailFlight(Flight& flight, bool prompt_too_long, const std::string& detail,
                            bool* ended) {
  ++flight.attempts;
  *ended = prompt_too_long || flight.attempts >= options_.max_attempts;
  COHORT_LOG(WARNING) << "ordinal " << flight.item.ordinal << ", attempt " << flight.attempts
                      << " by " << flight.worker << " failed: " << detail
                      << (*ended ? "; given up" : "; issued again");
  if (!*ended) {
    Requeue(flight);
  } else if (flight.item.purpose == Purpose::kTrain) {
    EndFlight(flight.item.ordinal,
              prompt_too_long ? OrdinalEnd::kPromptTooLong : OrdinalEnd::kInfraFailed);
  }
}

void Dispatcher::FailLease(GroupId id, uint64_t lease_id, bool prompt_too_long,
                           const std::string& detail) {
  {
    absl::MutexLock lock(&mu_);
    bool ended = false;
    if (const auto known = ordinals_.find(id); known != ordinals_.end()) {
      auto flight = flights_.find(known->second);
      if (flight != flights_.end() && flight->second.lease_id == lease_id) {
        FailFlight(flight->second, prompt_too_long, detail, &ended);
      }
    } else if (const auto eval = eval_index_.find(id); eval != eval_index_.end()) {
      EvalItem& item = eval_[eval->second];
      if (!item.group.has_value() && item.flight.lease_id == lease_id) {
        FailFlight(item.flight, prompt_too_long, detail, &ended);
        if (ended) item.group = Group{};
      }
    }
  }
  Notify();
}

void Dispatcher::ReturnLease(GroupId id, uint64_t lease_id) {
  {
    absl::MutexLock lock(&mu_);
    if (const auto known = ordinals_.find(id); known != ordinals_.end()) {
      const auto flight = flights_.find(known->second);
      if (flight != flights_.end() && flight->second.lease_id == lease_id) Requeue(flight->second);
    } else if (const auto eval = eval_index_.find(id); eval != eval_index_.end()) {
      EvalItem& item = eval_[eval->second];
      if (!item.group.has_value() && item.flight.lease_id == lease_id) Requeue(item.flight);
    }
  }
  Notify();
}

void Dispatcher::WorkerGone(const std::string& worker) {
  {
    absl::MutexLock lock(&mu_);
    for (auto& [ordinal, flight] : flights_) {
      if (flight.lease_id != 0 && flight.worker == worker) Requeue(flight);
    }
    for (EvalItem& item : eval_) {
      if (!item.group.has_value() && item.flight.worker == worker) Requeue(item.flight);
    }
  }
  Notify();
}

std::vector<std::string> Dispatcher::ExpireLeases() {
  std::vector<std::string> expired;
  {
    absl::MutexLock lock(&mu_);
    const absl::Time now = clock_->Now();
    const auto expire = [&](Flight& flight) {
      if (flight.lease_id == 0 || flight.expires > now) return;
      expired.push_back(absl::StrCat("lease of ordinal ", flight.item.ordinal, " held by ",
                                     flight.worker, " expired after ",
                                     absl::FormatDuration(options_.lease_duration)));
      Requeue(flight);
    };
    for (auto& [ordinal, flight] : flights_) expire(flight);
    for (EvalItem& item : eval_) {
      if (!item.group.has_value()) expire(item.flight);
    }
  }
  if (!expired.empty()) Notify();
  return expired;
}

// ---- batches ----

bool Dispatcher::BatchReady() const {
  const size_t wanted = static_cast<size_t>(options_.groups_per_step);
  if (buffer_.size() < wanted) return false;
  if (!options_.consume_in_order) return true;
  // In order: nothing that is still to come may precede the batch's last group.
  const uint64_t last = std::next(buffer_.begin(), static_cast<int64_t>(wanted) - 1)->first;
  return (flights_.empty() || flights_.begin()->first > last) &&
         (holes_.empty() || *holes_.begin() > last);
}

std::string Dispatcher::DescribeMissing() const {
  std::vector<std::string> missing;
  for (const auto& [ordinal, flight] : flights_) {
    if (missing.size() == 4) {
      missing.push_back(absl::StrCat("and ", flights_.size() - 4, " more"));
      break;
    }
    missing.push_back(absl::StrCat("ordinal ", ordinal,
                                   flight.lease_id == 0
                                       ? " (no worker took it)"
                                       : absl::StrCat(" (leased to ", flight.worker, ")")));
  }
  return absl::StrCat(buffer_.size(), " of ", options_.groups_per_step,
                      " groups have arrived; missing: ",
                      missing.empty() ? "nothing was asked for, no worker is connected"
                                      : absl::StrJoin(missing, ", "));
}

std::string Dispatcher::DescribeMissingEval() const {
  int64_t missing = 0, not_taken = 0;
  std::set<std::string> holders;
  for (const EvalItem& item : eval_) {
    if (item.group.has_value()) continue;
    ++missing;
    if (item.flight.lease_id == 0) {
      ++not_taken;
    } else {
      holders.insert(item.flight.worker);
    }
  }
  return absl::StrCat("evaluation: ", missing, " of ", eval_.size(),
                      " prompts have not come back; no worker took ", not_taken,
                      " of them, the others are leased to ",
                      holders.empty() ? "nobody" : absl::StrJoin(holders, ", "));
}

absl::StatusOr<DispatchBatch> Dispatcher::TakeBatch(int64_t step, absl::Time deadline) {
  DispatchBatch batch;
  const absl::Time start = clock_->Now();
  for (;;) {
    size_t stale = 0;
    {
      absl::MutexLock lock(&mu_);
      step_ = step;
      const auto wake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
        return closed_ || !feed_error_.ok() || BatchReady() ||
               (options_.max_prompts_per_batch > 0 && drawn_ >= options_.max_prompts_per_batch);
      };
      const bool ready = mu_.AwaitWithDeadline(absl::Condition(&wake), deadline);
      if (closed_) return absl::CancelledError("the dispatcher was closed");
      COHORT_RETURN_IF_ERROR(feed_error_);
      if (!ready) {
        return absl::DeadlineExceededError(
            absl::StrCat("batch of step ", step + 1, ": ", DescribeMissing()));
      }
      if (!BatchReady()) {
        return absl::ResourceExhaustedError(absl::StrCat(
            "ALERT dynamic_sampling_exhausted: ", drawn_, " prompts gave only ", buffer_.size(),
            " of ", options_.groups_per_step, " groups for step ", step + 1, " (",
            absl::StrJoin(dropped_, ", ",
                          [](std::string* out, const auto& entry) {
                            absl::StrAppend(out, entry.first, " ", entry.second);
                          }),
            "). Use prompts of a better fitting difficulty, raise rollout.group_size or "
            "algorithm.filter.prompts.dynamic.max_rounds"));
      }
      std::vector<uint64_t> chosen;
      if (options_.consume_in_order) {
        for (auto it = buffer_.begin();
             it != buffer_.end() && static_cast<int64_t>(chosen.size()) < options_.groups_per_step;
             ++it) {
          chosen.push_back(it->first);
        }
      } else {
        chosen.assign(arrivals_.begin(), arrivals_.begin() + options_.groups_per_step);
      }
      for (uint64_t ordinal : chosen) {
        const auto entry = buffer_.find(ordinal);
        if (step - entry->second.OldestVersion() > options_.max_staleness) {
          ordinals_.erase(entry->second.id);
          arrivals_.erase(std::find(arrivals_.begin(), arrivals_.end(), ordinal));
          buffer_.erase(entry);
          End(OrdinalEnd::kStale);
          ++stale;
        }
      }
      if (stale == 0) {
        for (uint64_t ordinal : chosen) {
          auto node = buffer_.extract(ordinal);
          ordinals_.erase(node.mapped().id);
          arrivals_.erase(std::find(arrivals_.begin(), arrivals_.end(), ordinal));
          training_.insert(ordinal);
          batch.groups.push_back(std::move(node.mapped()));
        }
        batch.prompts_drawn = drawn_ + static_cast<int64_t>(chosen.size());
        batch.dropped = std::exchange(dropped_, {});
        drawn_ = 0;
      }
    }
    if (stale == 0) break;
    Notify();  // the places of the stale groups are free again
  }
  batch.waited = clock_->Now() - start;
  return batch;
}

void Dispatcher::MarkTrained(const std::vector<uint64_t>& ordinals) {
  {
    absl::MutexLock lock(&mu_);
    for (uint64_t ordinal : ordinals) {
      if (training_.erase(ordinal) == 0) continue;
      ++trained_unpublished_;
      End(OrdinalEnd::kTrained);
    }
  }
  Notify();
}

void Dispatcher::SetVersion(int64_t version) {
  {
    absl::MutexLock lock(&mu_);
    version_ = version;
    trained_unpublished_ = 0;
  }
  Notify();
}

// ---- evaluation ----

void Dispatcher::BeginEval(std::vector<PromptItem> items) {
  {
    absl::MutexLock lock(&mu_);
    eval_.clear();
    eval_index_.clear();
    for (PromptItem& item : items) {
      item.purpose = Purpose::kEval;
      EvalItem eval;
      // The same evaluation prompt asked for at another version is another group.
      eval.flight.id = MakeGroupId(options_.run_seed ^ static_cast<uint64_t>(version_) << 32,
                                   item.ordinal, Purpose::kEval);
      eval.flight.item = std::move(item);
      eval_index_[eval.flight.id] = eval_.size();
      eval_.push_back(std::move(eval));
    }
  }
  Notify();
}

absl::StatusOr<std::vector<Group>> Dispatcher::WaitEval(absl::Time deadline) {
  absl::MutexLock lock(&mu_);
  const auto done = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return closed_ || std::all_of(eval_.begin(), eval_.end(),
                                  [](const EvalItem& item) { return item.group.has_value(); });
  };
  const bool ready = mu_.AwaitWithDeadline(absl::Condition(&done), deadline);
  if (closed_) return absl::CancelledError("the dispatcher was closed");
  if (!ready) {
    return absl::DeadlineExceededError(DescribeMissingEval());
  }
  std::vector<Group> groups;
  for (EvalItem& item : eval_) groups.push_back(*std::move(item.group));
  eval_.clear();
  eval_index_.clear();
  return groups;
}

// ---- state ----

DispatchCursor Dispatcher::Cursor() const {
  absl::MutexLock lock(&mu_);
  DispatchCursor cursor{.next_ordinal = next_ordinal_, .holes = {holes_.begin(), holes_.end()}};
  for (const auto& [ordinal, flight] : flights_) cursor.holes.push_back(ordinal);
  for (const auto& [ordinal, group] : buffer_) cursor.holes.push_back(ordinal);
  cursor.holes.insert(cursor.holes.end(), training_.begin(), training_.end());
  std::sort(cursor.holes.begin(), cursor.holes.end());
  return cursor;
}

LedgerCounts Dispatcher::Counts() const {
  absl::MutexLock lock(&mu_);
  LedgerCounts counts = counts_;
  counts.in_flight = flights_.size();
  counts.buffered = buffer_.size();
  counts.training = training_.size();
  return counts;
}

size_t Dispatcher::OutstandingLeases(const std::string& worker) const {
  absl::MutexLock lock(&mu_);
  const auto held = [&](const Flight& flight) {
    return flight.lease_id != 0 && flight.worker == worker;
  };
  size_t count = 0;
  for (const auto& [ordinal, flight] : flights_) count += held(flight) ? 1 : 0;
  for (const EvalItem& item : eval_) count += !item.group.has_value() && held(item.flight) ? 1 : 0;
  return count;
}

void Dispatcher::Close() {
  {
    absl::MutexLock lock(&mu_);
    if (closed_) return;
    closed_ = true;
    // A run that is resumed dispatches them again.
    for (const auto& [ordinal, flight] : flights_) holes_.insert(ordinal);
    for (const auto& [ordinal, group] : buffer_) holes_.insert(ordinal);
    const size_t outstanding = flights_.size() + buffer_.size();
    for (size_t i = 0; i < outstanding; ++i) End(OrdinalEnd::kAbandoned);
    flights_.clear();
    buffer_.clear();
    arrivals_.clear();
    ordinals_.clear();
  }
  Notify();
}

}  // namespace cohort
