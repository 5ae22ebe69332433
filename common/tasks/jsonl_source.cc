#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "common/tasks/prompt_source.h"
#include "common/text/json.h"
#include "common/text/json_text.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr absl::string_view kGsm8kMark = "#### ";
// algorithms.md 11.4.
constexpr absl::string_view kGsm8kInstruction =
    " Let's think step by step and output the final answer after \"####\".";
constexpr absl::string_view kMathInstruction =
    " Let's think step by step and output the final answer within \\boxed{}.";

enum class Format { kPlain, kGsm8k, kMath };

absl::Status RowError(const std::string& where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

std::string ColumnNames(const json& row) {
  std::string names;
  for (const auto& [key, value] : row.items()) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", key.substr(0, 40));
    if (names.size() > 200) return names + ", ...";
  }
  return names.empty() ? "none" : names;
}

absl::StatusOr<std::vector<ChatMessage>> ReadMessages(const json& value, const std::string& where) {
  std::vector<ChatMessage> messages;
  if (value.is_string()) return std::vector<ChatMessage>{{"user", value.get<std::string>()}};
  if (value.is_array()) {
    for (const json& entry : value) {
      const auto role = entry.is_object() ? entry.find("role") : entry.end();
      const auto content = entry.is_object() ? entry.find("content") : entry.end();
      if (role == entry.end() || content == entry.end() || !role->is_string() ||
          !content->is_string()) {
        return RowError(where, "every message needs `role` and `content`, both text");
      }
      messages.push_back({role->get<std::string>(), content->get<std::string>()});
    }
  }
  if (messages.empty()) return RowError(where, "expected text or a non-empty list of messages");
  return messages;
}

// The gold answer as text, the first of several; numbers as the line spells them.
std::string AnswerText(absl::string_view value) {
  if (!absl::StartsWith(value, "[")) return JsonValueText(value);
  const auto elements = JsonElements(value);
  return elements.empty() ? std::string() : AnswerText(elements[0]);
}

struct PromptColumn {
  const char* name;
  Format format;
};
constexpr PromptColumn kPromptColumns[] = {{"messages", Format::kPlain},
                                           {"prompt", Format::kPlain},
                                           {"problem", Format::kMath},
                                           {"question", Format::kGsm8k}};

const PromptColumn* FindPromptColumn(const json& row) {
  for (const PromptColumn& column : kPromptColumns) {
    if (row.contains(column.name)) return &column;
  }
  return nullptr;
}

// Splits GSM8K's "reasoning #### 1,234" into the columns `solution` and `answer`.
bool SplitGsm8kAnswer(json* row) {
  const auto answer = row->find("answer");
  if (answer == row->end() || !answer->is_string()) return false;
  const std::string text = answer->get<std::string>();
  const size_t mark = text.rfind(kGsm8kMark.data(), std::string::npos, kGsm8kMark.size());
  if (mark == std::string::npos) return false;
  (*row)["answer"] = absl::StrReplaceAll(
      absl::StripAsciiWhitespace(text.substr(mark + kGsm8kMark.size())), {{",", ""}});
  (*row)["solution"] = std::string(absl::StripTrailingAsciiWhitespace(text.substr(0, mark)));
  return true;
}

// A right response, in the form that the instruction asks for.
std::string SolutionText(const json& row, bool gsm8k) {
  for (const char* name : {"response", "completion", "solution"}) {
    const auto found = row.find(name);
    if (found == row.end() || !found->is_string()) continue;
    const std::string text = found->get<std::string>();
    const bool mark = gsm8k && name == absl::string_view("solution");
    return mark ? absl::StrCat(text, "\n", kGsm8kMark, row["answer"].get<std::string>()) : text;
  }
  return "";
}

bool IsPromptColumn(absl::string_view name) {
  return std::any_of(std::begin(kPromptColumns), std::end(kPromptColumns),
                     [&](const PromptColumn& column) { return column.name == name; });
}

// Every column but the prompt, as `line` spells it; `row` holds it with what was changed since.
absl::StatusOr<std::string> Columns(absl::string_view line, const json& row, bool gsm8k,
                                    const std::string& where) {
  std::vector<JsonMember> members;
  std::string answer, solution;
  for (JsonMember& member : JsonMembers(line)) {
    const bool changed = gsm8k && (member.first == "answer" || member.first == "solution");
    if (!IsPromptColumn(member.first) && !changed) members.push_back(std::move(member));
  }
  if (gsm8k) {
    COHORT_ASSIGN_OR_RETURN(answer, DumpJson(row["answer"], where));
    COHORT_ASSIGN_OR_RETURN(solution, DumpJson(row["solution"], where));
    members.emplace_back("answer", answer);
    members.emplace_back("solution", solution);
  } else if (row.contains("solution") && !row.contains("answer")) {
    const auto found = std::find_if(members.begin(), members.end(), [](const JsonMember& member) {
      return member.first == "solution";
    });
    members.emplace_back("answer", found->second);
  }
  return JsonObject(members);
}

std::string AnswerOf(absl::string_view columns) {
  for (const auto& [name, value] : JsonMembers(columns)) {
    if (name == "answer") return AnswerText(value);
  }
  return "";
}

