// Where prompts come from: JSONL files and procedural tasks. The prompt at an index is a pure
// function of the source, its seed and the index, so any process can make it again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/text/tokenizer.h"

namespace cohort {

// Train and held-out prompts never overlap. A procedural task is split by the operands without
// their order, a file by the text of its prompts (SourceOptions::heldout_rows); neither depends on
// the seed.
enum class Split : uint8_t { kTrain, kHeldout };

struct Prompt {
  uint64_t ordinal = 0;               // of the prompt in the run (PromptMixture), else its index
  std::string source;                 // the source's name
  std::vector<ChatMessage> messages;  // a plain prompt is one user message
  std::string instruction;            // how to answer; appended unless data.prompt_suffix is set
  std::string answer;                 // the first one where several are right
  std::string solution;      // a right response, written out, for supervised training; "": none
  std::string columns_json;  // a JSON object: `answer` and every column but the prompt
  std::string reward;        // the source's own verifier, by name
};

inline constexpr uint64_t kEndless = ~uint64_t{0};

// Thread-safe.
class PromptSource {
 public:
  virtual ~PromptSource() = default;
  virtual const std::string& name() const = 0;
  virtual const std::string& reward() const = 0;
  // Distinct indices of the split, or kEndless: any index is valid.
  virtual uint64_t Size(Split split) const = 0;
  // OutOfRange past the end of a finite split.
  virtual absl::StatusOr<Prompt> At(uint64_t index, Split split) const = 0;
};

// Exactly one of `task` and `path` is set.
struct SourceOptions {
  std::string task;    // a procedural task's name, see TaskNames
  std::string path;    // a JSONL file
  std::string reward;  // "": the task's own, or the file format's
  std::string name;    // "": the task's name, or the file's name without folder and extension
  uint64_t seed = 0;   // of the run; decides what a procedural task draws
  // Rows of a file that are held out, at most a tenth of it; equal prompts stay together. 0: the
  // whole file is both splits, as for a file that is only evaluated on.
  uint64_t heldout_rows = 0;
};

// Every procedural task: "addition-1", ..., "sorting".
const std::vector<std::string>& TaskNames();

absl::StatusOr<std::unique_ptr<PromptSource>> MakeSource(const SourceOptions& options);

// A file with one JSON object a line. The prompt is `messages` (a list of {role, content}),
// `prompt` (the same list, or text), `question` (GSM8K) or `problem` (MATH); the gold answer is
// `answer` (text, a number, or a list of which any is right), else `solution`. GSM8K's "... ####
// 42" becomes "42" and the text before it the column `solution`. A right response for supervised
// training is `response`, `completion` or `solution`, unless `messages` ends with one. All rows are
// checked here; errors name the file and the line.
absl::StatusOr<std::unique_ptr<PromptSource>> MakeJsonlSource(const SourceOptions& options);

// Draws from the train split are endless; the held-out split is finite: all held-out operands where
// they can be listed (20 pairs for addition-1), else a fixed sample of them.
absl::StatusOr<std::unique_ptr<PromptSource>> MakeProceduralSource(const SourceOptions& options);

// Several sources as one endless sequence of train prompts: the prompt of an ordinal is a pure
// function of (seed, ordinal). Sources take turns as evenly as their weights allow (shares are
// exact to 1/1000); a file is gone through in a new seeded order each epoch. Thread-safe.
class PromptMixture {
 public:
  struct Part {
    std::unique_ptr<PromptSource> source;
    double weight = 1;  // > 0, relative to the others
    Split split = Split::kTrain;
  };
  static absl::StatusOr<std::unique_ptr<PromptMixture>> Create(std::vector<Part> parts,
                                                               uint64_t seed, bool shuffle = true);
  absl::StatusOr<Prompt> At(uint64_t ordinal) const;

 private:
  struct Turn {
    size_t part;
    uint64_t rank;  // among this part's turns of the period
  };
  PromptMixture(std::vector<Part> parts, uint64_t seed, bool shuffle);

  // Constant after Create.
  std::vector<Part> parts_;
  uint64_t seed_;
  bool shuffle_;
  std::vector<Turn> period_;
  std::vector<uint64_t> turns_;  // per part, in one period
};

// A seeded permutation of [0, size) evaluated at one position, without memory.
uint64_t PermutedIndex(uint64_t seed, uint64_t epoch, uint64_t size, uint64_t position);

// How a prompt becomes tokens.
struct PromptFormat {
  bool chat_template = true;  // false: the messages' contents, joined by line ends
  std::string system_prompt;  // put first unless the prompt has a system message
  std::string prompt_suffix;  // appended to the last user message, instead of Prompt::instruction
};
std::vector<ChatMessage> FormatMessages(const Prompt& prompt, const PromptFormat& format);
absl::StatusOr<std::vector<int32_t>> EncodePrompt(const Prompt& prompt, const PromptFormat& format,
                                                  const Tokenizer& tokenizer);

// Names a prompt by its tokens: the same text in any file, run or place has the same key.
std::string PromptKey(absl::Span<const int32_t> tokens);

}  // namespace cohort
