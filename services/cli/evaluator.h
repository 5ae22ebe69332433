// Samples and judges the problems of one source with one model: the part of `cohort eval` that
// computes, and the held-out evaluation of `cohort sft`.
//
// What a problem's samples are depends on (seed, index) alone, so a source may be divided over
// processes or continued later. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/generate/engine.h"
#include "common/model/causal_lm.h"
#include "common/rewards/reward_set.h"
#include "common/rl/em_inf.h"
#include "common/tasks/prompt_source.h"
#include "common/text/tokenizer.h"
#include "services/cli/eval_results.h"

namespace cohort {

struct EvaluatorOptions {
  SourceOptions source;
  Split split = Split::kHeldout;
  int prompts = 0;  // 0: all of the split, or 64 of an endless one
  int samples = 1;  // per problem
  double temperature = 1;
  double top_p = 1;
  int max_new_tokens = 256;
  uint64_t seed = 0;
  PromptFormat format;
  int keep = 4;                             // samples per problem whose text and tokens are kept
  std::optional<EmInfOptions> em_inf = {};  // sharpens the logits of every token; unset: no
};

// Problems that a source gives with these options.
uint64_t CountProblems(const PromptSource& source, Split split, int prompts);

class Evaluator {
 public:
  // The tokenizer outlives the evaluator.
  static absl::StatusOr<std::unique_ptr<Evaluator>> Create(const EvaluatorOptions& options,
                                                           const Tokenizer* tokenizer);

  uint64_t problems() const { return count_; }
  const PromptSource& source() const { return *source_; }

  // What a rollout worker sampled and scored of problem group.ordinal.
  absl::StatusOr<ProblemResult> FromGroup(const Group& group) const;
  // A problem whose prompt leaves no room in a context of so many tokens; nothing: it has room.
  absl::StatusOr<std::optional<ProblemResult>> IfTooLong(uint64_t index, int64_t context) const;

  // Problems for which `wanted` (empty: all) is true, in order; `take` gets each when it is judged.
  absl::Status Run(const CausalLm& model, const std::function<bool(uint64_t)>& wanted,
                   const std::function<absl::Status(const ProblemResult&)>& take);

 private:
  explicit Evaluator(const EvaluatorOptions& options, const Tokenizer* tokenizer)
      : options_(options), tokenizer_(tokenizer) {}
  absl::StatusOr<GroupRequest> MakeRequest(const Prompt& prompt, uint64_t index) const;
  absl::StatusOr<ProblemResult> Judge(const Prompt& prompt, const Group& group);
  absl::StatusOr<ProblemResult> Describe(const Prompt& prompt, const Group& group,
                                         std::vector<std::string>* completions) const;
  absl::StatusOr<SampleResult> DescribeRow(const Row& row, std::string* completion) const;

  const EvaluatorOptions options_;
  const Tokenizer* const tokenizer_;
  std::unique_ptr<PromptSource> source_;
  std::unique_ptr<RewardSet> rewards_;
  uint64_t count_ = 0;
};

}  // namespace cohort
