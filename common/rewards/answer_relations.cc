// Equations, inequalities, intervals and their unions.
#include <algorithm>
#include <limits>
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

constexpr int kMaxDepth = 8;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool IsOperation(const Token& token) {
  return token.IsCommand("cup") || token.IsCommand("cap") || token.IsCommand("setminus") ||
         token.IsCommand("backslash");
}

absl::string_view Turned(absl::string_view sign) {
  if (sign == "<") return ">";
  if (sign == ">") return "<";
  if (sign == "<=") return ">=";
  return sign == ">=" ? absl::string_view("<=") : sign;
}

// "m + n" says what is asked for; "3x" makes an equation.
bool HasTwoLetters(TokenSpan tokens) {
  const Token* first = nullptr;
  for (const Token& token : tokens) {
    if (token.kind != Kind::kLetter) continue;
    if (first != nullptr && first->text != token.text) return true;
    first = &token;
  }
  return false;
}

// "\frac{m}{n}", "|z|": what a value is often asked of.
bool IsAskedFor(TokenSpan tokens) {
  const auto letter = [&](size_t i) { return tokens[i].kind == Kind::kLetter; };
  if (tokens.size() == 7) return tokens[0].IsCommand("frac") && letter(2) && letter(5);
  if (tokens.size() != 3 || !letter(0 + 1)) {
    return tokens.size() == 3 && letter(0) && tokens[1].IsSign("/") && letter(2);
  }
  return tokens[0].IsSign("|") && tokens[1].text == "z" && tokens[2].IsSign("|");
}

RealSet Side(absl::string_view sign, IntervalEnd end) {
  end.closed = absl::EndsWith(sign, "=") && sign != "!=";
  if (sign == "!=") return Complement(Point(end));
  Interval out = AllReals()[0];
  (sign[0] == '<' ? out.high : out.low) = std::move(end);
  return UnionOf({RealSet{out}});
}

}  // namespace

AnswerItem AnswerReader::Relation(TokenSpan tokens, size_t first, int depth) {
  std::vector<std::string> signs;
  const std::vector<TokenSpan> parts = SplitOutside(tokens, IsRelation, &signs);
  const bool equations =
      std::all_of(signs.begin(), signs.end(), [](const std::string& sign) { return sign == "="; });
  if (equations) return Equation(parts, tokens, depth);
  AnswerItem item;
  if (parts.size() == 2 && signs[0] == "in" && KindOfName(parts[0]) != NameKind::kNone &&
      depth < kMaxDepth) {
    item.set = AsRealSet(TrimTokens(parts[1]), depth);
    item.condition = item.set.has_value();
    item.name = PrintTokens(parts[0]);
    const bool listed = !parts[1].empty() && parts[1][0].IsSign("\\{");
    item.text = item.set && !listed ? PrintRealSet(*item.set) : Read(parts[1], depth + 1);
    if (!item.set) item.member = std::exchange(item.name, "");
    return item;
  }
  if (std::all_of(signs.begin(), signs.end(), [](const std::string& sign) {
        return absl::StrContains("< > <= >= != =", sign);
      })) {
    return Inequality(tokens);
  }
  (void)first;
  item.text = Fallback(tokens);
  return item;
}

AnswerItem AnswerReader::Equation(const std::vector<TokenSpan>& parts, TokenSpan all, int depth) {
  AnswerItem item;
  item.text = Fallback(all);
  if (depth >= kMaxDepth ||
      std::any_of(parts.begin(), parts.end(), [](TokenSpan part) { return part.empty(); })) {
    return item;
  }
  if (parts.size() > 2) return Chain(parts, all, depth);
  if (IsTupleOfLetters(parts[0]) && !IsTupleOfLetters(parts[1])) {
    item.text = Read(parts[1], depth + 1);
    return item;
  }
  if (KindOfName(parts[0]) != NameKind::kNone) return Named(parts[0], parts[1], all, depth);
  // "58 = m"
  if (KindOfName(parts[1]) != NameKind::kNone && IsConstant(parts[0])) {
    return Named(parts[1], parts[0], all, depth);
  }
  if (names_ == NameReading::kDropped && IsAskedFor(parts[0]) && IsConstant(parts[1])) {
    return Item(TrimTokens(parts[1]), depth + 1);
  }
  return Balance(parts[0], parts[1], all);
}

