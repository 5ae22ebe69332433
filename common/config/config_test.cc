#include "common/config/config.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/status_matchers.h"
#include "common/config/algorithm.h"
#include "google/protobuf/util/message_differencer.h"

namespace cohort {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::AllOf;
using testing::HasSubstr;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
constexpr char kSmall[] = "model: {path: m}\ndata: {task: addition-1}\n";

v1::RunConfig Resolved(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  absl::StatusOr<v1::RunConfig> config = ParseConfig(yaml, "a.yaml", overrides);
  EXPECT_THAT(config, IsOk());
  if (!config.ok()) return {};
  ResolveConfig("a", &*config);
  return *std::move(config);
}

absl::Status Check(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  absl::StatusOr<v1::RunConfig> config = ParseConfig(yaml, "a.yaml", overrides);
  if (!config.ok()) return config.status();
  ResolveConfig("a", &*config);
  return ValidateConfig(*config);
}

absl::Status CheckSet(const std::vector<std::string>& overrides) {
  return Check(kSmall, overrides);
}

// ---- reading ----

TEST(ParseConfigTest, ReadsEveryKindOfField) {
  COHORT_ASSERT_OK_AND_ASSIGN(v1::RunConfig config, ParseConfig(R"(
run: {seed: 18446744073709551615, steps: 7}
model: {path: 'x y', checkpoint_activations: true}
data:
  sources: [addition-1, {task: countdown, weight: .5}]
rollout: {stop: ["\n\n", END], consume: arrival, temperature: 7e-1}
optimizer: {schedule: cosine}
)",
                                                                "a.yaml"));
  EXPECT_EQ(config.run().seed(), UINT64_MAX);
  EXPECT_EQ(config.run().steps(), 7);
  EXPECT_EQ(config.model().path(), "x y");
  EXPECT_TRUE(config.model().checkpoint_activations());
  EXPECT_EQ(config.data().sources(0).task(), "addition-1");
  EXPECT_EQ(config.data().sources(1).weight(), 0.5);
  EXPECT_EQ(config.rollout().stop(0), "\n\n");
  EXPECT_EQ(config.rollout().consume(), v1::CONSUME_ARRIVAL);
  EXPECT_EQ(config.rollout().temperature(), 0.7);
  EXPECT_EQ(config.optimizer().schedule(), v1::SCHEDULE_COSINE);
}

TEST(ParseConfigTest, ReadsChoicesAsABareNameOrWithFields) {
  COHORT_ASSERT_OK_AND_ASSIGN(v1::RunConfig config, ParseConfig(R"(
algorithm:
  trust: none
  adv: {baseline: leave_one_out, scale: {token_whiten: bessel}, level: sequence}
  kl: {loss: {est: k3_plus, coef: 0.1}}
  filter: {prompts: dynamic, rows: {topk: {k: 3}}}
  data: {select: lim}
  agg: token_mean
  offpolicy: {icepop: , neg_seq_mask: {delta: 0.25}}
  reward:
    shaping: [dast, {truncated: mask}, overlong_soft: {cache: 4}]
)",
                                                                "a.yaml"));
  const v1::AlgorithmSection& algorithm = config.algorithm();
  EXPECT_TRUE(algorithm.trust().has_none());
  EXPECT_EQ(algorithm.adv().baseline(), v1::BASELINE_LEAVE_ONE_OUT);
  EXPECT_EQ(algorithm.adv().scale().token_whiten().variance(), v1::WHITEN_BESSEL);
  EXPECT_EQ(algorithm.kl().loss().est(), v1::KL_EST_K3_PLUS);
  EXPECT_TRUE(algorithm.filter().prompts().has_dynamic());
  EXPECT_EQ(algorithm.filter().rows().topk().k(), 3);
  EXPECT_TRUE(algorithm.data().select().has_lim());
  EXPECT_EQ(algorithm.agg().mode(), v1::AGG_TOKEN_MEAN);
  EXPECT_TRUE(algorithm.offpolicy().has_icepop());
  EXPECT_EQ(algorithm.offpolicy().neg_seq_mask().delta(), 0.25);
  EXPECT_TRUE(algorithm.reward().shaping(0).has_dast());
  EXPECT_EQ(algorithm.reward().shaping(1).truncated().mode(), v1::TRUNCATED_MASK);
  EXPECT_EQ(algorithm.reward().shaping(2).overlong_soft().cache(), 4);
}

TEST(ParseConfigTest, AnEmptyFileIsAnEmptyConfiguration) {
  COHORT_EXPECT_OK(ParseConfig("", "a.yaml"));
  COHORT_EXPECT_OK(ParseConfig("# nothing\n", "a.yaml"));
  COHORT_EXPECT_OK(ParseConfig("rollout:\n", "a.yaml"));
}

struct Refusal {
  const char* why;
  const char* yaml;
  const char* message;
};

