// All rewards of a finished group: row by row (RewardSet) and over the group (group_reward.h), in
// the order of the configuration, and beside them how right the rows really are, for metrics.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rewards/group_reward.h"
#include "common/rewards/reward_set.h"
#include "common/rl/group.h"
#include "common/text/tokenizer.h"

namespace cohort {

// One source of the reward: `group` where it looks at the whole group, else the RewardSet's.
struct ScoredComponent {
  RewardComponent row;  // name, weight and inverse of either kind
  std::optional<GroupSourceOptions> group;
};

struct GroupScorerOptions {
  uint64_t run_seed = 0;
  RewardSetOptions rewards;
  bool cluster = false;  // cluster the answers although no source does: a gate looks at them
};

// Thread-safe.
class GroupScorer {
 public:
  static absl::StatusOr<std::unique_ptr<GroupScorer>> Create(
      std::vector<ScoredComponent> components, const GroupScorerOptions& options);

  const std::vector<std::string>& names() const { return names_; }
  bool needs_entropy() const { return needs_entropy_; }
  // An error: a source of the reward has ended for good.
  absl::Status Alive() const;

  // Fills rewards, truth and answers of every row and the group's signals. Rows of role vote get
  // rewards of 0, which mean nothing. Returns what the verifiers said, one per row.
  absl::StatusOr<std::vector<RowReward>> Score(const Tokenizer& tokenizer,
                                               const std::shared_ptr<const RewardPrompt>& prompt,
                                               Group* group);
  // The same for an evaluation: where no source of the reward judges against the truth, the data
  // source's own verifier is the reward.
  absl::StatusOr<std::vector<RowReward>> Judge(const Tokenizer& tokenizer,
                                               const std::shared_ptr<const RewardPrompt>& prompt,
                                               Group* group);

 private:
  GroupScorer() = default;
  std::vector<RowReward> ScoreRows(const std::vector<RewardInput>& inputs, const Group& group);
  absl::StatusOr<std::vector<GroupAnswer>> ReadAnswers(const Tokenizer& tokenizer,
                                                       const RewardPrompt& prompt,
                                                       const std::vector<RewardInput>& inputs,
                                                       const Group& group) const;
  void NameColumns();
  void FillRows(const std::vector<RowReward>& scored, Group* group) const;
  void AddGroupSources(const RewardPrompt& prompt, const std::vector<GroupAnswer>& answers,
                       Group* group);
  void AddTruth(const std::vector<RewardInput>& inputs, const std::vector<RowReward>& scored,
                Group* group);
  void DescribeLabel(const RewardPrompt& prompt, const GroupVerdicts& verdicts, Group* group) const;

  // Constant after Create.
  std::vector<ScoredComponent> components_;
  std::vector<size_t> widths_;  // reward columns of each component: one, and its parts
  std::vector<std::string> names_;
  std::string reader_;        // whose form answers are read in; "": the data source's verifier
  bool reward_free_ = false;  // no source at all: verdicts are shown, and none is needed
  bool judged_ = false;       // some source of the reward judges against the truth
  bool locate_ = false;       // some source wants to know which tokens spell the answer
  bool cluster_ = false;      // some source or a gate looks at clusters of answers
  bool compare_ = false;      // some source compares answers by value
  bool needs_entropy_ = false;
  std::unique_ptr<RewardSet> rows_;   // the row-by-row components, in order; null: none
  std::unique_ptr<RewardSet> truth_;  // the data source's own verifier
};

}  // namespace cohort
