#include "services/learner/run_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

MetricRow Row(int64_t step, double reward) {
  MetricRow row;
  row.Set("step", step);
  row.Set("time/step", 3.0);
  row.Set("time/wait_batch", 2.0);
  row.Set("time/eval", 100.0);
  row.Set("wait/rollout", 0.5);
  row.Set("loss", 0.1);
  row.Set("reward/mean", reward);
  row.Set("kl_ref", std::nan(""));
  row.SetText("weights/hash", "abc");
  return row;
}

v1::StatusReply Filled(const RunView& view) {
  v1::StatusReply reply;
  view.Fill(&reply);
  return reply;
}

const v1::Curve* CurveOf(const v1::StatusReply& reply, const std::string& key) {
  for (const v1::Curve& curve : reply.curves()) {
    if (curve.key() == key) return &curve;
  }
  return nullptr;
}

nlohmann::json SampleLine(int64_t step) {
  return {
      {"step", step}, {"ordinal", 7},           {"prompt", "2+2?"}, {"completion", "4"},
      {"gold", "4"},  {"reward", 1.0},          {"accuracy", 1.0},  {"rewards", {{"math", 1.0}}},
      {"tokens", 3},  {"finish_reason", "stop"}};
}

TEST(RunViewTest, IsEmptyBeforeTheFirstStep) {
  const RunView view;
  const v1::StatusReply reply = Filled(view);
  EXPECT_EQ(reply.curves_size(), 0);
  EXPECT_THAT(reply.phase_seconds(), IsEmpty());
}

TEST(RunViewTest, KeepsCurvesTheLastNumbersAndWhereTheTimeWent) {
  RunView view;
  view.AddStep(Row(1, 0.25));
  view.AddStep(Row(2, 0.5));
  const v1::StatusReply reply = Filled(view);
  const v1::Curve* reward = CurveOf(reply, "reward/mean");
  ASSERT_NE(reward, nullptr);
  EXPECT_THAT(reward->step(), ElementsAre(1, 2));
  EXPECT_THAT(reward->value(), ElementsAre(0.25, 0.5));
  EXPECT_EQ(CurveOf(reply, "kl_ref"), nullptr) << "has no value yet";
  EXPECT_EQ(CurveOf(reply, "loss"), nullptr) << "is not shown";
  EXPECT_EQ(reply.metrics().at("loss"), 0.1);
  EXPECT_EQ(reply.phase_seconds().at("wait_batch"), 2);
  EXPECT_FALSE(reply.phase_seconds().contains("eval"));
  EXPECT_FALSE(reply.phase_seconds().contains("step"));
  EXPECT_EQ(reply.worker_idle_seconds(), 0.5);
}

TEST(RunViewTest, TheNewestSamplesComeFirstAndLongOnesAreCut) {
  RunView view;
  for (int step = 1; step <= 30; ++step) view.AddSample(SampleLine(step));
  nlohmann::json last = SampleLine(31);
  std::string text = "x";
  for (int i = 0; i < 20000; ++i) text += "é";  // two bytes each: a cut in the middle of one
  last["completion"] = text;
  last["reward"] = nullptr;
  last["note"] = "no verdict";
  view.AddSample(last);
  const v1::StatusReply reply = Filled(view);
  ASSERT_EQ(reply.samples_size(), 12);
  EXPECT_EQ(reply.samples(0).step(), 31);
  EXPECT_EQ(reply.samples(1).step(), 30);
  EXPECT_FALSE(reply.samples(0).has_reward());
  EXPECT_EQ(reply.samples(0).note(), "no verdict");
  EXPECT_LT(reply.samples(0).completion().size(), 8100u);
  EXPECT_THAT(reply.samples(0).completion(), HasSubstr("more bytes]"));
  EXPECT_THAT(reply.samples(0).completion(), testing::Not(HasSubstr("\xEF\xBF\xBD")));
  EXPECT_EQ(reply.samples(1).reward(), 1);
  EXPECT_EQ(reply.samples(1).gold(), "4");
  EXPECT_EQ(reply.samples(1).rewards().at("math"), 1);
}

TEST(RunViewTest, ReadsBackWhatAnEarlierProcessWrote) {
  const TemporaryFolder folder;
  const std::string metrics = folder.path() + "/metrics.jsonl";
  const std::string samples = folder.path() + "/samples.jsonl";
  RunView written;
  std::string lines, sample_lines;
  for (int step = 1; step <= 500; ++step) {
    const MetricRow row = Row(step, 0.001 * step);
    written.AddStep(row);
    absl::StrAppend(&lines, row.ToJson(), "\n");
    absl::StrAppend(&sample_lines, SampleLine(step).dump(), "\n");
    written.AddSample(SampleLine(step));
  }
  COHORT_ASSERT_OK(WriteFileAtomic(metrics, lines + "no object\n[1]\n"));
  COHORT_ASSERT_OK(WriteFileAtomic(samples, sample_lines));
  RunView read;
  read.Load(metrics, samples);
  EXPECT_EQ(Filled(read).ByteSizeLong(), Filled(written).ByteSizeLong());
  EXPECT_EQ(Filled(read).samples(0).step(), 500);
  const v1::StatusReply reply = Filled(read);
  const v1::Curve* curve = CurveOf(reply, "reward/mean");
  ASSERT_NE(curve, nullptr);
  EXPECT_LE(curve->step_size(), 320);
  EXPECT_EQ(curve->step(curve->step_size() - 1), 500);
  RunView none;
  none.Load(folder.path() + "/absent", folder.path() + "/absent");
  EXPECT_EQ(Filled(none).curves_size(), 0);
}

TEST(RunViewTest, ADamagedFileIsReadWithoutHarm) {
  const TemporaryFolder folder;
  const std::string file = folder.path() + "/lines";
  COHORT_ASSERT_OK(
      WriteFileAtomic(file,
                      "{\"step\":1e300,\"reward/mean\":1}\n{\"step\":\"x\",\"ordinal\":-1e300,"
                      "\"prompt\":7,\"rewards\":[1],\"tokens\":1e300}\n{\"step\":1e999}\n\xff{"));
  RunView view;
  view.Load(file, file);
  const v1::StatusReply reply = Filled(view);
  ASSERT_EQ(reply.samples_size(), 2);
  EXPECT_EQ(reply.samples(0).ordinal(), 0u);
  EXPECT_EQ(reply.samples(0).prompt(), "");
}

}  // namespace
}  // namespace cohort