AnswerItem AnswerReader::Named(TokenSpan name, TokenSpan value, TokenSpan all, int depth) {
  const NameKind kind = KindOfName(name);
  Algebra algebra(budget_);
  const bool plain = names_ != NameReading::kEquation && ReadPlainNumber(value);
  const auto formula = plain ? std::nullopt : ParseFormula(&algebra, value);
  const bool letters = formula && !algebra.IsConstant(*formula);
  AnswerItem item;
  // a_n = 2n - 1 defines a sequence, as f(x) = ... does a function.
  const size_t index = name.size() == 5 ? 3 : 2;
  const bool sequence = (name.size() == 3 || name.size() == 5) && name[1].IsSign("_") &&
                        std::any_of(value.begin(), value.end(), [&](const Token& token) {
                          return token.kind == Kind::kLetter && token.text == name[index].text;
                        });
  const bool equation =
      kind == NameKind::kLetter && !sequence &&
      (names_ == NameReading::kEquation || (letters && names_ == NameReading::kUsual));
  if (equation && formula) return Balance(name, value, all);
  if (letters && names_ == NameReading::kDropped && kind == NameKind::kLetter &&
      std::any_of(value.begin(), value.end(),
                  [&](const Token& token) { return token.text == name[0].text; })) {
    return Balance(name, value, all);  // x = 2x - 5
  }
  item = Item(TrimTokens(value), depth + 1);
  item.name = PrintTokens(name);
  item.condition = false;
  return item;
}

// "S = 2 + 5 + 9 = 16": all parts behind a name must agree.
AnswerItem AnswerReader::Chain(const std::vector<TokenSpan>& parts, TokenSpan all, int depth) {
  AnswerItem last = Item(TrimTokens(parts.back()), depth + 1);
  const bool named = KindOfName(parts[0]) != NameKind::kNone || HasTwoLetters(parts[0]);
  bool constant = false;
  for (size_t i = named ? 1 : 0; i + 1 < parts.size(); ++i) {
    // "V = l w h = 2 * 3 * 4 = 24": the formula with letters comes first.
    if (named && !constant && !(constant = IsConstant(parts[i]))) continue;
    if (Item(TrimTokens(parts[i]), depth + 1).text == last.text) continue;
    AnswerItem item;
    item.text = Fallback(all);
    return item;
  }
  if (KindOfName(parts[0]) != NameKind::kNone) last.name = PrintTokens(parts[0]);
  return last;
}

AnswerItem AnswerReader::Balance(TokenSpan left, TokenSpan right, TokenSpan all) {
  AnswerItem item;
  item.text = Fallback(all);
  Algebra algebra(budget_);
  const auto a = ParseFormula(&algebra, left);
  const auto b = a ? ParseFormula(&algebra, right) : std::nullopt;
  const auto difference = b ? algebra.Subtract(*a, *b) : std::nullopt;
  if (!difference) return item;
  if (algebra.IsConstant(*a) && algebra.IsConstant(*b)) {
    item.number = Algebra::IsZero(*difference);
    if (item.number) item.text = algebra.Print(*b);
    return item;
  }
  if (std::string text = algebra.PrintUpToFactor(*difference, false); !text.empty()) {
    item.text = absl::StrCat("equation:", text);
  }
  return item;
}

std::optional<IntervalEnd> AnswerReader::End(TokenSpan tokens, bool closed) {
  tokens = TrimTokens(tokens);
  if (auto plain = ReadPlainNumber(tokens)) {
    return IntervalEnd{std::move(plain->text), plain->place, closed};
  }
  Algebra algebra(budget_);
  const auto value = ParseFormula(&algebra, tokens);
  const auto place = value ? algebra.Approximate(*value) : std::nullopt;
  if (place) return IntervalEnd{algebra.Print(*value), *place, closed};
  if (!value) return std::nullopt;
  const std::string text = algebra.Print(*value);
  if (text == "1*infty") return IntervalEnd{text, kInfinity, false};
  if (text == "-1*infty") return IntervalEnd{text, -kInfinity, false};
  return std::nullopt;
}

// Narrows `set` where one side is linear in one letter and the other is a number.
bool AnswerReader::Compare(TokenSpan left, absl::string_view sign, TokenSpan right, RealSet* set,
                           std::string* letter) {
  Algebra algebra(budget_);
  const auto a = ParseFormula(&algebra, TrimTokens(left));
  const auto b = a ? ParseFormula(&algebra, TrimTokens(right)) : std::nullopt;
  if (!b) return false;
  // "x < \infty": infinity is no number to calculate with.
  if (const auto end = End(right, false); end && std::abs(end->place) == kInfinity) {
    if (KindOfName(TrimTokens(left)) != NameKind::kLetter) return false;
    *letter = algebra.Print(*a).substr(2);
    *set = Intersection(*set, Side(sign, *end));
    return true;
  }
  if (const auto end = End(left, false); end && std::abs(end->place) == kInfinity) {
    return Compare(right, Turned(sign), left, set, letter);
  }
  const auto difference = algebra.Subtract(*a, *b);
  const auto line = difference ? algebra.AsLine(*difference) : std::nullopt;
  const auto slope = line ? algebra.Approximate(line->slope) : std::nullopt;
  if (!slope || *slope == 0 || (!letter->empty() && *letter != line->letter)) return false;
  const auto value = algebra.Divide(Algebra::Negate(line->offset), line->slope);
  const auto place = value ? algebra.Approximate(*value) : std::nullopt;
  if (!place) return false;
  *letter = line->letter;
  *set = Intersection(*set, Side(*slope < 0 ? Turned(sign) : sign,
                                 IntervalEnd{algebra.Print(*value), *place, false}));
  return true;
}

