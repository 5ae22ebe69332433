#include "services/learner/status_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/hash.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

void AddCurve(const std::string& key, int steps, v1::StatusReply* reply) {
  v1::Curve& curve = *reply->add_curves();
  curve.set_key(key);
  for (int step = 1; step <= steps; ++step) {
    curve.add_step(step);
    curve.add_value(0.001 * step);
    curve.add_low(0.001 * step);
    curve.add_high(0.001 * step);
  }
}

v1::StatusReply ARun(int steps = 12) {
  v1::StatusReply reply;
  reply.set_run("quickstart");
  reply.set_step(steps);
  reply.set_steps(400);
  reply.set_phase("wait_batch");
  reply.set_seconds_running(125);
  reply.set_seconds_left(140);
  reply.set_max_staleness(1);
  reply.set_weight_version(steps);
  AddCurve("reward/mean", steps, &reply);
  AddCurve("eval/addition-1/accuracy", 3, &reply);
  AddCurve("entropy", steps, &reply);
  (*reply.mutable_phase_seconds())["wait_batch"] = 3;
  (*reply.mutable_phase_seconds())["forward"] = 1;
  (*reply.mutable_ordinals())["in_flight"] = 4;
  v1::WorkerStatus& worker = *reply.add_workers();
  worker.set_worker_id("host-1");
  worker.set_connected(true);
  worker.set_held_version(steps - 2);
  worker.set_state("healthy");
  v1::Sample& sample = *reply.add_samples();
  sample.set_step(steps);
  sample.set_prompt("What is 2 + 2?");
  sample.set_completion("4");
  sample.set_gold("4");
  sample.set_reward(1);
  sample.set_accuracy(1);
  return reply;
}

TEST(StatusPageTest, ShowsTheRun) {
  const std::string page = StatusPage(ARun());
  EXPECT_THAT(page, AllOf(HasSubstr("<title>12/400 quickstart - Cohort</title>"),
                          HasSubstr("waiting for groups"), HasSubstr("<dd>12 of 400</dd>"),
                          HasSubstr("<dd>2:05</dd>"), HasSubstr("<dd>2:20</dd>")));
  EXPECT_THAT(page,
              AllOf(HasSubstr("<b>0.012</b><span>0.001 at step 1</span>"),
                    HasSubstr("held out: addition-1"), HasSubstr("host-1"), HasSubstr("(2 behind)"),
                    HasSubstr("What is 2 + 2?"), HasSubstr("reward 1"), HasSubstr(">right<")));
  EXPECT_THAT(page, HasSubstr("waits for groups 75 %"));
  EXPECT_THAT(page, HasSubstr("more workers would make steps shorter"));
  EXPECT_THAT(page, Not(HasSubstr("range-new\">"))) << "no choice of steps in a short run";
}

TEST(StatusPageTest, ALongRunCanBeSeenWholeAndClose) {
  const std::string page = StatusPage(ARun(300));
  EXPECT_THAT(page, AllOf(HasSubstr("id=\"range-new\""), HasSubstr("plot new")));
}

TEST(StatusPageTest, ALearnerThatStartsSaysWhatItWaitsFor) {
  v1::StatusReply reply;
  reply.set_phase("waiting for ranks: <4> meet");
  EXPECT_THAT(StatusPage(reply), AllOf(HasSubstr("The learner starts"),
                                       HasSubstr("waiting for ranks: &lt;4&gt; meet")));
}

TEST(StatusPageTest, AlertsAndAPauseAreAtTheTop) {
  v1::StatusReply reply = ARun();
  EXPECT_THAT(StatusPage(reply), HasSubstr("<dt>alerts</dt><dd>none</dd>"));
  v1::Alert& alert = *reply.add_alerts();
  alert.set_name("no_verdicts");
  alert.set_text("none of the rows could be scored");
  alert.set_count(3);
  reply.set_phase("paused");
  const std::string page = StatusPage(reply);
  EXPECT_THAT(page, AllOf(HasSubstr("<b>no_verdicts</b> none of the rows"), HasSubstr("3 times"),
                          HasSubstr("The run is paused."), HasSubstr("<dt>alerts</dt><dd>1</dd>")));
  EXPECT_LT(page.find("no_verdicts</b>"), page.find("Is it learning?"));
}

