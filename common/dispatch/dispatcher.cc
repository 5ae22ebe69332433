#include "common/dispatch/dispatcher.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/dispatch/group_check.h"
#include "common/rl/staleness.h"

namespace cohort {
namespace {

constexpr int kTooLongInARow = 1000;

// Why a group could not be scored.
std::string FirstNote(const Group& group) {
  for (const Row& row : group.rows) {
    if (!row.note.empty()) return row.note;
  }
  return "no row has a verdict";
}

}  // namespace

Dispatcher::Dispatcher(Options options, PromptFeed feed, GroupFilter filter, GroupLog* log,
                       Clock* clock, DispatchCursor cursor, int64_t first_step)
    : options_(std::move(options)),
      feed_(std::move(feed)),
      filter_(std::move(filter)),
      log_(log),
      clock_(clock),
      next_ordinal_(cursor.next_ordinal),
      version_(first_step),
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
  int64_t window = AdmissionWindow(options_.max_staleness, options_.groups_per_step);
  if (options_.last_step > 0) {
    window = std::min(window, (options_.last_step - version_) * options_.groups_per_step);
  }
  return window - static_cast<int64_t>(flights_.size() + buffer_.size() + training_.size()) -
         trained_unpublished_;
}

absl::StatusOr<bool> Dispatcher::AdmitOne() {
  while (options_.train && Places() > 0 && !Exhausted()) {
    const bool hole = !holes_.empty();
    const uint64_t ordinal = hole ? *holes_.begin() : next_ordinal_;
    absl::StatusOr<PromptItem> item = feed_(ordinal);
    // An ordinal without an answer stays where it is: a resumed run asks for it again.
    if (!item.ok() && !absl::IsOutOfRange(item.status())) return item.status();
    if (hole) {
      holes_.erase(ordinal);
    } else {
      ++next_ordinal_;
    }
    ++counts_.dispatched;
    if (!item.ok()) {
      COHORT_RETURN_IF_ERROR(SkipTooLong(ordinal, item.status()));
      continue;
    }
    too_long_in_a_row_ = 0;
    Flight flight;
    flight.id = MakeGroupId(options_.run_seed, ordinal, Purpose::kTrain);
    flight.item = *std::move(item);
    ordinals_[flight.id] = ordinal;
    flights_.emplace(ordinal, std::move(flight));
    return true;
  }
  return false;
}

// A source whose every prompt is too long would be read for ever.
absl::Status Dispatcher::SkipTooLong(uint64_t ordinal, const absl::Status& why) {
  End(ordinal, OrdinalEnd::kPromptTooLong);
  const uint64_t skipped = counts_.ended[static_cast<size_t>(OrdinalEnd::kPromptTooLong)];
  if (skipped <= 10 || skipped % 1000 == 0) {
    COHORT_LOG(WARNING) << "prompt " << ordinal << " is skipped: " << why.message() << " ("
                        << skipped << " so far)";
  }
  if (++too_long_in_a_row_ < kTooLongInARow) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(too_long_in_a_row_, " prompts in a row are too long; the last: ", why.message(),
                   ". Raise data.max_prompt_tokens or model.max_context, lower "
                   "rollout.max_new_tokens, or use shorter prompts"));
}

IssuedLease Dispatcher::Issue(Flight& flight, const std::string& worker, int64_t floor) {
  if (flight.was_issued) ++counts_.reissued;
  return flight.Issue(next_lease_++, worker, floor, clock_->Now(), options_.lease_duration);
}

// An outstanding group of either kind; null: it has arrived or was never asked for.
Flight* Dispatcher::FindFlight(GroupId id) {
  const auto known = ordinals_.find(id);
  if (known == ordinals_.end()) return eval_.Find(id);
  const auto flight = flights_.find(known->second);
  return flight == flights_.end() ? nullptr : &flight->second;
}

void Dispatcher::ForEachFlight(const std::function<void(Flight&)>& visit) {
  for (auto& [ordinal, flight] : flights_) visit(flight);
  eval_.ForEachFlight(visit);
}

