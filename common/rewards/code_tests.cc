#include "common/rewards/code_tests.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/find_program.h"
#include "common/base/status_macros.h"
#include "common/rewards/code_blocks.h"
#include "common/rewards/code_cases.h"
#include "common/rewards/code_judge.h"
#include "common/rewards/extract.h"
#include "common/rewards/sandbox.h"

namespace cohort {
namespace {

constexpr char kField[] = "reward.code.interpreter";
constexpr size_t kMaxCodeBytes = 256 << 10;
constexpr size_t kMaxNote = 200;
constexpr size_t kMostKnown = 1 << 16;  // prompts whose tests are known to be some

// Lines without the white space at their ends, blank lines at the end left out.
std::vector<absl::string_view> Lines(absl::string_view text) {
  std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  for (absl::string_view& line : lines) line = absl::StripTrailingAsciiWhitespace(line);
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

std::string LastWords(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  if (text.size() > kMaxNote) text.remove_prefix(text.size() - kMaxNote);
  return std::string(text);
}

absl::StatusOr<std::string> FindInterpreter(const std::string& name) {
  if (std::optional<std::string> found = FindProgram(name)) return *std::move(found);
  return absl::NotFoundError(
      absl::StrCat(kField, ": expected a program that can be run, found none of the name '", name,
                   "'; install it or give its path"));
}

// Folders that an interpreter needs besides the system's: its installation or virtual environment,
// and files among its arguments.
std::vector<std::string> ReadableFor(const std::vector<std::string>& interpreter) {
  std::vector<std::string> readable;
  for (const std::string& word : interpreter) {
    if (!absl::StartsWith(word, "/")) continue;
    std::error_code error;
    const std::filesystem::path real = std::filesystem::canonical(word, error);
    if (error) continue;
    for (const std::filesystem::path& path : {std::filesystem::path(word), real}) {
      readable.push_back(path);
      const bool installed = path.parent_path().filename() == "bin" && path.parent_path() != "/bin";
      if (installed) readable.push_back(path.parent_path().parent_path());
    }
  }
  return readable;
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
    COHORT_ASSIGN_OR_RETURN(code_.interpreter[0], FindInterpreter(code_.interpreter[0]));
    readable_ = ReadableFor(code_.interpreter);
    readable_.insert(readable_.end(), code_.readable.begin(), code_.readable.end());
    shell_ = absl::EndsWith(code_.interpreter[0], "sh");
    const RewardVerdict verdict = RunCase("print(\"hello\")\n", {"", "hello"}, code_.seconds);
    if (verdict.outcome != Outcome::kCorrect) {
      return absl::FailedPreconditionError(absl::StrCat(
          kField, ": '", absl::StrJoin(code_.interpreter, " "),
          "' does not run print(\"hello\") in the sandbox, where it is another user without a "
          "network that reads its own installation and the system's programs only: ",
          verdict.note));
    }
    CodeTests probe;
    probe.code = "assert f(1) == 2";
    const RewardVerdict tested = RunTests("def f(x):\n    return x + 1\n", probe);
    python_ = tested.outcome == Outcome::kCorrect;
    if (tested.outcome != Outcome::kUnscorable) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat(kField, ": a first test could not be run: ", tested.note));
  }

  RewardVerdict Verify(const RewardInput& input) const override {
    const absl::string_view text =
        after_thinking_ ? AfterThinking(input.completion) : absl::string_view(input.completion);
    const CodeTests tests = ReadCodeTests(input.prompt->columns);
    if (!tests.problem.empty()) return NoTests(tests.problem);
    const bool calls = !tests.code.empty() || !tests.function.empty();
    if (calls) {
      const std::string problem = ProblemOf(tests);
      if (!problem.empty()) return NoTests(problem);
    }
    const std::string code =
        ExtractCode(text, calls ? tests.names : std::set<std::string>(), shell_);
    if (absl::StripAsciiWhitespace(code).empty() || code.size() > kMaxCodeBytes) {
      return {Outcome::kUnparsable, scale_.unparsable, ""};
    }
    const RewardVerdict verdict = RunCases(code, tests.outputs);
    return verdict.outcome == Outcome::kCorrect && calls ? RunTests(code, tests) : verdict;
  }

  absl::Duration TimeLimit() const override { return JudgedBound(code_.seconds) * 4; }

 private:
  RewardVerdict RunCases(const std::string& code, const std::vector<OutputCase>& cases) const {
    const absl::Time bound = absl::Now() + SandboxBound(code_.seconds);
    absl::Duration left = code_.seconds;
    for (const OutputCase& test : cases) {
      const absl::Time start = absl::Now();
      if (start > bound) return Broken("the machine is too busy to run all cases");
      const RewardVerdict verdict = RunCase(code, test, left);
      if (verdict.outcome != Outcome::kCorrect) return verdict;
      // The cases share the time; none is left without a chance.
      left = std::max(left - (absl::Now() - start), code_.seconds / 10);
    }
    return {Outcome::kCorrect, scale_.correct, ""};
  }

