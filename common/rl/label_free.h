// Rewards that need no ground truth (algorithms.md sections 7.1 to 7.4). Answers are extracted
// strings; std::nullopt or an empty string is no answer: no vote, no reward. Pure functions.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/rl/algorithm_spec.h"

namespace cohort {

using Answer = std::optional<std::string>;
// Equivalence of two answers; an empty function means string equality.
using AnswerEquality = std::function<bool(const std::string&, const std::string&)>;

enum class VoteTie { kFirst, kRandom, kNone };

// Votes are exact strings: canonical texts for votes of equal value to count together.
struct VoteOptions {
  VoteTie tie = VoteTie::kFirst;
  uint64_t seed = 0;  // kRandom
};

struct Vote {
  Answer label;  // the most frequent answer; none without votes, or on a tie with kNone
  int64_t count = 0;
  double ratio = 0;  // count / all answers, those without a vote included
};

Vote MajorityVote(absl::Span<const Answer> answers, const VoteOptions& options = {});

// TTRL: 1 for an answer that is the label's string or `agrees` with it, else 0; all 0 without a
// label. `agrees` is asked for the index of an answer that is written differently; empty: none
// agrees.
std::vector<double> LabelRewards(absl::Span<const Answer> answers, const Answer& label,
                                 const std::function<bool(size_t)>& agrees = {});

// EMPO: answers clustered greedily against each cluster's first member, in arrival order; every
// missing answer is a cluster of its own and earns 0.
struct SemanticClusters {
  std::vector<size_t> cluster;   // per answer
  std::vector<int64_t> members;  // per cluster
  double entropy = 0;            // nats, over clusters
};
SemanticClusters ClusterAnswers(absl::Span<const Answer> answers, const AnswerEquality& equal = {});

// Frequency of the answer's cluster; all 0 when the gate closes.
std::vector<double> SemanticFrequencyRewards(absl::Span<const Answer> answers,
                                             const SemanticClusters& clusters,
                                             const GateSpec& gate);
inline std::vector<double> SemanticFrequencyRewards(absl::Span<const Answer> answers,
                                                    const GateSpec& gate) {
  return SemanticFrequencyRewards(answers, ClusterAnswers(answers), gate);
}

// RENT: minus the mean entropy over valid tokens; -floor without an answer or without a token.
double NegEntropyMean(absl::Span<const double> entropy, absl::Span<const uint8_t> mask,
                      bool has_answer = true, double floor = 7);

// EM-RL: minus the sum of entropies (token), or the sum of log-probs (sequence), over valid tokens.
double NegEntropySum(absl::Span<const double> entropy, absl::Span<const uint8_t> mask);
double SequenceLogprob(absl::Span<const double> logprob, absl::Span<const uint8_t> mask);

}  // namespace cohort
