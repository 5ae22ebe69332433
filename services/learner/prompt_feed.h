// From data sources to prompts that can be leased: mixture, length request, chat template, length
// limit, sealed labels, and the sample plans (row_plans.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/config/config.h"
#include "common/dispatch/dispatcher.h"
#include "common/tasks/prompt_source.h"
#include "common/text/tokenizer.h"
#include "services/learner/row_plans.h"

namespace cohort {

// Thread-safe after Create. Pure: an ordinal always gives the same prompt.
class PromptMaker {
 public:
  // `config` is resolved; `max_context`: tokens, prompt + response, that the model can hold. The
  // tokenizer outlives this object.
  static absl::StatusOr<std::unique_ptr<PromptMaker>> Create(const v1::RunConfig& config,
                                                             const Tokenizer* tokenizer,
                                                             int64_t max_context);

  // OutOfRange: longer than the limit; the message says by how much. With data.sealed_labels its
  // columns are those that a reward source names, and nothing else.
  absl::StatusOr<PromptItem> Train(uint64_t ordinal) const;

  // The answer that a training prompt asks for; empty: it has none, or it is sealed.
  std::string Gold(uint64_t ordinal) const;

  // The held-out prompts of one evaluation source, longer ones left out and counted.
  struct EvalSet {
    std::string name;
    std::vector<PromptItem> items;
    int64_t too_long = 0;
  };
  const std::vector<EvalSet>& evaluation() const { return evaluation_; }

  int64_t max_eval_prompt_tokens() const { return max_eval_prompt_tokens_; }

 private:
  PromptMaker(const v1::RunConfig& config, const Tokenizer* tokenizer, RowPlanner planner,
              int64_t max_context);
  absl::Status MakeMixture();
  absl::Status MakeEvaluation();
  absl::StatusOr<EvalSet> MakeEvalSet(const v1::EvalSource& source, uint64_t first_ordinal) const;
  absl::StatusOr<PromptItem> Encode(Prompt prompt, uint64_t ordinal,
                                    int64_t max_prompt_tokens) const;
  std::string Seal(const std::string& columns_json) const;

  const v1::RunConfig config_;
  const Tokenizer* const tokenizer_;
  const RowPlanner planner_;
  const SamplePlan eval_plan_;
  const int64_t max_prompt_tokens_, max_eval_prompt_tokens_;  // beside the plans' new tokens
  PromptFormat format_;
  std::optional<v1::L1> request_;  // prompts ask for a length
  bool request_maximum_ = false;   // "at most" rather than "about"
  std::unique_ptr<PromptMixture> mixture_;
  std::vector<EvalSet> evaluation_;
};

}  // namespace cohort
