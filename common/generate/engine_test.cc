#include "common/generate/engine.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <map>

#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/generate/stop_strings.h"
#include "common/generate/test_models.h"
#include "common/text/tiny_tokenizer.h"
#include "common/text/tokenizer.h"

namespace cohort {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

EngineOptions NoStops(int max_rows = 64) {
  EngineOptions options;
  options.max_rows = max_rows;
  options.stop_tokens = std::vector<int32_t>();
  return options;
}

std::unique_ptr<GroupGenerator> MakeEngine(const CausalLm& model, const EngineOptions& options) {
  auto engine = GroupGenerator::Create(&model, options);
  EXPECT_THAT(engine, IsOk());
  return *std::move(engine);
}

void ExpectLogprobsOfFullForward(const CausalLm& model, const Group& group, float tolerance) {
  for (const Row& row : group.rows) {
    const std::vector<float> expected =
        FullLogprobs(model, group.prompt, row.tokens, double{group.temperature});
    ASSERT_EQ(row.logprobs.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(row.logprobs[i], expected[i], tolerance) << "token " << i;
    }
  }
}

TEST(GroupGeneratorTest, GreedyTokensAreTheArgmaxOfAFullForwardPass) {
  const auto model = TinyModel();
  const auto groups = Generate(*model, NoStops(), {MakeRequest(7, 1, 40, 0.0f)});
  std::vector<int32_t> tokens = groups[0].prompt;
  for (const int32_t token : groups[0].rows[0].tokens) {
    const at::Tensor logits = FullLogits(*model, tokens);
    EXPECT_EQ(token, logits[-1].argmax().item<int32_t>()) << "after " << tokens.size();
    tokens.push_back(token);
  }
  EXPECT_THAT(groups[0].rows[0].tokens, SizeIs(40));
  EXPECT_EQ(groups[0].temperature, 1.0f);
  ExpectLogprobsOfFullForward(*model, groups[0], 1e-4f);
}

TEST(GroupGeneratorTest, LogprobsAreThoseOfAFullForwardPassAtTheRolloutTemperature) {
  const auto model = TinyModel();
  for (const Group& group :
       Generate(*model, NoStops(), {MakeRequest(1, 8, 30, 0.7f), MakeRequest(2, 5, 20, 0.7f)})) {
    EXPECT_EQ(group.temperature, 0.7f);
    ExpectLogprobsOfFullForward(*model, group, 1e-4f);
  }
}

TEST(GroupGeneratorTest, TheFusedAttentionAndThePortableOneAgree) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const auto model = TinyModel(dtype);
    EngineOptions portable = NoStops();
    portable.fused_cpu_attention = false;
    // Forced tokens keep both on one path whatever rounding does to a draw.
    GroupRequest request = MakeRequest(3, 4, 1);
    for (SamplePlan& plan : request.plans) plan.forced = {5, 9, 30, 31, 32, 33, 8, 7, 6, 11};
    const auto a = Generate(*model, NoStops(), {request, MakeRequest(4, 3, 20)});
    const auto b = Generate(*model, portable, {request, MakeRequest(4, 3, 20)});
    const float tolerance = dtype == at::kFloat ? 1e-4f : 0.15f;
    for (size_t i = 0; i < 10; ++i) {
      EXPECT_NEAR(a[0].rows[2].logprobs[i], b[0].rows[2].logprobs[i], tolerance);
    }
  }
}

TEST(GroupGeneratorTest, AGroupDoesNotDependOnWhatElseIsDecoded) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const auto model = TinyModel(dtype);
    const GroupRequest request = MakeRequest(11, 6, 24);
    const Group alone = Generate(*model, NoStops(), {request})[0];
    const Group crowded =
        Generate(*model, NoStops(9), {MakeRequest(12, 5, 40), request, MakeRequest(13, 7, 9)})[1];
    for (size_t row = 0; row < alone.rows.size(); ++row) {
      EXPECT_EQ(alone.rows[row].tokens, crowded.rows[row].tokens) << "row " << row;
    }
  }
}

