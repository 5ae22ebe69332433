#include "common/reward_service/service_reply.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/utf8.h"

namespace cohort {
namespace {

constexpr size_t kMaxNote = 300;

RewardVerdict Unscorable(const char* cause, std::string note) {
  return {Outcome::kUnscorable, 0, std::move(note), cause};
}

RewardVerdict ReadScore(const v1::ItemScore& score, absl::Span<const std::string> parts) {
  if (score.verdict_case() == v1::ItemScore::kUnscorable) {
    return Unscorable(cause::kDeclined,
                      absl::StrCat("the service says: ", score.unscorable().substr(0, kMaxNote)));
  }
  if (score.verdict_case() != v1::ItemScore::kScore) {
    return Unscorable(cause::kGarbage, "the reply has neither a score nor a reason for the item");
  }
  RewardVerdict verdict{Outcome::kValue, score.score(), ""};
  for (const std::string& part : parts) {
    const auto it = score.components().find(part);
    if (it == score.components().end()) {
      return Unscorable(cause::kGarbage, absl::StrCat("the reply has no component '", part, "'"));
    }
    verdict.parts.push_back(it->second);
  }
  return verdict;
}

}  // namespace

std::vector<RewardVerdict> ReadReply(const v1::ScoreReply& reply, size_t count,
                                     absl::Span<const std::string> parts, int64_t* strays) {
  // Bytes that are no reply may read as an empty one.
  std::vector<RewardVerdict> verdicts(
      count, reply.scores().empty()
                 ? Unscorable(cause::kGarbage, "the service's reply holds no scores")
                 : Unscorable(cause::kMissing, "the service's reply leaves this item out"));
  std::vector<bool> seen(count);
  for (const v1::ItemScore& score : reply.scores()) {
    if (score.index() >= count) {
      ++*strays;
      continue;
    }
    if (seen[score.index()]) {
      ++*strays;
      verdicts[score.index()] =
          Unscorable(cause::kGarbage, "the service's reply scores this item twice");
      continue;
    }
    seen[score.index()] = true;
    verdicts[score.index()] = ReadScore(score, parts);
  }
  return verdicts;
}

void FillItem(const RewardInput& input, uint32_t index, v1::ScoreItem* item) {
  const RewardPrompt& prompt = *input.prompt;
  item->set_index(index);
  item->set_prompt(ValidUtf8(prompt.text));
  item->mutable_prompt_ids()->Add(prompt.ids.begin(), prompt.ids.end());
  item->set_response(ValidUtf8(input.completion));
  item->mutable_response_ids()->Add(input.response_ids.begin(), input.response_ids.end());
  item->set_columns_json(ValidUtf8(prompt.columns_json));
  item->set_finish_reason(input.truncated ? "length" : "stop");
  item->set_group(prompt.group_id);
  item->set_row(static_cast<uint32_t>(input.row));
}

}  // namespace cohort