absl::StatusOr<std::optional<IssuedLease>> Dispatcher::NextLease(const std::string& worker) {
  absl::MutexLock lock(&mu_);
  if (closed_) return std::nullopt;
  if (Flight* evaluation = eval_.NextWaiting()) return Issue(*evaluation, worker, version_);
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
  IssuedLease lease = Issue(waiting->second, worker, floor);
  if (options_.max_new_tokens) LimitPlans(options_.max_new_tokens(trains_at), &lease.item);
  return lease;
}

// ---- endings ----

void Dispatcher::End(uint64_t ordinal, OrdinalEnd end, int64_t tokens) {
  ++counts_.ended[static_cast<size_t>(end)];
  if (end == OrdinalEnd::kTrained || end == OrdinalEnd::kAbandoned) return;
  drops_.Add(ordinal, end, tokens);
}

void Dispatcher::EndFlight(uint64_t ordinal, OrdinalEnd end, int64_t tokens) {
  auto flight = flights_.find(ordinal);
  ordinals_.erase(flight->second.id);
  flights_.erase(flight);
  End(ordinal, end, tokens);
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
    result = group.purpose == Purpose::kEval ? DeliverEval(worker, std::move(group))
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
  const GroupLimits limits = {.newest_version = version_, .vocab_size = options_.vocab_size};
  if (absl::Status shape = CheckGroup(group, id, flight.item, limits); !shape.ok()) {
    // Only the holder of the lease can give it back: a malformed late copy must not disturb another
    // worker.
    if (flight.worker == worker) FailFlight(flight, false, std::string(shape.message()));
    return Count(Delivery::kMalformed, std::string(shape.message()));
  }
  if (absl::Status logged = log_->Append(group); !logged.ok()) {
    if (absl::IsAlreadyExists(logged))
      return Count(Delivery::kDuplicate, std::string(logged.message()));
    // Not durable, so not accepted; its worker will not send it again.
    const std::string why = absl::StrCat("the group log refused it: ", logged.message());
    if (flight.worker == worker) LoseFlight(flight, why);
    return Count(Delivery::kLate, why);
  }
  const bool all_unscorable = std::all_of(group.rows.begin(), group.rows.end(), [](const Row& row) {
    return row.role != RowRole::kTrain || row.unscorable;
  });
  std::optional<OrdinalEnd> end;
  if (all_unscorable) {
    last_trouble_ = FirstNote(group);
    // Others take its place, up to a batch's worth: while a reward is broken the rest fill the
    // batch as they are, without a loss, so that the step goes on.
    if (drops_.Count(OrdinalEnd::kUnscorable) < options_.groups_per_step) {
      end = OrdinalEnd::kUnscorable;
    }
  } else if (filter_) {
    end = filter_(group);
  }
  if (end.has_value()) {
    EndFlight(ordinal, *end, group.ResponseTokens());
  } else {
    flights_.erase(entry);
    arrivals_.push_back(ordinal);
    buffer_.emplace(ordinal, Buffered{std::move(group), clock_->Now()});
  }
  return Count(Delivery::kAccepted, "");
}

Dispatcher::DeliveryResult Dispatcher::DeliverEval(const std::string& worker, Group group) {
  if (!eval_.Contains(group.id)) return Count(Delivery::kLate, "its evaluation is over");
  Flight* const flight = eval_.Find(group.id);
  if (flight == nullptr) {
    return Count(Delivery::kDuplicate, "this evaluation prompt has arrived already");
  }
  const GroupLimits limits = {
      .oldest_version = version_, .newest_version = version_, .vocab_size = options_.vocab_size};
  if (absl::Status shape = CheckGroup(group, flight->id, flight->item, limits); !shape.ok()) {
    if (flight->worker == worker) FailFlight(*flight, false, std::string(shape.message()));
    return Count(Delivery::kMalformed, std::string(shape.message()));
  }
  // AlreadyExists: the same prompts were evaluated before with these weights.
  if (absl::Status logged = log_->Append(group); !logged.ok() && !absl::IsAlreadyExists(logged)) {
    const std::string why = absl::StrCat("the group log refused it: ", logged.message());
    if (flight->worker == worker) LoseFlight(*flight, why);
    return Count(Delivery::kLate, why);
  }
  eval_.Settle(std::move(group));
  return Count(Delivery::kAccepted, "");
}

