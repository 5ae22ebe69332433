// Names of Group::signals: what the rewards of a group came upon, beside the rewards themselves.
#pragma once

namespace cohort {

inline constexpr char kTargetTokens[] = "target_tokens";  // the length that the prompt asked for
// Votes (algorithms.md 7.1). The accuracies are there where the truth is known.
inline constexpr char kMajorityRatio[] = "majority_ratio";    // votes for the label / answers
inline constexpr char kLabelAccuracy[] = "label_accuracy";    // 1: the label is right
inline constexpr char kRewardAccuracy[] = "reward_accuracy";  // rows whose pseudo-reward is true
// Answers clustered by equivalence (algorithms.md 7.2).
inline constexpr char kSemanticClusters[] = "semantic_clusters";
inline constexpr char kSemanticEntropy[] = "semantic_entropy";  // nats

}  // namespace cohort
