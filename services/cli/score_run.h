// Scoring by the reward section of a run's configuration.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cohort/v1/config.pb.h"
#include "common/rewards/reward_set.h"
#include "common/rl/algorithm_spec.h"
#include "common/rpc/security.h"
#include "common/text/tokenizer.h"
#include "services/cli/score_lines.h"

namespace cohort {

// All components of the reward, weighted and shaped as in training, each line a group of its own.
class RunScorer {
 public:
  // `config`: resolved. `task`: the verifier that `task` stands for; "": the data source's own.
  // Errors: rewards that look at a whole group, or at the sampler's numbers, which no line has;
  // shaping by length without the model's tokenizer.
  static absl::StatusOr<std::unique_ptr<RunScorer>> Create(
      const v1::RunConfig& config, const std::string& task,
      const std::shared_ptr<const Security>& security);

  absl::StatusOr<ScoreResult> Score(const ScoreLine& line);

 private:
  RunScorer() = default;
  void Shape(const RewardInput& input, const RowReward& scored, ScoreResult* result) const;

  std::string task_;    // verifier of the data source
  std::string reader_;  // whose form replies are read in
  bool after_thinking_ = false;
  AlgorithmSpec spec_;
  std::unique_ptr<Tokenizer> tokenizer_;  // null: none is needed
  std::unique_ptr<RewardSet> rewards_;
};

}  // namespace cohort
