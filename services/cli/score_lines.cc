#include "services/cli/score_lines.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <istream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/rewards/answer_text.h"
#include "common/rewards/extract.h"
#include "common/text/json.h"
#include "common/text/json_text.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr size_t kMostReason = 300;  // bytes of a gold answer or reply that are shown

absl::Status LineError(const std::string& where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

// On one line, and not all of it where it is long.
std::string Shown(absl::string_view text) {
  std::string shown(text.substr(0, kMostReason));
  if (text.size() > kMostReason) shown += "...";
  absl::RemoveExtraAsciiWhitespace(&shown);
  return shown;
}

// Takes one member of a line's `options`; false: of another type than it must be.
bool SetOption(const std::string& name, const json& value, VerifierOptions* out) {
  const auto text = [&](std::string* to) {
    if (value.is_string()) *to = value.get<std::string>();
    return value.is_string();
  };
  if (name == "pattern") return text(&out->pattern);
  if (name == "text") return text(&out->text);
  if (name == "column") return text(&out->column);
  if (name == "after_thinking" && value.is_boolean()) {
    out->after_thinking = value.get<bool>();
    return true;
  }
  if (name == "compat") return out->compat_string = value == "string";
  if (name == "p" && value.is_number()) {
    out->probability = value.get<double>();
    return true;
  }
  return false;
}

absl::StatusOr<VerifierOptions> ReadOptions(const std::string& text, const CodeOptions& code) {
  VerifierOptions options;
  options.code = code;
  if (text.empty()) return options;
  COHORT_ASSIGN_OR_RETURN(const json given, ParseJson(text, "options"));
  if (!given.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("options: expected an object, found ", Shown(text)));
  }
  for (const auto& [name, value] : given.items()) {
    if (SetOption(name, value, &options)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("options: expected after_thinking (true or false), pattern, text, column "
                     "(text), compat (\"string\") or p (a number), found ",
                     name, ": ", Shown(JsonObject({{name, value.dump()}}))));
  }
  return options;
}

}  // namespace

absl::Status ForEachJsonLine(const std::string& name, std::istream& in,
                             const std::function<absl::Status(ScoreLine line)>& take) {
  std::string text;
  for (int64_t number = 1; std::getline(in, text); ++number) {
    if (number == 1 && text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
    if (absl::StripAsciiWhitespace(text).empty()) continue;
    ScoreLine line;
    line.where = absl::StrCat(name, " line ", number);
    COHORT_ASSIGN_OR_RETURN(line.json, ParseJson(text, line.where));
    if (!line.json.is_object()) {
      return LineError(line.where,
                       absl::StrCat("expected a JSON object, found ", line.json.type_name()));
    }
    COHORT_RETURN_IF_ERROR(ReadScoreColumns(text, &line));
    COHORT_RETURN_IF_ERROR(take(std::move(line)));
  }
  return absl::OkStatus();
}

absl::Status ReadScoreColumns(absl::string_view text, ScoreLine* line) {
  const auto completion = line->json.find("completion");
  if (completion == line->json.end() || !completion->is_string()) {
    return LineError(
        line->where,
        absl::StrCat("expected a text `completion`, found ",
                     completion == line->json.end() ? "none" : completion->type_name()));
  }
  line->completion = completion->get<std::string>();
  std::vector<JsonMember> columns = JsonMembers(text);
  std::erase_if(columns, [&](const JsonMember& member) {
    if (member.first == "options" && member.second != "null")
      line->options = std::string(member.second);
    return member.first == "completion" || member.first == "options";
  });
  line->columns_json = JsonObject(columns);
  return absl::OkStatus();
}

const char* VerdictName(Outcome outcome) {
  switch (outcome) {
    case Outcome::kCorrect:
      return "correct";
    case Outcome::kWrong:
      return "wrong";
    case Outcome::kUnparsable:
      return "unparsable";
    case Outcome::kUnscorable:
      return "unscorable";
    case Outcome::kValue:
      return "value";
  }
  return "";
}

std::string ScoreResultJson(const ScoreResult& result) {
  nlohmann::ordered_json out;
  out["verdict"] = VerdictName(result.outcome);
  out["reward"] = result.reward;
  if (result.reply) {
    out["reply"] = *result.reply;
  } else {
    out["reply"] = nullptr;
  }
  out["components"] = json(result.components);
  out["reason"] = result.reason;
  out["microseconds"] = std::round(absl::ToDoubleMicroseconds(result.spent) * 10) / 10;
  // A reply may be cut inside a character.
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string ReasonOf(Outcome outcome, const std::string& note,
                     const std::optional<std::string>& reply, const RewardPrompt& prompt) {
  if (!note.empty()) return Shown(note);
  if (outcome == Outcome::kUnparsable) return "the completion holds no answer of this form";
  if (outcome != Outcome::kWrong) return "";
  return absl::StrCat("expected ", Shown(prompt.answer), ", found ",
                      reply ? Shown(*reply) : std::string("no such answer"));
}

absl::StatusOr<const LineJudge::Made*> LineJudge::Find(const std::string& verifier,
                                                       const std::string& options) {
  const auto [at, fresh] = made_.try_emplace({verifier, options});
  if (!fresh) return &at->second;
  const auto make = [&]() -> absl::Status {
    COHORT_ASSIGN_OR_RETURN(const VerifierOptions parsed, ReadOptions(options, code_));
    COHORT_ASSIGN_OR_RETURN(at->second.verifier, MakeVerifier(verifier, parsed));
    at->second.after_thinking = parsed.after_thinking;
    return absl::OkStatus();
  };
  const absl::Status status = make();
  if (status.ok()) return &at->second;
  made_.erase(at);
  return status;
}

absl::StatusOr<ScoreResult> LineJudge::Judge(const std::string& verifier, const ScoreLine& line) {
  const auto named = [&](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(line.where, ": ", status.message()));
  };
  const auto made = Find(verifier, line.options);
  if (!made.ok()) return named(made.status());
  const auto prompt = MakeRewardPrompt(line.columns_json, verifier, 0);
  if (!prompt.ok()) return named(prompt.status());
  RewardInput input;
  input.prompt = *prompt;
  input.completion = line.completion;
  const auto start = std::chrono::steady_clock::now();
  const RewardVerdict verdict = (*made)->verifier->Verify(input);
  ScoreResult result;
  result.spent = absl::FromChrono(std::chrono::steady_clock::now() - start);
  result.outcome = verdict.outcome;
  result.reward = verdict.value;
  result.components[verifier] = verdict.value;
  const absl::string_view looked =
      (*made)->after_thinking ? AfterThinking(line.completion) : absl::string_view(line.completion);
  result.reply = ReadAnswer(verifier, looked);
  const std::string note = verdict.note.empty() ? std::string(verdict.cause) : verdict.note;
  result.reason = ReasonOf(verdict.outcome, note, result.reply, **prompt);
  return result;
}

int64_t ScoreCounts::total() const {
  int64_t total = 0;
  for (const auto& [outcome, spent] : spent_) total += static_cast<int64_t>(spent.size());
  return total;
}

std::string ScoreCounts::Table() const {
  std::string table;
  for (auto [outcome, spent] : spent_) {
    std::sort(spent.begin(), spent.end());
    absl::StrAppendFormat(&table, "%-10s %8d   median %10.1f us   max %10.1f us\n",
                          VerdictName(outcome), spent.size(),
                          absl::ToDoubleMicroseconds(spent[spent.size() / 2]),
                          absl::ToDoubleMicroseconds(spent.back()));
  }
  return table;
}

}  // namespace cohort
