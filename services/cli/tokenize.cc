#include <fstream>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/json.h"
#include "common/text/tokenizer.h"
#include "services/cli/commands.h"

namespace cohort {
namespace {

absl::StatusOr<std::vector<int32_t>> EncodeLine(const Tokenizer& tokenizer,
                                                const nlohmann::json& line) {
  const auto text = line.find("text");
  if (text != line.end() && text->is_string()) {
    return tokenizer.Encode(text->get<std::string>(), /*add_special=*/true);
  }
  const auto messages = line.find("messages");
  if (messages != line.end() && messages->is_array()) {
    COHORT_ASSIGN_OR_RETURN(std::string prompt, tokenizer.RenderChatJson(*messages, true));
    return tokenizer.Encode(prompt, /*add_special=*/false);
  }
  return absl::InvalidArgumentError("expected {\"text\": \"...\"} or {\"messages\": [...]}");
}

absl::Status TokenizeStream(const Tokenizer& tokenizer, const std::string& name, std::istream& in) {
  std::string text;
  for (int64_t number = 1; std::getline(in, text); ++number) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = absl::StrCat(name, " line ", number);
    COHORT_ASSIGN_OR_RETURN(nlohmann::json line, ParseJson(text, where));
    if (!line.is_object()) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": expected a JSON object"));
    }
    absl::StatusOr<std::vector<int32_t>> ids = EncodeLine(tokenizer, line);
    if (!ids.ok())
      return absl::Status(ids.status().code(), absl::StrCat(where, ": ", ids.status().message()));
    std::cout << nlohmann::json{{"tokens", *ids}}.dump() << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

int RunTokenize(const TokenizeArgs& args) {
  const auto tokenizer = Tokenizer::Load(args.model);
  if (!tokenizer.ok()) return Fail("tokenize", tokenizer.status());
  std::ifstream file;
  if (args.input != "-") {
    file.open(args.input);
    if (!file)
      return Fail("tokenize", absl::NotFoundError(absl::StrCat("cannot read ", args.input)));
  }
  std::istream& in = args.input == "-" ? std::cin : file;
  const absl::Status status = TokenizeStream(**tokenizer, args.input, in);
  return status.ok() ? 0 : Fail("tokenize", status);
}

}  // namespace cohort
