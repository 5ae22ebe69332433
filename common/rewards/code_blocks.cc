#include "common/rewards/code_blocks.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace cohort {
namespace {

constexpr size_t kShortestFence = 3;
constexpr size_t kMostBlocks = 32;  // the last ones are looked at

struct Fence {
  char mark = '`';
  size_t length = 0;
  size_t indent = 0;
  absl::string_view info;  // what stands behind it
};

std::optional<Fence> ReadFence(absl::string_view line) {
  Fence fence;
  fence.indent = line.size() - absl::StripLeadingAsciiWhitespace(line).size();
  absl::string_view rest = line.substr(fence.indent);
  if (rest.empty() || (rest[0] != '`' && rest[0] != '~')) return std::nullopt;
  fence.mark = rest[0];
  while (fence.length < rest.size() && rest[fence.length] == fence.mark) ++fence.length;
  fence.info = absl::StripAsciiWhitespace(rest.substr(fence.length));
  // "```a```" is no fence: it opens and closes on its line.
  if (fence.length < kShortestFence || absl::StrContains(fence.info, '`')) return std::nullopt;
  return fence;
}

std::string Language(absl::string_view info) {
  info = info.substr(0, info.find_first_of(" \t{,:"));
  return absl::AsciiStrToLower(info);
}

// Without the white space that stands before the fence.
absl::string_view Outdented(absl::string_view line, size_t indent) {
  size_t at = 0;
  while (at < indent && at < line.size() && (line[at] == ' ' || line[at] == '\t')) ++at;
  return line.substr(at);
}

// Blocks within a line: x ```a```.
std::vector<CodeBlock> InlineBlocks(absl::string_view text) {
  constexpr absl::string_view kFence = "```";
  std::vector<CodeBlock> blocks;
  for (size_t at = text.find(kFence); at != absl::string_view::npos;) {
    absl::string_view block = text.substr(at + kFence.size());
    const size_t close = block.find(kFence);
    if (close != absl::string_view::npos) block = block.substr(0, close);
    const size_t line_end = block.find('\n');
    if (line_end < block.size()) {
      blocks.push_back(
          {Language(block.substr(0, line_end)), std::string(block.substr(line_end + 1))});
    } else {
      blocks.push_back({"", std::string(block)});
    }
    if (close == absl::string_view::npos) break;
    at = text.find(kFence, at + 2 * kFence.size() + close);
  }
  return blocks;
}

bool Among(const std::string& word, std::initializer_list<absl::string_view> words) {
  return absl::c_linear_search(words, word);
}

bool IsShell(const std::string& language) {
  return Among(language, {"bash", "sh", "shell", "zsh", "console", "terminal", "shell-session",
                          "powershell", "cmd", "batch"});
}

bool IsData(const std::string& language) {
  return Among(language, {"text",  "txt",  "plaintext", "plain", "output", "input",  "stdout",
                          "stdin", "log",  "json",      "yaml",  "yml",    "toml",   "xml",
                          "csv",   "diff", "markdown",  "md",    "none",   "result", "example"});
}

// Numbers, words and punctuation alone are what a program reads or prints. A program of whatever
// language calls or assigns something.
bool LooksLikeCode(absl::string_view code) {
  return code.find_first_of("(={;") != absl::string_view::npos ||
         absl::StrContains(code, "import ") || absl::StrContains(code, "print ");
}

bool IsProgram(const CodeBlock& block, bool shell) {
  if (absl::StripAsciiWhitespace(block.code).empty()) return false;
  if (IsData(block.language) || (IsShell(block.language) && !shell)) return false;
  return !block.language.empty() || LooksLikeCode(block.code);
}

std::string FirstName(absl::string_view text) {
  size_t end = 0;
  while (end < text.size() && (absl::ascii_isalnum(text[end]) || text[end] == '_')) ++end;
  return std::string(text.substr(0, end));
}

// What a block means to the rest.
struct Meaning {
  std::set<std::string> defined;   // at the left edge: functions, classes
  std::set<std::string> assigned;  // likewise: variables
  std::set<std::string> used;
  bool reads = false;  // its standard input
};

void AddLine(absl::string_view line, Meaning* meaning) {
  for (const absl::string_view keyword : {"async def ", "def ", "class ", "function "}) {
    if (!absl::StartsWith(line, keyword)) continue;
    line.remove_prefix(keyword.size());
    meaning->defined.insert(FirstName(absl::StripLeadingAsciiWhitespace(line)));
    return;
  }
  const std::string name = FirstName(line);
  line = absl::StripLeadingAsciiWhitespace(line.substr(name.size()));
  if (!name.empty() && absl::StartsWith(line, "=") && !absl::StartsWith(line, "==")) {
    meaning->assigned.insert(name);
  }
}

Meaning Understand(const CodeBlock& block) {
  Meaning meaning;
  for (const absl::string_view line : absl::StrSplit(block.code, '\n')) AddLine(line, &meaning);
  meaning.used = Identifiers(block.code);
  for (const absl::string_view word : {"input(", "stdin", "open(0", "cin", "scanf", "readline"}) {
    meaning.reads = meaning.reads || absl::StrContains(block.code, word);
  }
  return meaning;
}

bool Meet(const std::set<std::string>& a, const std::set<std::string>& b) {
  return absl::c_any_of(a, [&b](const std::string& name) { return b.contains(name); });
}

// The last that defines what is wanted; functions before variables, which any example may have.
size_t Definer(const std::vector<Meaning>& blocks, const std::set<std::string>& wanted) {
  for (const auto names : {&Meaning::defined, &Meaning::assigned}) {
    for (size_t i = blocks.size(); i-- > 0;) {
      if (Meet(blocks[i].*names, wanted)) return i;
    }
  }
  return blocks.size() - 1;
}

// The last that does not just call what another defines, which reads the input for it.
size_t Reader(const std::vector<Meaning>& blocks) {
  size_t last = blocks.size() - 1;
  const auto defines = [&](const Meaning& before) {
    return before.reads && Meet(before.defined, blocks[last].used) &&
           !Meet(before.defined, blocks[last].defined);
  };
  while (last > 0 && !blocks[last].reads &&
         std::any_of(blocks.begin(), blocks.begin() + static_cast<ptrdiff_t>(last), defines)) {
    --last;
  }
  return last;
}

}  // namespace