class RefusedYamlTest : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedYamlTest, NamesLineAndExpectation) {
  const absl::StatusOr<v1::RunConfig> config = ParseConfig(GetParam().yaml, "a.yaml");
  EXPECT_THAT(config, StatusIs(kInvalid, HasSubstr(GetParam().message)));
  EXPECT_EQ(std::string(config.status().message()).find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Mistakes, RefusedYamlTest,
    testing::Values(
        Refusal{"misspelt key", "run: {steps: 1}\nrollout:\n  group_sise: 8\n",
                "a.yaml:3: unknown key 'rollout.group_sise'; did you mean 'rollout.group_size'?"},
        Refusal{"misspelt section", "rollouts: {}\n",
                "a.yaml:1: unknown key 'rollouts'; did you mean 'rollout'?"},
        Refusal{"right key at the wrong place", "rollout:\n  lr: 1e-6\n",
                "a.yaml:2: unknown key 'rollout.lr'; did you mean 'optimizer.lr'?"},
        Refusal{"field of a part", "algorithm: {trust: {low: 0.1}}\n",
                "did you mean 'algorithm.trust.clip.low'?"},
        Refusal{"nothing near", "optimizer: {quantum_flux: 1}\n",
                "expected one of lr, beta1, beta2"},
        Refusal{"text for a whole number", "run:\n  steps: many\n",
                "a.yaml:2: run.steps: expected a whole number in"},
        Refusal{"fraction for a whole number", "run: {steps: 1.5}\n", "found '1.5'"},
        Refusal{"quoted number", "run: {steps: '5'}\n", "expected a whole number"},
        Refusal{"too large", "rollout: {group_size: 3000000000}\n", "expected a whole number in"},
        Refusal{"negative seed", "run: {seed: -1}\n",
                "run.seed: expected a whole number that is not negative, found '-1'"},
        Refusal{"not finite", "optimizer: {lr: .nan}\n", "optimizer.lr: expected a finite number"},
        Refusal{"infinite", "optimizer: {lr: 1e999}\n", "expected a finite number"},
        Refusal{"nothing for a number", "optimizer:\n  lr:\n",
                "a.yaml:2: optimizer.lr: expected a finite number, found nothing"},
        Refusal{"truth as yes", "data: {shuffle: yes}\n",
                "data.shuffle: expected true or false, found 'yes'"},
        Refusal{"mapping for text", "model: {path: {a: b}}\n",
                "model.path: expected text, found a mapping"},
        Refusal{"list for a section", "model: [a]\n", "expected a mapping with keys among path"},
        Refusal{"text for a section", "model: x\n", "found 'x'"},
        Refusal{"text for a list", "rollout: {stop: x}\n", "expected a list, found 'x'"},
        Refusal{"enum value", "optimizer: {schedule: cosin}\n",
                "optimizer.schedule: unknown value 'cosin'; did you mean 'cosine'?"},
        Refusal{"part name", "algorithm: {trust: clipp}\n",
                "algorithm.trust: unknown value 'clipp'; did you mean 'clip'?"},
        Refusal{"two parts", "algorithm: {trust: {clip: , none: }}\n",
                "algorithm.trust: 'clip' and 'none' exclude each other"},
        Refusal{"choice without a value", "algorithm:\n  kl:\n",
                "algorithm.kl: expected one of none, loss, reward"},
        Refusal{"duplicate key", "run: {steps: 1}\nrun: {steps: 2}\n",
                "a.yaml:2: duplicate key 'run'"},
        Refusal{"part without fields", "algorithm: {trust: {none: {low: 1}}}\n",
                "unknown key 'algorithm.trust.none.low'"},
        Refusal{"key that is a list", "[a]: 1\n", "expected a key, found a list"},
        Refusal{"top level is a list", "- a\n", "a.yaml:1: configuration: expected a mapping"},
        Refusal{"two documents", "run: {}\n---\nrun: {}\n", "expected one YAML document"},
        Refusal{"stray bracket", "run: {steps: 1}\n]\n", "not valid YAML"},
        Refusal{"not YAML", "run: {steps: 1\n", "not valid YAML"}),
    [](const testing::TestParamInfo<Refusal>& param) { return absl::StrCat("case", param.index); });

TEST(LoadConfigTest, AMissingFileIsNamed) {
  EXPECT_THAT(LoadConfig("no/such/file.yaml"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no/such/file.yaml")));
}

// ---- overrides ----

TEST(OverrideTest, ReplacesOneFieldAndKeepsTheRest) {
  COHORT_ASSERT_OK_AND_ASSIGN(
      v1::RunConfig config,
      ParseConfig(
          "algorithm: {trust: {clip: {low: 0.1, dual_c: 3}}}\ndata: {sources: [addition-1]}",
          "a.yaml",
          {"algorithm.trust.clip.high=0.3", "algorithm.trust.clip.dual_c=null",
           "data.sources[0].weight=2", "data.sources.1.task=countdown", "rollout.stop=[a, b]",
           "rollout.stop[1]=c"}));
  const v1::Clip& clip = config.algorithm().trust().clip();
  EXPECT_EQ(clip.low(), 0.1);
  EXPECT_EQ(clip.high(), 0.3);
  EXPECT_FALSE(clip.has_dual_c());
  EXPECT_EQ(config.data().sources(0).weight(), 2);
  EXPECT_EQ(config.data().sources(1).task(), "countdown");
  EXPECT_EQ(config.rollout().stop(1), "c");
}

TEST(OverrideTest, AFieldOfAPartSelectsIt) {
  COHORT_ASSERT_OK_AND_ASSIGN(v1::RunConfig config,
                              ParseConfig("algorithm: {trust: none}", "a.yaml",
                                          {"algorithm.trust.clip.high=0.3", "algorithm.kl=none"}));
  EXPECT_EQ(config.algorithm().trust().clip().high(), 0.3);
  EXPECT_TRUE(config.algorithm().kl().has_none());
}

TEST(OverrideTest, ADataOverrideReplacesTheFilesData) {
  COHORT_ASSERT_OK_AND_ASSIGN(
      v1::RunConfig config,
      ParseConfig("data: {sources: [addition-1, countdown]}", "a.yaml", {"data.task=sorting"}));
  ResolveConfig("a", &config);
  ASSERT_EQ(config.data().sources_size(), 1);
  EXPECT_EQ(config.data().sources(0).task(), "sorting");
}

TEST(OverrideTest, MistakesNameTheSetting) {
  EXPECT_THAT(
      CheckSet({"rollout.group_sise=8"}),
      StatusIs(kInvalid, HasSubstr("--set rollout.group_sise=8: unknown key "
                                   "'rollout.group_sise'; did you mean 'rollout.group_size'?")));
  EXPECT_THAT(CheckSet({"run.steps"}), StatusIs(kInvalid, HasSubstr("expected key=value")));
  EXPECT_THAT(CheckSet({"=3"}), StatusIs(kInvalid, HasSubstr("expected key=value")));
  EXPECT_THAT(CheckSet({"run.steps=x"}), StatusIs(kInvalid, HasSubstr("expected a whole number")));
  EXPECT_THAT(CheckSet({"run.steps.more=1"}), StatusIs(kInvalid, HasSubstr("has no part 'more'")));
  EXPECT_THAT(CheckSet({"run.steps=[1"}), StatusIs(kInvalid, HasSubstr("not valid YAML")));
  EXPECT_THAT(CheckSet({"data.sources[7].weight=1"}),
              StatusIs(kInvalid, HasSubstr("data.sources has 0 entries")));
  EXPECT_THAT(CheckSet({"data.sources[0]x=1"}), StatusIs(kInvalid, HasSubstr("'.' after ']'")));
}

// ---- resolving ----

TEST(ResolveTest, FillsWhatIsDerived) {
  const v1::RunConfig config = Resolved(
      "data: {path: d/gsm8k.test.jsonl}\n"
      "rollout: {max_new_tokens: 99}\n"
      "algorithm: {agg: seq_mean_token_sum_const}\n");
  EXPECT_EQ(config.run().name(), "a");
  EXPECT_EQ(config.run().out(), "runs/a");
  EXPECT_FALSE(config.data().has_path());
  EXPECT_EQ(config.data().sources(0).name(), "gsm8k.test");
  EXPECT_EQ(config.eval().sources(0).path(), "d/gsm8k.test.jsonl");
  EXPECT_EQ(config.data().sources(0).heldout_rows(), 64);
  EXPECT_EQ(config.eval().sources(0).heldout_rows(), 64);
  EXPECT_EQ(config.eval().max_new_tokens(), 99);
  EXPECT_EQ(config.algorithm().agg().constant(), 99);
  EXPECT_EQ(config.algorithm().agg().empty_rows(), v1::EMPTY_ROWS_COUNT);
  EXPECT_EQ(config.algorithm().reward().sources(0).name(), "task");
  EXPECT_TRUE(config.algorithm().adv().scale().has_group_std());
  EXPECT_EQ(config.algorithm().trust().clip().low(), 0.2);
  EXPECT_TRUE(config.algorithm().trust().clip().has_high());
  EXPECT_TRUE(config.algorithm().kl().has_none());
}

TEST(ResolveTest, AFileIsTrainedWholeWhereEvaluationHasItsOwn) {
  const v1::RunConfig separate =
      Resolved("data: {path: train.jsonl}\neval: {sources: [{path: test.jsonl}]}\n");
  EXPECT_EQ(separate.data().sources(0).heldout_rows(), 0);
  EXPECT_EQ(separate.eval().sources(0).heldout_rows(), 0);
  EXPECT_EQ(
      Resolved("data: {path: a.jsonl}\neval: {samples: 0}\n").data().sources(0).heldout_rows(), 0);
}

TEST(ResolveTest, TheDefaultCorrectionIsTruncatedImportanceSampling) {
  const v1::RunConfig config = Resolved(kSmall);
  EXPECT_EQ(config.algorithm().offpolicy().tis().level(), v1::LEVEL_TOKEN);
  EXPECT_EQ(config.algorithm().offpolicy().tis().cap(), 2.0);
}

TEST(ResolveTest, RejectionsBoundsFollowItsStatistic) {
  const auto bounds = [](const std::string& reject) {
    const v1::RunConfig config =
        Resolved(kSmall, {absl::StrCat("algorithm.offpolicy={reject: {", reject, "}}")});
    const v1::Reject& found = config.algorithm().offpolicy().reject();
    return std::pair(found.has_lo() ? found.lo() : -1, found.hi());
  };
  EXPECT_EQ(bounds(""), std::pair(0.999, 1.001));
  EXPECT_EQ(bounds("stat: seq_sum_k1"), std::pair(0.5, 2.0));
  EXPECT_EQ(bounds("stat: token_k1, hi: 4"), std::pair(0.25, 4.0));
  EXPECT_EQ(bounds("stat: token_k1, lo: 0.5"), std::pair(0.5, 2.0));
  EXPECT_EQ(bounds("stat: seq_mean_k1, lo: 0.9, hi: 1.2"), std::pair(0.9, 1.2));
  EXPECT_EQ(bounds("stat: token_k3"), std::pair(-1.0, 0.01)) << "an upper bound only";
}

TEST(ResolveTest, TheDapoRuleJudgesByPlusAndMinusOne) {
  EXPECT_EQ(Resolved(kSmall).algorithm().reward().scale().wrong(), 0);
  EXPECT_EQ(Resolved(kSmall, {"data.sources=[{path: a, reward: rule_dapo}]"})
                .algorithm()
                .reward()
                .scale()
                .wrong(),
            -1);
  EXPECT_EQ(
      Resolved(kSmall, {"algorithm.reward.sources=[rule_dapo]", "algorithm.reward.scale.wrong=0"})
          .algorithm()
          .reward()
          .scale()
          .wrong(),
      0);
}

TEST(ResolveTest, DefaultsFollowTheBaselineAndTheRatio) {
  const v1::RunConfig config =
      Resolved(kSmall, {"algorithm.adv.baseline=none", "algorithm.ratio=none"});
  EXPECT_TRUE(config.algorithm().adv().scale().has_none());
  EXPECT_TRUE(config.algorithm().trust().has_none());
}

TEST(PrintConfigTest, PrintsAnEqualConfigurationWithEveryValue) {
  const v1::RunConfig config = Resolved(
      "model: {path: 'a: \"b\"'}\ndata: {sources: [addition-1, {path: x.jsonl}]}\n"
      "rollout: {stop: [\"\\n\\t\", '', \"# no\"]}\n"
      "algorithm: {trust: {clip: {dual_c: 10}}, offpolicy: {none: , neg_seq_mask: {}}, "
      "reward: {shaping: [dast, {overlong_soft: {cache: 3}}]}}\n");
  const std::string text = PrintConfig(config);
  COHORT_ASSERT_OK_AND_ASSIGN(v1::RunConfig again, ParseConfig(text, "printed"));
  EXPECT_TRUE(MessageDifferencer::Equals(config, again)) << text;
  ResolveConfig("other", &again);
  EXPECT_TRUE(MessageDifferencer::Equals(config, again));
  EXPECT_THAT(text,
              AllOf(HasSubstr("lr: 1e-06"), HasSubstr("kl: none"), HasSubstr("beta2: 0.999")));
}

// ---- validating ----

TEST(ValidateTest, TheSmallestConfigurationIsValid) { COHORT_EXPECT_OK(Check(kSmall)); }

class RefusedSettingTest : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(RefusedSettingTest, NamesTheField) {
  std::vector<std::string> overrides;
  for (absl::string_view rest = GetParam().first; !rest.empty();) {
    const size_t space = rest.find(' ');
    overrides.emplace_back(rest.substr(0, space));
    rest = space == absl::string_view::npos ? "" : rest.substr(space + 1);
  }
  EXPECT_THAT(CheckSet(overrides), StatusIs(kInvalid, HasSubstr(GetParam().second)));
}

INSTANTIATE_TEST_SUITE_P(
    Ranges, RefusedSettingTest,
    testing::Values(
        std::pair{"model.path=''", "model.path: expected a Hugging Face model folder"},
        std::pair{"model.dtype=fp16", "model.dtype: unknown value 'fp16'; did you mean 'fp32'?"},
        std::pair{"data.sources=[]", "set data.task, data.path or data.sources"},
        std::pair{"data.sources=[{weight:\t1}]",
                  "data.sources[0]: expected either a task or a path"},
        std::pair{"data.sources=[addition-1,addition-1]", "'addition-1' is used twice"},
        std::pair{"data.sources=[addition-1] data.sources[0].weight=0",
                  "data.sources[0].weight: expected a number above 0"},
        std::pair{"data.sources=[{task:\taddition-1,reward:\trule_maths}]",
                  "data.sources[0].reward: unknown value 'rule_maths'; did you mean 'rule_math'?"},
        std::pair{R"(data.sources=[{"task":"addition-1","reward":"contains"}])",
                  "data.sources[0].reward: contains needs a text, which a data source has not"},
        std::pair{R"(data.sources=[{"task":"addition-1","reward":"random"}])",
                  "data.sources[0].reward: random does not see the truth; set run.spurious: true"},
        std::pair{R"(algorithm.filter.prompts={"band":{"max_rounds":0}})",
                  "algorithm.filter.prompts.band.max_rounds: expected at least 1, found 0"},
        std::pair{"run.steps=0", "run.steps: expected at least 1, found 0"},
        std::pair{"run.sampled_tokens=-1", "run.sampled_tokens: expected at least 0, found -1"},
        std::pair{"rollout.temperature=-1", "rollout.temperature: expected a number in [0, 100]"},
        std::pair{"rollout.top_p=0", "rollout.top_p: expected a number above 0"},
        std::pair{"rollout.threads=99999",
                  "rollout.threads: expected a number in [0, 1024], found 99999"},
        std::pair{"rollout.max_staleness=-1", "rollout.max_staleness: expected at least 0"},
        std::pair{"rollout.group_size=1", "set rollout.group_size to at least 2"},
        std::pair{"learner.prompts_per_step=6 learner.mini_batches=4",
                  "learner.prompts_per_step (6) does not divide by learner.mini_batches (4); set "
                  "learner.prompts_per_step to 8 or 4, or learner.mini_batches to a divisor of 6"},
        std::pair{"learner.prompts_per_step=3 learner.ranks=2",
                  "learner.prompts_per_step (3) does not divide by learner.ranks (2)"},
        std::pair{"learner.prompts_per_step=4 learner.ranks=4 learner.mini_batches=2",
                  "does not divide by learner.mini_batches x learner.ranks (8)"},
        std::pair{"learner.listen=nowhere", "learner.listen: expected HOST:PORT"},
        std::pair{"optimizer.lr=-1", "optimizer.lr: expected a number in [0, 1]"},
        std::pair{"optimizer.beta1=1", "optimizer.beta1"},
        std::pair{"checkpoint.keep_last=0", "checkpoint.keep_last: expected at least 1"},
        std::pair{"weights.codec=zip", "weights.codec: unknown value 'zip'"},
        std::pair{"reward.timeout_seconds=0", "reward.timeout_seconds: expected a number above 0"},
        std::pair{"data.sources=[{task:\taddition-1,reward:\tcode_tests}]",
                  "reward.code.interpreter: code_tests runs programs and needs an interpreter"},
        std::pair{"algorithm.reward.sources=[code_tests]", "reward.code.interpreter"},
        std::pair{"algorithm.reward.sources=[service]",
                  "algorithm.reward.sources[0].address: expected HOST:PORT, found ''"},
        std::pair{"algorithm.reward.sources=[rule_regex,rule_regex]",
                  "algorithm.reward.sources[1]: rule_regex is there twice; give each a label"},
        std::pair{"algorithm.reward.sources=[contains]",
                  "algorithm.reward.sources[0].text: expected what is looked for"},
        std::pair{"algorithm.reward.sources=[{name:\trule_math,compat:\tsympy}]",
                  "algorithm.reward.sources[0].compat: unknown value 'sympy'"},
        std::pair{"reward.service.batch=0", "reward.service.batch: expected at least 1"},
        std::pair{"eval.samples=-1", "eval.samples: expected at least 0"},
        std::pair{"algorithm.reward.shaping=[overlong_soft]",
                  "overlong_soft.cache: expected tokens in [1, max_len = 256], found 0"}));

INSTANTIATE_TEST_SUITE_P(
    Algorithm, RefusedSettingTest,
    testing::Values(
        std::pair{"algorithm.data.select=lim",
                  "algorithm.data.select.lim.run: expected the folder"},
        std::pair{"algorithm.data.select={variance_topk:\t{k:\t0,run:\truns/grpo}}",
                  "algorithm.data.select.variance_topk.k: expected at least 1, found 0"},
        std::pair{"algorithm.adv.baseline=critic_gae algorithm.adv.level=sequence",
                  "critic_gae (adv.baseline) needs returns"},
        std::pair{"algorithm.adv.baseline=critic_gae critic.lr=2", "critic.lr: expected a number"},
        std::pair{"algorithm.adv.baseline=prime_loo", "need each other; found prime_loo with no"},
        std::pair{"algorithm.reward.sources=[implicit_prm]",
                  "implicit_prm needs a process reward model"},
        std::pair{"algorithm.adv.baseline=prime_loo algorithm.reward.sources=[implicit_prm]",
                  "found prime_loo with implicit_prm among 1"},
        std::pair{"process_model.beta=0", "process_model.beta: expected a number above 0"},
        std::pair{"algorithm.objective=entropy_direct algorithm.entropy_coef=0.1",
                  "algorithm.entropy_coef: objective entropy_direct is the entropy itself"},
        std::pair{"algorithm.objective=entropy_direct algorithm.kl=reward", "algorithm.kl"},
        std::pair{"algorithm.objective=entropy_direct algorithm.offpolicy=tis",
                  "no policy ratio to correct"},
        std::pair{"algorithm.objective=entropy_direct algorithm.filter.prompts=dynamic",
                  "algorithm.reward.sources: expected at least one"},
        std::pair{"algorithm.objective=entropy_direct algorithm.adv.baseline=critic_gae",
                  "would train a model for nothing"},
        std::pair{"algorithm.objective.inference_entropy.lr=0",
                  "algorithm.objective.inference_entropy.lr: expected a number above 0"},
        std::pair{"algorithm.reward.shaping=[serial_decay]", "set rollout.serial"},
        std::pair{"algorithm.reward.shaping=[l1_exact,\tl1_max]", "keep one of them"},
        std::pair{"algorithm.reward.shaping=[{l1_exact:\t{min_tokens:\t9,\tmax_tokens:\t3}}]",
                  "shaping[0].max_tokens: expected at least 9"},
        std::pair{"algorithm.reward.shaping=[{l1_exact:\t{code_slope:\ttrue}}]",
                  "code_slope halves the slope of l1_max"},
        std::pair{"algorithm.trust={detach_clip:\t{mask:\t{low:\t-1}}}",
                  "algorithm.trust.detach_clip.mask: low and high must be >= 0; found -1 and 0.2"},
        std::pair{"algorithm.reward.sources=[random]", "set run.spurious: true"},
        std::pair{"algorithm.reward.sources=[majority_online]", "set run.spurious: true"},
        std::pair{"algorithm.reward.sources=[majority_offline]", "set run.spurious: true"},
        std::pair{"algorithm.reward.sources=[incorrect_label]", "set run.spurious: true"},
        std::pair{"algorithm.reward.sources=[{name:\trule_math,\tinverse:\ttrue}]",
                  "the inverse of rule_math does not see the truth; set run.spurious: true"},
        std::pair{"algorithm.reward.sources=[{name:\tmajority_online,\tn_votes:\t-1}]",
                  "algorithm.reward.sources[0].n_votes: expected at least 0"},
        std::pair{"algorithm.reward.sources=[neg_entropy_mean] rollout.temperature=0.6",
                  "neg_entropy_mean is the entropy at temperature 1; set rollout.temperature to 1"},
        std::pair{"algorithm.reward.sources=[seq_logprob] algorithm.filter.prompts=dynamic",
                  "algorithm.filter.prompts: dynamic looks at how many rows are right"},
        std::pair{
            "algorithm.reward.sources=[semantic_frequency] algorithm.reward.shaping=[kimi_length]",
            "kimi_length asks whether a row is right"},
        std::pair{"data.sealed_labels=true", "data.sealed_labels: algorithm.reward.sources rule"},
        std::pair{"data.sealed_labels=true run.spurious=true "
                  "algorithm.reward.sources=[{name:\tmajority_offline,\tcolumn:\tanswer}]",
                  "column: answer holds the answer that data.sealed_labels keeps"},
        std::pair{"data.sources=[{task:\taddition-1,\tsplit:\theldout}]",
                  "data.sources[0].split: heldout trains on evaluation prompts"},
        std::pair{"algorithm.filter.prompts={min_valid:\t{frac:\t0}}",
                  "min_valid.frac: must lie in (0, 1]"},
        std::pair{"algorithm.filter.prompts={min_valid:\t{max_tries:\t0}}",
                  "max_tries: expected at least 1"},
        std::pair{"algorithm.filter.gate={entropy_band:\t{lo:\t1,\thi:\t1}}", "needs lo < hi"},
        std::pair{"rollout.length_schedule=[{from_step:\t5,\tmax_new_tokens:\t300}]",
                  "expected at most rollout.max_new_tokens 256, found 300"},
        std::pair{"rollout.length_schedule=[{from_step:\t5,\tmax_new_tokens:\t9},\t{from_step:\t5,"
                  "\tmax_new_tokens:\t8}]",
                  "length_schedule[1].from_step: expected at least 6"},
        std::pair{"rollout.serial={answer_tokens:\t-1}", "rollout.serial.answer_tokens"},
        std::pair{"algorithm.trust.clip.dual_c=1", "algorithm.trust.clip.dual_c: must be > 1"},
        std::pair{"algorithm.ratio=none learner.epochs=2", "exactly one optimizer step per batch"},
        std::pair{"algorithm.ratio=none algorithm.trust=clip", "ratio none needs trust none"},
        std::pair{"algorithm.kl=reward", "reward needs adv.level returns"},
        std::pair{"algorithm.agg=seq_mean_token_sum_const algorithm.agg.constant=-1",
                  "algorithm.agg.constant"},
        std::pair{"algorithm.adv.baseline=critic_gae rollout.group_size=8 "
                  "algorithm.filter.rows={topk:\t{k:\t2}}",
                  "algorithm.adv.baseline critic_gae would learn"},
        std::pair{"algorithm.offpolicy.reject.stat=foo", "foo"},
        std::pair{"algorithm.filter.prompts.dynamic.max_rounds=0",
                  "max_rounds: expected at least 1"}));

TEST(ValidateTest, ReportsAllMistakesInOneLine) {
  EXPECT_THAT(CheckSet({"run.steps=0", "optimizer.eps=0"}),
              StatusIs(kInvalid, AllOf(HasSubstr("run.steps"), HasSubstr("; optimizer.eps"))));
}

TEST(ValidateTest, WrongAnswersAreTaughtInBuiltInTasksOnly) {
  COHORT_EXPECT_OK(CheckSet({"sft.wrong_share=0.45", "sft.wrong_answer=next"}));
  EXPECT_THAT(CheckSet({"sft.wrong_share=1.1"}), StatusIs(kInvalid, HasSubstr("sft.wrong_share")));
  EXPECT_THAT(Check("model: {path: m}\ndata: {path: b.jsonl}\nsft: {wrong_share: 0.5}\n"),
              StatusIs(kInvalid, HasSubstr("found data.sources[0].path \"b.jsonl\"")));
}

TEST(ValidateTest, TwoSpellingsOfTheDataAreRefused) {
  EXPECT_THAT(Check("model: {path: m}\ndata: {task: a, path: b}\n"),
              StatusIs(kInvalid, HasSubstr("three spellings of one choice")));
}

TEST(ConfigWarningsTest, NamesWhatIsProbablyNotMeant) {
  EXPECT_TRUE(ConfigWarnings(Resolved(kSmall)).empty());
  const std::vector<std::string> warnings =
      ConfigWarnings(Resolved(kSmall, {"algorithm.adv.baseline=leave_one_out",
                                       "algorithm.adv.scale=group_std", "rollout.top_k=5"}));
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_THAT(warnings[0], HasSubstr("GRPO up to the factor"));
}

TEST(LoadResolvedConfigTest, NamesTheRunAfterTheFileAndTheFileInErrors) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/mine.yaml";
  COHORT_ASSERT_OK(WriteFileAtomic(path, kSmall));
  COHORT_ASSERT_OK_AND_ASSIGN(v1::RunConfig config, LoadResolvedConfig(path));
  EXPECT_EQ(config.run().name(), "mine");
  EXPECT_THAT(LoadResolvedConfig(path, {"run.steps=0"}),
              StatusIs(kInvalid, HasSubstr("mine.yaml: run.steps")));
}

// ---- batch terms, semantic fields, algorithm ----

TEST(BatchTermsTest, SpellsOutEveryUnit) {
  const v1::RunConfig config = Resolved(
      kSmall, {"learner.prompts_per_step=8", "learner.ranks=2", "learner.mini_batches=2",
               "rollout.group_size=4", "rollout.max_new_tokens=10", "rollout.max_staleness=1"});
  std::vector<std::string> found;
  for (const BatchTerm& term : BatchTerms(config)) {
    found.push_back(absl::StrCat(term.name, " ", term.prompts, " ", term.rows, " ", term.tokens));
  }
  EXPECT_THAT(found,
              testing::IsSupersetOf({"step (batch), all ranks 8 32 320", "step, per rank 4 16 160",
                                     "mini-batch (one update), all ranks 4 16 160",
                                     "mini-batch, per rank 2 8 80",
                                     "in flight or queued, at most 16 64 640"}));
  EXPECT_THAT(PrintBatchTerms(config), HasSubstr("updates: 2 per step"));
}

TEST(SemanticFieldsTest, IgnoreWhatMayDiffer) {
  const FieldMap a = SemanticFields(Resolved(kSmall), "abc");
  const FieldMap b = SemanticFields(
      Resolved(kSmall, {"rollout.workers=9", "model.device=cpu", "rollout.threads=7"}), "abc");
  EXPECT_EQ(HashOfFields(a), HashOfFields(b));
  EXPECT_THAT(a, testing::IsSupersetOf(FieldMap{{"model.sha256", "abc"},
                                                {"rollout.temperature", "1"},
                                                {"algorithm.trust.clip.high", "0.2"},
                                                {"algorithm.kl.none", "{}"},
                                                {"data.sources[0].task", "addition-1"}}));
}

TEST(DeviceTest, ARolesOwnFieldOverridesTheModels) {
  v1::RunConfig config = Resolved(kSmall, {"model.device=cpu", "rollout.device=cuda:1"});
  EXPECT_EQ(LearnerDevice(config), "cpu");
  EXPECT_EQ(RolloutDevice(config), "cuda:1");
  // Resolved again under another model.device, as a worker does with what its learner resolved.
  config.mutable_model()->set_device("auto");
  ResolveConfig("again", &config);
  EXPECT_EQ(LearnerDevice(config), "auto");
  EXPECT_EQ(RolloutDevice(config), "cuda:1");
  EXPECT_EQ(HashOfFields(SemanticFields(config, "abc")),
            HashOfFields(SemanticFields(Resolved(kSmall), "abc")));
}

TEST(DeviceTest, UnknownNamesAreRefused) {
  for (const char* field : {"model.device", "learner.device", "rollout.device"}) {
    for (const char* name : {"gpu", "cuda:", "cuda:x", "cuda:-1"}) {
      v1::RunConfig config = Resolved(kSmall, {absl::StrCat(field, "='", name, "'")});
      EXPECT_THAT(ValidateConfig(config),
                  StatusIs(kInvalid, AllOf(HasSubstr(field), HasSubstr("cuda:N"))))
          << name;
    }
  }
}

TEST(SemanticFieldsTest, HowLongToLookForPromptsMayChangeWhenAPausedRunIsResumed) {
  const std::string base =
      HashOfFields(SemanticFields(Resolved(kSmall, {"algorithm.filter.prompts=dynamic"}), "abc"));
  for (const char* setting :
       {"algorithm.filter.prompts.dynamic.max_rounds=40", "algorithm.filter.max_rounds=3",
        "algorithm.filter.on_exhausted=stop"}) {
    EXPECT_EQ(HashOfFields(SemanticFields(
                  Resolved(kSmall, {"algorithm.filter.prompts=dynamic", setting}), "abc")),
              base)
        << setting;
  }
  EXPECT_NE(HashOfFields(SemanticFields(
                Resolved(kSmall, {"algorithm.filter.prompts={dynamic: {hi: 0.9}}"}), "abc")),
            base);
}

TEST(ResolveTest, AVoteIsOfTheGroupUnlessSaidOtherwise) {
  const v1::RunConfig config = Resolved(
      kSmall, {"rollout.group_size=6",
               "algorithm.reward.sources=[majority_online, majority_offline, incorrect_label]"});
  const auto& sources = config.algorithm().reward().sources();
  EXPECT_EQ(sources[0].n_votes(), 6);
  EXPECT_EQ(sources[1].column(), "majority_answer");
  EXPECT_EQ(sources[2].column(), "incorrect_answer");
  EXPECT_FALSE(config.rollout().has_serial());
  EXPECT_TRUE(Resolved(kSmall, {"rollout.serial={}"}).rollout().serial().train_prefix());
}

TEST(SemanticFieldsTest, DifferWhereTrainingDiffers) {
  const std::string base = HashOfFields(SemanticFields(Resolved(kSmall), "abc"));
  for (const char* setting : {"rollout.temperature=0.9", "run.seed=1", "algorithm.trust=none",
                              "data.task=countdown", "rollout.stop=[x]"}) {
    EXPECT_NE(HashOfFields(SemanticFields(Resolved(kSmall, {setting}), "abc")), base) << setting;
  }
  EXPECT_NE(HashOfFields(SemanticFields(Resolved(kSmall), "abd")), base);
}

TEST(ResolveTest, ModelsBesideThePolicyFollowIt) {
  const v1::RunConfig config =
      Resolved(kSmall, {"learner.prompts_per_step=8", "learner.mini_batches=4", "learner.epochs=3",
                        "algorithm.adv.baseline=critic_gae", "critic.epochs=1"});
  EXPECT_EQ(config.critic().path(), config.model().path());
  EXPECT_EQ(config.process_model().path(), config.model().path());
  EXPECT_EQ(config.critic().mini_batches(), 4);
  EXPECT_EQ(config.critic().epochs(), 1);
  EXPECT_TRUE(config.algorithm().adv().level().has_returns());
}

TEST(ResolveTest, DirectEntropyNeedsNoRewards) {
  const v1::RunConfig config = Resolved(kSmall, {"algorithm.objective=entropy_direct"});
  EXPECT_TRUE(config.algorithm().reward().sources().empty());
  EXPECT_TRUE(config.algorithm().offpolicy().has_none());
  COHORT_EXPECT_OK(ValidateConfig(config));
}

TEST(AlgorithmTest, TheWeightOfTheProcessModelIsThatOfItsRewards) {
  const v1::RunConfig config =
      Resolved(kSmall, {"algorithm.adv.baseline=prime_loo", "algorithm.adv.process_coef=4",
                        "algorithm.reward.sources=[task,{name:\timplicit_prm,weight:\t0.5}]"});
  COHORT_EXPECT_OK(ValidateConfig(config));
  COHORT_ASSERT_OK_AND_ASSIGN(AlgorithmSpec spec, ToAlgorithmSpec(config));
  EXPECT_EQ(spec.advantage.process_coef, 2);
  EXPECT_EQ(spec.advantage.outcome_coef, 5);
}

TEST(AlgorithmTest, OnlyInferenceEntropySharpensLogits) {
  EXPECT_FALSE(LogitSharpening(Resolved(kSmall)).has_value());
  const auto options =
      LogitSharpening(Resolved(kSmall, {"algorithm.objective.inference_entropy.steps=3"}));
  ASSERT_TRUE(options.has_value());
  EXPECT_EQ(options->steps, 3);
  EXPECT_EQ(options->threshold, 0.3);
}

TEST(AlgorithmTest, DetachClipMasksWhatAClipWouldDropWhereAsked) {
  const auto mask = [](const std::string& options) {
    const v1::RunConfig config =
        Resolved(kSmall, {absl::StrCat("algorithm.trust={detach_clip: {", options, "}}")});
    COHORT_EXPECT_OK(ValidateConfig(config));
    return ToAlgorithmSpec(config)->trust.detach_clip->mask;
  };
  EXPECT_FALSE(mask("max: 5").has_value()) << "a choice, not a default";
  const auto drops = mask("mask: {high: 0.28}");
  ASSERT_TRUE(drops.has_value());
  EXPECT_EQ(drops->low, 0.2);
  EXPECT_EQ(drops->high, 0.28);
}

TEST(AlgorithmTest, L1MaxHasTheSlopeOfThePaperUnlessTheCodesIsAskedFor) {
  const auto code_slope = [](const std::string& shaping) {
    const v1::RunConfig config =
        Resolved(kSmall, {absl::StrCat("algorithm.reward.shaping=[", shaping, "]")});
    return ToAlgorithmSpec(config)->shaping[0].code_slope;
  };
  EXPECT_FALSE(code_slope("l1_max"));
  EXPECT_TRUE(code_slope("{l1_max: {code_slope: true}}"));
}

TEST(AlgorithmTest, MapsTheDapoRecipe) {
  const char* source = std::getenv("COHORT_SOURCE_DIR");
  ASSERT_NE(source, nullptr);
  COHORT_ASSERT_OK_AND_ASSIGN(v1::RunConfig config,
                              LoadResolvedConfig(absl::StrCat(source, "/recipes/dapo.yaml")));
  COHORT_ASSERT_OK_AND_ASSIGN(AlgorithmSpec spec, ToAlgorithmSpec(config));
  EXPECT_EQ(spec.trust.clip->high, 0.28);
  EXPECT_EQ(spec.trust.clip->dual_c, 10.0);
  EXPECT_EQ(spec.agg.mode, Aggregation::kTokenMean);
  EXPECT_EQ(spec.prompt_filter.kind, PromptFilter::kDynamic);
  EXPECT_EQ(spec.shaping[0].max_length, 32);
  EXPECT_EQ(spec.shaping[0].cache_length, 6);
  EXPECT_EQ(spec.reward_scale.wrong, -1);
  EXPECT_EQ(spec.offpolicy.kind, OffPolicy::kNone);
  EXPECT_EQ(ToAlgorithmContext(config).optimizer_steps_per_batch, 2);
}

}  // namespace
}  // namespace cohort
