#include "services/cli/status_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(StatusTextTest, IsOneScreenWithEveryWorker) {
  v1::StatusReply reply;
  reply.set_run("quickstart");
  reply.set_step(12);
  reply.set_steps(40);
  reply.set_weight_version(12);
  reply.set_phase("wait_batch");
  reply.set_seconds_in_phase(1.25);
  reply.set_seconds_running(125);
  reply.set_seconds_left(140);
  (*reply.mutable_ordinals())["trained"] = 48;
  (*reply.mutable_ordinals())["stale"] = 0;
  (*reply.mutable_metrics())["reward/mean"] = 0.40625;
  v1::WorkerStatus* worker = reply.add_workers();
  worker->set_worker_id("host-1");
  worker->set_connected(true);
  worker->set_state("healthy");
  reply.set_page_address("127.0.0.1:9091");
  v1::Alert* alert = reply.add_alerts();
  alert->set_name("no_verdicts");
  alert->set_text("none of the rows");
  alert->set_step(11);
  worker->set_leases(3);
  const std::string text = StatusText(reply);
  EXPECT_THAT(text,
              AllOf(HasSubstr("run quickstart: step 12 of 40, weight version 12\n"),
                    HasSubstr("wait_batch for 1.2s; running 2:05, left 2:20"),
                    HasSubstr("trained 48"), HasSubstr("reward/mean 0.4062"), HasSubstr("host-1"),
                    HasSubstr("healthy"), HasSubstr("page        http://127.0.0.1:9091/"),
                    HasSubstr("ALERT       no_verdicts: none of the rows (step 11)")));
  EXPECT_THAT(text, testing::Not(HasSubstr("stale")));
}

TEST(StatusTextTest, AnEmptyReplyIsStillAScreen) {
  EXPECT_THAT(StatusText(v1::StatusReply()), HasSubstr("step 0 of 0"));
}

}  // namespace
}  // namespace cohort
