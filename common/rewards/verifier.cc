#include "common/rewards/verifier.h"

#include <cmath>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/reward_sources.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/rewards/answer.h"
#include "common/rewards/answer_text.h"
#include "common/rewards/code_tests.h"
#include "common/rewards/extract.h"
#include "common/rewards/judges.h"
#include "common/rewards/regex_verifier.h"
#include "common/text/json.h"
#include "common/text/json_text.h"

namespace cohort {
namespace {

constexpr uint64_t kRandomStream = 0x72616E646F6Du;  // apart from the sampler's numbers
constexpr RewardScale kZeroOne = {1, 0, 0};
constexpr RewardScale kPlusMinus = {1, -1, -1};

absl::string_view Looked(const RewardInput& input, const VerifierOptions& options) {
  return options.after_thinking ? AfterThinking(input.completion) : input.completion;
}

class JudgedVerifier final : public Verifier {
 public:
  JudgedVerifier(Judge judge, const RewardScale& scale, VerifierOptions options)
      : judge_(judge), scale_(options.scale.value_or(scale)), options_(std::move(options)) {}
  RewardVerdict Verify(const RewardInput& input) const override {
    Judgement judgement = judge_(Looked(input, options_), *input.prompt, options_.compat_string);
    // Nothing follows thinking that was not ended, whatever a rule makes of nothing.
    if (Looked(input, options_).empty() && judgement.outcome == Outcome::kWrong) {
      judgement.outcome = Outcome::kUnparsable;
    }
    const double value = judgement.outcome == Outcome::kCorrect      ? scale_.correct
                         : judgement.outcome == Outcome::kWrong      ? scale_.wrong
                         : judgement.outcome == Outcome::kUnparsable ? scale_.unparsable
                                                                     : 0;
    return {judgement.outcome, value, judgement.note,
            judgement.outcome == Outcome::kUnscorable ? cause::kNoGold : ""};
  }

 private:
  Judge judge_;
  RewardScale scale_;
  VerifierOptions options_;
};

class FormatBoxedVerifier final : public Verifier {
 public:
  explicit FormatBoxedVerifier(VerifierOptions options) : options_(std::move(options)) {}
  RewardVerdict Verify(const RewardInput& input) const override {
    return {Outcome::kValue, FormatBoxedReward(Looked(input, options_)), ""};
  }

 private:
  VerifierOptions options_;
};

class ContainsVerifier final : public Verifier {
 public:
  explicit ContainsVerifier(VerifierOptions options) : options_(std::move(options)) {}
  RewardVerdict Verify(const RewardInput& input) const override {
    return {Outcome::kValue, absl::StrContains(Looked(input, options_), options_.text) ? 1.0 : 0.0,
            ""};
  }

 private:
  VerifierOptions options_;
};

struct JudgeEntry {
  const char* name;
  Judge judge;
  RewardScale scale;
};
constexpr JudgeEntry kJudges[] = {
    {"rule_math", JudgeMath, kZeroOne},       {"rule_gsm8k", JudgeGsm8k, kZeroOne},
    {"rule_dapo", JudgeDapo, kPlusMinus},     {"rule_last_integer", JudgeLastInteger, kZeroOne},
    {"rule_sorting", JudgeSorting, kZeroOne}, {"rule_countdown", JudgeCountdown, kZeroOne},
    {"rule_number", JudgeNumber, kZeroOne},   {"rule_units", JudgeQuantity, kZeroOne},
    {"rule_choice", JudgeChoice, kZeroOne},   {"rule_exact", JudgeExact, kZeroOne},
};

// algorithms.md 7.8: 1 for matching a label that a column of the prompt holds, by the data source's
// own rules. Whether the label is right is another matter, so this judges nothing.
class LabelVerifier final : public Verifier {
 public:
  LabelVerifier(std::string column, const VerifierOptions& options) : column_(std::move(column)) {
    VerifierOptions plain = options;
    plain.scale = kZeroOne;
    for (const JudgeEntry& entry : kJudges) {
      judges_[entry.name] = std::make_unique<JudgedVerifier>(entry.judge, kZeroOne, plain);
    }
  }
  RewardVerdict Verify(const RewardInput& input) const override {
    const auto label = input.prompt->spelt.find(column_);
    if (label == input.prompt->spelt.end()) {
      return {Outcome::kUnscorable, 0, absl::StrCat("the prompt has no column `", column_, "`"),
              cause::kNoGold};
    }
    const std::string text = JsonValueText(label->second);
    if (absl::StripAsciiWhitespace(text).empty()) return {Outcome::kValue, 0, ""};
    const auto judge = judges_.find(input.prompt->reward);
    if (judge == judges_.end()) {
      const auto answer = ReadAnswer(input.prompt->reward, input.completion);
      return {Outcome::kValue, answer && AnswersEqual(*answer, text) ? 1.0 : 0.0, ""};
    }
    RewardInput changed = input;
    changed.prompt = WithAnswer(*input.prompt, text);
    RewardVerdict verdict = judge->second->Verify(changed);
    if (verdict.outcome != Outcome::kUnscorable) verdict.outcome = Outcome::kValue;
    return verdict;
  }

