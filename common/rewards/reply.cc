#include "common/rewards/reply.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/rewards/answer.h"
#include "common/rewards/extract.h"
#include "common/rewards/literal.h"
#include "common/rewards/plain_text.h"

namespace cohort {
namespace {

constexpr absl::string_view kOpenTag = "<answer>";
constexpr absl::string_view kCloseTag = "</answer>";
constexpr absl::string_view kMark = "####";

// "The answer is", "Answer:" before what they announce.
absl::string_view SkipAnnouncement(absl::string_view line) {
  absl::string_view rest = line;
  for (const absl::string_view word : {"the", "final", "answer"}) {
    if (!absl::StartsWithIgnoreCase(rest, word)) continue;
    rest = absl::StripLeadingAsciiWhitespace(rest.substr(word.size()));
    if (word != "answer") continue;
    while (absl::ConsumePrefix(&rest, "*") || absl::ConsumePrefix(&rest, ":") ||
           absl::ConsumePrefix(&rest, " ") || absl::ConsumePrefix(&rest, "is ")) {
    }
    return rest;
  }
  const size_t colon = line.find(':');  // "Total: 24"
  const bool named =
      colon != absl::string_view::npos &&
      std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(colon), [](char c) {
        return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == ' ';
      });
  return named ? absl::StripLeadingAsciiWhitespace(line.substr(colon + 1)) : line;
}

// "24 (in total)": a remark behind a number, which holds none itself.
absl::string_view DropRemark(absl::string_view line) {
  const size_t open = line.rfind(" (");
  if (open == absl::string_view::npos || !absl::EndsWith(line, ")")) return line;
  const absl::string_view remark = line.substr(open + 2, line.size() - open - 3);
  const bool words = std::all_of(remark.begin(), remark.end(), [](char c) {
    return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == ' ' || c == ',';
  });
  return words ? line.substr(0, open) : line;
}

// "-$24", "€ 24": a sign and a currency before a number carry the sign alone.
std::string DropCurrency(absl::string_view text) {
  std::string sign;
  for (int i = 0; i < 4; ++i) {
    text = absl::StripLeadingAsciiWhitespace(text);
    for (const absl::string_view mark : {"\\$", "$", "\u20ac", "\u00a3", "\u00a5", "\u20b9"}) {
      if (absl::ConsumePrefix(&text, mark)) break;
    }
    if (absl::StartsWith(text, "-") && sign.empty()) {
      sign += '-';
      text.remove_prefix(1);
    }
  }
  return absl::StrCat(sign, text);
}

}  // namespace

std::optional<absl::string_view> ExtractTagged(absl::string_view text) {
  const size_t open = text.rfind(kOpenTag);
  if (open == absl::string_view::npos) return std::nullopt;
  text.remove_prefix(open + kOpenTag.size());
  return absl::StripAsciiWhitespace(text.substr(0, text.find(kCloseTag)));
}

absl::string_view LastLine(absl::string_view text) {
  text = absl::StripTrailingAsciiWhitespace(text);
  const size_t line_end = text.rfind('\n');
  return absl::StripAsciiWhitespace(
      line_end == absl::string_view::npos ? text : text.substr(line_end + 1));
}

Reply FindReply(absl::string_view text) {
  const auto trimmed = [](absl::string_view reply, ReplyPlace place) {
    return Reply{std::string(absl::StripAsciiWhitespace(reply)), place};
  };
  if (const auto box = ExtractBoxed(text)) return trimmed(*box, ReplyPlace::kBox);
  if (const auto tagged = ExtractTagged(text)) return trimmed(*tagged, ReplyPlace::kTag);
  if (const auto line = ExtractAnswerLine(text)) return trimmed(*line, ReplyPlace::kAnswerLine);
  return trimmed(LastLine(text), ReplyPlace::kLastLine);
}

std::string ExtractReply(absl::string_view text) { return FindReply(text).text; }

std::string GoldAnswer(absl::string_view gold) {
  if (const auto box = ExtractBoxed(gold)) return std::string(absl::StripAsciiWhitespace(*box));
  const size_t mark = gold.rfind(kMark);
  if (mark != absl::string_view::npos) gold.remove_prefix(mark + kMark.size());
  return std::string(absl::StripAsciiWhitespace(gold));
}

std::optional<std::string> RepliedNumber(absl::string_view completion) {
  const Reply reply = FindReply(completion);
  if (auto key = CanonicalNumber(StripDecoration(reply.text))) return key;
  if (reply.place == ReplyPlace::kBox) return std::nullopt;
  auto literal = LastLiteral(reply.text);
  if (!literal && reply.place == ReplyPlace::kLastLine) literal = LastLiteral(completion);
  if (!literal || literal->in_expression) return std::nullopt;
  return CanonicalNumber(literal->text);
}

std::optional<std::string> StatedNumber(absl::string_view line) {
  const std::string plain = PlainText(line);
  absl::string_view stated = StripDecoration(DropRemark(SkipAnnouncement(StripDecoration(plain))));
  if (const auto box = ExtractBoxed(stated); box && absl::StartsWith(stated, "\\")) {
    const std::string content = *box;
    return absl::EndsWith(stated, "}") && !ExtractBoxed(content) ? StatedNumber(content)
                                                                 : CanonicalNumber(stated);
  }
  // A percentage is asked for in percent.
  if (absl::ConsumeSuffix(&stated, "%")) absl::ConsumeSuffix(&stated, "\\");
  return CanonicalNumber(DropCurrency(stated));
}

}  // namespace cohort
