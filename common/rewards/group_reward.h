// Rewards that look at all answers of a group, or at the sampler's own confidence: nothing in them
// knows the truth (algorithms.md 7.1 to 7.4; formulas in common/rl/label_free.h). Pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/rewards/verifier.h"
#include "common/rl/group.h"
#include "common/rl/label_free.h"

namespace cohort {

enum class GroupSource {
  kMajorityOnline,     // 1 for agreeing with the most frequent answer
  kSemanticFrequency,  // share of the answers that say the same
  kNegEntropyMean,     // minus the mean entropy of the tokens
  kNegEntropySum,      // minus its sum
  kSeqLogprob,         // log-probability of the response
};

// Which tokens an entropy is of. The last chunk is the last quarter of them; the answer's tokens
// are those that spell it (the last chunk where they cannot be found).
enum class EntropySpan { kAll, kLastChunk, kAnswer };

struct GroupSourceOptions {
  GroupSource source = GroupSource::kMajorityOnline;
  int64_t n_votes = 0;            // majority_online: the first so many answers vote; 0: all
  bool merge_equivalent = false;  // majority_online: equivalent answers vote together
  VoteTie tie = VoteTie::kFirst;
  uint64_t seed = 0;   // of a random tie, with the group's id
  GateSpec gate = {};  // semantic_frequency: all 0 where it closes
  EntropySpan span = EntropySpan::kAll;
};

// A row as these rewards see it. Rows whose generation was given up take no part.
struct GroupAnswer {
  const Row* row = nullptr;
  std::string completion;
  Answer answer;                     // as the data source's verifier reads it
  Answer canonical;                  // the text that answers of its value share; AddCanonicalForms
  std::vector<uint8_t> answer_mask;  // kAnswer: the row's tokens that spell it; else empty
};

// The source of that name ("majority_online"); nullopt: not one of these.
std::optional<GroupSource> GroupSourceOf(absl::string_view name);
bool NeedsEntropy(GroupSource source);

struct GroupVerdicts {
  std::vector<RewardVerdict> rows;  // in the order of the answers; those of votes mean nothing
  Answer label;                     // majority_online
};

// Once per row: whatever compares answers by value compares these texts. Only votes and clusters
// need them.
void AddCanonicalForms(std::vector<GroupAnswer>* answers);
bool ComparesAnswers(GroupSource source);

// The answers of the rows that are trained on, those of one value together.
SemanticClusters ClusterByValue(absl::Span<const GroupAnswer> answers);

// `clusters`: of the same answers; semantic_frequency alone looks at them. Adds what it comes upon
// to `signals` (common/rl/signals.h). Time linear in the answers' bytes, whatever they hold.
GroupVerdicts ScoreGroupSource(const GroupSourceOptions& options, const RewardPrompt& prompt,
                               absl::Span<const GroupAnswer> answers,
                               const SemanticClusters& clusters,
                               std::map<std::string, double>* signals);

// semantic_clusters and semantic_entropy.
void AddClusterSignals(const SemanticClusters& clusters, std::map<std::string, double>* signals);

}  // namespace cohort