TEST(GroupGeneratorTest, RowsOfAGroupDifferAndAGroupGeneratedTwiceIsTheSame) {
  const auto model = TinyModel();
  const Group first = Generate(*model, NoStops(), {MakeRequest(21, 3, 16)})[0];
  const Group again = Generate(*model, NoStops(), {MakeRequest(21, 3, 16)})[0];
  EXPECT_NE(first.rows[0].tokens, first.rows[1].tokens);
  for (size_t row = 0; row < 3; ++row) {
    EXPECT_EQ(first.rows[row].tokens, again.rows[row].tokens);
    EXPECT_EQ(first.rows[row].logprobs, again.rows[row].logprobs);
  }
}

TEST(GroupGeneratorTest, EndOfSequenceEndsARowAndIsItsLastToken) {
  const auto model = TinyModel();
  int stopped = 0;
  const Group group = Generate(*model, {}, {MakeRequest(31, 64, 58)})[0];
  for (const Row& row : group.rows) {
    for (size_t i = 0; i + 1 < row.tokens.size(); ++i) EXPECT_NE(row.tokens[i], 2);
    if (row.finish == FinishReason::kStop) {
      EXPECT_EQ(row.tokens.back(), 2);
      ++stopped;
    }
  }
  EXPECT_GT(stopped, 0);
}

TEST(GroupGeneratorTest, LengthLimitAndContextLimitEndRowsAsTruncated) {
  const auto model = TinyModel();
  GroupRequest request = MakeRequest(42, 2, 10);
  request.plans[1].max_new_tokens = 1000;
  const Group group = Generate(*model, NoStops(), {request})[0];
  EXPECT_THAT(group.rows[0].tokens, SizeIs(10));
  EXPECT_EQ(group.rows[0].finish, FinishReason::kLength);
  EXPECT_EQ(group.rows[1].tokens.size() + group.prompt.size(), 64u);
  EXPECT_EQ(group.rows[1].finish, FinishReason::kLength);
}

TEST(GroupGeneratorTest, RefusesAPromptThatLeavesNoRoomAndSaysSo) {
  const auto model = TinyModel();
  const auto engine = MakeEngine(*model, NoStops());
  GroupRequest request = MakeRequest(1, 1, 4);
  request.prompt.assign(64, 5);
  EXPECT_THAT(engine->Submit(request),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("prompt_too_long")));
  request.prompt.assign(63, 5);
  COHORT_ASSERT_OK(engine->Submit(request));
  EXPECT_THAT(RunToEnd(*engine)[0].group.rows[0].tokens, SizeIs(1));
}

TEST(GroupGeneratorTest, RefusesMalformedRequests) {
  const auto model = TinyModel();
  const auto engine = MakeEngine(*model, NoStops());
  const auto expect = [&](const char* what, void (*spoil)(GroupRequest&)) {
    GroupRequest request = MakeRequest(1, 2, 4);
    spoil(request);
    EXPECT_THAT(engine->Submit(request),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what)));
  };
  expect("prompt is empty", [](GroupRequest& r) { r.prompt.clear(); });
  expect("token 97", [](GroupRequest& r) { r.prompt[0] = 97; });
  expect("token -1", [](GroupRequest& r) { r.plans[0].forced = {-1}; });
  expect("no row", [](GroupRequest& r) { r.plans.clear(); });
  expect("temperature", [](GroupRequest& r) { r.plans[1].temperature = 0.5f; });
  expect("temperature nan", [](GroupRequest& r) { r.plans[0].temperature = std::nanf(""); });
  expect("top_p", [](GroupRequest& r) { r.plans[0].top_p = 0; });
  expect("max_new_tokens", [](GroupRequest& r) { r.plans[0].max_new_tokens = 0; });
  expect("another role", [](GroupRequest& r) {
    r.plans[1].parent = 0;
    r.plans[1].role = RowRole::kVote;
  });
  expect("parent_fraction", [](GroupRequest& r) { r.plans[1].parent_fraction = 0.5; });
  expect("parent 1", [](GroupRequest& r) { r.plans[1].parent = 1; });
  expect("tokenizer", [](GroupRequest& r) { r.stop_strings = {"x"}; });
  expect("tokenizer", [](GroupRequest& r) { r.plans[0].parent_until = "x"; });
  COHORT_ASSERT_OK(engine->Submit(MakeRequest(1, 2, 4)));
  EXPECT_THAT(engine->Submit(MakeRequest(1, 2, 4)),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("group 1")));
}

