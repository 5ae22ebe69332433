// Which part of a response is its program.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace cohort {

struct CodeBlock {
  std::string language;  // lower case; "": none is named
  std::string code;      // without the indentation of its fence
};

// The fenced blocks (``` or ~~~, indented or not), in their order. One that is not closed ends
// where the next names its language, or with the text.
std::vector<CodeBlock> CodeBlocks(absl::string_view text);

// The last block that is a program: not an input, an output or a command, and not an example of
// calling what a block before it defines. `wanted` are the names that the tests use, where they
// use any: of the programs the last that defines one of them is taken. `shell`: commands are
// programs here. Without any block it is the whole text; "": no block is a program.
std::string ExtractCode(absl::string_view text, const std::set<std::string>& wanted = {},
                        bool shell = false);

// Words that may be names, comments and the insides of short strings left out.
std::set<std::string> Identifiers(absl::string_view code);

}  // namespace cohort