absl::StatusOr<Prompt> ReadRow(absl::string_view line, const std::string& where) {
  COHORT_ASSIGN_OR_RETURN(json row, ParseJson(line, where));
  if (!row.is_object()) return RowError(where, "expected a JSON object");
  const PromptColumn* column = FindPromptColumn(row);
  if (column == nullptr) {
    return RowError(where, absl::StrCat("expected a column prompt, messages, question or problem; "
                                        "found: ",
                                        ColumnNames(row)));
  }
  Prompt prompt;
  COHORT_ASSIGN_OR_RETURN(prompt.messages,
                          ReadMessages(row[column->name], absl::StrCat(where, ", ", column->name)));
  const bool gsm8k = column->format != Format::kMath && SplitGsm8kAnswer(&row);
  COHORT_ASSIGN_OR_RETURN(prompt.columns_json, Columns(line, row, gsm8k, where));
  prompt.answer = AnswerOf(prompt.columns_json);
  prompt.solution = SolutionText(row, gsm8k);
  prompt.reward = gsm8k ? "rule_gsm8k" : "rule_math";
  if (column->format != Format::kPlain) {
    prompt.instruction = std::string(gsm8k ? kGsm8kInstruction : kMathInstruction);
  }
  return prompt;
}

// Keeps the file's bytes and parses a row when it is asked for.
class JsonlSource final : public PromptSource {
 public:
  JsonlSource(SourceOptions options, std::string content)
      : options_(std::move(options)), content_(std::move(content)) {}

  absl::Status Index() {
    size_t begin = absl::StartsWith(content_, "\xEF\xBB\xBF") ? 3 : 0;
    for (uint64_t line = 1; begin < content_.size(); ++line) {
      const size_t end = std::min(content_.find('\n', begin), content_.size());
      const absl::string_view text = absl::string_view(content_).substr(begin, end - begin);
      if (!absl::StripAsciiWhitespace(text).empty()) {
        rows_.push_back({begin, end - begin, line, 0});
        COHORT_ASSIGN_OR_RETURN(const Prompt prompt, Read(rows_.back()));
        rows_.back().key = KeyOf(prompt);
        if (reward_.empty()) reward_ = prompt.reward;
      }
      begin = end + 1;
    }
    if (rows_.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(options_.path, ": no rows: expected one JSON object a line"));
    }
    if (!options_.reward.empty()) reward_ = options_.reward;
    HoldOut(std::min<size_t>(options_.heldout_rows, rows_.size() / 10));
    return absl::OkStatus();
  }

  const std::string& name() const override { return options_.name; }
  const std::string& reward() const override { return reward_; }
  uint64_t Size(Split split) const override { return Rows(split).size(); }
  absl::StatusOr<Prompt> At(uint64_t index, Split split) const override {
    const std::vector<RowPlace>& rows = Rows(split);
    if (index >= rows.size()) {
      return absl::OutOfRangeError(absl::StrCat(options_.path, " has ", rows.size(),
                                                split == Split::kTrain ? "" : " held-out",
                                                " rows, row ", index, " was asked for"));
    }
    COHORT_ASSIGN_OR_RETURN(Prompt prompt, Read(rows[index]));
    prompt.ordinal = index;
    prompt.source = options_.name;
    if (!options_.reward.empty()) prompt.reward = options_.reward;
    return prompt;
  }

 private:
  struct RowPlace {
    size_t begin;
    size_t size;
    uint64_t line;
    uint64_t key;  // of the prompt's text
  };

  static uint64_t KeyOf(const Prompt& prompt) {
    std::string text;
    for (const ChatMessage& message : prompt.messages) {
      absl::StrAppend(&text, message.role, "\n", message.content, "\n");
    }
    return Xxh3Low(text);
  }

  // Takes about `count` rows, those with the smallest keys, and every other row with such a prompt.
  void HoldOut(size_t count) {
    if (count == 0) return;
    std::vector<uint64_t> keys;
    for (const RowPlace& row : rows_) keys.push_back(row.key);
    std::nth_element(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(count) - 1,
                     keys.end());
    const uint64_t last = keys[count - 1];
    const auto trained = std::stable_partition(
        rows_.begin(), rows_.end(), [last](const RowPlace& row) { return row.key > last; });
    if (trained == rows_.begin()) return;  // one prompt over and over: nothing to train on is left
    heldout_.assign(trained, rows_.end());
    rows_.erase(trained, rows_.end());
  }
  const std::vector<RowPlace>& Rows(Split split) const {
    return split == Split::kHeldout && options_.heldout_rows > 0 ? heldout_ : rows_;
  }

  absl::StatusOr<Prompt> Read(const RowPlace& row) const {
    return ReadRow(absl::string_view(content_).substr(row.begin, row.size),
                   absl::StrCat(options_.path, " line ", row.line));
  }

  // Constant after Index.
  SourceOptions options_;
  std::string content_;
  std::string reward_;
  std::vector<RowPlace> rows_;     // of training, or all
  std::vector<RowPlace> heldout_;  // empty unless asked for
};

std::string BaseName(const std::string& path) {
  std::string name = path.substr(path.rfind('/') + 1);
  return name.substr(0, std::max<size_t>(1, name.rfind('.')));
}

}  // namespace

absl::StatusOr<std::unique_ptr<PromptSource>> MakeJsonlSource(const SourceOptions& options) {
  COHORT_ASSIGN_OR_RETURN(std::string content, ReadFile(options.path));
  SourceOptions named = options;
  if (named.name.empty()) named.name = BaseName(options.path);
  auto source = std::make_unique<JsonlSource>(std::move(named), std::move(content));
  COHORT_RETURN_IF_ERROR(source->Index());
  return source;
}

}  // namespace cohort
