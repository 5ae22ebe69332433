#include "common/rewards/group_reward.h"

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "common/rewards/answer.h"
#include "common/rewards/answer_text.h"
#include "common/rl/signals.h"

namespace cohort {
namespace {

constexpr size_t kChunks = 4;  // of a response

bool TakesPart(const GroupAnswer& answer) { return answer.row->finish != FinishReason::kAborted; }

RewardVerdict Value(double value) { return {Outcome::kValue, value, ""}; }

bool IsTrained(const GroupAnswer& answer) {
  return TakesPart(answer) && answer.row->role == RowRole::kTrain;
}

// Canonical forms of the rows that are trained on.
std::vector<Answer> TrainedForms(absl::Span<const GroupAnswer> answers) {
  std::vector<Answer> forms;
  for (const GroupAnswer& answer : answers) {
    if (IsTrained(answer)) forms.push_back(answer.canonical);
  }
  return forms;
}

// Rows that may vote: the first `n_votes` of those that are no baseline.
std::vector<const GroupAnswer*> Voters(absl::Span<const GroupAnswer> answers, int64_t n_votes) {
  std::vector<const GroupAnswer*> voters;
  for (const GroupAnswer& answer : answers) {
    if (n_votes > 0 && static_cast<int64_t>(voters.size()) == n_votes) break;
    if (TakesPart(answer) && answer.row->role != RowRole::kBaseline) voters.push_back(&answer);
  }
  return voters;
}

// The label is an answer as somebody wrote it, also where canonical forms vote.
Vote HoldVote(const GroupSourceOptions& options, uint64_t seed,
              absl::Span<const GroupAnswer> answers) {
  const std::vector<const GroupAnswer*> voters = Voters(answers, options.n_votes);
  std::vector<Answer> votes;
  for (const GroupAnswer* voter : voters) {
    votes.push_back(options.merge_equivalent ? voter->canonical : voter->answer);
  }
  VoteOptions vote_options;
  vote_options.tie = options.tie;
  vote_options.seed = seed;
  Vote vote = MajorityVote(votes, vote_options);
  if (!vote.label) return vote;
  const auto first = std::find(votes.begin(), votes.end(), vote.label);
  vote.label = voters[static_cast<size_t>(first - votes.begin())]->answer;
  return vote;
}

// Where the data source's verifier compares answers with a gold one, it says whether an answer
// agrees with the label. Others run the answer or take the gold for a pattern: canonical forms.
std::unique_ptr<Verifier> ComparingVerifier(const std::string& reward) {
  if (!absl::StartsWith(reward, "rule_") || reward == "rule_regex") return nullptr;
  auto verifier = MakeVerifier(reward, {});
  return verifier.ok() ? *std::move(verifier) : nullptr;
}

void ScoreMajority(const GroupSourceOptions& options, const RewardPrompt& prompt,
                   absl::Span<const GroupAnswer> answers, GroupVerdicts* out,
                   std::map<std::string, double>* signals) {
  const Vote vote = HoldVote(options, options.seed ^ prompt.group_id, answers);
  out->label = vote.label;
  (*signals)[kMajorityRatio] = vote.ratio;
  std::vector<Answer> read;
  for (const GroupAnswer& answer : answers) {
    // Of a row that only votes nothing is asked.
    const bool asked = TakesPart(answer) && answer.row->role != RowRole::kVote;
    read.push_back(asked ? answer.answer : std::nullopt);
  }
  const auto verifier = ComparingVerifier(prompt.reward);
  RewardInput input;
  if (vote.label) input.prompt = WithAnswer(prompt, *vote.label);
  const Answer canonical = vote.label ? Answer(CanonicalAnswer(*vote.label)) : std::nullopt;
  const auto agrees = [&](size_t i) {
    if (verifier == nullptr) return answers[i].canonical == canonical;
    input.completion = answers[i].completion;
    return verifier->Verify(input).outcome == Outcome::kCorrect;
  };
  for (const double reward : LabelRewards(read, vote.label, agrees)) {
    out->rows.push_back(Value(reward));
  }
}

// A greedy row joins no cluster: it earns the share of the others that say the same.
double ShareOf(const Answer& form, absl::Span<const Answer> forms) {
  if (!form || forms.empty()) return 0;
  return static_cast<double>(std::count(forms.begin(), forms.end(), form)) /
         static_cast<double>(forms.size());
}

void ScoreFrequency(const GroupSourceOptions& options, absl::Span<const GroupAnswer> answers,
                    const SemanticClusters& clusters, GroupVerdicts* out) {
  const std::vector<Answer> trained = TrainedForms(answers);
  const std::vector<double> rewards = SemanticFrequencyRewards(trained, clusters, options.gate);
  size_t next = 0;
  for (const GroupAnswer& answer : answers) {
    out->rows.push_back(
        Value(IsTrained(answer) ? rewards[next++] : ShareOf(answer.canonical, trained)));
  }
}

std::vector<uint8_t> SpanMask(EntropySpan span, const GroupAnswer& answer) {
  std::vector<uint8_t> mask = answer.row->mask;
  if (span == EntropySpan::kAll) return mask;
  if (span == EntropySpan::kAnswer && !answer.answer_mask.empty()) {
    for (size_t t = 0; t < mask.size(); ++t) mask[t] = mask[t] != 0 && answer.answer_mask[t] != 0;
    return mask;
  }
  const size_t valid = static_cast<size_t>(std::count(mask.begin(), mask.end(), uint8_t{1}));
  size_t before = valid - (valid + kChunks - 1) / kChunks;
  for (size_t t = 0; before > 0; ++t) {
    if (mask[t] == 0) continue;
    mask[t] = 0;
    --before;
  }
  return mask;
}

RewardVerdict ScoreConfidence(const GroupSourceOptions& options, const GroupAnswer& answer) {
  const Row& row = *answer.row;
  if (options.source == GroupSource::kSeqLogprob) {
    const std::vector<double> logprobs(row.logprobs.begin(), row.logprobs.end());
    return Value(SequenceLogprob(logprobs, row.mask));
  }
  if (row.entropy.size() != row.tokens.size()) {
    return {Outcome::kUnscorable, 0, "the sampler gave no entropies"};
  }
  const std::vector<double> entropy(row.entropy.begin(), row.entropy.end());
  const std::vector<uint8_t> mask = SpanMask(options.span, answer);
  if (options.source == GroupSource::kNegEntropySum) return Value(NegEntropySum(entropy, mask));
  const bool has_answer = options.span != EntropySpan::kAnswer || answer.answer.has_value();
  return Value(NegEntropyMean(entropy, mask, has_answer));
}

}  // namespace

std::optional<GroupSource> GroupSourceOf(absl::string_view name) {
  if (name == "majority_online") return GroupSource::kMajorityOnline;
  if (name == "semantic_frequency") return GroupSource::kSemanticFrequency;
  if (name == "neg_entropy_mean") return GroupSource::kNegEntropyMean;
  if (name == "neg_entropy_sum") return GroupSource::kNegEntropySum;
  if (name == "seq_logprob") return GroupSource::kSeqLogprob;
  return std::nullopt;
}

bool NeedsEntropy(GroupSource source) {
  return source == GroupSource::kNegEntropyMean || source == GroupSource::kNegEntropySum;
}

GroupVerdicts ScoreGroupSource(const GroupSourceOptions& options, const RewardPrompt& prompt,
                               absl::Span<const GroupAnswer> answers,
                               const SemanticClusters& clusters,
                               std::map<std::string, double>* signals) {
  GroupVerdicts out;
  if (options.source == GroupSource::kMajorityOnline) {
    ScoreMajority(options, prompt, answers, &out, signals);
  } else if (options.source == GroupSource::kSemanticFrequency) {
    ScoreFrequency(options, answers, clusters, &out);
  } else {
    for (const GroupAnswer& answer : answers) {
      out.rows.push_back(ScoreConfidence(options, answer));
    }
  }
  for (size_t i = 0; i < answers.size(); ++i) {
    if (TakesPart(answers[i])) continue;
    out.rows[i] = {Outcome::kUnscorable, 0, "its generation was given up"};
  }
  return out;
}

void AddCanonicalForms(std::vector<GroupAnswer>* answers) {
  for (GroupAnswer& answer : *answers) {
    if (answer.answer) answer.canonical = CanonicalAnswer(*answer.answer);
  }
}

bool ComparesAnswers(GroupSource source) {
  return source == GroupSource::kMajorityOnline || source == GroupSource::kSemanticFrequency;
}

SemanticClusters ClusterByValue(absl::Span<const GroupAnswer> answers) {
  return ClusterAnswers(TrainedForms(answers));
}

void AddClusterSignals(const SemanticClusters& clusters, std::map<std::string, double>* signals) {
  (*signals)[kSemanticClusters] = static_cast<double>(clusters.members.size());
  (*signals)[kSemanticEntropy] = clusters.entropy;
}

}  // namespace cohort
