// Tasks that need no file. What an index holds is drawn from a counter-based stream keyed by (seed,
// task, index); whether operands are held out depends on the operands alone.
#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/hash.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/tasks/prompt_source.h"
#include "common/text/json.h"

namespace cohort {
namespace {

using nlohmann::json;
using Operands = std::vector<int64_t>;

// Not the run's seed: every run, and every later evaluation, holds out the same operands.
constexpr uint64_t kSplitKey = 0x68656C642D6F7574u;
constexpr uint64_t kHeldoutSample = 500;        // prompts, where the operands cannot be listed
constexpr uint64_t kMaxListedOperands = 10000;  // unordered pairs; more are sampled
constexpr uint64_t kHeldoutShare = 8;           // one in so many operand sets is held out

uint64_t TaskKey(const std::string& task) { return Xxh3Low(task); }

// A fixed pseudo-random number of the operands without their order.
uint64_t OperandHash(const std::string& task, Operands operands) {
  std::sort(operands.begin(), operands.end());
  uint64_t hash = TaskKey(task);
  for (int64_t operand : operands) {
    const auto bits = Philox(kSplitKey, hash, static_cast<uint64_t>(operand));
    hash = (uint64_t{bits[0]} << 32) | bits[1];
  }
  return hash;
}

// A family of prompts over operand sets.
class TaskRules {
 public:
  explicit TaskRules(std::string name) : name_(std::move(name)) {}
  virtual ~TaskRules() = default;
  const std::string& name() const { return name_; }
  virtual Operands Draw(CounterRng* rng) const = 0;
  virtual void Write(const Operands& operands, CounterRng* rng, Prompt* prompt,
                     json* columns) const = 0;
  virtual std::string reward() const { return "rule_last_integer"; }
  // A wrong answer that somebody might give, the same for the same prompt (algorithms.md 7.8).
  virtual std::string WrongAnswer(const std::string& answer, CounterRng* rng) const {
    constexpr int64_t kSlips[] = {-10, -2, -1, 1, 2, 10};
    int64_t value = 0;
    if (!absl::SimpleAtoi(answer, &value)) return answer + "1";
    return absl::StrCat(value + kSlips[rng->Below(std::size(kSlips))]);
  }
  virtual bool IsHeldout(const Operands& operands) const {
    return OperandHash(name_, operands) % kHeldoutShare == 0;
  }
  // All held-out operands, or empty where there are too many to list.
  virtual const std::vector<Operands>& HeldoutList() const {
    static const std::vector<Operands> kNone;
    return kNone;
  }

 private:
  std::string name_;
};

// Addition as it is written out on paper, from the last digits: 473 + 958 is
// "3+8=11;7+5+1=13;4+9+1=14;1431". The answer comes last.
std::string ColumnAddition(int64_t a, int64_t b) {
  const int64_t sum = a + b;
  std::string text;
  for (int64_t carry = 0; a > 0 || b > 0; a /= 10, b /= 10) {
    const int64_t column = a % 10 + b % 10 + carry;
    absl::StrAppend(&text, a % 10, "+", b % 10);
    if (carry > 0) absl::StrAppend(&text, "+", carry);
    absl::StrAppend(&text, "=", column, ";");
    carry = column / 10;
  }
  return absl::StrCat(text, sum);
}

// The same, gone through again up to kMostChecks times before the answer: solutions of the same
// worth and of different lengths.
std::string CheckedAddition(int64_t a, int64_t b, CounterRng* rng) {
  constexpr uint64_t kMostChecks = 3;
  const std::string sum = absl::StrCat(a + b), whole = ColumnAddition(a, b);
  const std::string columns = whole.substr(0, whole.size() - sum.size());
  std::string text = columns;
  for (uint64_t checks = rng->Below(kMostChecks + 1); checks > 0; --checks) text += columns;
  return text + sum;
}

// How a pair of operands is asked for and answered.
enum class PairForm {
  kAdd,       // "What is A + B? ..." with only the number
  kMultiply,  // "Calculate A * B =" with only the number
  kColumns,   // "A+B" with the columns written out, then the number
  kChecked,   // "A+B" with the columns written out one to four times, then the number
};

// Two operands of `digits` digits.
class PairRules final : public TaskRules {
 public:
  PairRules(std::string name, int digits, PairForm form) : TaskRules(std::move(name)), form_(form) {
    for (int i = 0; i < digits; ++i) high_ *= 10;
    low_ = digits == 1 ? 0 : high_ / 10;
    --high_;
    const auto count = static_cast<uint64_t>(high_ - low_ + 1);
    if (count * (count + 1) / 2 <= kMaxListedOperands) ListHeldout(digits == 1);
  }

