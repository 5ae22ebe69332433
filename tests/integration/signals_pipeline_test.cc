// Every reward signal and every kind of row, from the configuration through the plans of a lease,
// the worker's engine and rewards and the wire to an optimizer step, on a tiny random model.
#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/collective/collective.h"
#include "common/concurrency/bounded_queue.h"
#include "common/config/algorithm.h"
#include "common/dispatch/group_check.h"
#include "common/generate/engine.h"
#include "common/rewards/answer_text.h"
#include "common/rl/label_free.h"
#include "common/rl/shaping.h"
#include "common/rl/signals.h"
#include "common/run_rewards/run_rewards.h"
#include "common/text/json.h"
#include "common/text/tiny_tokenizer.h"
#include "common/train/train_testing.h"
#include "common/wire/group_codec.h"
#include "common/wire/lease_codec.h"
#include "services/learner/prompt_feed.h"
#include "services/learner/training_config.h"
#include "services/rollout/reward_runner.h"

namespace cohort {
namespace {

constexpr char kBase[] =
    "run: {seed: 3, spurious: true}\nmodel: {path: m, max_context: 256}\n"
    "learner: {prompts_per_step: 2}\noptimizer: {lr: 1e-3}\n";

// One worker and one learner in one thread, joined by the bytes that they would exchange.
class Pipeline {
 public:
  explicit Pipeline(const std::string& yaml) {
    auto config = ParseConfig(absl::StrCat(kBase, yaml), "test");
    EXPECT_THAT(config, IsOk());
    ResolveConfig("test", &*config);
    EXPECT_THAT(ValidateConfig(*config), IsOk());
    config_ = *config;
    EXPECT_THAT(WriteTinyTokenizer(folder_.path()), IsOk());
    tokenizer_ = *Tokenizer::Load(folder_.path());
    model_ = TinyTrainModel(at::kFloat, /*trainable=*/true, tokenizer_->vocab_size());
    EngineOptions engine;
    engine.stop_tokens = tokenizer_->eos_ids();
    engine.tokenizer = tokenizer_.get();
    engine_ = *GroupGenerator::Create(model_.get(), engine);
    scorer_ = *MakeRewards(config_);
    prompts_ = *PromptMaker::Create(config_, tokenizer_.get(), 256);
    options_ = *MakeTrainerOptions(config_);
  }

  v1::Lease Lease(const PromptItem& item) const {
    LeaseTerms terms;
    terms.lease_id = 1;
    terms.group_id = MakeGroupId(config_.run().seed(), item.ordinal, item.purpose);
    terms.ordinal = item.ordinal;
    terms.purpose = item.purpose;
    terms.source = item.source;
    terms.reward = item.reward;
    terms.columns_json = item.columns_json;
    terms.prompt = item.prompt_ids;
    terms.plans = item.plans;
    return EncodeLease(terms);
  }

  absl::StatusOr<Group> Answer(const PromptItem& item) {
    COHORT_ASSIGN_OR_RETURN(LeaseTerms lease, DecodeLease(Lease(item)));
    GroupRequest request;
    request.id = lease.group_id;
    request.ordinal = lease.ordinal;
    request.purpose = lease.purpose;
    request.prompt = lease.prompt;
    request.plans = lease.plans;
    request.with_entropy = scorer_->needs_entropy();
    COHORT_RETURN_IF_ERROR(engine_->Submit(std::move(request)));
    StepResult result;
    while (result.finished.empty()) result = engine_->Step();
    COHORT_RETURN_IF_ERROR(result.finished[0].status);
    BoundedQueue<Group> scored(1);
    RewardRunner runner(scorer_.get(), tokenizer_.get(), &metrics_,
                        [&](const absl::Status& status, ScoringJob job) {
                          EXPECT_THAT(status, IsOk());
                          EXPECT_THAT(scored.Push(std::move(job.group), absl::Now()), IsOk());
                        });
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    COHORT_RETURN_IF_ERROR(
        runner.Add({std::move(result.finished[0].group), std::move(lease)}, deadline));
    COHORT_ASSIGN_OR_RETURN(const Group sent, scored.Pop(deadline));
    COHORT_ASSIGN_OR_RETURN(Group group, DecodeGroup(EncodeGroup(sent)));
    COHORT_RETURN_IF_ERROR(CheckGroup(group, sent.id, item, {}));
    return group;
  }

