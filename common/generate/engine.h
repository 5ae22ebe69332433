// The generation engine: many groups decode together, each prompt is prefilled and stored once.
//
//   Submit -> waiting -> (Step) prefill once, rows take free slots -> one token per row and Step
//          -> row finished: its slot goes to the next waiting row -> all rows finished: group
//
// One Step is one decode step of every active row. A group may start with part of its rows when
// slots are short. Rows that continue another row (SamplePlan::parent) start when that row is done.
//
// Random numbers: one uniform per token, UniformOpen(group id, row, index of the token in its row).
// What a row says therefore does not depend on what else is decoded, beyond floating point.
//
// Weights are swapped in place by the owner of the model between two Steps, followed by SetVersion.
// A running row keeps its cache and marks its tokens; a row that starts later prefills its prompt
// anew.
//
// Not thread-safe: one thread owns the engine. Submit, Cancel and SetVersion do not block; Step
// computes and returns.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "common/model/causal_lm.h"
#include "common/rl/em_inf.h"
#include "common/rl/group.h"

namespace cohort {

class Clock;
class Tokenizer;

// One prompt to sample.
struct GroupRequest {
  GroupId id = 0;  // also the key of its random numbers; unique among the groups in the engine
  uint64_t ordinal = 0;
  Purpose purpose = Purpose::kTrain;
  std::string source;
  std::vector<int32_t> prompt;  // token ids, at least one
  std::vector<SamplePlan>
      plans;  // one per row; parents come before children. Rows that are trained on share one
              // temperature, which is the group's; votes and baselines have their own
  std::vector<std::string> stop_strings;  // a row ends with the token that completes one of them
  bool with_entropy = false;              // fill Row::entropy
};

struct FinishedGroup {
  GroupId id = 0;
  // Not OK: the group could not be generated (the message names the row and why); `group` is then
  // unusable. A row is never sampled from logits that are not finite.
  absl::Status status;
  Group group;  // rewards are the caller's to fill
};

struct StepResult {
  std::vector<FinishedGroup> finished;
  int64_t sampled_tokens = 0;    // by this step, over all rows
  int64_t prefilled_tokens = 0;  // prompt tokens computed by this step
};

struct EngineOptions {
  int max_rows = 64;        // rows decoded together: slots of the cache
  int64_t max_context = 0;  // tokens, prompt + response; 0: the model's own limit
  int64_t prefill_tokens =
      2048;  // prompt tokens prefilled in one forward pass (one prompt at least)
  // Tokens that end a row. Unset: the model's end-of-sequence tokens; empty: none.
  std::optional<std::vector<int32_t>> stop_tokens;
  std::optional<EmInfOptions> em_inf;    // sharpens the logits of every row (sharpen.h); unset: no
  bool fused_cpu_attention = true;       // false: the portable path, for comparison
  const Tokenizer* tokenizer = nullptr;  // needed for stop strings; outlives the engine
  const Clock* clock = nullptr;          // default: the real one
};

class GroupGenerator {
 public:
  // `model` is shared with whoever swaps its weights and outlives the engine. InvalidArgument:
  // options that the model cannot serve.
  static absl::StatusOr<std::unique_ptr<GroupGenerator>> Create(const CausalLm* model,
                                                                const EngineOptions& options);
  ~GroupGenerator();
  GroupGenerator(const GroupGenerator&) = delete;
  GroupGenerator& operator=(const GroupGenerator&) = delete;

  // Queues a group. OutOfRange ("prompt_too_long"): prompt + 1 token does not fit the context;
  // InvalidArgument: a malformed request; AlreadyExists: a group with this id is in the engine.
  absl::Status Submit(GroupRequest request);

  // Admits waiting rows, then decodes one token for every active row. Returns what finished; empty
  // when there is nothing to do.
  StepResult Step();

  // Forgets the group; false when it is not here. Its rows' slots are free at once.
  bool Cancel(GroupId id);

  // Tokens are marked with this version from the next Step on.
  void SetVersion(int64_t version);
  int64_t version() const;

  int active_rows() const;      // rows holding a slot
  int waiting_rows() const;     // rows submitted and not yet started
  int waiting_groups() const;   // groups of which no row has started
  bool idle() const;            // nothing submitted is left
  int64_t max_context() const;  // tokens

 private:
  class Impl;
  explicit GroupGenerator(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
