// The dispatcher's side towards the learner: batches, evaluations, the ledgers.
#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/dispatch/dispatcher.h"
#include "common/rl/staleness.h"

namespace cohort {

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
                                      : absl::StrJoin(missing, ", "),
                      DescribeDrops());
}

std::string Dispatcher::DescribeDrops() const {
  if (drops_.empty()) return "";
  return absl::StrCat(
      "; ended on the way: ", drops_.Describe(),
      last_trouble_.empty() ? "" : absl::StrCat("; the last trouble: ", last_trouble_));
}

// The last ordinal of the batch if whatever is outstanding arrives and is kept. What ended behind
// it was asked for on behalf of a later batch.
uint64_t Dispatcher::BatchEnd() const {
  constexpr uint64_t kOpen = std::numeric_limits<uint64_t>::max();
  if (!options_.consume_in_order) return kOpen;
  auto flight = flights_.begin();
  auto arrived = buffer_.begin();
  auto hole = holes_.begin();
  uint64_t last = kOpen;
  for (int64_t i = 0; i < options_.groups_per_step; ++i) {
    const uint64_t a = flight == flights_.end() ? kOpen : flight->first;
    const uint64_t b = arrived == buffer_.end() ? kOpen : arrived->first;
    const uint64_t c = hole == holes_.end() ? kOpen : *hole;
    last = std::min({a, b, c});
    if (last == kOpen) return kOpen;
    if (last == a) ++flight;
    if (last == b) ++arrived;
    if (last == c) ++hole;
  }
  return last;
}

bool Dispatcher::Exhausted() const {
  const int64_t allowed = options_.max_prompts_per_batch - options_.groups_per_step;
  if (options_.max_prompts_per_batch == 0 || static_cast<int64_t>(drops_.size()) <= allowed) {
    return false;
  }
  return drops_.AskedBefore(BatchEnd()) > allowed;
}

absl::Status Dispatcher::ExhaustedError(int64_t step) const {
  const std::string found =
      absl::StrCat(drops_.AskedBefore(BatchEnd()) + static_cast<int64_t>(buffer_.size()),
                   " prompts gave only ", buffer_.size(), " of ", options_.groups_per_step,
                   " groups for step ", step + 1, " (", drops_.Describe(), ")");
  if (drops_.MostlyBroken()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "ALERT no_trainable_groups: ", found, "; the last trouble: ", last_trouble_,
        ". Rewards give no verdict or workers fail: mend that and continue with --resume"));
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("ALERT dynamic_sampling_exhausted: ", found,
                   ". Use prompts of a better fitting difficulty, raise rollout.group_size or ",
                   options_.limit_field));
}

// The ordinals of the next batch.
std::vector<uint64_t> Dispatcher::Choose() const {
  if (!options_.consume_in_order) {
    return {arrivals_.begin(), arrivals_.begin() + options_.groups_per_step};
  }
  std::vector<uint64_t> chosen;
  for (const auto& [ordinal, buffered] : buffer_) {
    if (static_cast<int64_t>(chosen.size()) == options_.groups_per_step) break;
    chosen.push_back(ordinal);
  }
  return chosen;
}

Dispatcher::Buffered Dispatcher::Unbuffer(uint64_t ordinal) {
  auto node = buffer_.extract(ordinal);
  ordinals_.erase(node.mapped().group.id);
  arrivals_.erase(std::find(arrivals_.begin(), arrivals_.end(), ordinal));
  return std::move(node.mapped());
}

// Ends those of a batch that are too old, or one too many of the degenerate ones.
size_t Dispatcher::EndUnfit(const std::vector<uint64_t>& chosen, int64_t step) {
  size_t ended = 0;
  int64_t degenerate = 0;
  for (uint64_t ordinal : chosen) {
    const Group& group = buffer_.at(ordinal).group;
    std::optional<OrdinalEnd> end;
    if (IsStale(group.OldestVersion(), step, options_.max_staleness)) {
      end = OrdinalEnd::kStale;
    } else if (options_.degenerate) {
      end = options_.degenerate(group);
      if (end && ++degenerate <= options_.max_degenerate) end = std::nullopt;
    }
    if (!end) continue;
    const int64_t tokens = Unbuffer(ordinal).group.ResponseTokens();
    End(ordinal, *end, tokens);
    ++ended;
  }
  return ended;
}