  Operands Draw(CounterRng* rng) const override {
    const int64_t first = rng->Between(low_, high_);
    return {first, rng->Between(low_, high_)};
  }

  void Write(const Operands& operands, CounterRng* rng, Prompt* prompt, json*) const override {
    const int64_t a = operands[0];
    const int64_t b = operands[1];
    prompt->answer = absl::StrCat(form_ == PairForm::kMultiply ? a * b : a + b);
    prompt->solution = prompt->answer;
    if (form_ == PairForm::kColumns) prompt->solution = ColumnAddition(a, b);
    if (form_ == PairForm::kChecked) prompt->solution = CheckedAddition(a, b, rng);
    prompt->messages = {{"user", Question(a, b)}};
  }

  bool IsHeldout(const Operands& operands) const override {
    if (heldout_.empty()) return TaskRules::IsHeldout(operands);
    return OperandHash(name(), operands) <= heldout_bound_;
  }
  const std::vector<Operands>& HeldoutList() const override { return heldout_; }

 private:
  std::string Question(int64_t a, int64_t b) const {
    switch (form_) {
      case PairForm::kAdd:
        return absl::StrCat("What is ", a, " + ", b, "? Reply with only the number.");
      case PairForm::kMultiply:
        return absl::StrCat("Calculate ", a, " * ", b, " =");
      case PairForm::kColumns:
      case PairForm::kChecked:
        return absl::StrCat(a, "+", b);
    }
    return "";
  }

  // One-digit tasks hold out 20 of their 55 pairs; the others one pair in kHeldoutShare. The pairs
  // with the smallest hashes, in the order of their hashes; the hash also orders the operands.
  void ListHeldout(bool one_digit) {
    std::vector<std::pair<uint64_t, Operands>> pairs;
    for (int64_t a = low_; a <= high_; ++a) {
      for (int64_t b = a; b <= high_; ++b) {
        const uint64_t hash = OperandHash(name(), {a, b});
        pairs.push_back({hash, hash % 2 == 0 ? Operands{a, b} : Operands{b, a}});
      }
    }
    std::sort(pairs.begin(), pairs.end());
    const size_t count = one_digit ? 20 : pairs.size() / kHeldoutShare;
    heldout_bound_ = pairs[count - 1].first;
    for (size_t i = 0; i < count; ++i) heldout_.push_back(std::move(pairs[i].second));
  }

  PairForm form_;
  int64_t low_ = 0;
  int64_t high_ = 1;
  uint64_t heldout_bound_ = 0;
  std::vector<Operands> heldout_;
};

// "A+B mod 97", with the sum written out before it is reduced.
class ModularRules final : public TaskRules {
 public:
  using TaskRules::TaskRules;
  Operands Draw(CounterRng* rng) const override {
    const int64_t first = rng->Between(0, kModulus - 1);
    return {first, rng->Between(0, kModulus - 1)};
  }
  void Write(const Operands& operands, CounterRng*, Prompt* prompt, json*) const override {
    const int64_t a = operands[0], b = operands[1], sum = a + b;
    prompt->answer = absl::StrCat(sum % kModulus);
    prompt->solution = absl::StrCat(a, "+", b, "=", sum, ";", sum % kModulus);
    prompt->messages = {{"user", absl::StrCat(a, "+", b, " mod ", kModulus)}};
  }

 private:
  static constexpr int64_t kModulus = 97;
};

class CountingRules final : public TaskRules {
 public:
  using TaskRules::TaskRules;
  Operands Draw(CounterRng* rng) const override {
    Operands words(static_cast<size_t>(rng->Between(2, 6)));
    for (int64_t& word : words) word = rng->Between(0, std::size(kWords) - 1);
    return words;
  }
  void Write(const Operands& operands, CounterRng*, Prompt* prompt, json*) const override {
    const std::string words = absl::StrJoin(operands, " ", [](std::string* out, int64_t word) {
      out->append(kWords[static_cast<size_t>(word)]);
    });
    prompt->answer = absl::StrCat(operands.size());
    prompt->solution = prompt->answer;
    prompt->messages = {{"user", absl::StrCat("How many words are here: ", words,
                                              "? Reply with only the number.")}};
  }

