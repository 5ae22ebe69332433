// Lists, sets, tuples, and what is none of the special forms.
#include "common/rewards/answer_canonical.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/rewards/answer_parts.h"
#include "common/rewards/answer_words.h"
#include "common/rewards/formula.h"

namespace cohort {
namespace {

using Kind = Token::Kind;

constexpr int kMaxDepth = 8;
constexpr int kMaxItems = 1500;        // of one answer, with those inside of others
constexpr size_t kMaxSignChoices = 3;  // \pm in one value

bool Joins(const Token& token) {
  if (token.kind == Kind::kWord) {
    const WordUse use = UseOfWord(token.text);
    return use == WordUse::kAnd || use == WordUse::kOr;
  }
  return token.IsSign(",") || token.IsSign(";") || token.IsSign("\\\\");
}

std::string JoinName(absl::string_view token) {
  if (token == "," || token == ";" || token == "\\\\") return ",";
  return UseOfWord(token) == WordUse::kOr ? "or" : "and";
}

std::string SetOf(absl::string_view kind, std::vector<std::string> texts) {
  const std::set<std::string> values(std::make_move_iterator(texts.begin()),
                                     std::make_move_iterator(texts.end()));
  return absl::StrCat(kind, "{", absl::StrJoin(values, ";"), "}");
}

// "x_1" and "x_2" number the values of one unknown.
std::string Base(const std::string& name) { return name.substr(0, name.find('_')); }

// "x=4, y=-1" is a pair in the order of the names.
std::optional<std::string> NamedTuple(std::vector<AnswerItem>* items) {
  std::set<std::string> bases;
  for (const AnswerItem& item : *items) {
    if (item.name.empty() || item.condition || !bases.insert(Base(item.name)).second) {
      return std::nullopt;
    }
  }
  std::sort(items->begin(), items->end(),
            [](const AnswerItem& a, const AnswerItem& b) { return a.name < b.name; });
  return absl::StrCat(
      "(",
      absl::StrJoin(*items, ";",
                    [](std::string* out, const AnswerItem& item) { out->append(item.text); }),
      ")");
}

// "x < 1 or x >= 4", "(0,1) or [2,3]"; nullopt where the items are no sets of numbers.
std::optional<std::string> CombineSets(const std::vector<AnswerItem>& items, bool any, bool all) {
  bool intervals = false;
  bool conditions = true;
  std::vector<RealSet> sets;
  for (const AnswerItem& item : items) {
    if (!item.set) return std::nullopt;
    intervals |= item.interval;
    conditions &= item.condition && item.name == items[0].name;
    sets.push_back(*item.set);
  }
  if (!conditions) {
    const bool meant =
        any && intervals && std::all_of(items.begin(), items.end(), [&](const AnswerItem& item) {
          return !item.condition || item.name == items[0].name;
        });
    return meant ? std::optional<std::string>(PrintRealSet(UnionOf(sets))) : std::nullopt;
  }
  if (any) return PrintRealSet(UnionOf(sets));
  RealSet both = sets[0];
  for (const RealSet& set : sets) both = Intersection(both, set);
  // "x < 1, x > 4" can only mean either.
  return PrintRealSet(!all && both.empty() ? UnionOf(sets) : both);
}

}  // namespace

std::vector<TokenSpan> AnswerReader::SplitList(TokenSpan tokens, std::vector<std::string>* joins) {
  std::vector<std::string> between;
  const std::vector<TokenSpan> parts = SplitOutside(tokens, Joins, &between);
  std::vector<TokenSpan> kept;
  for (size_t i = 0; i < parts.size(); ++i) {
    const TokenSpan part = TrimTokens(parts[i]);
    if (i > 0) joins->push_back(JoinName(between[i - 1]));
    if (!part.empty()) kept.push_back(part);
  }
  return kept;
}

std::string AnswerReader::Combine(std::vector<AnswerItem> items,
                                  const std::vector<std::string>& joins) {
  const bool any = std::find(joins.begin(), joins.end(), "or") != joins.end();
  const bool all = std::find(joins.begin(), joins.end(), "and") != joins.end();
  if (auto sets = CombineSets(items, any, all)) return *sets;
  for (AnswerItem& item : items) {
    if (!item.member.empty()) item.text = absl::StrCat(item.member, " in ", item.text);
  }
  if (!any) {
    if (auto tuple = NamedTuple(&items)) return *tuple;
  }
  // "4 red, 7 green": each number belongs to its word.
  std::set<std::string> units;
  for (const AnswerItem& item : items) units.insert(item.unit);
  const bool counted = units.size() > 1 && units.count("") == 0;
  // "x = 4, -9": one name for all. "y = 2x, x = 3": names count.
  std::set<std::string> bases;
  size_t named = 0;
  for (const AnswerItem& item : items) {
    if (item.name.empty() || item.condition) continue;
    bases.insert(Base(item.name));
    ++named;
  }
  const bool one_name = bases.size() <= 1 && (named == items.size() || !items[0].name.empty());
  std::vector<std::string> texts;
  for (AnswerItem& item : items) {
    if (counted) absl::StrAppend(&item.text, " ", item.unit);
    if (!one_name && !item.name.empty() && !item.condition) {
      item.text = absl::StrCat(item.name, "=", item.text);
    }
    texts.push_back(std::move(item.text));
  }
  if (auto money = counted ? Money(texts) : std::nullopt) return *money;
  return SetOf(counted ? "quantities" : "set", std::move(texts));
}

// "1 \pm \sqrt{2}" stands for two values.
std::vector<Tokens> AnswerReader::ExpandSigns(TokenSpan tokens) {
  if (tokens[0].IsSign("\\{") && IsBracketed(tokens))
    return {};  // its elements are read one by one
  std::vector<size_t> places;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].IsCommand("pm") || tokens[i].IsCommand("mp")) places.push_back(i);
  }
  const bool paired = std::any_of(places.begin(), places.end(),
                                  [&](size_t i) { return tokens[i].IsCommand("mp"); });
  if (places.empty() || places.size() > kMaxSignChoices) return {};
  const size_t choices = paired ? 2 : size_t{1} << places.size();
  std::vector<Tokens> out;
  for (size_t choice = 0; choice < choices; ++choice) {
    Tokens copy(tokens.begin(), tokens.end());
    for (size_t i = 0; i < places.size(); ++i) {
      const size_t bit = paired ? choice : choice >> i & 1;
      const bool minus = (bit == 1) != tokens[places[i]].IsCommand("mp");
      copy[places[i]].kind = Kind::kSign;
      copy[places[i]].text.assign(1, minus ? '-' : '+');
    }
    out.push_back(std::move(copy));
  }
  return out;
}

