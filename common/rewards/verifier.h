// Rule-based verifiers: a completion and a gold answer in, a verdict out.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/ids.h"

namespace cohort {

// What a group's rewards know of its prompt. Immutable, shared by the rows.
struct RewardPrompt {
  GroupId group_id = 0;
  std::string answer;                // the first of `answers`, "" when there are none
  std::vector<std::string> answers;  // any of them is right
  nlohmann::json columns;            // an object: the prompt's columns
  // Each column as its line spells it: a number is not parsed and printed again.
  std::map<std::string, std::string, std::less<>> spelt;
  std::string reward;        // the data source's own verifier
  std::string columns_json;  // as given
  std::string text;          // the prompt itself, where the caller has it
  std::vector<int32_t> ids;  // its tokens, likewise
};

// `columns_json`: the prompt's columns as a lease carries them (Prompt::columns_json).
absl::StatusOr<std::shared_ptr<const RewardPrompt>> MakeRewardPrompt(absl::string_view columns_json,
                                                                     absl::string_view reward,
                                                                     GroupId group_id,
                                                                     std::string text = "",
                                                                     std::vector<int32_t> ids = {});

// One row. Owns what it needs: a late verifier may outlive its caller.
struct RewardInput {
  std::shared_ptr<const RewardPrompt> prompt;
  std::string completion;                  // text, without the end-of-sequence token
  int32_t response_tokens = 0;             // the end-of-sequence token included
  bool truncated = false;                  // ended by the length limit
  int32_t row = 0;                         // in the group
  std::vector<int32_t> response_ids = {};  // where the caller has them
};

enum class Outcome : uint8_t {
  kCorrect,
  kWrong,
  kUnparsable,  // the completion holds no answer in the form asked for
  kValue,       // a reward that is not about being right: `value` as it is
  kUnscorable,  // no verdict is possible (gold unparsable, time-out, NaN): never a reward of 0
};

// Why there is no verdict, or which limit a wrong answer ran into: a label of metrics.
namespace cause {
inline constexpr char kNoGold[] = "no_gold";            // the gold answer is missing or unparsable
inline constexpr char kTimeout[] = "timeout";           // late
inline constexpr char kCrash[] = "crash";               // the verifier failed
inline constexpr char kNonFinite[] = "non_finite";      // NaN or infinite
inline constexpr char kUnknown[] = "unknown_reward";    // no such verifier
inline constexpr char kSandbox[] = "sandbox";           // code could not be run, or not to its end
inline constexpr char kUnavailable[] = "unavailable";   // no service there, or it died
inline constexpr char kCircuitOpen[] = "circuit_open";  // a service failed too often just before
inline constexpr char kGarbage[] = "garbage";           // a service's reply makes no sense
inline constexpr char kMissing[] = "missing";           // a service left this sample out
inline constexpr char kDeclined[] = "declined";         // a service says that it cannot score this
// Limits that the answer's own program ran into; it is wrong.
inline constexpr char kCodeTime[] = "code_time";
inline constexpr char kCodeMemory[] = "code_memory";
inline constexpr char kCodeOutput[] = "code_output";
}  // namespace cause

struct RewardVerdict {
  Outcome outcome = Outcome::kUnscorable;
  double value =
      0;  // dimensionless; of kCorrect, kWrong and kUnparsable by the verifier's own scale
  std::string note;                // why it is unscorable
  const char* cause = "";          // of unscorable ones and of limits; one of the above
  std::vector<double> parts = {};  // one per BatchScorer::PartNames()
};

// algorithms.md 6.1.
struct RewardScale {
  double correct = 1;
  double wrong = 0;
  double unparsable = 0;
};

// Thread-safe; a pure function of its input.
class Verifier {
 public:
  virtual ~Verifier() = default;
  virtual RewardVerdict Verify(const RewardInput& input) const = 0;
  // How long it may take by itself; zero: the caller decides.
  virtual absl::Duration TimeLimit() const { return absl::ZeroDuration(); }
};

// Limits of the program that an answer is (code_tests.h).
struct CodeOptions {
  std::vector<std::string> interpreter;  // program and arguments
  absl::Duration seconds = absl::Seconds(4);
  int64_t memory_bytes = int64_t{512} << 20;  // of address space
  int64_t output_bytes = 256 << 10;
  std::vector<std::string> readable;  // files and folders besides the interpreter's own
};

struct VerifierOptions {
  uint64_t run_seed = 0;        // random
  double probability = 0.5;     // random: of a 1
  std::string text;             // contains: what to look for
  std::string column;           // majority_offline, incorrect_label: where the label stands
  bool compat_string = false;   // rule_gsm8k: the reference's 300 characters and string equality
                                // rule_math: equality of Hendrycks-normalised strings
                                // rule_dapo: the reference's 300 characters
  std::string pattern;          // rule_regex: see regex_verifier.h
  CodeOptions code;             // code_tests
  bool after_thinking = false;  // look only at what follows the last "</think>"
  std::optional<RewardScale> scale;  // unset: +1 / -1 / -1 for rule_dapo, 1 / 0 / 0 for the others
};

// Default columns of the labels that are not the truth.
inline constexpr char kMajorityColumn[] = "majority_answer";
inline constexpr char kIncorrectColumn[] = "incorrect_answer";

// `verifier` with the reward 1 - X in the place of X; what it judges is no judgement any more.
std::unique_ptr<Verifier> Inverse(std::shared_ptr<const Verifier> verifier);

// The verifiers of this build: "rule_math", "rule_gsm8k", ... .
const std::vector<std::string>& VerifierNames();

// InvalidArgument with the valid names when there is no such verifier.
absl::StatusOr<std::unique_ptr<Verifier>> MakeVerifier(absl::string_view name,
                                                       const VerifierOptions& options);

}  // namespace cohort