std::vector<CodeBlock> CodeBlocks(absl::string_view text) {
  std::vector<CodeBlock> blocks;
  std::optional<Fence> open;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::optional<Fence> fence = ReadFence(line);
    const bool closes = open && fence && fence->info.empty() && fence->mark == open->mark &&
                        fence->length >= open->length;
    if (closes) {
      open.reset();
    } else if (fence && (!open || (!fence->info.empty() && fence->mark == open->mark))) {
      open = fence;
      blocks.push_back({Language(fence->info), ""});
    } else if (open) {
      absl::StrAppend(&blocks.back().code, Outdented(line, open->indent), "\n");
    }
  }
  // The text's own last line has no end of its own.
  if (open && !blocks.back().code.empty() && absl::EndsWith(text, "\n")) {
    blocks.back().code.pop_back();
  }
  return blocks.empty() ? InlineBlocks(text) : blocks;
}

std::set<std::string> Identifiers(absl::string_view code) {
  std::set<std::string> names;
  for (size_t at = 0; at < code.size();) {
    if (code[at] == '#') {
      at = std::min(code.find('\n', at), code.size());
    } else if (absl::ascii_isalpha(code[at]) || code[at] == '_') {
      const std::string name = FirstName(code.substr(at));
      at += name.size();
      names.insert(name);
    } else if (absl::ascii_isdigit(code[at])) {
      while (at < code.size() && absl::ascii_isalnum(code[at])) ++at;
    } else {
      ++at;
    }
  }
  return names;
}

std::string ExtractCode(absl::string_view text, const std::set<std::string>& wanted, bool shell) {
  const std::vector<CodeBlock> all = CodeBlocks(text);
  if (all.empty()) return std::string(text);
  std::vector<const CodeBlock*> programs;  // from the last
  std::vector<Meaning> meanings;
  for (auto block = all.rbegin(); block != all.rend() && programs.size() < kMostBlocks; ++block) {
    if (!IsProgram(*block, shell)) continue;
    programs.insert(programs.begin(), &*block);
    meanings.insert(meanings.begin(), Understand(*block));
  }
  if (programs.empty()) return "";
  return programs[wanted.empty() ? Reader(meanings) : Definer(meanings, wanted)]->code;
}

}  // namespace cohort
