// Rule-based verifiers: a completion and a gold answer in, a verdict out.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/ids.h"

namespace cohort {

// What a group's rewards know of its prompt. Immutable, shared by the rows.
struct RewardPrompt {
  GroupId group_id = 0;
  std::string answer;                // the first of `answers`, "" when there are none
  std::vector<std::string> answers;  // any of them is right
  nlohmann::json columns;            // an object: the prompt's columns
  std::string reward;                // the data source's own verifier
};

// `columns_json`: the prompt's columns as a lease carries them (Prompt::columns_json).
absl::StatusOr<std::shared_ptr<const RewardPrompt>> MakeRewardPrompt(absl::string_view columns_json,
                                                                     absl::string_view reward,
                                                                     GroupId group_id);

// One row. Owns what it needs: a late verifier may outlive its caller.
struct RewardInput {
  std::shared_ptr<const RewardPrompt> prompt;
  std::string completion;       // text, special tokens removed
  int32_t response_tokens = 0;  // the end-of-sequence token included
  bool truncated = false;       // ended by the length limit
  int32_t row = 0;              // in the group
};

enum class Outcome : uint8_t {
  kCorrect,
  kWrong,
  kUnparsable,  // the completion holds no answer in the form asked for
  kValue,       // a reward that is not about being right: `value` as it is
  kUnscorable,  // no verdict is possible (gold unparsable, time-out, NaN): never a reward of 0
};

struct RewardVerdict {
  Outcome outcome = Outcome::kUnscorable;
  double value =
      0;  // dimensionless; of kCorrect, kWrong and kUnparsable by the verifier's own scale
  std::string note;  // why it is unscorable
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
};

struct VerifierOptions {
  uint64_t run_seed = 0;        // random
  double probability = 0.5;     // random: of a 1
  std::string text;             // contains: what to look for
  bool compat_string = false;   // rule_gsm8k: the reference's 300 characters and string equality
                                // rule_math: equality of Hendrycks-normalised strings
                                // rule_dapo: the reference's 300 characters
  bool after_thinking = false;  // look only at what follows the last "</think>"
  std::optional<RewardScale> scale;  // unset: +1 / -1 / -1 for rule_dapo, 1 / 0 / 0 for the others
};

// The verifiers of this build: "rule_math", "rule_gsm8k", ... .
const std::vector<std::string>& VerifierNames();

// InvalidArgument with the valid names when there is no such verifier.
absl::StatusOr<std::unique_ptr<Verifier>> MakeVerifier(absl::string_view name,
                                                       const VerifierOptions& options);

}  // namespace cohort
