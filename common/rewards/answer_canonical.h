// The canonical text of an answer, piece by piece. Used by answer.cc alone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/rewards/algebra.h"
#include "common/rewards/latex_tokens.h"
#include "common/rewards/real_set.h"

namespace cohort {

// How a name before `=` is read: "y = 2x".
enum class NameReading : uint8_t {
  kUsual,     // dropped before a value without letters, else an equation
  kDropped,   // a name for what follows
  kEquation,  // always an equation
};

// One of the values that an answer lists.
struct AnswerItem {
  std::string text;            // canonical
  std::string name;            // "x" of "x = 5"
  std::string member;          // "k" of "k \in \mathbb{Z}"
  std::string unit;            // "hour" of "3 hours"
  std::optional<RealSet> set;  // of inequalities, x \in ..., and intervals
  bool number = false;         // one number without letters
  bool condition = false;      // says something about a letter; `name` holds which
  bool interval = false;       // can only be meant as an interval: [1,2), (0,\infty)
};

class AnswerReader {
 public:
  AnswerReader(AlgebraBudget* budget, NameReading names) : budget_(budget), names_(names) {}

  // A value, or a list of values in any order.
  std::string Read(TokenSpan tokens, int depth);
  // Whether what was read last, at depth 0, is one number.
  bool number() const { return number_; }

 private:
  // answer_canonical.cc
  AnswerItem Item(TokenSpan tokens, int depth);
  std::vector<TokenSpan> SplitList(TokenSpan tokens, std::vector<std::string>* joins);
  std::string Combine(std::vector<AnswerItem> items, const std::vector<std::string>& joins);
  std::vector<Tokens> ExpandSigns(TokenSpan tokens);
  AnswerItem Plain(TokenSpan tokens, int depth);
  std::string Sequence(TokenSpan tokens, int depth);
  std::string BraceSet(TokenSpan tokens, int depth);
  std::optional<std::string> Scaled(TokenSpan tokens, int depth);
  std::optional<std::string> System(TokenSpan tokens, int depth);
  std::string Fallback(TokenSpan tokens) const;

  // answer_relations.cc
  AnswerItem Relation(TokenSpan tokens, size_t first, int depth);
  AnswerItem Equation(const std::vector<TokenSpan>& parts, TokenSpan all, int depth);
  AnswerItem Named(TokenSpan name, TokenSpan value, TokenSpan all, int depth);
  AnswerItem Chain(const std::vector<TokenSpan>& parts, TokenSpan all, int depth);
  AnswerItem Balance(TokenSpan left, TokenSpan right, TokenSpan all);
  AnswerItem Inequality(TokenSpan tokens);
  bool Compare(TokenSpan left, absl::string_view sign, TokenSpan right, RealSet* set,
               std::string* letter);
  std::string CompareSides(TokenSpan left, absl::string_view sign, TokenSpan right);
  std::optional<RealSet> AsRealSet(TokenSpan tokens, int depth);
  std::optional<RealSet> SetOperation(TokenSpan tokens, int depth);
  std::optional<IntervalEnd> End(TokenSpan tokens, bool closed);

  // answer_quantities.cc
  std::optional<AnswerItem> WithWords(TokenSpan tokens, int depth);
  std::optional<AnswerItem> Quantity(TokenSpan tokens);
  std::optional<std::string> Money(const std::vector<std::string>& quantities);
  std::optional<std::string> Quantities(TokenSpan tokens);
  std::optional<std::string> BaseNumeral(TokenSpan tokens) const;
  std::optional<std::string> TimeOrRatio(TokenSpan tokens);
  std::optional<std::string> Residue(TokenSpan tokens, int depth);
  // `constant`: whether it has no letters; may be null.
  std::optional<std::string> Formula(TokenSpan tokens, bool* constant = nullptr);
  bool IsConstant(TokenSpan tokens);

  // answer_matrix.cc
  std::optional<std::string> Matrix(TokenSpan tokens, int depth);

  AlgebraBudget* budget_;
  NameReading names_;
  int items_ = 0;
  bool number_ = false;
};

}  // namespace cohort
