#include "common/rewards/group_reward.h"

#include <algorithm>

#include "common/rewards/answer.h"
#include "common/rewards/answer_text.h"
#include "common/rl/signals.h"

namespace cohort {
namespace {

constexpr size_t kChunks = 4;  // of a response

bool TakesPart(const GroupAnswer& answer) { return answer.row->finish != FinishReason::kAborted; }

bool Equivalent(const std::string& a, const std::string& b) { return AnswersEqual(a, b); }

RewardVerdict Value(double value) { return {Outcome::kValue, value, ""}; }

std::vector<Answer> AnswersOf(absl::Span<const GroupAnswer> answers, bool with_votes) {
  std::vector<Answer> out;
  for (const GroupAnswer& answer : answers) {
    if (!TakesPart(answer) || answer.row->role == RowRole::kBaseline) continue;
    if (with_votes || answer.row->role == RowRole::kTrain) out.push_back(answer.answer);
  }
  return out;
}

// 1 where the data source's own verifier would accept the label as gold, else 0.
double Agrees(const Verifier* verifier, const RewardPrompt& prompt, const GroupAnswer& answer,
              const Answer& label) {
  if (!label || !answer.answer) return 0;
  if (*answer.answer == *label) return 1;
  if (verifier == nullptr) return Equivalent(*answer.answer, *label) ? 1 : 0;
  RewardInput input;
  input.prompt = WithAnswer(prompt, *label);
  input.completion = answer.completion;
  return verifier->Verify(input).outcome == Outcome::kCorrect ? 1 : 0;
}

void ScoreMajority(const GroupSourceOptions& options, const RewardPrompt& prompt,
                   absl::Span<const GroupAnswer> answers, GroupVerdicts* out,
                   std::map<std::string, double>* signals) {
  std::vector<Answer> votes = AnswersOf(answers, /*with_votes=*/true);
  if (options.n_votes > 0 && votes.size() > static_cast<size_t>(options.n_votes)) {
    votes.resize(static_cast<size_t>(options.n_votes));
  }
  VoteOptions vote_options;
  if (options.merge_equivalent) vote_options.merge = Equivalent;
  vote_options.tie = options.tie;
  vote_options.seed = options.seed ^ prompt.group_id;
  const Vote vote = MajorityVote(votes, vote_options);
  out->label = vote.label;
  (*signals)[kMajorityRatio] = vote.ratio;
  const auto verifier = MakeVerifier(prompt.reward, {});
  for (const GroupAnswer& answer : answers) {
    out->rows.push_back(
        Value(Agrees(verifier.ok() ? verifier->get() : nullptr, prompt, answer, vote.label)));
  }
}

// A greedy row joins no cluster: it earns the share of the others that say the same.
double ShareOf(const Answer& answer, absl::Span<const Answer> answers) {
  if (!answer || answers.empty()) return 0;
  const auto same = std::count_if(answers.begin(), answers.end(), [&](const Answer& other) {
    return other && Equivalent(*other, *answer);
  });
  return static_cast<double>(same) / static_cast<double>(answers.size());
}

void ScoreFrequency(const GroupSourceOptions& options, absl::Span<const GroupAnswer> answers,
                    GroupVerdicts* out) {
  const std::vector<Answer> trained = AnswersOf(answers, /*with_votes=*/false);
  const std::vector<double> rewards = SemanticFrequencyRewards(trained, options.gate, Equivalent);
  size_t next = 0;
  for (const GroupAnswer& answer : answers) {
    const bool trains = TakesPart(answer) && answer.row->role == RowRole::kTrain;
    out->rows.push_back(Value(trains ? rewards[next++] : ShareOf(answer.answer, trained)));
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
                               std::map<std::string, double>* signals) {
  GroupVerdicts out;
  if (options.source == GroupSource::kMajorityOnline) {
    ScoreMajority(options, prompt, answers, &out, signals);
  } else if (options.source == GroupSource::kSemanticFrequency) {
    ScoreFrequency(options, answers, &out);
    AddClusterSignals(answers, signals);
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

void AddClusterSignals(absl::Span<const GroupAnswer> answers,
                       std::map<std::string, double>* signals) {
  const SemanticClusters clusters =
      ClusterAnswers(AnswersOf(answers, /*with_votes=*/false), Equivalent);
  (*signals)[kSemanticClusters] = static_cast<double>(clusters.members.size());
  (*signals)[kSemanticEntropy] = clusters.entropy;
}

}  // namespace cohort