std::string AnswerReader::Read(TokenSpan tokens, int depth) {
  number_ = false;
  tokens = TrimTokens(tokens);
  if (tokens.empty()) return "text:";
  if (depth > kMaxDepth) return Fallback(tokens);
  if (auto system = System(tokens, depth)) return *system;
  std::vector<std::string> joins;
  const std::vector<TokenSpan> parts = SplitList(tokens, &joins);
  std::vector<AnswerItem> items;
  for (const TokenSpan part : parts) {
    if (++items_ > kMaxItems) return Fallback(tokens);
    const std::vector<Tokens> choices = ExpandSigns(part);
    if (choices.empty()) items.push_back(Item(part, depth));
    for (const Tokens& choice : choices) items.push_back(Item(choice, depth));
  }
  if (items.empty()) return Fallback(tokens);
  number_ = items.size() == 1 && joins.empty() && items[0].number;
  if (items.size() == 1 && joins.empty()) return std::move(items[0].text);
  if (items.size() == 1) return SetOf("set", {std::move(items[0].text)});
  return Combine(std::move(items), joins);
}

AnswerItem AnswerReader::Item(TokenSpan tokens, int depth) {
  // "(D)" and "D)" are labels.
  if (tokens.size() == 3 && tokens[0].IsSign("(") && tokens[2].IsSign(")") &&
      (tokens[1].kind == Kind::kLetter || tokens[1].kind == Kind::kWord)) {
    tokens = tokens.subspan(1, 1);
  } else if (tokens.size() == 2 && tokens[1].IsSign(")") &&
             (tokens[0].kind == Kind::kLetter || tokens[0].kind == Kind::kWord)) {
    tokens = tokens.subspan(0, 1);
  }
  AnswerItem item;
  if (auto residue = Residue(tokens, depth)) {
    item.text = *std::move(residue);
    return item;
  }
  const size_t relation = FindOutside(tokens, IsRelation);
  if (relation < tokens.size()) return Relation(tokens, relation, depth);
  if (auto base = BaseNumeral(tokens)) {
    item.text = *std::move(base);
    return item;
  }
  if (auto worded = WithWords(tokens, depth)) return *std::move(worded);
  return Plain(tokens, depth);
}