 private:
  static constexpr const char* kWords[] = {
      "apple", "river", "stone", "cloud", "table", "green", "tiger", "music", "bread", "chair",
      "light", "ocean", "paper", "horse", "glass", "smile", "train", "lemon", "night", "house",
      "cat",   "dog",   "tree",  "sun",   "moon",  "star",  "fish",  "bird",  "book",  "door"};
};

class SortingRules final : public TaskRules {
 public:
  using TaskRules::TaskRules;
  std::string reward() const override { return "rule_sorting"; }
  // Two neighbours swapped; where all are equal, one of them is forgotten.
  std::string WrongAnswer(const std::string& answer, CounterRng* rng) const override {
    std::vector<std::string> numbers = absl::StrSplit(answer, ' ');
    const size_t start = rng->Below(numbers.size());
    for (size_t i = 0; i < numbers.size(); ++i) {
      const size_t at = (start + i) % (numbers.size() - 1);
      if (numbers[at] == numbers[at + 1]) continue;
      std::swap(numbers[at], numbers[at + 1]);
      return absl::StrJoin(numbers, " ");
    }
    numbers.pop_back();
    return absl::StrJoin(numbers, " ");
  }
  Operands Draw(CounterRng* rng) const override {
    Operands numbers(static_cast<size_t>(rng->Between(3, 6)));
    for (int64_t& number : numbers) number = rng->Between(0, 99);
    return numbers;
  }
  void Write(const Operands& operands, CounterRng*, Prompt* prompt, json*) const override {
    Operands sorted = operands;
    std::sort(sorted.begin(), sorted.end());
    prompt->answer = absl::StrJoin(sorted, " ");
    prompt->solution = prompt->answer;
    prompt->messages = {
        {"user", absl::StrCat("Sort these numbers from smallest to largest: ",
                              absl::StrJoin(operands, " "), ". Reply with only the numbers.")}};
  }
};

// Reach a target with three or four numbers and + - * /. The target is made from the numbers, so
// there is always a solution.
class CountdownRules final : public TaskRules {
 public:
  using TaskRules::TaskRules;
  std::string reward() const override { return "rule_countdown"; }
  Operands Draw(CounterRng* rng) const override {
    Operands numbers(static_cast<size_t>(rng->Between(3, 4)));
    for (int64_t& number : numbers) number = rng->Between(1, 25);
    return numbers;
  }
  void Write(const Operands& operands, CounterRng* rng, Prompt* prompt,
             json* columns) const override {
    prompt->solution = absl::StrCat(operands[0]);
    prompt->answer = absl::StrCat(Target(operands, rng, &prompt->solution));
    (*columns)["numbers"] = operands;
    prompt->messages = {
        {"user", absl::StrCat("Using each of the numbers ", absl::StrJoin(operands, ", "),
                              " exactly once, with +, -, *, / and parentheses, write an expression "
                              "that equals ",
                              prompt->answer, ". Reply with only the expression.")}};
  }

 private:
  // Combines the numbers left to right, keeping the value within 0 and 1000, and extends the
  // expression along.
  static int64_t Target(const Operands& operands, CounterRng* rng, std::string* expression) {
    int64_t value = operands[0];
    for (size_t i = 1; i < operands.size(); ++i) {
      const int64_t next = operands[i];
      const uint64_t choice = rng->Below(3);
      char sign = '+';
      if (choice == 0 && value * next <= 1000) {
        sign = '*';
        value *= next;
      } else if (choice == 1 && value >= next) {
        sign = '-';
        value -= next;
      } else {
        value += next;
      }
      const bool bracket = sign == '*' && i > 1;
      *expression = absl::StrCat(bracket ? "(" : "", *expression, bracket ? ")" : "", " ",
                                 std::string(1, sign), " ", next);
    }
    return value;
  }
};

class ProceduralSource final : public PromptSource {
 public:
  ProceduralSource(const SourceOptions& options, std::unique_ptr<TaskRules> rules)
      : name_(options.name.empty() ? options.task : options.name),
        reward_(options.reward.empty() ? rules->reward() : options.reward),
        seed_(options.seed),
        rules_(std::move(rules)) {}