absl::StatusOr<DispatchBatch> Dispatcher::TakeBatch(int64_t step, absl::Time deadline) {
  DispatchBatch batch;
  const absl::Time start = clock_->Now();
  for (;;) {
    {
      absl::MutexLock lock(&mu_);
      const auto wake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
        return closed_ || !feed_error_.ok() || BatchReady() || Exhausted();
      };
      const bool ready = mu_.AwaitWithDeadline(absl::Condition(&wake), deadline);
      if (closed_) return absl::CancelledError("the dispatcher was closed");
      COHORT_RETURN_IF_ERROR(feed_error_);
      if (!ready) {
        return absl::DeadlineExceededError(
            absl::StrCat("batch of step ", step + 1, ": ", DescribeMissing()));
      }
      if (!BatchReady()) return ExhaustedError(step);
      const std::vector<uint64_t> chosen = Choose();
      if (EndUnfit(chosen, step) == 0) {
        for (uint64_t ordinal : chosen) {
          training_.insert(ordinal);
          Buffered taken = Unbuffer(ordinal);
          batch.queued.push_back(clock_->Now() - taken.since);
          batch.groups.push_back(std::move(taken.group));
          batch.sampled_tokens += batch.groups.back().ResponseTokens();
        }
        batch.dropped = drops_.Take(
            options_.consume_in_order ? chosen.back() : std::numeric_limits<uint64_t>::max(),
            &batch.sampled_tokens);
        batch.prompts_drawn = static_cast<int64_t>(chosen.size());
        for (const auto& [state, count] : batch.dropped) batch.prompts_drawn += count;
        break;
      }
    }
    Notify();  // the places of those that ended are free again
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
      End(ordinal, OrdinalEnd::kTrained);
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
    eval_.Begin(std::move(items), options_.run_seed, version_);
  }
  Notify();
}

absl::StatusOr<std::vector<Group>> Dispatcher::WaitEval(absl::Time deadline) {
  absl::MutexLock lock(&mu_);
  const auto done = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return closed_ || eval_.Done(); };
  const bool ready = mu_.AwaitWithDeadline(absl::Condition(&done), deadline);
  if (closed_) return absl::CancelledError("the dispatcher was closed");
  if (!ready) return absl::DeadlineExceededError(eval_.DescribeMissing());
  return eval_.Take();
}

// ---- state ----

DispatchCursor Dispatcher::Cursor() const {
  absl::MutexLock lock(&mu_);
  DispatchCursor cursor{.next_ordinal = next_ordinal_, .holes = {holes_.begin(), holes_.end()}};
  for (const auto& [ordinal, flight] : flights_) cursor.holes.push_back(ordinal);
  for (const auto& [ordinal, buffered] : buffer_) cursor.holes.push_back(ordinal);
  cursor.holes.insert(cursor.holes.end(), training_.begin(), training_.end());
  std::sort(cursor.holes.begin(), cursor.holes.end());
  return cursor;
}

int64_t Dispatcher::DroppedTokens() const {
  absl::MutexLock lock(&mu_);
  return drops_.Tokens();
}

LedgerCounts Dispatcher::Counts() const {
  absl::MutexLock lock(&mu_);
  LedgerCounts counts = counts_;
  counts.in_flight = flights_.size();
  counts.buffered = buffer_.size();
  counts.training = training_.size();
  absl::Time oldest = absl::InfiniteFuture();
  for (const auto& [ordinal, flight] : flights_) oldest = std::min(oldest, flight.first_issued);
  counts.oldest_in_flight = std::max(clock_->Now() - oldest, absl::ZeroDuration());
  return counts;
}

void Dispatcher::Close() {
  {
    absl::MutexLock lock(&mu_);
    if (closed_) return;
    closed_ = true;
    // A run that is resumed dispatches them again.
    for (const auto& [ordinal, flight] : flights_) holes_.insert(ordinal);
    for (const auto& [ordinal, buffered] : buffer_) holes_.insert(ordinal);
    counts_.ended[static_cast<size_t>(OrdinalEnd::kAbandoned)] += flights_.size() + buffer_.size();
    flights_.clear();
    buffer_.clear();
    arrivals_.clear();
    ordinals_.clear();
  }
  Notify();
}

}  // namespace cohort
