// Finding a reply of any form in a completion. Linear in the text, any bytes. Pure functions; views
// point into their argument.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace cohort {

enum class ReplyPlace : uint8_t { kBox, kTag, kAnswerLine, kLastLine };

struct Reply {
  std::string text;  // trimmed
  ReplyPlace place = ReplyPlace::kLastLine;
};

// The reply: the last closed box, else the last <answer>, else the last "Answer:" line, else the
// last line.
Reply FindReply(absl::string_view text);
std::string ExtractReply(absl::string_view text);  // its text

// What stands between the last <answer> and its </answer> (or the end), trimmed; nullopt: no tag.
std::optional<absl::string_view> ExtractTagged(absl::string_view text);

// The last line that is not blank, trimmed.
absl::string_view LastLine(absl::string_view text);

// What a gold answer says: the content of its last box, else what follows its "####", else all of
// it; trimmed.
std::string GoldAnswer(absl::string_view gold);

// The number that a completion replies with, in canonical form: the reply as a whole where it is
// one, else the last number that its sentence states. A box that holds no number, and a number that
// is a part of an expression, are none.
std::optional<std::string> RepliedNumber(absl::string_view completion);

// The number that a line states which must hold nothing else: "$24", "**24**.", "x = 24", "24
// dollars", "20%" (which is 20). Canonical; nullopt: the line holds more, or less.
std::optional<std::string> StatedNumber(absl::string_view line);

}  // namespace cohort
