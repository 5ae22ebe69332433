#include "common/reward_service/service_reply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/rng.h"

namespace cohort {
namespace {

using testing::ElementsAre;

void AddScore(v1::ScoreReply* reply, uint32_t index, double score) {
  v1::ItemScore* item = reply->add_scores();
  item->set_index(index);
  item->set_score(score);
}

TEST(ReadReplyTest, ScoresBelongToTheirItemsInAnyOrder) {
  v1::ScoreReply reply;
  AddScore(&reply, 2, 0.5);
  AddScore(&reply, 0, -1);
  int64_t strays = 0;
  const auto verdicts = ReadReply(reply, 3, {}, &strays);
  EXPECT_EQ(verdicts[0].value, -1);
  EXPECT_STREQ(verdicts[1].cause, cause::kMissing);
  EXPECT_EQ(verdicts[2].value, 0.5);
  EXPECT_EQ(strays, 0);
}

TEST(ReadReplyTest, AServiceThatForgetsTheIndexGivesNobodyAnothersScore) {
  v1::ScoreReply reply;
  for (int i = 0; i < 3; ++i) AddScore(&reply, 0, i);
  AddScore(&reply, 9, 1);
  int64_t strays = 0;
  for (const RewardVerdict& verdict : ReadReply(reply, 3, {}, &strays)) {
    EXPECT_EQ(verdict.outcome, Outcome::kUnscorable);
  }
  EXPECT_EQ(strays, 3);
}

TEST(ReadReplyTest, NamedPartsMustBeThere) {
  v1::ScoreReply reply;
  AddScore(&reply, 0, 1);
  AddScore(&reply, 1, 1);
  (*reply.mutable_scores(0)->mutable_components())["style"] = 0.25;
  (*reply.mutable_scores(0)->mutable_components())["other"] = 9;
  reply.add_scores()->set_index(2);  // neither a score nor a reason
  int64_t strays = 0;
  const auto verdicts = ReadReply(reply, 3, {"style"}, &strays);
  EXPECT_THAT(verdicts[0].parts, ElementsAre(0.25));
  EXPECT_STREQ(verdicts[1].cause, cause::kGarbage);
  EXPECT_STREQ(verdicts[2].cause, cause::kGarbage);
}

TEST(ReadReplyTest, TakesAnyReply) {
  for (uint64_t round = 0; round < 2000; ++round) {
    CounterRng rng(7, round);
    v1::ScoreReply reply;
    std::string bytes;
    AddScore(&reply, 1, 0.5);
    AddScore(&reply, 0, 1);
    (*reply.mutable_scores(0)->mutable_components())["style"] = 1;
    reply.SerializeToString(&bytes);
    for (int edit = 0; edit < 4; ++edit) {
      bytes[rng.Below(bytes.size())] = static_cast<char>(rng.Below(256));
    }
    v1::ScoreReply mutated;
    if (!mutated.ParseFromString(bytes)) continue;
    int64_t strays = 0;
    EXPECT_EQ(ReadReply(mutated, 2, {"style"}, &strays).size(), 2u);
  }
}

}  // namespace
}  // namespace cohort
