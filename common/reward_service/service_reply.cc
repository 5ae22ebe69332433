#include "common/reward_service/service_reply.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace cohort {
namespace {

constexpr size_t kMaxNote = 300;
constexpr char kReplacement[] = "\xEF\xBF\xBD";

// Bytes of the well-formed character at `text[i]`; 0: there is none.
size_t CharacterSize(absl::string_view text, size_t i) {
  const auto at = [&](size_t k) -> unsigned {
    return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0;
  };
  const auto continues = [&](size_t k) { return (at(k) & 0xC0) == 0x80; };
  const unsigned lead = at(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const bool overlong = lead == 0xE0 && at(1) < 0xA0;
    const bool surrogate = lead == 0xED && at(1) > 0x9F;
    return continues(1) && continues(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool overlong = lead == 0xF0 && at(1) < 0x90;
    const bool beyond = lead == 0xF4 && at(1) > 0x8F;
    return continues(1) && continues(2) && continues(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

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

std::string ValidUtf8(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t size = CharacterSize(text, i);
    if (size == 0) {
      out += kReplacement;
      ++i;
    } else {
      out.append(text.data() + i, size);
      i += size;
    }
  }
  return out;
}

std::vector<RewardVerdict> ReadReply(const v1::ScoreReply& reply, size_t count,
                                     absl::Span<const std::string> parts, int64_t* strays) {
  std::vector<RewardVerdict> verdicts(
      count, Unscorable(cause::kMissing, "the service's reply leaves this item out"));
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