 private:
  std::string column_;
  std::map<std::string, std::unique_ptr<Verifier>> judges_;
};

class InverseVerifier final : public Verifier {
 public:
  explicit InverseVerifier(std::shared_ptr<const Verifier> verifier)
      : verifier_(std::move(verifier)) {}
  RewardVerdict Verify(const RewardInput& input) const override {
    RewardVerdict verdict = verifier_->Verify(input);
    if (verdict.outcome == Outcome::kUnscorable) return verdict;
    verdict.outcome = Outcome::kValue;
    verdict.value = 1 - verdict.value;
    return verdict;
  }
  absl::Duration TimeLimit() const override { return verifier_->TimeLimit(); }

 private:
  std::shared_ptr<const Verifier> verifier_;
};

// algorithms.md 7.8: the same coin for the same row of the same group, whoever asks.
class RandomVerifier final : public Verifier {
 public:
  explicit RandomVerifier(const VerifierOptions& options)
      : seed_(options.run_seed ^ kRandomStream), probability_(options.probability) {}
  RewardVerdict Verify(const RewardInput& input) const override {
    const double u = UniformOpen(seed_, input.prompt->group_id, static_cast<uint64_t>(input.row));
    return {Outcome::kValue, u < probability_ ? 1.0 : 0.0, ""};
  }

 private:
  uint64_t seed_;
  double probability_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const RewardPrompt>> MakeRewardPrompt(absl::string_view columns_json,
                                                                     absl::string_view reward,
                                                                     GroupId group_id,
                                                                     std::string text,
                                                                     std::vector<int32_t> ids) {
  auto prompt = std::make_shared<RewardPrompt>();
  prompt->group_id = group_id;
  prompt->reward = std::string(reward);
  prompt->columns_json = std::string(columns_json.empty() ? "{}" : columns_json);
  prompt->text = std::move(text);
  prompt->ids = std::move(ids);
  COHORT_ASSIGN_OR_RETURN(prompt->columns, ParseJson(prompt->columns_json, "prompt columns"));
  if (!prompt->columns.is_object()) {
    return absl::InvalidArgumentError("prompt columns: expected a JSON object");
  }
  for (auto& [name, value] : JsonMembers(prompt->columns_json)) prompt->spelt.emplace(name, value);
  if (const auto answer = prompt->spelt.find("answer"); answer != prompt->spelt.end()) {
    if (absl::StartsWith(answer->second, "[")) {
      for (const absl::string_view item : JsonElements(answer->second)) {
        prompt->answers.push_back(JsonValueText(item));
      }
    } else {
      prompt->answers.push_back(JsonValueText(answer->second));
    }
  }
  if (!prompt->answers.empty()) prompt->answer = prompt->answers.front();
  return std::shared_ptr<const RewardPrompt>(std::move(prompt));
}

const std::vector<std::string>& VerifierNames() {
  static const auto* const kNames = [] {
    auto* names = new std::vector<std::string>();
    for (const RewardSourceRow& row : kRewardSources) {
      if (IsVerifier(row)) names->emplace_back(row.name);
    }
    return names;
  }();
  return *kNames;
}

absl::StatusOr<std::unique_ptr<Verifier>> MakeVerifier(absl::string_view name,
                                                       const VerifierOptions& options) {
  for (const JudgeEntry& entry : kJudges) {
    if (name == entry.name) {
      return std::make_unique<JudgedVerifier>(entry.judge, entry.scale, options);
    }
  }
  if (name == "rule_regex") return MakeRegexVerifier(options);
  if (name == "code_tests") return MakeCodeVerifier(options);
  if (name == "format_boxed") return std::make_unique<FormatBoxedVerifier>(options);
  if (name == "majority_offline" || name == "incorrect_label") {
    const char* usual = name == "incorrect_label" ? kIncorrectColumn : kMajorityColumn;
    return std::make_unique<LabelVerifier>(options.column.empty() ? usual : options.column,
                                           options);
  }
  if (name == "contains") {
    if (options.text.empty()) {
      return absl::InvalidArgumentError("reward contains: set `text` to what is looked for");
    }
    return std::make_unique<ContainsVerifier>(options);
  }
  if (name == "random") {
    if (!(options.probability >= 0 && options.probability <= 1)) {
      return absl::InvalidArgumentError(
          absl::StrCat("reward random: p must be between 0 and 1, found ", options.probability));
    }
    return std::make_unique<RandomVerifier>(options);
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown reward \"", name, "\": this build has ",
                                                 absl::StrJoin(VerifierNames(), ", ")));
}

std::unique_ptr<Verifier> Inverse(std::shared_ptr<const Verifier> verifier) {
  return std::make_unique<InverseVerifier>(std::move(verifier));
}

}  // namespace cohort