AnswerItem AnswerReader::Plain(TokenSpan tokens, int depth) {
  AnswerItem item;
  if (auto set = AsRealSet(tokens, depth)) {
    const bool round = tokens[0].IsSign("(") && tokens.back().IsSign(")") && IsBracketed(tokens);
    const bool infinite = std::any_of(tokens.begin(), tokens.end(),
                                      [](const Token& token) { return token.IsCommand("infty"); });
    item.interval = !round || infinite;
    item.set = set;
    item.text = PrintRealSet(*set);
    // (5,2) is no interval, but a pair; an interval of one number is what it says.
    if (IsBracketed(tokens) && !tokens[0].IsSign("\\{")) item.text = Sequence(tokens, depth);
    if (tokens[0].IsSign("\\{") && IsBracketed(tokens)) item.text = BraceSet(tokens, depth);
    return item;
  }
  if (tokens.size() == 1 && tokens[0].IsCommand("emptyset")) {
    item.text = "empty";
  } else if (auto matrix = Matrix(tokens, depth)) {
    item.text = *std::move(matrix);
  } else if (tokens.size() == 3 && tokens[0].kind == Kind::kNumber &&
             tokens[1].Is(Kind::kLetter, "R") && tokens[2].kind == Kind::kNumber) {
    item.text = absl::StrCat("quotient(", *Formula(tokens.subspan(0, 1)), ";",
                             *Formula(tokens.subspan(2)), ")");
  } else if (auto ratio = TimeOrRatio(tokens)) {
    item.text = *std::move(ratio);
  } else if (IsBracketed(tokens) && tokens[0].IsSign("\\{")) {
    item.text = BraceSet(tokens, depth);
  } else if (auto sequence = Sequence(tokens, depth); !sequence.empty()) {
    item.text = std::move(sequence);
  } else if (auto formula = Formula(tokens, &item.number)) {
    item.text = *std::move(formula);
  } else if (auto scaled = Scaled(tokens, depth)) {
    item.text = *std::move(scaled);
  } else if (const size_t cup =
                 FindOutside(tokens, [](const Token& token) { return token.IsCommand("cup"); });
             cup < tokens.size() && depth < kMaxDepth) {
    std::vector<std::string> parts;
    for (const TokenSpan part :
         SplitOutside(tokens, [](const Token& token) { return token.IsCommand("cup"); })) {
      parts.push_back(Read(part, depth + 1));
    }
    item.text = SetOf("union", std::move(parts));
  } else {
    item.text = Fallback(tokens);
  }
  return item;
}