// Of more letters, or of higher powers: up to a positive factor.
std::string AnswerReader::CompareSides(TokenSpan left, absl::string_view sign, TokenSpan right) {
  if (sign[0] == '<') {
    std::swap(left, right);
    sign = Turned(sign);
  }
  Algebra algebra(budget_);
  const auto a = ParseFormula(&algebra, TrimTokens(left));
  const auto b = a ? ParseFormula(&algebra, TrimTokens(right)) : std::nullopt;
  const auto difference = b ? algebra.Subtract(*a, *b) : std::nullopt;
  const std::string text =
      difference ? algebra.PrintUpToFactor(*difference, sign != "!=") : std::string();
  return text.empty() ? "" : absl::StrCat(text, sign, "0");
}

AnswerItem AnswerReader::Inequality(TokenSpan tokens) {
  std::vector<std::string> signs;
  const std::vector<TokenSpan> parts = SplitOutside(tokens, IsRelation, &signs);
  AnswerItem item;
  RealSet set = AllReals();
  std::vector<std::string> texts;
  bool numbers = true;
  bool readable = true;
  for (size_t i = 0; i < signs.size(); ++i) {
    readable &= signs[i] != "=";
    numbers = numbers && readable && Compare(parts[i], signs[i], parts[i + 1], &set, &item.name);
    if (numbers) continue;
    texts.push_back(readable ? CompareSides(parts[i], signs[i], parts[i + 1]) : "");
    readable &= !texts.back().empty();
  }
  if (numbers) {
    item.condition = true;
    item.text = PrintRealSet(set);
    item.set = std::move(set);
    return item;
  }
  item.name.clear();
  if (!readable || texts.size() < signs.size()) {
    // Begun as an interval, but it is none: all of it again.
    texts.clear();
    for (size_t i = 0; i < signs.size(); ++i) {
      texts.push_back(CompareSides(parts[i], signs[i], parts[i + 1]));
    }
  }
  const bool known = std::none_of(texts.begin(), texts.end(),
                                  [](const std::string& text) { return text.empty(); });
  std::sort(texts.begin(), texts.end());
  item.text = known ? absl::StrCat("inequality:", absl::StrJoin(texts, "&")) : Fallback(tokens);
  return item;
}

std::optional<RealSet> AnswerReader::SetOperation(TokenSpan tokens, int depth) {
  std::vector<std::string> operations;
  const std::vector<TokenSpan> parts = SplitOutside(tokens, IsOperation, &operations);
  if (depth >= kMaxDepth) return std::nullopt;
  std::optional<RealSet> out;
  for (size_t i = 0; i < parts.size(); ++i) {
    auto next = AsRealSet(TrimTokens(parts[i]), depth + 1);
    if (!next) return std::nullopt;
    if (i == 0) {
      out = std::move(next);
    } else if (operations[i - 1] == "cup") {
      out = UnionOf({*out, *next});
    } else {
      out = Intersection(*out, operations[i - 1] == "cap" ? *next : Complement(*next));
    }
  }
  return out;
}

std::optional<RealSet> AnswerReader::AsRealSet(TokenSpan tokens, int depth) {
  if (tokens.empty()) return std::nullopt;
  if (tokens.size() == 1 && tokens[0].Is(Kind::kLetter, "RR")) return AllReals();
  const bool operation = FindOutside(tokens, IsOperation) < tokens.size();
  if (tokens.size() == 1 && tokens[0].IsCommand("emptyset")) return RealSet{};
  if (operation) return SetOperation(tokens, depth);
  if (!IsBracketed(tokens)) return std::nullopt;
  const TokenSpan inside = tokens.subspan(1, tokens.size() - 2);
  const auto parts = SplitOutside(
      inside, [](const Token& token) { return token.IsSign(",") || token.IsSign(";"); });
  if (tokens[0].IsSign("\\{")) {
    std::vector<RealSet> points;
    for (const TokenSpan part : parts) {
      const auto end = End(part, true);
      if (!end || std::abs(end->place) == kInfinity) return std::nullopt;
      points.push_back(Point(*end));
    }
    return UnionOf(points);
  }
  const bool bracket = tokens[0].IsSign("(") || tokens[0].IsSign("[");
  if (!bracket) return std::nullopt;
  if (parts.size() == 1 && FindOutside(inside, IsOperation) < inside.size() && depth < kMaxDepth) {
    return AsRealSet(inside, depth + 1);
  }
  if (parts.size() != 2) return std::nullopt;
  auto low = End(parts[0], tokens[0].IsSign("["));
  auto high = End(parts[1], tokens.back().IsSign("]"));
  if (!low || !high || low->place >= high->place) return std::nullopt;
  return RealSet{{*std::move(low), *std::move(high)}};
}

}  // namespace cohort
