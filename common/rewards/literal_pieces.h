// A sentence in pieces, as far as numbers and what they belong to are concerned. Used by literal.cc
// alone.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/strings/string_view.h"

namespace cohort {

struct Piece {
  enum Kind { kNumber, kFormula, kPower, kSign, kOperator, kEquals, kOpen, kClose, kWord, kBreak };
  Kind kind = kBreak;
  size_t begin = 0;  // bytes of the text
  size_t end = 0;
  bool space = false;  // before it
};

// Any bytes; signs as PlainText gives them. A number keeps its groups, exponent and percent sign, a
// formula (\frac, \sqrt, a root) its arguments, a power what it raises to.
std::vector<Piece> ScanPieces(absl::string_view text);

}  // namespace cohort
