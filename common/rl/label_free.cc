#include "common/rl/label_free.h"

#include <algorithm>
#include <cmath>

#include "common/base/rng.h"

namespace cohort {
namespace {

bool Same(const AnswerEquality& equal, const std::string& a, const std::string& b) {
  return equal ? equal(a, b) : a == b;
}

bool HasAnswer(const Answer& answer) { return answer && !answer->empty(); }

struct Candidate {
  std::string label;
  int64_t count = 0;
};

// Candidates in order of first appearance.
std::vector<Candidate> CountVotes(absl::Span<const Answer> answers) {
  std::vector<Candidate> candidates;
  for (const Answer& answer : answers) {
    if (!HasAnswer(answer)) continue;
    const auto it = std::find_if(candidates.begin(), candidates.end(),
                                 [&](const Candidate& c) { return c.label == *answer; });
    if (it == candidates.end()) {
      candidates.push_back({*answer, 1});
    } else {
      ++it->count;
    }
  }
  return candidates;
}

double MaskedSum(absl::Span<const double> x, absl::Span<const uint8_t> mask) {
  double sum = 0;
  for (size_t t = 0; t < x.size(); ++t) {
    if (mask[t]) sum += x[t];
  }
  return sum;
}

bool GateOpen(const GateSpec& gate, const SemanticClusters& clusters) {
  switch (gate.kind) {
    case Gate::kNone:
      return true;
    case Gate::kFewerClustersThanN:
      return clusters.members.size() < clusters.cluster.size();
    case Gate::kEntropyBand:
      return clusters.entropy > gate.entropy_low && clusters.entropy < gate.entropy_high;
  }
  return true;
}

}  // namespace

Vote MajorityVote(absl::Span<const Answer> answers, const VoteOptions& options) {
  const std::vector<Candidate> candidates = CountVotes(answers);
  std::vector<size_t> winners;
  Vote vote;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (candidates[i].count > vote.count) winners.clear();
    if (candidates[i].count >= std::max<int64_t>(vote.count, 1)) winners.push_back(i);
    vote.count = std::max(vote.count, candidates[i].count);
  }
  vote.ratio =
      answers.empty() ? 0 : static_cast<double>(vote.count) / static_cast<double>(answers.size());
  if (winners.empty() || (winners.size() > 1 && options.tie == VoteTie::kNone)) return vote;
  const bool random = options.tie == VoteTie::kRandom;
  const size_t pick = random ? CounterRng(options.seed).Below(winners.size()) : 0;
  vote.label = candidates[winners[pick]].label;
  return vote;
}

std::vector<double> LabelRewards(absl::Span<const Answer> answers, const Answer& label,
                                 const std::function<bool(size_t)>& agrees) {
  std::vector<double> rewards(answers.size(), 0);
  if (!HasAnswer(label)) return rewards;
  for (size_t i = 0; i < answers.size(); ++i) {
    if (!HasAnswer(answers[i])) continue;
    rewards[i] = *answers[i] == *label || (agrees && agrees(i)) ? 1 : 0;
  }
  return rewards;
}

SemanticClusters ClusterAnswers(absl::Span<const Answer> answers, const AnswerEquality& equal) {
  SemanticClusters out;
  std::vector<Answer> first;
  for (const Answer& answer : answers) {
    size_t c = 0;
    while (c < first.size() &&
           !(HasAnswer(answer) && HasAnswer(first[c]) && Same(equal, *first[c], *answer))) {
      ++c;
    }
    if (c == first.size()) {
      first.push_back(answer);
      out.members.push_back(0);
    }
    out.cluster.push_back(c);
    ++out.members[c];
  }
  for (int64_t members : out.members) {
    const double p = static_cast<double>(members) / static_cast<double>(answers.size());
    out.entropy -= p * std::log(p);
  }
  return out;
}

std::vector<double> SemanticFrequencyRewards(absl::Span<const Answer> answers,
                                             const SemanticClusters& clusters,
                                             const GateSpec& gate) {
  std::vector<double> rewards(answers.size(), 0);
  if (!GateOpen(gate, clusters)) return rewards;
  for (size_t i = 0; i < answers.size(); ++i) {
    if (!HasAnswer(answers[i])) continue;
    rewards[i] = static_cast<double>(clusters.members[clusters.cluster[i]]) /
                 static_cast<double>(answers.size());
  }
  return rewards;
}

double NegEntropyMean(absl::Span<const double> entropy, absl::Span<const uint8_t> mask,
                      bool has_answer, double floor) {
  const auto tokens = std::count_if(mask.begin(), mask.end(), [](uint8_t m) { return m != 0; });
  if (!has_answer || tokens == 0) return -floor;
  return -MaskedSum(entropy, mask) / static_cast<double>(tokens);
}

double NegEntropySum(absl::Span<const double> entropy, absl::Span<const uint8_t> mask) {
  return -MaskedSum(entropy, mask);
}

double SequenceLogprob(absl::Span<const double> logprob, absl::Span<const uint8_t> mask) {
  return MaskedSum(logprob, mask);
}

}  // namespace cohort
