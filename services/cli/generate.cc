#include <algorithm>
#include <deque>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"
#include "common/text/json.h"
#include "services/cli/commands.h"
#include "services/cli/local_engine.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr int kMaxRows = 64;

// Where prompts come from: the command line or the lines of a file.
class Prompts {
 public:
  explicit Prompts(const GenerateArgs& args) : args_(args) {
    if (!args.prompt.has_value()) file_.open(args.input);
  }
  absl::Status status() const {
    if (args_.prompt.has_value() || file_.is_open()) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat("cannot read ", args_.input));
  }

  // A text or a list of messages; nothing at the end. Sets where().
  absl::StatusOr<std::optional<json>> Next() {
    if (args_.prompt.has_value()) {
      where_ = "--prompt";
      return std::exchange(done_, true) ? std::nullopt : std::make_optional(json(*args_.prompt));
    }
    std::string text;
    while (std::getline(file_, text)) {
      where_ = absl::StrCat(args_.input, " line ", ++line_);
      if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
      COHORT_ASSIGN_OR_RETURN(json value, ParseJson(text, where_));
      return FromLine(value);
    }
    return std::nullopt;
  }
  const std::string& where() const { return where_; }

 private:
  absl::StatusOr<std::optional<json>> FromLine(const json& line) const {
    for (const char* key : {"messages", "prompt"}) {
      const auto found = line.is_object() ? line.find(key) : line.end();
      if (found == line.end()) continue;
      if (found->is_array() || found->is_string()) return *found;
    }
    return absl::InvalidArgumentError(
        absl::StrCat(where_, ": expected {\"prompt\": \"...\"} or {\"messages\": [...]}"));
  }

  const GenerateArgs& args_;
  std::ifstream file_;
  bool done_ = false;
  int64_t line_ = 0;
  std::string where_;
};

absl::StatusOr<std::vector<int32_t>> EncodeRaw(const Tokenizer& tokenizer, const json& prompt) {
  if (prompt.is_string()) return tokenizer.Encode(prompt.get<std::string>(), /*add_special=*/true);
  std::string text;
  for (const json& message : prompt) {
    const auto content = message.is_object() ? message.find("content") : message.end();
    if (content == message.end() || !content->is_string()) {
      return absl::InvalidArgumentError("a message has no text in \"content\"");
    }
    absl::StrAppend(&text, text.empty() ? "" : "\n", content->get<std::string>());
  }
  return tokenizer.Encode(text, /*add_special=*/true);
}

absl::StatusOr<std::vector<int32_t>> EncodePromptJson(const Tokenizer& tokenizer,
                                                      const json& prompt, bool raw) {
  if (raw) return EncodeRaw(tokenizer, prompt);
  const json messages =
      prompt.is_string() ? json::array({{{"role", "user"}, {"content", prompt}}}) : prompt;
  COHORT_ASSIGN_OR_RETURN(const std::string text, tokenizer.RenderChatJson(messages, true));
  return tokenizer.Encode(text, /*add_special=*/false);
}

class Generation {
 public:
  Generation(const GenerateArgs& args, const LocalModel& local)
      : args_(args), local_(local), prompts_(args) {}

  absl::Status Run() {
    COHORT_RETURN_IF_ERROR(prompts_.status());
    COHORT_ASSIGN_OR_RETURN(const auto engine,
                            MakeLocalEngine(local_, std::max(kMaxRows, args_.n), args_.em_inf));
    COHORT_RETURN_IF_ERROR(GenerateInOrder(
        *engine, [this] { return Next(); },
        [this](const FinishedGroup& group) { return Print(group); }));
    if (skipped_ == 0) return absl::OkStatus();
    return absl::OutOfRangeError(absl::StrCat(skipped_, " of ", count_, " prompts were skipped"));
  }

 private:
  struct Pending {
    json prompt;
    std::string where;
  };

  absl::StatusOr<std::optional<GroupRequest>> Next() {
    COHORT_ASSIGN_OR_RETURN(const std::optional<json> prompt, prompts_.Next());
    if (!prompt.has_value()) return std::nullopt;
    auto tokens = EncodePromptJson(*local_.tokenizer, *prompt, args_.raw);
    if (!tokens.ok()) {
      return absl::Status(tokens.status().code(),
                          absl::StrCat(prompts_.where(), ": ", tokens.status().message()));
    }
    GroupRequest request;
    request.id = MakeGroupId(args_.seed, count_, Purpose::kEval);
    request.ordinal = count_++;
    request.purpose = Purpose::kEval;
    request.prompt = *std::move(tokens);
    SamplePlan plan;
    plan.temperature = static_cast<float>(args_.temperature);
    plan.max_new_tokens = args_.max_new_tokens;
    request.plans.assign(static_cast<size_t>(args_.n), plan);
    pending_.push_back({*prompt, prompts_.where()});
    return request;
  }

  absl::Status Print(const FinishedGroup& group) {
    const Pending pending = std::move(pending_.front());
    pending_.pop_front();
    if (absl::IsOutOfRange(group.status)) {  // the prompt is too long
      ++skipped_;
      std::cerr << "cohort generate: " << pending.where << ": "
                << std::string(group.status.message()) << "; skipped" << std::endl;
      return absl::OkStatus();
    }
    COHORT_RETURN_IF_ERROR(group.status);
    for (const Row& row : group.group.rows) {
      COHORT_ASSIGN_OR_RETURN(const std::string text, local_.tokenizer->Decode(row.tokens, true));
      const json line = {{"prompt", pending.prompt},
                         {"completion", text},
                         {"tokens", row.tokens},
                         {"logprobs", row.logprobs},
                         {"finish_reason", row.finish == FinishReason::kStop ? "stop" : "length"}};
      std::cout << line.dump() << "\n" << std::flush;
    }
    return absl::OkStatus();
  }

  const GenerateArgs& args_;
  const LocalModel& local_;
  Prompts prompts_;
  std::deque<Pending> pending_;
  uint64_t count_ = 0;
  uint64_t skipped_ = 0;
};

}  // namespace

int RunGenerate(const GenerateArgs& args) {
  const auto local = LoadLocalModelAndTokenizer(args.model, args.dtype, args.device, args.threads);
  if (!local.ok()) return Fail("generate", local.status());
  const absl::Status status = Generation(args, *local).Run();
  return status.ok() ? 0 : Fail("generate", status);
}

}  // namespace cohort
