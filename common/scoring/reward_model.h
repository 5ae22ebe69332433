// A reward component that is a reward model: a Hugging Face sequence classifier with one label
// (LlamaForSequenceClassification, Qwen2ForSequenceClassification, ...). Its reward is
// score.weight times the hidden state of the sequence's last token; as in `transformers` that is
// the last one that is not config.json's pad token, or the last one where there is none.
//
// It reads the policy's own token ids (prompt, then response), so it must share the tokenizer. The
// prompt of a group is computed once for all rows. Rows that the deadline does not leave time for
// are unscorable.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/model/causal_lm.h"
#include "common/rewards/reward_set.h"

namespace cohort {

struct RewardModelOptions {
  std::string path;                            // Hugging Face folder
  std::string policy_path;                     // whose tokenizer.json it must share
  CausalLmOptions model;                       // device and dtype
  absl::Duration timeout = absl::Seconds(60);  // of one group
  int64_t tokens_per_pass = 8192;              // packed tokens of a forward pass; one row at least
};

// Thread-safe; one group at a time.
class RewardModel final : public BatchScorer {
 public:
  // InvalidArgument: not a classifier of one label, or another tokenizer than the policy's.
  static absl::StatusOr<std::shared_ptr<RewardModel>> Load(const RewardModelOptions& options);

  std::vector<RewardVerdict> Score(absl::Span<const RewardInput> inputs) override;
  const std::vector<std::string>& PartNames() const override { return parts_; }

 private:
  RewardModel(const RewardModelOptions& options, std::unique_ptr<CausalLm> model, int64_t pad);
  void ScorePart(absl::Span<const RewardInput> inputs, absl::Span<const size_t> rows,
                 std::vector<RewardVerdict>* verdicts) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Scorable(const RewardInput& input, RewardVerdict* verdict) const;
  int64_t PooledToken(const RewardInput& input) const;

  const RewardModelOptions options_;
  const std::unique_ptr<CausalLm> model_;
  const int64_t pad_token_;  // -1: none
  const std::vector<std::string> parts_;
  absl::Mutex mu_;
};

}  // namespace cohort