  RewardVerdict RunCase(const std::string& code, const OutputCase& test,
                        absl::Duration limit) const {
    const TemporaryFolder folder;
    SandboxProgram program;
    program.arguments = code_.interpreter;
    program.arguments.push_back(folder.path() + "/program");
    program.folder = folder.path();
    program.readable = readable_;
    program.input = test.input;
    program.seconds = limit;
    program.memory_bytes = code_.memory_bytes;
    program.output_bytes = code_.output_bytes;
    std::ofstream file(program.arguments.back(), std::ios::binary);
    file << code << "\n";
    if (!file.flush()) return Broken("the program could not be written: is the disk full?");
    chmod(program.arguments.back().c_str(), 0644);
    const absl::StatusOr<SandboxResult> result = RunInSandbox(program);
    if (!result.ok()) return Broken(std::string(result.status().message()));
    if (const auto failure = Failure(*result)) return *failure;
    const bool ran = result->end == End::kExited && result->exit_code == 0;
    if (ran && Lines(result->output) == Lines(test.output)) {
      return {Outcome::kCorrect, scale_.correct, ""};
    }
    return Wrong(result->memory_exhausted ? cause::kCodeMemory : "", LastWords(result->errors));
  }

  RewardVerdict RunTests(const std::string& code, const CodeTests& tests) const {
    const absl::StatusOr<JudgedRun> run = RunJudged(code, tests, code_, readable_);
    if (!run.ok()) return Broken(std::string(run.status().message()));
    if (run->verdict == JudgedRun::Verdict::kRight) {
      return {Outcome::kCorrect, scale_.correct, ""};
    }
    if (run->verdict == JudgedRun::Verdict::kVoid) return NoTests(run->note);
    if (const auto failure = Failure(run->answer)) return *failure;
    const bool no_judge = run->verdict == JudgedRun::Verdict::kNone &&
                          (run->judge_end == End::kKilled || run->judge_end == End::kStarved);
    if (no_judge) return Broken("the process of its tests was killed, or had too little time");
    const bool memory = run->answer.memory_exhausted || absl::StrContains(run->note, "MemoryError");
    return Wrong(memory ? cause::kCodeMemory : "",
                 run->note.empty() ? LastWords(run->answer.errors) : LastWords(run->note));
  }

  // Why these are no tests: an empty program passes them, or no program can. Known after the
  // first answer to a prompt.
  std::string ProblemOf(const CodeTests& tests) const {
    if (!python_) {
      return absl::StrCat("tests that are code need Python 3.8 or newer, found ", kField, " '",
                          code_.interpreter[0], "'");
    }
    const size_t key = absl::HashOf(tests.code, tests.entry_point, tests.function,
                                    tests.calls.is_null() ? "" : tests.calls.dump());
    {
      absl::MutexLock lock(&mu_);
      const auto known = problems_.find(key);
      if (known != problems_.end()) return known->second;
    }
    const RewardVerdict empty = RunTests("", tests);
    const bool none = empty.outcome == Outcome::kUnscorable && empty.cause == cause::kNoGold;
    if (empty.outcome == Outcome::kUnscorable && !none) return "";  // another time
    const std::string problem = empty.outcome == Outcome::kCorrect
                                    ? "the tests test nothing: an empty program passes them"
                                : none ? empty.note
                                       : "";
    absl::MutexLock lock(&mu_);
    if (problems_.size() >= kMostKnown) problems_.clear();
    return problems_[key] = problem;
  }

  // What ended the process of an answer, where that decides.
  std::optional<RewardVerdict> Failure(const SandboxResult& result) const {
    switch (result.end) {
      case End::kKilled:
        return Broken("its process was killed by the system, which may be out of memory");
      case End::kStarved:
        return Broken("the machine gave its process too little time");
      case End::kTimeLimit:
        return Wrong(cause::kCodeTime, "time limit");
      case End::kOutputLimit:
        return Wrong(cause::kCodeOutput, "output limit");
      case End::kStopped:
      case End::kExited:
      case End::kCrashed:
        break;
    }
    return std::nullopt;
  }

  static RewardVerdict Broken(const std::string& note) {
    return {Outcome::kUnscorable, 0, note, cause::kSandbox};
  }
  static RewardVerdict NoTests(const std::string& note) {
    return {Outcome::kUnscorable, 0, note, cause::kNoGold};
  }
  RewardVerdict Wrong(const char* cause, const std::string& note) const {
    return {Outcome::kWrong, scale_.wrong, note, cause};
  }

  using End = SandboxResult::End;
  CodeOptions code_;
  const bool after_thinking_;
  const RewardScale scale_;
  std::vector<std::string> readable_;
  bool shell_ = false;
  bool python_ = false;
  mutable absl::Mutex mu_;
  mutable absl::flat_hash_map<size_t, std::string> problems_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<Verifier>> MakeCodeVerifier(const VerifierOptions& options) {
  auto verifier = std::make_unique<CodeVerifier>(options);
  COHORT_RETURN_IF_ERROR(verifier->Prepare());
  return std::unique_ptr<Verifier>(std::move(verifier));
}

}  // namespace cohort
