#include "common/rewards/regex_verifier.h"

#include <re2/re2.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/rewards/answer.h"
#include "common/rewards/extract.h"
#include "common/rewards/reply.h"

namespace cohort {
namespace {

// Finding a group takes RE2 some 50 times as long per byte as finding a match.
constexpr size_t kGroupWindow = 64 << 10;  // bytes from the end
// Bounds the size of a pattern's program, and with it the time per byte.
constexpr int64_t kMaxProgramBytes = 2 << 20;

RE2::Options Quietly() {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxProgramBytes);
  return options;
}

re2::StringPiece Piece(absl::string_view text) { return {text.data(), text.size()}; }

RewardVerdict Judged(Outcome outcome, const RewardScale& scale) {
  const double value = outcome == Outcome::kCorrect ? scale.correct
                       : outcome == Outcome::kWrong ? scale.wrong
                                                    : scale.unparsable;
  return {outcome, value, ""};
}

class RegexVerifier final : public Verifier {
 public:
  RegexVerifier(std::unique_ptr<RE2> pattern, const VerifierOptions& options)
      : pattern_(std::move(pattern)),
        after_thinking_(options.after_thinking),
        scale_(options.scale.value_or(RewardScale())) {}

  RewardVerdict Verify(const RewardInput& input) const override {
    const absl::string_view text =
        after_thinking_ ? AfterThinking(input.completion) : absl::string_view(input.completion);
    if (pattern_ == nullptr) return ByGold(text, *input.prompt);
    if (pattern_->NumberOfCapturingGroups() > 0) return ByGroup(text, *input.prompt);
    const bool found = RE2::PartialMatch(Piece(text), *pattern_);
    return Judged(found ? Outcome::kCorrect : Outcome::kWrong, scale_);
  }

 private:
  RewardVerdict ByGroup(absl::string_view text, const RewardPrompt& prompt) const {
    if (prompt.answers.empty()) {
      return {Outcome::kUnscorable, 0, "the prompt has no gold answer", cause::kNoGold};
    }
    if (text.size() > kGroupWindow) text.remove_prefix(text.size() - kGroupWindow);
    std::string found;
    if (!RE2::PartialMatch(Piece(text), *pattern_, &found)) {
      return Judged(Outcome::kUnparsable, scale_);
    }
    const std::string value = CanonicalAnswer(found);
    for (const std::string& gold : prompt.answers) {
      if (CanonicalAnswer(gold) == value) return Judged(Outcome::kCorrect, scale_);
    }
    return Judged(Outcome::kWrong, scale_);
  }

  RewardVerdict ByGold(absl::string_view text, const RewardPrompt& prompt) const {
    const std::string reply = ExtractReply(text);
    const absl::string_view whole = absl::StripAsciiWhitespace(text);
    int usable = 0;
    for (const std::string& gold : prompt.answers) {
      const RE2 pattern(gold, Quietly());
      if (!pattern.ok()) continue;
      ++usable;
      if (RE2::FullMatch(Piece(reply), pattern) || RE2::FullMatch(Piece(whole), pattern)) {
        return Judged(Outcome::kCorrect, scale_);
      }
    }
    if (usable == 0) {
      return {Outcome::kUnscorable, 0, "no gold answer is a regular expression", cause::kNoGold};
    }
    return Judged(reply.empty() ? Outcome::kUnparsable : Outcome::kWrong, scale_);
  }

  const std::unique_ptr<RE2> pattern_;
  const bool after_thinking_;
  const RewardScale scale_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Verifier>> MakeRegexVerifier(const VerifierOptions& options) {
  std::unique_ptr<RE2> pattern;
  if (!options.pattern.empty()) {
    pattern = std::make_unique<RE2>(options.pattern, Quietly());
    if (!pattern->ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("reward rule_regex: pattern '", options.pattern,
                       "' is not a regular expression (RE2): ", pattern->error()));
    }
  }
  return std::make_unique<RegexVerifier>(std::move(pattern), options);
}

}  // namespace cohort