  const std::string& name() const override { return name_; }
  const std::string& reward() const override { return reward_; }
  uint64_t Size(Split split) const override {
    if (split == Split::kTrain) return kEndless;
    const size_t listed = rules_->HeldoutList().size();
    return listed > 0 ? listed : kHeldoutSample;
  }

  absl::StatusOr<Prompt> At(uint64_t index, Split split) const override {
    if (split == Split::kHeldout && index >= Size(split)) {
      return absl::OutOfRangeError(absl::StrCat("task ", rules_->name(), " has ", Size(split),
                                                " held-out prompts, number ", index,
                                                " was asked for"));
    }
    const bool heldout = split == Split::kHeldout;
    CounterRng rng((heldout ? kSplitKey : seed_) ^ TaskKey(rules_->name()), index);
    const std::vector<Operands>& listed = rules_->HeldoutList();
    const Operands operands = heldout && !listed.empty() ? listed[index] : DrawFrom(heldout, &rng);
    return MakePrompt(index, operands, &rng);
  }

 private:
  Operands DrawFrom(bool heldout, CounterRng* rng) const {
    for (;;) {  // one draw in eight is held out, so this ends soon
      Operands operands = rules_->Draw(rng);
      if (rules_->IsHeldout(operands) == heldout) return operands;
    }
  }

  absl::StatusOr<Prompt> MakePrompt(uint64_t index, const Operands& operands,
                                    CounterRng* rng) const {
    Prompt prompt;
    json columns = json::object();
    rules_->Write(operands, rng, &prompt, &columns);
    columns["answer"] = prompt.answer;
    columns["incorrect_answer"] = rules_->WrongAnswer(prompt.answer, rng);
    prompt.ordinal = index;
    prompt.source = name_;
    prompt.reward = reward_;
    COHORT_ASSIGN_OR_RETURN(prompt.columns_json, DumpJson(columns, name_));
    return prompt;
  }

  // Constant after construction.
  std::string name_;
  std::string reward_;
  uint64_t seed_;
  std::unique_ptr<TaskRules> rules_;
};

struct TaskEntry {
  std::string name;
  std::function<std::unique_ptr<TaskRules>(const std::string&)> make;
};

const std::vector<TaskEntry>& Tasks() {
  static const auto* const kTasks = [] {
    auto* tasks = new std::vector<TaskEntry>;
    const std::pair<PairForm, const char*> kForms[] = {{PairForm::kAdd, "addition-"},
                                                       {PairForm::kMultiply, "multiplication-"},
                                                       {PairForm::kColumns, "column-addition-"},
                                                       {PairForm::kChecked, "checked-addition-"}};
    for (const auto& [form, family] : kForms) {
      for (int digits = 1; digits <= 4; ++digits) {
        tasks->push_back(
            {absl::StrCat(family, digits), [digits, kind = form](const std::string& name) {
               return std::make_unique<PairRules>(name, digits, kind);
             }});
      }
    }
    tasks->push_back({"modular-addition", [](const std::string& name) {
                        return std::make_unique<ModularRules>(name);
                      }});
    tasks->push_back({"countdown", [](const std::string& name) {
                        return std::make_unique<CountdownRules>(name);
                      }});
    tasks->push_back({"counting", [](const std::string& name) {
                        return std::make_unique<CountingRules>(name);
                      }});
    tasks->push_back(
        {"sorting", [](const std::string& name) { return std::make_unique<SortingRules>(name); }});
    return tasks;
  }();
  return *kTasks;
}

}  // namespace

const std::vector<std::string>& TaskNames() {
  static const auto* const kNames = [] {
    auto* names = new std::vector<std::string>;
    for (const TaskEntry& task : Tasks()) names->push_back(task.name);
    return names;
  }();
  return *kNames;
}

absl::StatusOr<std::unique_ptr<PromptSource>> MakeProceduralSource(const SourceOptions& options) {
  for (const TaskEntry& task : Tasks()) {
    if (task.name == options.task) {
      return std::make_unique<ProceduralSource>(options, task.make(task.name));
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "unknown task \"", options.task, "\": the tasks are ", absl::StrJoin(TaskNames(), ", ")));
}

}  // namespace cohort