void Dispatcher::CountBadDelivery(GroupId id, const std::string& worker, Delivery outcome) {
  {
    absl::MutexLock lock(&mu_);
    ++counts_.deliveries[static_cast<size_t>(outcome)];
    Flight* const flight = FindFlight(id);
    if (flight != nullptr && flight->worker == worker) {
      LoseFlight(*flight, absl::StrCat(worker, " sent it ", DeliveryName(outcome)));
    }
  }
  Notify();
}

void Dispatcher::FailFlight(Flight& flight, bool prompt_too_long, const std::string& detail) {
  ++flight.attempts;
  const bool ended = prompt_too_long || flight.attempts >= options_.max_attempts;
  last_trouble_ = detail;
  COHORT_LOG(WARNING) << "ordinal " << flight.item.ordinal << ", attempt " << flight.attempts
                      << " by " << flight.worker << " failed: " << detail
                      << (ended ? "; given up" : "; issued again");
  if (!ended) return flight.Requeue();
  GiveUp(flight, prompt_too_long ? OrdinalEnd::kPromptTooLong : OrdinalEnd::kInfraFailed);
}

// Whoever had it is gone or did not answer: mostly not the prompt's doing, but one that ends every
// worker it meets must not be handed out for ever.
void Dispatcher::LoseFlight(Flight& flight, const std::string& why) {
  if (++flight.losses < options_.max_losses) return flight.Requeue();
  last_trouble_ = why;
  COHORT_LOG(WARNING) << "ordinal " << flight.item.ordinal << " was lost " << flight.losses
                      << " times, at last because " << why << "; given up";
  GiveUp(flight, OrdinalEnd::kInfraFailed);
}

void Dispatcher::GiveUp(Flight& flight, OrdinalEnd end) {
  if (flight.item.purpose == Purpose::kEval) return eval_.GiveUp(flight.id);
  EndFlight(flight.item.ordinal, end);
}

// Those of a group of flights that is looked for first: giving one up changes the list.
std::vector<GroupId> Dispatcher::FlightsThat(const std::function<bool(const Flight&)>& match) {
  std::vector<GroupId> found;
  ForEachFlight([&](Flight& flight) {
    if (match(flight)) found.push_back(flight.id);
  });
  return found;
}

void Dispatcher::FailLease(GroupId id, uint64_t lease_id, bool prompt_too_long,
                           const std::string& detail) {
  {
    absl::MutexLock lock(&mu_);
    Flight* const flight = FindFlight(id);
    if (flight != nullptr && flight->lease_id == lease_id) {
      FailFlight(*flight, prompt_too_long, detail);
    }
  }
  Notify();
}

void Dispatcher::ReturnLease(GroupId id, uint64_t lease_id) {
  {
    absl::MutexLock lock(&mu_);
    Flight* const flight = FindFlight(id);
    if (flight != nullptr && flight->lease_id == lease_id) flight->Requeue();
  }
  Notify();
}

void Dispatcher::WorkerGone(const std::string& worker) {
  {
    absl::MutexLock lock(&mu_);
    const auto held = FlightsThat([&](const Flight& flight) { return flight.HeldBy(worker); });
    for (GroupId id : held) LoseFlight(*FindFlight(id), absl::StrCat(worker, " was lost"));
  }
  Notify();
}

std::vector<std::string> Dispatcher::ExpireLeases() {
  std::vector<std::string> expired;
  {
    absl::MutexLock lock(&mu_);
    const absl::Time now = clock_->Now();
    const auto late = FlightsThat(
        [now](const Flight& flight) { return flight.lease_id != 0 && flight.expires <= now; });
    for (GroupId id : late) {
      Flight& flight = *FindFlight(id);
      expired.push_back(absl::StrCat("lease of ordinal ", flight.item.ordinal, " held by ",
                                     flight.worker, " expired after ",
                                     absl::FormatDuration(options_.lease_duration)));
      LoseFlight(flight, expired.back());
    }
  }
  if (!expired.empty()) Notify();
  return expired;
}

}  // namespace cohort