TEST(GroupGeneratorTest, VotesAndBaselinesHaveTheirOwnTemperature) {
  const auto model = TinyModel();
  GroupRequest request = MakeRequest(5, 4, 12, 0.7f);
  const Group alone = Generate(*model, NoStops(), {request})[0];
  request.plans[2].role = RowRole::kVote;
  request.plans[2].temperature = 1.0f;
  request.plans[3].role = RowRole::kBaseline;
  request.plans[3].temperature = 0;
  const Group group = Generate(*model, NoStops(), {request})[0];
  EXPECT_EQ(group.temperature, 0.7f);
  EXPECT_EQ(group.rows[1].tokens, alone.rows[1].tokens);
  EXPECT_EQ(group.rows[2].role, RowRole::kVote);
  EXPECT_EQ(group.rows[3].role, RowRole::kBaseline);
  GroupRequest greedy = MakeRequest(6, 1, 12, 0.0f);
  greedy.prompt = request.prompt;
  EXPECT_EQ(group.rows[3].tokens, Generate(*model, NoStops(), {greedy})[0].rows[0].tokens);
}

TEST(GroupGeneratorTest, AnExitLeavesItsParentAtItsShareOfTheTokens) {
  const auto model = TinyModel();
  GroupRequest request = MakeRequest(5, 5, 12);
  const double shares[] = {0, 1e-9, 0.5, 0.51, 1};
  for (size_t i = 1; i < 5; ++i) {
    request.plans[i].parent = 0;
    request.plans[i].parent_fraction = shares[i];
    request.plans[i].forced = {3, 4};
  }
  const Group whole = Generate(*model, NoStops(), {request})[0];
  const int32_t expected[] = {0, 1, 6, 7, 12};
  for (size_t i = 1; i < 5; ++i) EXPECT_EQ(whole.rows[i].parent_tokens, expected[i]) << i;
  EXPECT_EQ(whole.ResponseOf(whole.rows[2]).size(), 6 + whole.rows[2].tokens.size());
}

TEST(GroupGeneratorTest, AFinishedRowsSlotIsRefilledAtTheNextStep) {
  const auto model = TinyModel();
  const auto engine = MakeEngine(*model, NoStops(4));
  GroupRequest uneven = MakeRequest(1, 4, 12);
  uneven.plans[2].max_new_tokens = 3;
  COHORT_ASSERT_OK(engine->Submit(uneven));
  COHORT_ASSERT_OK(engine->Submit(MakeRequest(2, 3, 5)));
  for (int step = 0; step < 3; ++step) EXPECT_EQ(engine->Step().sampled_tokens, 4);
  EXPECT_EQ(engine->active_rows(), 3);
  EXPECT_EQ(engine->waiting_groups(), 1);
  EXPECT_EQ(engine->Step().sampled_tokens, 4);  // one row of the second group has started
  EXPECT_EQ(engine->active_rows(), 4);
  EXPECT_EQ(engine->waiting_rows(), 2);
  EXPECT_EQ(engine->waiting_groups(), 0);
  const auto finished = RunToEnd(*engine);
  ASSERT_THAT(finished, SizeIs(2));
  for (const FinishedGroup& group : finished) {
    ExpectLogprobsOfFullForward(*model, group.group, 1e-4f);
  }
}

