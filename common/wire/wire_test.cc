#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status_matchers.h"
#include "common/wire/chunking.h"
#include "common/wire/group_codec.h"
#include "common/wire/lease_codec.h"
#include "common/wire/packed.h"
#include "common/wire/semantic.h"
#include "common/wire/test_groups.h"

namespace cohort {
namespace {

using testing::HasSubstr;

void ExpectSameRow(const Row& a, const Row& b) {
  EXPECT_EQ(a.parent, b.parent);
  EXPECT_EQ(a.parent_tokens, b.parent_tokens);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.logprobs, b.logprobs);
  EXPECT_EQ(a.truncated_logprobs, b.truncated_logprobs);
  EXPECT_EQ(a.mask, b.mask);
  EXPECT_EQ(a.versions, b.versions);
  EXPECT_EQ(a.entropy, b.entropy);
  EXPECT_EQ(a.finish, b.finish);
  EXPECT_EQ(a.rewards, b.rewards);
  EXPECT_EQ(a.reward, b.reward);
  EXPECT_EQ(a.unscorable, b.unscorable);
  EXPECT_EQ(a.note, b.note);
}

TEST(GroupCodecTest, KeepsEveryField) {
  Group group = RandomGroup(/*seed=*/1, /*rows=*/8, /*tokens=*/50);
  group.rows[3].parent = 1;
  group.rows[3].parent_tokens = 20;
  group.purpose = Purpose::kEval;
  COHORT_ASSERT_OK_AND_ASSIGN(const Group back, DecodeGroup(EncodeGroup(group)));
  EXPECT_EQ(back.id, group.id);
  EXPECT_EQ(back.ordinal, group.ordinal);
  EXPECT_EQ(back.purpose, group.purpose);
  EXPECT_EQ(back.source, group.source);
  EXPECT_EQ(back.worker, group.worker);
  EXPECT_EQ(back.prompt, group.prompt);
  EXPECT_EQ(back.reward_names, group.reward_names);
  EXPECT_EQ(back.start_version, group.start_version);
  EXPECT_EQ(back.end_version, group.end_version);
  EXPECT_EQ(back.temperature, group.temperature);
  EXPECT_EQ(back.timings.decode_seconds, group.timings.decode_seconds);
  ASSERT_EQ(back.rows.size(), group.rows.size());
  for (size_t i = 0; i < back.rows.size(); ++i) ExpectSameRow(back.rows[i], group.rows[i]);
}

TEST(GroupCodecTest, MakesANoteThatIsNotUtf8Harmless) {
  Group group = RandomGroup(2, 1, 3);
  group.rows[0].note = "bad \xff byte, good \xc3\xa4";
  COHORT_ASSERT_OK_AND_ASSIGN(const Group back, DecodeGroup(EncodeGroup(group)));
  EXPECT_EQ(back.rows[0].note, "bad \uFFFD byte, good \xc3\xa4");
}

TEST(GroupCodecTest, AcceptsAnEmptyRow) {
  Group group = RandomGroup(2, 1, 0);
  COHORT_ASSERT_OK_AND_ASSIGN(const Group back, DecodeGroup(EncodeGroup(group)));
  EXPECT_TRUE(back.rows[0].tokens.empty());
}

// One defect at a time, each refused with the field's name.
TEST(GroupCodecTest, NamesTheFieldThatIsWrong) {
  const std::string good = EncodeGroup(RandomGroup(3, 2, 10));
  const auto broken = [&good](const std::function<void(v1::Group&)>& defect) {
    v1::Group message;
    EXPECT_TRUE(message.ParseFromString(good));
    defect(message);
    return DecodeGroup(message.SerializeAsString()).status();
  };
  const auto invalid = [](const std::string& text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
  };
  EXPECT_THAT(broken([](auto& g) { g.clear_purpose(); }), invalid("purpose"));
  EXPECT_THAT(broken([](auto& g) { g.set_purpose(static_cast<v1::Purpose>(9)); }),
              invalid("purpose"));
  EXPECT_THAT(broken([](auto& g) { g.set_prompt_ids("abc"); }), invalid("group.prompt_ids"));
  EXPECT_THAT(broken([](auto& g) { g.mutable_rows(1)->set_token_ids("abcde"); }),
              invalid("group.rows[1].token_ids: expected a multiple of 4 bytes, found 5"));
  EXPECT_THAT(broken([](auto& g) { g.mutable_rows(0)->mutable_token_ids()->back() = '\x80'; }),
              invalid("group.rows[0].token_ids"));
  EXPECT_THAT(broken([](auto& g) { g.mutable_rows(0)->set_logprobs(std::string(36, 'x')); }),
              invalid("group.rows[0].logprobs: expected 10 entries, found 9"));
  EXPECT_THAT(broken([](auto& g) { g.mutable_rows(1)->mutable_mask()->at(0) = 2; }),
              invalid("group.rows[1].mask"));
  EXPECT_THAT(broken([](auto& g) { g.mutable_rows(1)->set_entropy(std::string(4, 'x')); }),
              invalid("group.rows[1].entropy"));
  EXPECT_THAT(broken([](auto& g) { g.mutable_rows(0)->set_parent(0); }),
              invalid("group.rows[0].parent"));
  EXPECT_THAT(broken([](auto& g) {
                g.mutable_rows(1)->set_parent(0);
                g.mutable_rows(1)->set_parent_tokens(11);
              }),
              invalid("group.rows[1].parent_tokens: expected 0..10, found 11"));
  EXPECT_THAT(broken([](auto& g) { g.mutable_rows(0)->set_finish(v1::Row::FINISH_UNSPECIFIED); }),
              invalid("group.rows[0].finish"));
  EXPECT_THAT(broken([](auto& g) { g.mutable_rows(0)->set_rewards(std::string(12, 'x')); }),
              invalid("group.rows[0].rewards: expected 2 entries, found 3"));
  for (const std::vector<int64_t>& runs : std::vector<std::vector<int64_t>>{
           {1}, {1, 9}, {1, 11}, {-1, 10}, {1, 0, 2, 10}, {1, INT64_MAX, 1, INT64_MAX}}) {
    EXPECT_THAT(broken([&](auto& g) { g.mutable_rows(0)->set_version_runs(PackArray(runs)); }),
                invalid("group.rows[0].version_runs"));
  }
  EXPECT_THAT(DecodeGroup("\xff\xff"), invalid("not a cohort.v1.Group"));
}

// ---- chunks ----

std::vector<v1::GroupChunk> Cut(GroupId id, const std::string& bytes, size_t max_chunk) {
  GroupSplitter splitter(id, std::make_shared<std::string>(bytes), max_chunk);
  std::vector<v1::GroupChunk> chunks;
  while (!splitter.done()) {
    OutgoingChunk next = splitter.Next(/*lease_id=*/7, /*limit=*/1 << 30);
    next.header.set_payload(std::string(next.payload.data, next.payload.size));
    chunks.push_back(next.header);
  }
  return chunks;
}

TEST(ChunkingTest, PutsInterleavedGroupsTogether) {
  const std::string a(1000, 'a'), b(777, 'b');
  const auto chunks_a = Cut(1, a, 100), chunks_b = Cut(2, b, 100);
  GroupAssembler assembler;
  std::vector<GroupAssembler::Assembled> whole;
  for (size_t i = 0; i < chunks_a.size(); ++i) {
    for (const auto* chunks : {&chunks_a, &chunks_b}) {
      if (i >= chunks->size()) continue;
      COHORT_ASSERT_OK_AND_ASSIGN(auto done, assembler.Add((*chunks)[i]));
      if (done.has_value()) whole.push_back(*std::move(done));
    }
  }
  ASSERT_EQ(whole.size(), 2u);
  EXPECT_EQ(whole[0].bytes, b);
  EXPECT_EQ(whole[1].bytes, a);
  EXPECT_EQ(whole[1].lease_id, 7u);
  EXPECT_EQ(assembler.pending_bytes(), 0u);
}

TEST(ChunkingTest, StartsAnewWhenAGroupIsSentAgain) {
  const auto chunks = Cut(1, std::string(500, 'a'), 100);
  GroupAssembler assembler;
  COHORT_ASSERT_OK(assembler.Add(chunks[0]));
  COHORT_ASSERT_OK(assembler.Add(chunks[1]));
  for (size_t i = 0; i + 1 < chunks.size(); ++i) COHORT_ASSERT_OK(assembler.Add(chunks[i]));
  COHORT_ASSERT_OK_AND_ASSIGN(auto whole, assembler.Add(chunks.back()));
  EXPECT_TRUE(whole.has_value());
}

TEST(ChunkingTest, RefusesWhatDoesNotFitAndForgetsTheGroup) {
  const auto chunks = Cut(1, std::string(500, 'a'), 100);
  const auto after_first = [&chunks](const std::function<void(v1::GroupChunk&)>& defect) {
    GroupAssembler assembler;
    EXPECT_TRUE(assembler.Add(chunks[0]).ok());
    v1::GroupChunk second = chunks[1];
    defect(second);
    const absl::Status status = assembler.Add(second).status();
    EXPECT_EQ(assembler.pending_bytes(), 0u);
    return status;
  };
  const auto invalid = [](const std::string& text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
  };
  EXPECT_THAT(after_first([](auto& c) { c.set_offset(200); }), invalid("offset 100"));
  EXPECT_THAT(after_first([](auto& c) { c.set_offset(50); }), invalid("offset 100"));
  EXPECT_THAT(after_first([](auto& c) { c.set_total(600); }), invalid("total of 500"));
  EXPECT_THAT(after_first([](auto& c) { c.set_payload(std::string(401, 'x')); }),
              invalid("beyond the total of 500"));
  EXPECT_THAT(after_first([](auto& c) { c.clear_payload(); }), invalid("chunk of 1.."));
  EXPECT_THAT(after_first([](auto& c) { c.set_payload(std::string(kMaxChunkBytes + 1, 'x')); }),
              invalid("chunk of 1.."));
  EXPECT_THAT(after_first([](auto& c) { c.set_total(UINT64_MAX); }), invalid("total"));
  GroupAssembler assembler;
  EXPECT_THAT(assembler.Add(chunks[2]), invalid("offset 0"));
}

TEST(ChunkingTest, DetectsAFlippedBitByTheHash) {
  auto chunks = Cut(1, std::string(500, 'a'), 100);
  (*chunks[2].mutable_payload())[5] ^= 1;
  GroupAssembler assembler;
  for (size_t i = 0; i + 1 < chunks.size(); ++i) COHORT_ASSERT_OK(assembler.Add(chunks[i]));
  EXPECT_THAT(assembler.Add(chunks.back()),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("XXH3-128")));
}

