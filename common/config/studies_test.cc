#include "common/config/studies.h"

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/config/config.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr char kGood[] = R"(
title: Two arms and what they need
seeds: 2
set: [run.steps=2, rollout.workers=1]
bases:
  - {name: m1, tiny_model: [--hidden, "32"], sft: arithmetic, set: [sft.stop_accuracy=0.2]}
  - {name: m2, sft: arithmetic, set: ["model.path=${model:m1}"]}
files:
  - {name: labels, run: [label, --eval, "${eval:base/train}", --out, "${out}"]}
evals:
  - {name: main, task: column-addition-3, samples: 4, prompts: 10}
  - {name: train, task: column-addition-3, samples: 2, split: train, arms: [base]}
arms:
  - {name: base}
  - {name: sft, sft: arithmetic, set: ["data.path=${file:labels}"]}
  - {name: grpo, from: sft, recipe: grpo, set: ["run.seed=${seed}"]}
claims:
  - name: training helps
    terms:
      - {arm: grpo, metric: "eval:main:pass@1"}
      - {arm: base, metric: "eval:main:pass@1", weight: -1}
    above: 0
  - {name: it learns, terms: [{arm: grpo, metric: "train:reward/mean:last"}], above: 0.5}
)";

v1::Study Parsed(const std::string& yaml) {
  absl::StatusOr<v1::Study> study = ParseStudy(yaml, "a.yaml");
  EXPECT_THAT(study, IsOk());
  return study.ok() ? *std::move(study) : v1::Study();
}

// The good study with one text replaced by another.
absl::Status CheckWith(const std::string& from, const std::string& to) {
  const std::string yaml = absl::StrReplaceAll(kGood, {{from, to}});
  EXPECT_NE(yaml, kGood) << from;
  return CheckStudy(Parsed(yaml));
}

auto Refused(const std::string& text) {
  return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
}

TEST(StudiesTest, AStudyWithoutMistakesIsAccepted) { COHORT_EXPECT_OK(CheckStudy(Parsed(kGood))); }

TEST(StudiesTest, NamesThatNothingHasAreRefusedWithTheNearestOne) {
  EXPECT_THAT(CheckWith("from: sft,", "from: stf,"),
              Refused("arm grpo: from: no base and no arm is called 'stf'"));
  EXPECT_THAT(CheckWith("recipe: grpo", "recipe: grop"), Refused("no recipe is called grop"));
  EXPECT_THAT(CheckWith("{arm: base, metric: \"eval:main", "{arm: bass, metric: \"eval:main"),
              Refused("no arm is called 'bass'; did you mean 'base'?"));
  EXPECT_THAT(CheckWith("{arm: base, metric: \"eval:main", "{arm: base, metric: \"eval:mian"),
              Refused("no evaluation is called 'mian'; did you mean 'main'?"));
  EXPECT_THAT(CheckWith("arms: [base]}", "arms: [bsae]}"),
              Refused("evaluation train.arms: no arm is called 'bsae'"));
  EXPECT_THAT(CheckWith("arms: [base]}", "arms: [base], compare: true}"),
              Refused("evaluation train.compare: expected at least two arms"));
}

TEST(StudiesTest, PlaceholdersMustNameWhatThereIs) {
  EXPECT_THAT(CheckWith("${file:labels}", "${file:lables}"),
              Refused("the study has no file called lables"));
  EXPECT_THAT(CheckWith("${model:m1}", "${model:m3}"),
              Refused("the study has no base or arm called m3"));
  EXPECT_THAT(CheckWith("${eval:base/train}", "${eval:sft/train}"),
              Refused("evaluation train is not made of arm sft"));
  EXPECT_THAT(CheckWith("${seed}", "${sede}"), Refused("expected ${model:NAME}"));
  EXPECT_THAT(CheckWith("${model:m1}", "${model:grpo}"), Refused("since all seeds share it"));
  EXPECT_THAT(CheckWith("run.steps=2", "\"run.seed=${seed}\""), Refused("set: expected no ${"));
}

TEST(StudiesTest, WhatNeedsItselfIsRefused) {
  EXPECT_THAT(CheckWith("{name: base}", "{name: base, from: grpo}"),
              Refused("a circle: arm base needs arm grpo needs arm sft needs file labels needs "
                      "evaluation train of base needs arm base"));
}

TEST(StudiesTest, ConfigurationsOfArmsAndBasesAreChecked) {
  EXPECT_THAT(CheckWith("run.seed=${seed}", "optimizer.lr=-${seed}"),
              Refused("arm grpo: optimizer.lr"));
  EXPECT_THAT(CheckWith("sft.stop_accuracy=0.2", "sft.stop=0.2"), Refused("base m1: "));
  EXPECT_THAT(CheckWith("rollout.workers=1", "rollout.workers=-1"),
              Refused("arm sft: rollout.workers"));
}