TEST(GroupGeneratorTest, ManyGroupsOfManyLengthsAllEndRight) {
  const auto model = TinyModel();
  std::vector<GroupRequest> requests;
  for (GroupId id = 1; id <= 12; ++id) {
    requests.push_back(MakeRequest(id, 1 + static_cast<int>(id % 5), 3 + static_cast<int>(id * 3)));
  }
  EngineOptions options;
  options.max_rows = 7;
  options.prefill_tokens = 12;
  const auto groups = Generate(*model, options, requests);
  ASSERT_THAT(groups, SizeIs(12));
  for (const Group& group : groups) ExpectLogprobsOfFullForward(*model, group, 1e-4f);
}

TEST(GroupGeneratorTest, TokensCarryTheVersionThatSampledThem) {
  const auto model = TinyModel();
  const auto next = TinyModel(at::kFloat, /*seed=*/2);
  const auto engine = MakeEngine(*model, NoStops(2));
  engine->SetVersion(5);
  COHORT_ASSERT_OK(engine->Submit(MakeRequest(1, 3, 4)));
  for (int step = 0; step < 2; ++step) engine->Step();
  COHORT_ASSERT_OK(model->CopyFrom(next->NamedParameters()));
  engine->SetVersion(6);
  const auto finished = RunToEnd(*engine);
  const Group& group = finished[0].group;
  EXPECT_THAT(group.rows[0].versions, ElementsAre(5, 5, 6, 6));
  EXPECT_THAT(group.rows[2].versions, Each(6));
  EXPECT_EQ(group.start_version, 5);
  EXPECT_EQ(group.end_version, 6);
  EXPECT_EQ(group.OldestVersion(), 5);
  // The third row started after the swap, so its prompt was prefilled with the new weights.
  const std::vector<float> expected = FullLogprobs(*next, group.prompt, group.rows[2].tokens, 1.0);
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(group.rows[2].logprobs[i], expected[i], 1e-4f);
}

TEST(GroupGeneratorTest, ACancelledGroupFreesItsSlotsAtOnce) {
  const auto model = TinyModel();
  const auto engine = MakeEngine(*model, NoStops(2));
  COHORT_ASSERT_OK(engine->Submit(MakeRequest(1, 4, 20)));
  COHORT_ASSERT_OK(engine->Submit(MakeRequest(2, 2, 2)));
  engine->Step();
  EXPECT_TRUE(engine->Cancel(1));
  EXPECT_FALSE(engine->Cancel(1));
  EXPECT_EQ(engine->active_rows(), 0);
  const auto finished = RunToEnd(*engine);
  ASSERT_THAT(finished, SizeIs(1));
  EXPECT_EQ(finished[0].id, 2u);
}

TEST(GroupGeneratorTest, LogitsThatAreNotFiniteEndTheGroupAndNameTheRow) {
  const auto model = TinyModel();
  const auto engine = MakeEngine(*model, NoStops());
  COHORT_ASSERT_OK(engine->Submit(MakeRequest(9, 2, 8)));
  engine->Step();
  model->head_weight()[3].fill_(std::numeric_limits<float>::quiet_NaN());
  const auto finished = RunToEnd(*engine);
  ASSERT_THAT(finished, SizeIs(1));
  EXPECT_THAT(finished[0].status, StatusIs(absl::StatusCode::kInternal,
                                           HasSubstr("group 9 row 0 token 1: the model's logits")));
  EXPECT_EQ(engine->active_rows(), 0);
}