TEST(ChunkingTest, BoundsTheNumberOfIncompleteGroups) {
  GroupAssembler assembler;
  absl::Status status;
  for (GroupId id = 1; id <= 100 && status.ok(); ++id) {
    status = assembler.Add(Cut(id, std::string(200, 'a'), 100)[0]).status();
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("incomplete")));
}

// ---- leases ----

LeaseTerms SomeLease() {
  LeaseTerms lease;
  lease.lease_id = 5;
  lease.group_id = 0xfedcba9876543210;
  lease.ordinal = 17;
  lease.source = "addition-1";
  lease.reward = "rule_math";
  lease.columns_json = R"({"answer": "7"})";
  lease.prompt = {1, 2, 49151};
  lease.plans = {SamplePlan{.temperature = 1.0f, .max_new_tokens = 24, .forced = {}},
                 SamplePlan{.temperature = 0.0f,
                            .top_p = 0.7f,
                            .top_k = 5,
                            .max_new_tokens = 8,
                            .parent = 0,
                            .parent_tokens = 3,
                            .forced = {4, 5},
                            .role = RowRole::kVote,
                            .parent_fraction = 0.25,
                            .parent_until = "</think>"}};
  lease.version_floor = 3;
  lease.deadline = absl::Seconds(90);
  return lease;
}