TEST(StatusPageTest, NothingThatComesFromOutsideIsMarkup) {
  const std::string evil = "</script><script>alert(1)</script><img src=x onerror='a'>\"'\x01\xff";
  v1::StatusReply reply = ARun();
  reply.set_run(evil);
  reply.set_phase(evil);
  reply.set_http_address(evil);
  AddCurve(absl::StrCat("eval/", evil, "/accuracy"), 2, &reply);
  (*reply.mutable_ordinals())[evil] = 1;
  v1::WorkerStatus& worker = *reply.mutable_workers(0);
  worker.set_worker_id(evil);
  worker.set_state(evil);
  worker.set_http_address(evil);
  v1::Alert& alert = *reply.add_alerts();
  alert.set_name(evil);
  alert.set_text(evil);
  v1::Sample& sample = *reply.mutable_samples(0);
  for (std::string* text :
       {sample.mutable_prompt(), sample.mutable_completion(), sample.mutable_gold(),
        sample.mutable_source(), sample.mutable_worker(), sample.mutable_role()}) {
    *text = evil;
  }
  (*sample.mutable_rewards())[evil] = 1;
  (*sample.mutable_rewards())["other"] = 1;
  v1::Sample& unscored = *reply.add_samples();
  unscored.set_note(evil);
  unscored.set_finish_reason(evil);
  const std::string page = StatusPage(reply);
  EXPECT_THAT(page, AllOf(Not(HasSubstr("<img")), Not(HasSubstr("<script>alert")),
                          Not(HasSubstr("'\x01")), HasSubstr("&lt;img src=x")));
  // The page's own script, and its end, once each.
  EXPECT_EQ(page.find("<script"), page.rfind("<script"));
  EXPECT_EQ(page.find("</script"), page.rfind("</script"));
}

// What stands between two tags of a page, as a browser hashes it.
std::string HashOf(const std::string& page, const std::string& open, const std::string& close) {
  const size_t from = page.find(open) + open.size();
  return absl::Base64Escape(
      absl::HexStringToBytes(Sha256Hex(page.substr(from, page.find(close, from) - from))));
}

TEST(StatusPageTest, ItsPolicyAllowsItsOwnScriptAndStyleAndNothingElse) {
  const std::string page = StatusPage(ARun());
  const std::string policy = StatusPagePolicy();
  EXPECT_THAT(policy,
              AllOf(HasSubstr("default-src 'none'"), HasSubstr("frame-ancestors 'none'"),
                    HasSubstr(HashOf(page, "<script>", "</script>")),
                    HasSubstr(HashOf(page, "<style>", "</style>")), Not(HasSubstr("unsafe"))));
  // What the policy would refuse, and what would leave this machine.
  for (const char* refused :
       {" style=\"", " onclick", "javascript:", "http://", "https://", "src=\""}) {
    std::string shown = page;
    for (const char* name : {"http://www.w3.org/2000/svg"}) {  // names, not addresses
      for (size_t at; (at = shown.find(name)) != std::string::npos;) shown.erase(at, 26);
    }
    EXPECT_THAT(shown, Not(HasSubstr(refused)));
  }
}

TEST(StatusPageTest, IsSmallAfterALongRun) {
  v1::StatusReply reply = ARun(320);
  for (const char* key :
       {"kl_ref", "mismatch_kl", "ppo_kl", "response_length/mean", "response_length/clip_ratio",
        "off_policy_level/mean", "off_policy_level/max", "accuracy/mean"}) {
    AddCurve(key, 320, &reply);
  }
  EXPECT_LT(StatusPage(reply).size(), 200'000u);
}

}  // namespace
}  // namespace cohort