TEST(GroupGeneratorTest, TruncatedLogprobsTravelBesideTheUntruncatedOnes) {
  const auto model = TinyModel();
  GroupRequest request = MakeRequest(51, 4, 20);
  for (SamplePlan& plan : request.plans) plan.top_k = 5;
  const Group group = Generate(*model, NoStops(), {request})[0];
  ExpectLogprobsOfFullForward(*model, group, 1e-4f);
  for (const Row& row : group.rows) {
    ASSERT_EQ(row.truncated_logprobs.size(), row.logprobs.size());
    for (size_t i = 0; i < row.logprobs.size(); ++i) {
      EXPECT_GE(row.truncated_logprobs[i], row.logprobs[i]);
      EXPECT_LE(row.truncated_logprobs[i], 1e-6f);
    }
  }
  EXPECT_THAT(Generate(*model, NoStops(), {MakeRequest(51, 1, 4)})[0].rows[0].truncated_logprobs,
              IsEmpty());
}

TEST(GroupGeneratorTest, EntropyIsFilledWhenAskedFor) {
  const auto model = TinyModel();
  GroupRequest request = MakeRequest(52, 1, 6);
  EXPECT_THAT(Generate(*model, NoStops(), {request})[0].rows[0].entropy, IsEmpty());
  request.with_entropy = true;
  const Group group = Generate(*model, NoStops(), {request})[0];
  const at::Tensor logprobs =
      at::log_softmax(FullLogits(*model, group.prompt)[-1].to(at::kDouble), -1);
  const double expected = -(logprobs.exp() * logprobs).sum().item<double>();
  ASSERT_THAT(group.rows[0].entropy, SizeIs(6));
  EXPECT_NEAR(group.rows[0].entropy[0], expected, 1e-4);
}

TEST(GroupGeneratorTest, ForcedTokensAreTakenMaskedAndScored) {
  const auto model = TinyModel();
  GroupRequest request = MakeRequest(61, 2, 5);
  request.plans[0].forced = {10, 20, 2};
  const Group group = Generate(*model, {}, {request})[0];
  const Row& row = group.rows[0];
  EXPECT_THAT(std::vector<int32_t>(row.tokens.begin(), row.tokens.begin() + 3),
              ElementsAre(10, 20, 2));
  EXPECT_THAT(std::vector<uint8_t>(row.mask.begin(), row.mask.begin() + 4),
              ElementsAre(0, 0, 0, 1));
  ExpectLogprobsOfFullForward(*model, group, 1e-4f);
}

TEST(GroupGeneratorTest, ARowContinuesTheFirstTokensOfAnother) {
  const auto model = TinyModel();
  GroupRequest request = MakeRequest(62, 4, 8);
  request.plans[1].parent = 0;
  request.plans[1].parent_tokens = 5;
  request.plans[1].forced = {40, 41};
  request.plans[2].parent = 1;  // a branch of a branch
  request.plans[2].parent_tokens = 3;
  request.plans[3].parent = 0;
  request.plans[3].parent_tokens = 0;
  for (const int max_rows : {1, 8}) {
    const Group group = Generate(*model, NoStops(max_rows), {request})[0];
    const auto path = [&](std::vector<int32_t> start, size_t row, int tokens) {
      start.insert(start.end(), group.rows[row].tokens.begin(),
                   group.rows[row].tokens.begin() + tokens);
      return start;
    };
    const auto expect = [&](size_t row, const std::vector<int32_t>& before) {
      const std::vector<float> full = FullLogprobs(*model, before, group.rows[row].tokens, 1.0);
      for (size_t i = 0; i < full.size(); ++i) {
        EXPECT_NEAR(group.rows[row].logprobs[i], full[i], 1e-4f) << "row " << row;
      }
    };
    const std::vector<int32_t> first = path(group.prompt, 0, 5);
    expect(0, group.prompt);
    expect(1, first);
    expect(2, path(first, 1, 3));
    expect(3, group.prompt);
    EXPECT_EQ(group.rows[1].parent, 0);
    EXPECT_EQ(group.rows[1].parent_tokens, 5);
    EXPECT_THAT(group.rows[1].tokens, SizeIs(10));
  }
}