TEST(LeaseCodecTest, KeepsEveryField) {
  const LeaseTerms lease = SomeLease();
  COHORT_ASSERT_OK_AND_ASSIGN(const LeaseTerms back, DecodeLease(EncodeLease(lease)));
  EXPECT_EQ(EncodeLease(back).SerializeAsString(), EncodeLease(lease).SerializeAsString());
  EXPECT_EQ(back.prompt, lease.prompt);
  EXPECT_EQ(back.plans[1].forced, lease.plans[1].forced);
  EXPECT_EQ(back.plans[1].parent, 0);
  EXPECT_EQ(back.plans[1].role, RowRole::kVote);
  EXPECT_EQ(back.plans[1].parent_fraction, 0.25);
  EXPECT_EQ(back.plans[1].parent_until, lease.plans[1].parent_until);
  EXPECT_EQ(back.deadline, lease.deadline);
  EXPECT_EQ(back.reward, lease.reward);
}

TEST(LeaseCodecTest, NamesTheFieldThatIsWrong) {
  const auto broken = [](const std::function<void(v1::Lease&)>& defect) {
    v1::Lease message = EncodeLease(SomeLease());
    defect(message);
    return DecodeLease(message).status();
  };
  const auto invalid = [](const std::string& text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
  };
  EXPECT_THAT(broken([](auto& l) { l.clear_prompt_ids(); }), invalid("lease.prompt_ids"));
  EXPECT_THAT(broken([](auto& l) { l.set_prompt_ids("abc"); }), invalid("lease.prompt_ids"));
  EXPECT_THAT(broken([](auto& l) { l.clear_plans(); }), invalid("lease.plans"));
  EXPECT_THAT(broken([](auto& l) { l.clear_purpose(); }), invalid("purpose"));
  EXPECT_THAT(broken([](auto& l) { l.set_deadline_seconds(0); }), invalid("deadline_seconds"));
  EXPECT_THAT(broken([](auto& l) { l.mutable_plans(1)->set_parent(1); }),
              invalid("lease.plans[1].parent"));
  EXPECT_THAT(broken([](auto& l) { l.mutable_plans(0)->set_temperature(-1); }),
              invalid("lease.plans[0].temperature"));
  EXPECT_THAT(broken([](auto& l) { l.mutable_plans(0)->set_top_p(0); }),
              invalid("lease.plans[0].top_p"));
}

// ---- semantic fields ----

TEST(SemanticTest, NamesWhatDiffersAndWhatIsMissing) {
  const SemanticMap learner = {{"model.sha256", "aa"}, {"rollout.temperature", "1"}};
  const SemanticMap worker = {{"model.sha256", "aa"}, {"rollout.temperature", "0.7"}, {"x", "y"}};
  const auto differences = DifferingFields(learner, worker);
  EXPECT_EQ(DescribeDifferences(differences),
            "rollout.temperature: learner has 1, worker has 0.7; "
            "x: learner has (absent), worker has y");
  EXPECT_TRUE(DifferingFields(learner, learner).empty());
}

}  // namespace
}  // namespace cohort