TEST(StudiesTest, AClaimHasOneBoundAndTermsThatCanBeMeasured) {
  EXPECT_THAT(CheckWith("    above: 0\n", "    above: 0\n    below: 1\n"),
              Refused("claim training helps: expected exactly one of above, below and within"));
  EXPECT_THAT(CheckWith("pass@1\", weight", "pass@8\", weight"),
              Refused("eval:main:pass@8: evaluation main has 4 samples per problem"));
  EXPECT_THAT(CheckWith("train:reward/mean:last", "train:reward/mean:end"),
              Refused("with the part first, last"));
  EXPECT_THAT(CheckWith("arm: grpo, metric: \"train", "arm: base, metric: \"train"),
              Refused("arm base is not trained"));
}

TEST(StudiesTest, UnknownKeysAreRefusedWithTheirLine) {
  EXPECT_THAT(ParseStudy("title: a\nseed: 3\n", "a.yaml"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a.yaml:2: ")));
}

TEST(StudyMetricTest, BothKindsAreRead) {
  COHORT_ASSERT_OK_AND_ASSIGN(const StudyMetric pass, ParseStudyMetric("eval:main:maj@16"));
  EXPECT_EQ(pass.kind, StudyMetric::Kind::kEval);
  EXPECT_EQ(pass.eval, "main");
  EXPECT_EQ(pass.key, "maj");
  EXPECT_EQ(pass.k, 16);
  COHORT_ASSERT_OK_AND_ASSIGN(const StudyMetric plain,
                              ParseStudyMetric("eval:main:tokens_per_correct"));
  EXPECT_EQ(plain.k, 0);
  COHORT_ASSERT_OK_AND_ASSIGN(const StudyMetric train,
                              ParseStudyMetric("train:eval/a/accuracy:max"));
  EXPECT_EQ(train.kind, StudyMetric::Kind::kTrain);
  EXPECT_EQ(train.key, "eval/a/accuracy");
  EXPECT_EQ(train.part, "max");
}

TEST(StudyMetricTest, OthersAreRefused) {
  for (const char* text :
       {"", "eval", "eval:main", "eval:main:pass", "eval:main:pass@0", "eval:main:best@3",
        "eval:main:pass@x", "train:reward", "train::last", "train:a:b:last", "other:a:b"}) {
    EXPECT_THAT(ParseStudyMetric(text), Refused("expected ")) << text;
  }
}

TEST(StudyGraphTest, EverythingComesAfterWhatItNeeds) {
  const v1::Study study = Parsed(kGood);
  COHORT_ASSERT_OK_AND_ASSIGN(const std::vector<StudyNode> nodes,
                              InOrder(study, {{StudyNode::Kind::kEval, "main", "grpo"}}));
  std::vector<std::string> texts;
  for (const StudyNode& node : nodes) texts.push_back(NodeText(node));
  EXPECT_THAT(texts, ElementsAre("base m1", "arm base", "evaluation train of base", "file labels",
                                 "arm sft", "arm grpo", "evaluation main of grpo"));
}

StudyNode Comparison(const std::string& eval) { return {StudyNode::Kind::kComparison, eval, ""}; }

TEST(StudyGraphTest, AComparisonComesAfterTheEvaluationsOfAllItsArms) {
  v1::Study study = Parsed(kGood);
  EXPECT_THAT(AllNodes(study), Not(Contains(Comparison("main"))));
  study.mutable_evals(0)->set_compare(true);
  EXPECT_THAT(AllNodes(study), Contains(Comparison("main")));
  COHORT_ASSERT_OK_AND_ASSIGN(const std::vector<StudyNode> nodes,
                              InOrder(study, {Comparison("main")}));
  for (const v1::StudyArm& arm : study.arms()) {
    EXPECT_THAT(nodes, Contains(StudyNode{StudyNode::Kind::kEval, "main", arm.name()}));
  }
  EXPECT_EQ(NodeText(nodes.back()), "comparison on main");
}

TEST(StudyGraphTest, PlaceholdersAreReplaced) {
  const auto value = [](const StudyReference& r) { return absl::StrCat("<", r.kind, r.name, ">"); };
  EXPECT_EQ(ReplaceReferences("a=${seed},${model:b}!", value), "a=<seed>,<modelb>!");
  EXPECT_EQ(ReplaceReferences("$a {b} ${", value), "$a {b} ${");
}

TEST(StudiesTest, TheConfigurationsOfBaseModelsGoByTheirNames) {
  COHORT_ASSERT_OK_AND_ASSIGN(const v1::RunConfig config,
                              LoadResolvedConfig("sft/arithmetic", {"run.steps=3"}));
  EXPECT_EQ(config.run().name(), "arithmetic");
  EXPECT_EQ(config.run().steps(), 3);
}

// Every study of the folder is inside the program and without mistakes.
TEST(StudiesTest, ThoseOfTheFolderAreSound) {
  const std::string folder = absl::StrCat(std::getenv("COHORT_SOURCE_DIR"), "/studies");
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() != ".yaml") continue;
    COHORT_EXPECT_OK(FindStudy(entry.path().string()).status());
    COHORT_EXPECT_OK(FindStudy(entry.path().stem().string()).status());
  }
  EXPECT_THAT(FindStudy("no_such_study"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no_such_study")));
}

}  // namespace
}  // namespace cohort