// "(1, 2]", "\langle 1, 2 \rangle" element by element; "" when it is none.
std::string AnswerReader::Sequence(TokenSpan tokens, int depth) {
  const bool angle = !tokens.empty() && tokens[0].IsCommand("langle");
  if (!IsBracketed(tokens) || depth >= kMaxDepth) return "";
  if (!angle && !tokens[0].IsSign("(") && !tokens[0].IsSign("[")) return "";
  const auto parts = SplitOutside(tokens.subspan(1, tokens.size() - 2), [](const Token& token) {
    return token.IsSign(",") || token.IsSign(";");
  });
  if (parts.size() < 2) return "";
  std::vector<std::string> texts;
  for (const TokenSpan part : parts) texts.push_back(Read(part, depth + 1));
  return absl::StrCat(angle ? "(" : tokens[0].text, absl::StrJoin(texts, ";"),
                      angle ? ")" : tokens.back().text);
}

std::string AnswerReader::BraceSet(TokenSpan tokens, int depth) {
  const TokenSpan inside = TrimTokens(tokens.subspan(1, tokens.size() - 2));
  if (inside.empty()) return "empty";
  if (depth >= kMaxDepth) return Fallback(tokens);
  // "\{x \mid x > 2\}" is what its condition says.
  const size_t bar = FindOutside(
      inside, [](const Token& token) { return token.IsSign("|") || token.IsSign(":"); });
  if (bar > 0 && bar + 1 < inside.size() && KindOfName(inside.subspan(0, 1)) == NameKind::kLetter &&
      FindOutside(inside.subspan(bar + 1), IsRelation) + bar + 1 < inside.size()) {
    return Read(inside.subspan(bar + 1), depth + 1);
  }
  const std::string content = Read(inside, depth + 1);
  return absl::StartsWith(content, "set{") ? content : SetOf("set", {content});
}

// "\frac{1}{2}(6,-8)" is (3,-4).
std::optional<std::string> AnswerReader::Scaled(TokenSpan tokens, int depth) {
  const size_t open = FindOutside(
      tokens, [](const Token& token) { return token.IsSign("(") || token.IsCommand("langle"); });
  if (open == 0 || open >= tokens.size() || depth >= kMaxDepth) return std::nullopt;
  const TokenSpan vector = tokens.subspan(open);
  if (!IsBracketed(vector)) return std::nullopt;
  const auto parts = SplitOutside(vector.subspan(1, vector.size() - 2),
                                  [](const Token& token) { return token.IsSign(","); });
  if (parts.size() < 2) return std::nullopt;
  Algebra algebra(budget_);
  TokenSpan before = tokens.subspan(0, open);
  if (before.back().IsSign("*")) before.remove_suffix(1);
  const bool minus = before.size() == 1 && before[0].IsSign("-");
  const auto factor =
      minus ? Algebra::Result(Algebra::Integer(-1)) : ParseFormula(&algebra, before);
  std::vector<std::string> texts;
  for (const TokenSpan part : parts) {
    const auto value = factor ? ParseFormula(&algebra, part) : std::nullopt;
    const auto product = value ? algebra.Multiply(*factor, *value) : std::nullopt;
    if (!product) return std::nullopt;
    texts.push_back(algebra.Print(*product));
  }
  return absl::StrCat("(", absl::StrJoin(texts, ";"), ")");
}

// Equations in rows: \begin{cases}, or an array behind a brace.
std::optional<std::string> AnswerReader::System(TokenSpan tokens, int depth) {
  if (tokens.size() > 2 && tokens[0].IsSign("\\{") && absl::StartsWith(tokens[1].text, "begin:")) {
    tokens.remove_prefix(1);
  } else if (!absl::StrContains("begin:cases begin:aligned begin:align begin:gathered",
                                tokens[0].text)) {
    return std::nullopt;
  }
  if (tokens[0].kind != Kind::kCommand || ClosingBracket(tokens, 0) + 1 != tokens.size()) {
    return std::nullopt;
  }
  Tokens rows;
  for (const Token& token : tokens.subspan(1, tokens.size() - 2)) {
    if (!token.IsSign("&")) rows.push_back(token);
  }
  return Read(rows, depth + 1);
}

std::string AnswerReader::Fallback(TokenSpan tokens) const {
  return absl::StrCat("text:", PrintTokens(tokens));
}

}  // namespace cohort