  Group Train(uint64_t ordinal) {
    auto item = prompts_->Train(ordinal);
    EXPECT_THAT(item, IsOk());
    auto group = Answer(*item);
    EXPECT_THAT(group, IsOk());
    return group.ok() ? *std::move(group) : Group();
  }

  std::vector<Group> Batch(uint64_t groups) {
    std::vector<Group> batch;
    for (uint64_t ordinal = 0; ordinal < groups; ++ordinal) batch.push_back(Train(ordinal));
    return batch;
  }

  absl::StatusOr<StepReport> Step(const std::vector<Group>& groups) {
    const auto local = MakeLocalCollective();
    Trainer trainer(options_, model_.get(), nullptr, local.get());
    return trainer.Step(groups, 0);
  }

  std::string Text(const std::vector<int32_t>& ids) const { return *tokenizer_->Decode(ids, true); }
  cohort::Answer AnswerOf(const Group& group, const Row& row) const {
    return ReadAnswer("rule_last_integer", Text(group.ResponseOf(row)));
  }
  const AlgorithmSpec& spec() const { return options_.algorithm; }
  const PromptMaker& prompts() const { return *prompts_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  TemporaryFolder folder_;
  v1::RunConfig config_;
  MetricRegistry metrics_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<CausalLm> model_;
  std::unique_ptr<GroupGenerator> engine_;
  std::unique_ptr<GroupScorer> scorer_;
  std::unique_ptr<PromptMaker> prompts_;
  TrainerOptions options_;
};

std::string With(const std::string& sources, const std::string& algorithm = "") {
  return absl::StrCat("data: {task: addition-1}\nrollout: {group_size: 4, max_new_tokens: 24}\n",
                      "algorithm: {step_on_empty: true, reward: ", "{sources: [", sources, "]}",
                      algorithm.empty() ? "" : ", ", algorithm, "}\n");
}

int64_t RowsOf(const Group& group, RowRole role) {
  return std::count_if(group.rows.begin(), group.rows.end(),
                       [&](const Row& row) { return row.role == role; });
}

TEST(SignalsPipeline, TheMajorityOfMoreVotesThanRowsIsTheLabel) {
  Pipeline run(With("{name: majority_online, n_votes: 10}"));
  const std::vector<Group> groups = run.Batch(2);
  for (const Group& group : groups) {
    EXPECT_EQ(RowsOf(group, RowRole::kTrain), 4);
    EXPECT_EQ(RowsOf(group, RowRole::kVote), 6);
    std::vector<Answer> votes;
    for (const Row& row : group.rows) votes.push_back(run.AnswerOf(group, row));
    const Vote vote = MajorityVote(votes);
    EXPECT_EQ(group.signals.at(kMajorityRatio), vote.ratio);
    EXPECT_TRUE(group.signals.contains(kLabelAccuracy));
    EXPECT_TRUE(group.signals.contains(kRewardAccuracy));
    for (size_t i = 0; i < 4; ++i) {
      const bool agrees = vote.label && votes[i] && *votes[i] == *vote.label;
      EXPECT_EQ(group.rows[i].reward, agrees ? 1 : 0);
      EXPECT_FALSE(std::isnan(group.rows[i].truth));
      EXPECT_EQ(group.rows[i].no_answer, !votes[i].has_value());
    }
  }
  COHORT_ASSERT_OK_AND_ASSIGN(const StepReport report, run.Step(groups));
  EXPECT_EQ(report.rows, 8);
  EXPECT_EQ(report.signal_means.size(), 3u);
}

TEST(SignalsPipeline, SealedLabelsNeverLeaveTheLearner) {
  Pipeline run(absl::StrCat(
      "data: {sources: [{task: addition-1, split: heldout}], sealed_labels: true}\n",
      "rollout: {group_size: 4, max_new_tokens: 24}\n",
      "algorithm: {step_on_empty: true, reward: {sources: [{name: majority_online}]}}\n"));
  std::set<std::vector<int32_t>> evaluated;
  for (const PromptItem& item : run.prompts().evaluation()[0].items) {
    EXPECT_TRUE(absl::StrContains(run.Lease(item).columns_json(), "\"answer\""));
    evaluated.insert(item.prompt_ids);
  }
  for (uint64_t ordinal = 0; ordinal < 40; ++ordinal) {
    COHORT_ASSERT_OK_AND_ASSIGN(const PromptItem item, run.prompts().Train(ordinal));
    EXPECT_EQ(run.Lease(item).columns_json(), "{}");
    EXPECT_TRUE(evaluated.contains(item.prompt_ids)) << "trains on the evaluation prompts";
  }
  const Group group = run.Train(0);
  EXPECT_TRUE(group.signals.contains(kMajorityRatio));
  EXPECT_FALSE(group.signals.contains(kLabelAccuracy));
  for (const Row& row : group.rows) EXPECT_TRUE(std::isnan(row.truth));
  COHORT_ASSERT_OK_AND_ASSIGN(const StepReport report, run.Step({group}));
  EXPECT_TRUE(std::isnan(report.accuracy_mean));
  // An evaluation is judged against the truth, not against a vote.
  COHORT_ASSERT_OK_AND_ASSIGN(const Group judged,
                              run.Answer(run.prompts().evaluation()[0].items[0]));
  EXPECT_EQ(judged.reward_names, std::vector<std::string>{"task"});
  for (const Row& row : judged.rows) EXPECT_FALSE(std::isnan(row.truth));
}

TEST(SignalsPipeline, SemanticFrequencyIsGatedByTheClusters) {
  Pipeline run(With("semantic_frequency", "filter: {gate: fewer_clusters_than_n}"));
  for (const Group& group : run.Batch(4)) {
    std::vector<Answer> answers;
    for (const Row& row : group.rows) answers.push_back(run.AnswerOf(group, row));
    const SemanticClusters clusters = ClusterAnswers(answers);
    EXPECT_EQ(group.signals.at(kSemanticClusters), clusters.members.size());
    EXPECT_EQ(group.signals.at(kSemanticEntropy), clusters.entropy);
    const std::vector<double> rewards =
        SemanticFrequencyRewards(answers, {.kind = Gate::kFewerClustersThanN});
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(group.rows[i].reward, rewards[i]);
    const bool open = clusters.members.size() < 4;
    EXPECT_EQ(MakeGroupFilter(run.spec())(group),
              open ? std::nullopt : std::optional(OrdinalEnd::kGate));
  }
}

TEST(SignalsPipeline, ConfidenceRewardsAreOfTheSamplersOwnNumbers) {
  Pipeline run(
      With("neg_entropy_mean, {name: neg_entropy_sum, weight: 0}, {name: seq_logprob, weight: 0}, "
           "{name: neg_entropy_mean, weight: 0, span: last_chunk, label: end}",
           "adv: {baseline: leave_one_out}"));
  const std::vector<Group> groups = run.Batch(2);
  for (const Row& row : groups[0].rows) {
    ASSERT_EQ(row.entropy.size(), row.tokens.size());
    double entropy = 0, logprob = 0, last = 0;
    const size_t n = row.tokens.size(), chunk = (n + 3) / 4;
    for (size_t t = 0; t < n; ++t) {
      entropy += static_cast<double>(row.entropy[t]);
      logprob += static_cast<double>(row.logprobs[t]);
      if (t >= n - chunk) last += static_cast<double>(row.entropy[t]);
    }
    EXPECT_NEAR(row.reward, -entropy / static_cast<double>(n), 1e-9);
    EXPECT_NEAR(row.rewards[1], -entropy, 1e-4);
    EXPECT_NEAR(row.rewards[2], logprob, 1e-4);
    EXPECT_NEAR(row.rewards[3], -last / static_cast<double>(chunk), 1e-6);
  }
  COHORT_ASSERT_OK_AND_ASSIGN(const StepReport report, run.Step(groups));
  EXPECT_GT(report.grad_norm, 0);
}

TEST(SignalsPipeline, AnInverseAndAWrongLabelRewardWhatIsWrong) {
  Pipeline run(With("{name: task, inverse: true}, {name: incorrect_label, weight: 2}"));
  for (const Group& group : run.Batch(3)) {
    COHORT_ASSERT_OK_AND_ASSIGN(const PromptItem item, run.prompts().Train(group.ordinal));
    const auto columns = *ParseJson(item.columns_json, "columns");
    EXPECT_NE(columns["answer"], columns["incorrect_answer"]);
    for (const Row& row : group.rows) {
      const Answer answer = run.AnswerOf(group, row);
      EXPECT_EQ(row.truth, answer && *answer == columns["answer"] ? 1 : 0);
      EXPECT_EQ(row.rewards[0], 1 - row.truth);
      EXPECT_EQ(row.rewards[1], answer && *answer == columns["incorrect_answer"] ? 1 : 0);
    }
  }
}

TEST(SignalsPipeline, TheGreedyRowIsTheBaselineAndIsNotTrained) {
  Pipeline run(With("random", "ratio: none, adv: {baseline: greedy, level: returns}"));
  const std::vector<Group> groups = run.Batch(2);
  for (const Group& group : groups) {
    ASSERT_EQ(group.rows.size(), 5u);
    EXPECT_EQ(group.rows[4].role, RowRole::kBaseline);
    EXPECT_EQ(group.temperature, 1.0f);
  }
  // Greedy: the same tokens for the same prompt, whatever the group.
  COHORT_ASSERT_OK_AND_ASSIGN(PromptItem item, run.prompts().Train(0));
  item.ordinal = 77;
  COHORT_ASSERT_OK_AND_ASSIGN(const Group again, run.Answer(item));
  EXPECT_EQ(again.rows[4].tokens, groups[0].rows[4].tokens);
  COHORT_ASSERT_OK_AND_ASSIGN(TrainBatch batch, PrepareBatch(groups, run.spec(), 0));
  COHORT_ASSERT_OK(AddAdvantages(run.spec(), 0, &batch));
  ASSERT_EQ(batch.rows.size(), 8u);
  for (const TrainRow& row : batch.rows) {
    const double expected = row.reward - groups[static_cast<size_t>(row.group)].rows[4].reward;
    EXPECT_EQ(batch.advantage[static_cast<size_t>(row.begin)], expected);
  }
  COHORT_ASSERT_OK_AND_ASSIGN(const StepReport report, run.Step(groups));
  EXPECT_EQ(report.rows, 8);
}

TEST(SignalsPipeline, SerialGroupsLeaveTheFirstRowAndEarnByTheirOrder) {
  Pipeline run(absl::StrCat(
      "data: {task: addition-1}\n", "rollout: {group_size: 4, max_new_tokens: 24, ",
      "serial: {text: ' So: ', until: '', answer_tokens: 6}}\n",
      "algorithm: {step_on_empty: true, adv: {scale: none}, agg: seq_mean_token_mean, reward: ",
      "{shaping: [serial_decay]}}\n"));
  const std::vector<Group> groups = run.Batch(2);
  const std::vector<int32_t> forced = *run.tokenizer().Encode(" So: ", false);
  for (const Group& group : groups) {
    const Row& whole = group.rows[0];
    for (size_t i = 1; i < 4; ++i) {
      const Row& row = group.rows[i];
      EXPECT_EQ(row.parent, 0);
      EXPECT_GE(row.parent_tokens, 1);
      EXPECT_LE(row.parent_tokens, static_cast<int32_t>(whole.tokens.size()));
      EXPECT_LE(row.tokens.size(), forced.size() + 6);
      for (size_t t = 0; t < forced.size(); ++t) {
        EXPECT_EQ(row.tokens[t], forced[t]);
        EXPECT_EQ(row.mask[t], 0) << "text that was put in carries no loss";
      }
    }
  }
  // Where every row is right, the k-th exit earns 2^-(k-1) and the whole response comes last.
  std::vector<Group> right = groups;
  for (Row& row : right[0].rows) row.rewards = {1}, row.reward = 1;
  COHORT_ASSERT_OK_AND_ASSIGN(const TrainBatch batch, PrepareBatch(right, run.spec(), 0));
  EXPECT_EQ(batch.rows[0].reward, 0.125);
  for (size_t i = 1; i < 4; ++i) {
    for (size_t j = 1; j < 4; ++j) {
      if (right[0].rows[i].parent_tokens >= right[0].rows[j].parent_tokens) continue;
      EXPECT_GT(batch.rows[i].reward, batch.rows[j].reward);
    }
    const TrainRow& row = batch.rows[i];
    EXPECT_EQ(row.inherited, right[0].rows[i].parent_tokens);
    EXPECT_EQ(row.length, row.inherited + static_cast<int64_t>(right[0].rows[i].tokens.size()));
  }
  COHORT_ASSERT_OK_AND_ASSIGN(const StepReport report, run.Step(right));
  EXPECT_GT(report.grad_norm, 0);
  EXPECT_LT(report.mismatch.max_log_difference, 1e-4);
}

TEST(SignalsPipeline, ALengthRequestStandsInThePromptAndInTheReward) {
  for (const bool maximum : {false, true}) {
    Pipeline run(absl::StrCat(
        "data: {task: addition-1}\nrollout: {group_size: 4, max_new_tokens: 24}\n",
        "algorithm: {step_on_empty: true, reward: {shaping: [{", maximum ? "l1_max" : "l1_exact",
        ": {alpha: 0.01, min_tokens: 5, max_tokens: 20}}]}}\n"));
    std::set<double> asked;
    const std::vector<Group> groups = run.Batch(4);
    COHORT_ASSERT_OK_AND_ASSIGN(const TrainBatch batch, PrepareBatch(groups, run.spec(), 0));
    for (const TrainRow& row : batch.rows) {
      const Group& group = groups[static_cast<size_t>(row.group)];
      const double target = group.signals.at(kTargetTokens);
      asked.insert(target);
      EXPECT_TRUE(target >= 5 && target <= 20);
      EXPECT_TRUE(absl::StrContains(
          run.Text(group.prompt),
          absl::StrCat(maximum ? "Think for maximum " : "Think for ", target, " tokens.")));
      const bool correct = batch.SourceRow(row).reward == 1;
      const auto n = static_cast<int64_t>(target);
      EXPECT_EQ(row.reward, maximum ? L1MaxReward(correct, n, row.length, 0.01, 0.5, false)
                                    : L1ExactReward(correct, n, row.length, 0.01));
    }
    EXPECT_GT(asked.size(), 1u);
  }
}

TEST(SignalsPipeline, RowsWithoutAnAnswerFallToTheFloor) {
  Pipeline run(With("neg_entropy_mean], shaping: [{format_floor: {value: -7}}"));
  bool some = false;
  const std::vector<Group> groups = run.Batch(4);
  COHORT_ASSERT_OK_AND_ASSIGN(const TrainBatch batch, PrepareBatch(groups, run.spec(), 0));
  for (const TrainRow& row : batch.rows) {
    const Row& source = batch.SourceRow(row);
    some = some || source.no_answer;
    EXPECT_EQ(row.reward, source.no_answer ? -7 : source.reward);
  }
  EXPECT_TRUE(some);
}

TEST(SignalsPipeline, RowFiltersKeepTheirStatisticsToTheKeptRows) {
  Pipeline run(With("random", "filter: {rows: {topk: {k: 2}}}"));
  const std::vector<Group> groups = run.Batch(2);
  COHORT_ASSERT_OK_AND_ASSIGN(const TrainBatch batch, PrepareBatch(groups, run.spec(), 0));
  for (size_t g = 0; g < 2; ++g) {
    int64_t kept = 0, longest_kept = 0, shortest_dropped = 1000;
    for (size_t i = 4 * g; i < 4 * g + 4; ++i) {
      const TrainRow& row = batch.rows[i];
      kept += row.scorable ? 1 : 0;
      if (row.scorable) longest_kept = std::max(longest_kept, row.length);
      if (!row.scorable) shortest_dropped = std::min(shortest_dropped, row.length);
      EXPECT_GT(batch.ValidTokens(row), 0) << "denominator all counts what is dropped";
    }
    EXPECT_EQ(kept, 2);
    EXPECT_LE(longest_kept, shortest_dropped);
  }
  COHORT_ASSERT_OK(run.Step(groups));

  Pipeline drops(With("random", "filter: {rows: drop_truncated}"));
  const std::vector<Group> all = drops.Batch(2);
  COHORT_ASSERT_OK_AND_ASSIGN(const TrainBatch whole, PrepareBatch(all, drops.spec(), 0));
  for (const TrainRow& row : whole.rows) {
    EXPECT_EQ(row.scorable, !row.truncated);
    EXPECT_EQ(whole.ValidTokens(row) > 0, !row.truncated);
  }
}

}  // namespace
}  // namespace cohort
