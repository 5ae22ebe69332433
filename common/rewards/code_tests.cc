#include "common/rewards/code_tests.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/rewards/extract.h"
#include "common/rewards/sandbox.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr char kField[] = "reward.code.interpreter";
constexpr absl::string_view kFence = "```";
constexpr size_t kMaxCodeBytes = 256 << 10;
constexpr size_t kMaxNote = 200;

struct Case {
  std::string code;    // put after the answer's
  std::string input;   // standard input
  std::string output;  // expected; compared line by line
  bool by_output = false;
};

// The cases of the column `tests`; empty: there are none, or they have another form.
std::vector<Case> ReadTests(const RewardPrompt& prompt) {
  const auto column = prompt.columns.find("tests");
  if (column == prompt.columns.end()) return {};
  if (column->is_string()) return {{column->get<std::string>(), "", "", false}};
  std::vector<Case> cases;
  std::string code;
  if (!column->is_array()) return {};
  for (const json& test : *column) {
    if (test.is_string()) {
      absl::StrAppend(&code, test.get<std::string>(), "\n");
      continue;
    }
    if (!test.is_object() || !test.contains("output") || !test["output"].is_string()) return {};
    const std::string input =
        test.contains("input") && test["input"].is_string() ? test["input"].get<std::string>() : "";
    cases.push_back({"", input, test["output"].get<std::string>(), true});
  }
  if (!code.empty()) cases.push_back({code, "", "", false});
  return cases;
}

