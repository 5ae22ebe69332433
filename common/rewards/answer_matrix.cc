// Matrices, sums and multiples of them, and determinants.
#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/rewards/answer_canonical.h"
#include "common/rewards/answer_parts.h"
#include "common/rewards/formula.h"

namespace cohort {
namespace {

using Kind = Token::Kind;
using Values = std::vector<std::vector<Value>>;

constexpr size_t kMaxCells = 256;
constexpr size_t kMaxDeterminant = 5;  // rows

bool Begins(const Token& token) {
  return token.kind == Kind::kCommand && absl::StartsWith(token.text, "begin:");
}

bool IsMatrixName(absl::string_view token) {
  return absl::EndsWith(token, "matrix") || absl::EndsWith(token, ":array");
}

// `\begin...\end` at `at`, with brackets around an array; the end in `end`.
struct Found {
  TokenSpan inside;
  size_t end = 0;
  bool determinant = false;
};
std::optional<Found> MatrixAt(TokenSpan tokens, size_t at) {
  const size_t begin = at + (Begins(tokens[at]) ? 0 : 1);
  if (begin >= tokens.size() || !Begins(tokens[begin]) || !IsMatrixName(tokens[begin].text)) {
    return std::nullopt;
  }
  const size_t close = ClosingBracket(tokens, begin);
  if (close == tokens.size()) return std::nullopt;
  Found found;
  found.inside = tokens.subspan(begin + 1, close - begin - 1);
  found.end = close + 1;
  found.determinant = absl::EndsWith(tokens[begin].text, "vmatrix");
  if (begin == at) return found;
  const bool bars = tokens[at].IsSign("|");
  if (found.end == tokens.size() ||
      (!bars && (BracketStep(tokens[at]) != 1 || BracketStep(tokens[found.end]) != -1)) ||
      (bars && !tokens[found.end].IsSign("|")) || tokens[at].IsSign("\\{")) {
    return std::nullopt;
  }
  found.determinant |= bars;
  ++found.end;
  return found;
}

std::vector<std::vector<TokenSpan>> Cells(TokenSpan inside) {
  std::vector<std::vector<TokenSpan>> rows;
  for (const TokenSpan row :
       SplitOutside(inside, [](const Token& token) { return token.IsSign("\\\\"); })) {
    if (row.empty()) continue;
    rows.push_back(SplitOutside(row, [](const Token& token) { return token.IsSign("&"); }));
  }
  return rows;
}

Algebra::Result Determinant(Algebra* algebra, const Values& m) {
  if (m.size() == 1) return m[0][0];
  Algebra::Result sum = Algebra::Integer(0);
  for (size_t column = 0; column < m.size() && sum; ++column) {
    Values minor;
    for (size_t row = 1; row < m.size(); ++row) {
      minor.push_back(m[row]);
      minor.back().erase(minor.back().begin() + static_cast<std::ptrdiff_t>(column));
    }
    const auto part = Determinant(algebra, minor);
    const auto product = part ? algebra->Multiply(m[0][column], *part) : std::nullopt;
    if (!product) return std::nullopt;
    sum = algebra->Add(*sum, column % 2 == 0 ? *product : Algebra::Negate(*product));
  }
  return sum;
}

std::optional<Values> ReadValues(Algebra* algebra,
                                 const std::vector<std::vector<TokenSpan>>& cells) {
  Values values;
  for (const auto& row : cells) {
    if (row.size() != cells[0].size()) return std::nullopt;
    values.emplace_back();
    for (const TokenSpan cell : row) {
      auto value = ParseFormula(algebra, TrimTokens(cell));
      if (!value) return std::nullopt;
      values.back().push_back(*std::move(value));
    }
  }
  return values;
}

// sum += factor * values
bool Accumulate(Algebra* algebra, const Value& factor, const Values& values, Values* sum) {
  const bool first = sum->empty();
  if (first) *sum = values;
  if (sum->size() != values.size() || (*sum)[0].size() != values[0].size()) return false;
  for (size_t r = 0; r < values.size(); ++r) {
    for (size_t c = 0; c < values[r].size(); ++c) {
      auto product = algebra->Multiply(factor, values[r][c]);
      if (product && !first) product = algebra->Add((*sum)[r][c], *product);
      if (!product) return false;
      (*sum)[r][c] = *std::move(product);
    }
  }
  return true;
}

// What stands before a matrix, with its sign.
Algebra::Result Factor(Algebra* algebra, TokenSpan before) {
  if (!before.empty() && before.back().IsSign("*")) before.remove_suffix(1);
  bool negative = false;
  while (!before.empty() && (before[0].IsSign("+") || before[0].IsSign("-"))) {
    negative ^= before[0].IsSign("-");
    before.remove_prefix(1);
  }
  auto factor =
      before.empty() ? Algebra::Result(Algebra::Integer(1)) : ParseFormula(algebra, before);
  return factor && negative ? Algebra::Result(Algebra::Negate(*factor)) : factor;
}

std::string PrintMatrix(const std::vector<std::vector<std::string>>& rows) {
  std::string out = "matrix";
  for (const auto& row : rows) absl::StrAppend(&out, "[", absl::StrJoin(row, ";"), "]");
  return out;
}

}  // namespace

std::optional<std::string> AnswerReader::Matrix(TokenSpan tokens, int depth) {
  if (std::none_of(tokens.begin(), tokens.end(), Begins)) return std::nullopt;
  Algebra algebra(budget_);
  Values sum;
  std::optional<Value> number;
  size_t from = 0;
  while (from < tokens.size()) {
    size_t at = from;
    std::optional<Found> found;
    for (; at < tokens.size(); ++at) {
      if (!Begins(tokens[at]) && (at + 1 >= tokens.size() || !Begins(tokens[at + 1]))) continue;
      found = MatrixAt(tokens, at);
      if (found) break;
    }
    if (!found) return std::nullopt;
    const auto cells = Cells(found->inside);
    size_t count = 0;
    for (const auto& row : cells) count += row.size();
    if (cells.empty() || count > kMaxCells) return std::nullopt;
    const auto values = ReadValues(&algebra, cells);
    const auto factor = Factor(&algebra, tokens.subspan(from, at - from));
    const bool alone = from == 0 && at == 0 && found->end == tokens.size();
    if (!values || !factor) {
      if (!alone || found->determinant) return std::nullopt;
      std::vector<std::vector<std::string>> texts;
      for (const auto& row : cells) {
        texts.emplace_back();
        for (const TokenSpan cell : row) texts.back().push_back(Read(cell, depth + 1));
      }
      return PrintMatrix(texts);
    }
    if (found->determinant) {
      const bool square = values->size() == (*values)[0].size();
      if (!square || values->size() > kMaxDeterminant || number) return std::nullopt;
      const auto determinant = Determinant(&algebra, *values);
      const auto product = determinant ? algebra.Multiply(*factor, *determinant) : std::nullopt;
      if (!product) return std::nullopt;
      number = *product;
    } else if (number || !Accumulate(&algebra, *factor, *values, &sum)) {
      return std::nullopt;
    }
    from = found->end;
    if (from < tokens.size() && !tokens[from].IsSign("+") && !tokens[from].IsSign("-")) {
      return std::nullopt;
    }
  }
  if (number)
    return sum.empty() ? std::optional<std::string>(algebra.Print(*number)) : std::nullopt;
  std::vector<std::vector<std::string>> texts;
  for (const auto& row : sum) {
    texts.emplace_back();
    for (const Value& value : row) texts.back().push_back(algebra.Print(value));
  }
  return PrintMatrix(texts);
}

}  // namespace cohort
