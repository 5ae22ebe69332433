// A group inside the engine: its request, its rows and how far they are.
//
// Life of a row: waiting -> active (holds a slot) -> done. A row with a parent waits until the
// parent is done.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/generate/engine.h"
#include "common/generate/kv_cache.h"
#include "common/generate/sampler.h"
#include "common/generate/stop_strings.h"
#include "common/rl/group.h"

namespace cohort {

struct GroupState;

struct RowState {
  enum class Phase { kWaiting, kActive, kDone };

  GroupState* group = nullptr;
  int index = 0;
  Phase phase = Phase::kWaiting;
  int slot = -1;
  std::shared_ptr<const PromptCache> prompt;
  // Every token after the prompt, the ancestors' included: what the slot caches, in order, plus
  // tokens that are not cached yet.
  std::vector<int32_t> path;
  int64_t cached = 0;                // tokens of `path` in the slot
  std::optional<SavedSuffix> saved;  // when done, if children wait
  int waiting_children = 0;
  std::optional<StopStringMatcher> stops;
  Row row;

  const SamplePlan& plan() const;
  // The next token follows the prompt directly, so its logits are the prompt's.
  bool at_prompt() const { return path.empty(); }
  SampleSpec NextSpec() const;
};

struct GroupState {
  GroupRequest request;
  const Tokenizer* tokenizer = nullptr;  // may be null; outlives this
  std::vector<RowState> rows;
  std::shared_ptr<PromptCache> prompt;  // the newest prefill; null before the first
  int done_rows = 0;
  int started_rows = 0;
  int64_t start_version = 0;
  int64_t end_version = 0;
  absl::Time submitted;
  absl::Time first_token = absl::InfiniteFuture();
  absl::Time last_token;
  double queue_seconds = 0;
  double prefill_seconds = 0;

  bool AllStarted() const { return started_rows == static_cast<int>(rows.size()); }
  bool AllDone() const { return done_rows == static_cast<int>(rows.size()); }
};

// What a sampled token is checked against.
struct StopRules {
  std::vector<int32_t> stop_tokens;
  int64_t max_context = 0;  // tokens, prompt + response
};

// InvalidArgument or OutOfRange as GroupGenerator::Submit says. `vocab_size` bounds token ids.
absl::Status ValidateRequest(const GroupRequest& request, int64_t vocab_size, int64_t max_context,
                             bool has_tokenizer);

std::unique_ptr<GroupState> MakeGroupState(GroupRequest request, const Tokenizer* tokenizer,
                                           absl::Time now);

// Puts the row on the token path it continues. Its parent, if any, is done.
void BeginRow(RowState& row);

// Appends a token; true when the row is finished by it (row.finish is set then).
absl::StatusOr<bool> AppendToken(RowState& row, const SampledToken& sampled, int64_t version,
                                 const StopRules& rules);

// Moves the rows out.
Group TakeGroup(GroupState& state);

}  // namespace cohort