// Lines without the white space at their ends, blank lines at the end left out.
std::vector<absl::string_view> Lines(absl::string_view text) {
  std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  for (absl::string_view& line : lines) line = absl::StripTrailingAsciiWhitespace(line);
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

// What an answer cannot know: printed behind the tests, it shows that they were reached.
std::string MakeToken() {
  std::random_device device;
  return absl::StrCat("tests-passed-", absl::Hex(device()), absl::Hex(device()));
}

std::string FirstWords(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  if (text.size() > kMaxNote) text.remove_prefix(text.size() - kMaxNote);
  return std::string(text);
}

absl::StatusOr<std::string> FindProgram(const std::string& name) {
  if (absl::StrContains(name, '/')) {
    if (access(name.c_str(), X_OK) == 0) return name;
  } else {
    const char* path = std::getenv("PATH");
    for (const absl::string_view folder : absl::StrSplit(path == nullptr ? "" : path, ':')) {
      std::string candidate = absl::StrCat(folder, "/", name);
      if (!folder.empty() && access(candidate.c_str(), X_OK) == 0) return candidate;
    }
  }
  return absl::NotFoundError(
      absl::StrCat(kField, ": expected a program that can be run, found none of the name '", name,
                   "'; install it or give its path"));
}

class CodeVerifier final : public Verifier {
 public:
  explicit CodeVerifier(const VerifierOptions& options)
      : code_(options.code),
        after_thinking_(options.after_thinking),
        scale_(options.scale.value_or(RewardScale())) {}

  absl::Status Prepare() {
    if (code_.interpreter.empty() || code_.interpreter[0].empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          kField,
          ": reward code_tests runs programs and needs an interpreter, found none; set it, "
          "such as [python3, -I]"));
    }
    COHORT_ASSIGN_OR_RETURN(code_.interpreter[0], FindProgram(code_.interpreter[0]));
    const RewardVerdict verdict = Run("", {{"", "", "", false}});
    if (verdict.outcome == Outcome::kCorrect) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        kField, ": '", absl::StrJoin(code_.interpreter, " "),
        "' does not run print(\"...\") in the sandbox, where it is nobody without a network: ",
        verdict.note));
  }

  RewardVerdict Verify(const RewardInput& input) const override {
    const absl::string_view text =
        after_thinking_ ? AfterThinking(input.completion) : absl::string_view(input.completion);
    const std::vector<Case> cases = ReadTests(*input.prompt);
    if (cases.empty()) {
      return {Outcome::kUnscorable, 0, "the prompt's column `tests` is missing or of another form",
              cause::kNoGold};
    }
    const absl::string_view code = ExtractCode(text);
    if (absl::StripAsciiWhitespace(code).empty() || code.size() > kMaxCodeBytes) {
      return {Outcome::kUnparsable, scale_.unparsable, ""};
    }
    return Run(code, cases);
  }

  absl::Duration TimeLimit() const override { return SandboxBound(code_.seconds) * 2; }

 private:
  RewardVerdict Run(absl::string_view code, const std::vector<Case>& cases) const {
    const absl::Time bound = absl::Now() + SandboxBound(code_.seconds);
    absl::Duration left = code_.seconds;
    for (const Case& test : cases) {
      const absl::Time start = absl::Now();
      if (start > bound) return Broken("the machine is too busy to run all cases");
      const RewardVerdict verdict = RunCase(code, test, left);
      if (verdict.outcome != Outcome::kCorrect) return verdict;
      // The cases share the time; none is left without a chance.
      left = std::max(left - (absl::Now() - start), code_.seconds / 10);
    }
    return {Outcome::kCorrect, scale_.correct, ""};
  }

  RewardVerdict RunCase(absl::string_view code, const Case& test, absl::Duration limit) const {
    const TemporaryFolder folder;
    const std::string token = MakeToken();
    SandboxProgram program;
    program.arguments = code_.interpreter;
    program.arguments.push_back(folder.path() + "/program");
    program.folder = folder.path();
    program.input = test.input;
    program.seconds = limit;
    program.memory_bytes = code_.memory_bytes;
    program.output_bytes = code_.output_bytes;
    {
      std::ofstream file(program.arguments.back(), std::ios::binary);
      file << code << "\n";
      if (!test.by_output) file << test.code << "\nprint(\"" << token << "\")\n";
      if (!file.flush()) return Broken("the program could not be written: is the disk full?");
    }
    chmod(program.arguments.back().c_str(), 0644);
    absl::StatusOr<SandboxResult> result = RunInSandbox(program);
    if (!result.ok()) return Broken(std::string(result.status().message()));
    return Judge(*result, test, token);
  }

  RewardVerdict Judge(const SandboxResult& result, const Case& test,
                      const std::string& token) const {
    using End = SandboxResult::End;
    switch (result.end) {
      case End::kKilled:
        return Broken("its process was killed by the system, which may be out of memory");
      case End::kStarved:
        return Broken("the machine gave its process too little time");
      case End::kTimeLimit:
        return Wrong(cause::kCodeTime, "time limit");
      case End::kOutputLimit:
        return Wrong(cause::kCodeOutput, "output limit");
      case End::kExited:
      case End::kCrashed:
        break;
    }
    const auto lines = Lines(result.output);
    const bool ran = result.end == End::kExited && result.exit_code == 0;
    const bool right = test.by_output ? lines == Lines(test.output)
                                      : !lines.empty() && absl::EndsWith(lines.back(), token);
    if (ran && right) return {Outcome::kCorrect, scale_.correct, ""};
    return Wrong(result.memory_exhausted ? cause::kCodeMemory : "", FirstWords(result.errors));
  }

  static RewardVerdict Broken(const std::string& note) {
    return {Outcome::kUnscorable, 0, note, cause::kSandbox};
  }
  RewardVerdict Wrong(const char* cause, const std::string& note) const {
    return {Outcome::kWrong, scale_.wrong, note, cause};
  }

  CodeOptions code_;
  const bool after_thinking_;
  const RewardScale scale_;
};

}  // namespace

absl::string_view ExtractCode(absl::string_view text) {
  // Fences come in pairs: the last that opens is found from the front.
  size_t open = absl::string_view::npos;
  size_t close = absl::string_view::npos;
  for (size_t at = text.find(kFence); at != absl::string_view::npos;) {
    open = at;
    close = text.find(kFence, at + kFence.size());
    if (close == absl::string_view::npos) break;
    at = text.find(kFence, close + kFence.size());
  }
  if (open == absl::string_view::npos) return text;
  absl::string_view block = text.substr(open + kFence.size());
  if (close != absl::string_view::npos) block = block.substr(0, close - open - kFence.size());
  const size_t line_end = block.find('\n');  // the language stands before it
  return line_end == absl::string_view::npos ? block : block.substr(line_end + 1);
}

absl::StatusOr<std::unique_ptr<Verifier>> MakeCodeVerifier(const VerifierOptions& options) {
  auto verifier = std::make_unique<CodeVerifier>(options);
  COHORT_RETURN_IF_ERROR(verifier->Prepare());
  return std::unique_ptr<Verifier>(std::move(verifier));
}

}  // namespace cohort