class StopStringTest : public testing::Test {
 protected:
  void SetUp() override {
    COHORT_ASSERT_OK(WriteTinyTokenizer(folder_.path()));
    COHORT_ASSERT_OK_AND_ASSIGN(tokenizer_, Tokenizer::Load(folder_.path()));
    ModelConfig config = TinyConfig();
    config.vocab_size = tokenizer_->vocab_size();
    COHORT_ASSERT_OK_AND_ASSIGN(model_, CausalLm::Random(config, {}, 3));
  }

  TemporaryFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<CausalLm> model_;
};

TEST_F(StopStringTest, AStopStringEndsTheRowAlsoAcrossTokens) {
  EngineOptions options = NoStops();
  options.tokenizer = tokenizer_.get();
  GroupRequest request = MakeRequest(71, 1, 30);
  const Row free_row = Generate(*model_, options, {request})[0].rows[0];
  // The first two neighbours that are one printable character each.
  const auto printable = [&](int32_t token) {
    const std::string text = *tokenizer_->Decode({&token, 1}, false);
    return text.size() == 1 && text[0] > ' ' && text[0] < 127 ? text : std::string();
  };
  size_t first = 0;
  const std::vector<int32_t>& tokens = free_row.tokens;
  while (printable(tokens.at(first)).empty() || printable(tokens.at(first + 1)).empty()) ++first;
  request.stop_strings = {"never in the text",
                          printable(tokens[first]) + printable(tokens[first + 1])};
  const Row row = Generate(*model_, options, {request})[0].rows[0];
  EXPECT_EQ(row.finish, FinishReason::kStop);
  EXPECT_EQ(row.tokens,
            std::vector<int32_t>(tokens.begin(), tokens.begin() + static_cast<int64_t>(first) + 2));
}

TEST_F(StopStringTest, AStopStringOfSeveralBytesPerCharacterIsFound) {
  EngineOptions options = NoStops();
  options.tokenizer = tokenizer_.get();
  GroupRequest request = MakeRequest(72, 1, 10);
  request.stop_strings = {"né"};
  COHORT_ASSERT_OK_AND_ASSIGN(request.plans[0].forced, tokenizer_->Encode("a né", false));
  StopStringMatcher matcher(tokenizer_.get(), request.stop_strings);
  for (size_t i = 0; i < request.plans[0].forced.size(); ++i) {
    COHORT_ASSERT_OK_AND_ASSIGN(const bool found, matcher.Append(request.plans[0].forced[i]));
    EXPECT_EQ(found, i + 1 == request.plans[0].forced.size());
  }
}

TEST_F(StopStringTest, AnExitsShareIsOfTheTokensBeforeTheText) {
  EngineOptions options = NoStops();
  options.tokenizer = tokenizer_.get();
  GroupRequest request = MakeRequest(73, 3, 2);
  const std::string before = "3 and 4 is 7. ";
  COHORT_ASSERT_OK_AND_ASSIGN(request.plans[0].forced,
                              tokenizer_->Encode(before + "Answer: 7", false));
  for (size_t i = 1; i < 3; ++i) {
    request.plans[i].parent = 0;
    request.plans[i].parent_fraction = 1;
  }
  request.plans[1].parent_until = "Answer";
  request.plans[2].parent_until = "never in the text";
  const Group group = Generate(*model_, options, {request})[0];
  const std::vector<int32_t>& said = group.rows[0].tokens;
  EXPECT_EQ(static_cast<size_t>(group.rows[2].parent_tokens), said.size());
  const auto cut = static_cast<size_t>(group.rows[1].parent_tokens);
  COHORT_ASSERT_OK_AND_ASSIGN(const std::string kept, tokenizer_->Decode({said.data(), cut}, true));
  COHORT_ASSERT_OK_AND_ASSIGN(const std::string more,
                              tokenizer_->Decode({said.data(), cut + 1}, true));
  // A token that holds the space and the answer's first letter is left out whole.
  EXPECT_TRUE(kept == before || kept + " " == before) << kept;
  EXPECT_THAT(more, testing::HasSubstr(". A"));
}

}  // namespace
}  // namespace cohort
