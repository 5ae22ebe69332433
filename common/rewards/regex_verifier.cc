#include "common/rewards/regex_verifier.h"

#include <re2/re2.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/rewards/answer.h"
#include "common/rewards/extract.h"
#include "common/rewards/reply.h"

namespace cohort {
namespace {

// Finding a group takes RE2 some 50 times as long per byte as finding a match.
constexpr size_t kGroupWindow = 64 << 10;  // bytes from the end
constexpr size_t kSmallestWindow = 1 << 10;
constexpr size_t kMatchBytes = 2 << 20;  // that all matches of a window may look at together
// Bounds the size of a pattern's program, and with it the time per byte.
constexpr int64_t kMaxProgramBytes = 2 << 20;

RE2::Options Quietly() {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxProgramBytes);
  return options;
}

re2::StringPiece Piece(absl::string_view text) { return {text.data(), text.size()}; }

// The group of the last match, in order from the front. Each match may look at all that follows:
// where there are too many for that, only the end of the text is searched.
std::optional<std::string> LastGroup(absl::string_view text, const RE2& pattern) {
  for (size_t window = kGroupWindow; window >= kSmallestWindow; window /= 4) {
    if (text.size() > window) text.remove_prefix(text.size() - window);
    const size_t most = kMatchBytes / std::max<size_t>(text.size(), 1);
    std::optional<std::string> last;
    size_t matches = 0, at = 0;
    std::vector<re2::StringPiece> groups(2);
    while (at <= text.size() && matches < most &&
           pattern.Match(Piece(text), at, text.size(), RE2::UNANCHORED, groups.data(), 2)) {
      last = std::string(groups[1].data() == nullptr ? "" : groups[1].as_string());
      const size_t end = static_cast<size_t>(groups[0].data() - text.data()) + groups[0].size();
      at = groups[0].empty() ? end + 1 : end;
      ++matches;
    }
    if (matches < most) return last;
  }
  return std::nullopt;
}

bool IsBlank(absl::string_view text) { return absl::StripAsciiWhitespace(text).empty(); }

bool HasGold(const RewardPrompt& prompt) {
  return !std::all_of(prompt.answers.begin(), prompt.answers.end(), IsBlank);
}

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
    const bool compares = pattern_ == nullptr || pattern_->NumberOfCapturingGroups() > 0;
    if (compares && !HasGold(*input.prompt)) {
      return {Outcome::kUnscorable, 0, "the prompt has no gold answer", cause::kNoGold};
    }
    // Nothing follows thinking that was not ended; a pattern may match nothing.
    if (after_thinking_ && text.empty()) return Judged(Outcome::kUnparsable, scale_);
    if (pattern_ == nullptr) return ByGold(text, *input.prompt);
    if (compares) return ByGroup(text, *input.prompt);
    const bool found = RE2::PartialMatch(Piece(text), *pattern_);
    return Judged(found ? Outcome::kCorrect : Outcome::kWrong, scale_);
  }

 private:
  RewardVerdict ByGroup(absl::string_view text, const RewardPrompt& prompt) const {
    const std::optional<std::string> found = LastGroup(text, *pattern_);
    if (!found) return Judged(Outcome::kUnparsable, scale_);
    for (const std::string& gold : prompt.answers) {
      if (IsBlank(gold)) continue;
      if (AnswersEqual(*found, gold)) return Judged(Outcome::kCorrect, scale_);
    }
    return Judged(Outcome::kWrong, scale_);
  }

  RewardVerdict ByGold(absl::string_view text, const RewardPrompt& prompt) const {
    const std::string reply = ExtractReply(text);
    const absl::string_view whole = absl::StripAsciiWhitespace(text);
    int usable = 0;
    for (const std::string& gold : prompt.answers) {
      const RE2 pattern(gold, Quietly());
      if (IsBlank(gold) || !pattern.ok()) continue;
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
