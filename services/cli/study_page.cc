// The Markdown and the page of a study, from its numbers.
#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/html/html.h"
#include "common/html/svg_plot.h"
#include "services/cli/report_html.h"
#include "services/cli/study_report.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr char kHowToRead[] =
    "Every value is computed once per seed. \"holds\": the 95 % interval of its mean over the "
    "seeds (Student's t) lies on the expected side; \"fails\": on the other; \"unclear\": on both. "
    "With one seed the value itself decides.";
constexpr size_t kProblemsShown = 10;

// ---- texts ----

std::string Plain(const json& value, int decimals, double scale = 1, const char* unit = "") {
  if (!value.is_object()) return "-";
  const double mean = scale * Number(value, "mean");
  const double half = scale * Number(value, "high") - mean;
  std::string text = absl::StrFormat("%.*f", decimals, mean);
  if (half != 0) absl::StrAppendFormat(&text, " ± %.*f", decimals, half);
  return text + unit;
}

// Highest minus lowest over the seeds, in points; of one seed there is none.
std::string Spread(const json& value) {
  if (!value.is_object() || Part(value, "values").size() < 2) return "-";
  return absl::StrFormat("%.1f", 100 * Number(value, "spread"));
}

std::string Found(const json& claim) {
  if (!claim.contains("mean")) return "-";
  return absl::StrFormat("%.4g", Number(claim, "mean"));
}

std::string IntervalText(const json& claim) {
  if (!claim.contains("mean")) return "-";
  if (Part(claim, "values").size() < 2) return "1 seed";
  return absl::StrFormat("[%.4g, %.4g]", Number(claim, "low"), Number(claim, "high"));
}

std::string BySeed(const json& claim) {
  std::string text;
  for (const json& value : Part(claim, "values")) {
    absl::StrAppendFormat(&text, "%s%.3g", text.empty() ? "" : ", ", value.get<double>());
  }
  return text;
}

// "must be above 0: grpo eval:main:pass@1 - base eval:main:pass@1"
std::string Formula(const json& claim) {
  std::string text;
  for (const json& term : Part(claim, "terms")) {
    const double weight = Number(term, "weight", 1);
    absl::StrAppend(&text, text.empty() ? (weight < 0 ? "-" : "") : weight < 0 ? " - " : " + ");
    if (std::abs(weight) != 1) absl::StrAppendFormat(&text, "%.4g x ", std::abs(weight));
    absl::StrAppend(&text, Text(term, "arm"), " ", Text(term, "metric"));
  }
  return absl::StrCat(text, " ", Text(claim, "bound"));
}

std::string EvalText(const json& eval) {
  return absl::StrFormat("%s: %s, %s, %.0f problems x %.0f samples, temperature %.3g",
                         Text(eval, "name"), Text(eval, "source"), Text(eval, "split"),
                         Number(eval, "prompts"), Number(eval, "samples"),
                         Number(eval, "temperature"));
}

// What was trained, before anything was measured.
std::vector<std::string> WorldLines(const json& numbers) {
  std::vector<std::string> lines;
  for (const json& base : Part(numbers, "bases")) {
    std::string line = absl::StrCat("Base ", Text(base, "name"));
    if (!Text(base, "about").empty()) absl::StrAppend(&line, ": ", Text(base, "about"));
    if (!Text(base, "sft").empty()) {
      absl::StrAppend(&line, " (recipes/sft/", Text(base, "sft"), ".yaml)");
    }
    lines.push_back(std::move(line));
  }
  for (const json& eval : Part(numbers, "evals")) {
    lines.push_back(absl::StrCat("Evaluation ", EvalText(eval)));
  }
  return lines;
}

std::string SeedsText(const json& numbers) {
  std::vector<int> seeds;
  for (const json& seed : Part(numbers, "seeds")) seeds.push_back(seed.get<int>());
  return absl::StrCat("Seeds: ", absl::StrJoin(seeds, ", "), ". ",
                      absl::StrFormat("%.1f minutes per seed, added up over its jobs.",
                                      Number(numbers, "job_seconds_per_seed") / 60));
}

std::string CountsText(const json& numbers) {
  std::map<std::string, int> counts;
  int controls = 0, failed = 0;  // controls are to fail
  for (const json& claim : Part(numbers, "claims")) {
    if (!claim.value("control", false)) {
      ++counts[Text(claim, "verdict")];
      continue;
    }
    ++controls;
    failed += Text(claim, "verdict") == "fails" ? 1 : 0;
  }
  std::string text;
  for (const char* verdict : {"holds", "unclear", "fails", "not measured"}) {
    if (counts[verdict] == 0) continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ", counts[verdict], " ", verdict);
  }
  if (controls > 0) {
    absl::StrAppend(&text, "; of ", controls, " controls, which are to fail, ", failed, " do");
  }
  return text;
}

// "nothing", or "NAME (found 0.1 [0.05, 0.15], expected X); ...".
std::string NotReproduced(const json& numbers) {
  std::vector<std::string> texts;
  for (const json& name : Part(numbers, "not_reproduced")) {
    for (const json& claim : Part(numbers, "claims")) {
      if (Text(claim, "name") != name.get<std::string>()) continue;
      texts.push_back(absl::StrCat(Text(claim, "name"), " (found ", Found(claim), ", ",
                                   IntervalText(claim), "; expected: ", Text(claim, "expected"),
                                   ")"));
    }
  }
  return texts.empty() ? "nothing" : absl::StrJoin(texts, "; ");
}

// ---- tables as plain texts, for both ----

struct PlainTable {
  std::string caption;
  Cells head;
  std::vector<Cells> rows;  // the first cell may have a second line
};

std::string NameAndAbout(const json& arm) {
  const std::string about = Text(arm, "about");
  return absl::StrCat(Text(arm, "name"), about.empty() ? "" : "\n", about);
}

PlainTable EvalTable(const json& numbers, const json& eval) {
  const bool several = Number(eval, "samples") > 1;
  const std::string k = absl::StrCat(static_cast<int64_t>(Number(eval, "samples")));
  PlainTable table;
  table.caption = EvalText(eval);
  table.head = {"arm", "pass@1", "its spread over seeds, points"};
  if (several) table.head.insert(table.head.end(), {"pass@" + k, "maj@" + k});
  table.head.insert(table.head.end(), {"length", "entropy", "tokens per right answer"});
  for (const json& arm : Part(numbers, "arms")) {
    for (const json& entry : Part(arm, "evals")) {
      if (Text(entry, "eval") != Text(eval, "name")) continue;
      const json& pass = Part(entry, "pass_1");
      Cells cells = {NameAndAbout(arm), Plain(pass, 1, 100, " %"), Spread(pass)};
      if (several) {
        cells.push_back(Plain(Part(entry, "pass_k"), 1, 100, " %"));
        cells.push_back(Plain(Part(entry, "maj_k"), 1, 100, " %"));
      }
      cells.push_back(Plain(Part(entry, "length"), 1));
      cells.push_back(Plain(Part(entry, "entropy"), 3));
      cells.push_back(Plain(Part(entry, "tokens_per_correct"), 1));
      table.rows.push_back(std::move(cells));
    }
  }
  return table;
}

PlainTable TrainingTable(const json& numbers) {
  const json& arms = Part(numbers, "arms");
  const bool heldout = std::any_of(arms.begin(), arms.end(),
                                   [](const json& arm) { return arm.contains("heldout_last"); });
  PlainTable table;
  table.caption = "Training";
  table.head = {"arm",     "starts from",  "steps",      "sampled tokens",
                "seconds", "reward first", "reward last"};
  if (heldout) {
    table.head.insert(table.head.end(), {"held-out accuracy at its peak", "at the end",
                                         "its spread over seeds, points"});
  }
  for (const json& arm : arms) {
    if (!arm.value("trained", false)) continue;
    Cells cells = {Text(arm, "name"),
                   Text(arm, "from"),
                   Plain(Part(arm, "steps"), 0),
                   Plain(Part(arm, "sampled_tokens"), 0),
                   Plain(Part(arm, "seconds"), 0),
                   Plain(Part(arm, "reward_first"), 3),
                   Plain(Part(arm, "reward_last"), 3)};
    if (heldout) {
      const json& last = Part(arm, "heldout_last");
      cells.push_back(Plain(Part(arm, "heldout_peak"), 1, 100, " %"));
      cells.push_back(Plain(last, 1, 100, " %"));
      cells.push_back(Spread(last));
    }
    table.rows.push_back(std::move(cells));
  }
  return table;
}

std::string CrossingsText(const json& by_seed) {
  std::vector<std::string> texts;
  for (const json& k : by_seed) {
    texts.push_back(k.is_number() ? KText(k.get<double>()) : std::string("never"));
  }
  return absl::StrJoin(texts, ", ");
}

std::string SolvedCounts(const json& solved) {
  std::vector<std::string> texts;
  for (const json& count : Part(solved, "counts")) texts.push_back(KText(count.get<double>()));
  return absl::StrJoin(texts, ", ");
}

// "12+34 (seeds 1, 2), 56+78 (seed 1), and more"
std::string SolvedProblems(const json& solved) {
  const json& problems = Part(solved, "problems");
  std::vector<std::string> texts;
  for (const json& problem : problems) {
    if (texts.size() == kProblemsShown) {
      texts.push_back("and more");
      break;
    }
    std::vector<int> seeds;
    for (const json& seed : Part(problem, "seeds")) seeds.push_back(seed.get<int>());
    texts.push_back(absl::StrCat(Text(problem, "prompt"), seeds.size() > 1 ? " (seeds " : " (seed ",
                                 absl::StrJoin(seeds, ", "), ")"));
  }
  return texts.empty() ? "-" : absl::StrJoin(texts, ", ");
}

std::vector<PlainTable> ComparisonTables(const json& comparison) {
  const std::string on =
      absl::StrCat(Text(comparison, "eval"), ", ", static_cast<int64_t>(Number(comparison, "k")),
                   " attempts, by seed");
  PlainTable pairs, alone;
  pairs.caption = absl::StrCat(
      "Where pass@k of an arm crosses that of its base, and what only one of the two solves: ", on);
  pairs.head = {"models",
                "cross at k",
                "problems only the first solves",
                "which",
                "problems only the second solves",
                "which"};
  for (const json& pair : Part(comparison, "pairs")) {
    const json &a = Part(pair, "only_a"), &b = Part(pair, "only_b");
    pairs.rows.push_back({absl::StrCat(Text(pair, "a"), ", ", Text(pair, "b")),
                          CrossingsText(Part(pair, "crossing")), SolvedCounts(a), SolvedProblems(a),
                          SolvedCounts(b), SolvedProblems(b)});
  }
  alone.caption = absl::StrCat("Problems that no other arm solves: ", on);
  alone.head = {"arm", "problems", "which"};
  for (const json& entry : Part(comparison, "alone")) {
    const json& solved = Part(entry, "solved");
    alone.rows.push_back({Text(entry, "arm"), SolvedCounts(solved), SolvedProblems(solved)});
  }
  std::vector<PlainTable> tables;
  for (PlainTable& table : std::vector<PlainTable>{std::move(pairs), std::move(alone)}) {
    if (!table.rows.empty()) tables.push_back(std::move(table));
  }
  return tables;
}

std::vector<PlainTable> ArmTables(const json& numbers) {
  std::vector<PlainTable> tables;
  for (const json& eval : Part(numbers, "evals")) tables.push_back(EvalTable(numbers, eval));
  tables.push_back(TrainingTable(numbers));
  return tables;
}

// Whether a claim is about tokens per right answer on this evaluation.
bool CountsTokens(const json& numbers, const std::string& eval) {
  const std::string metric = absl::StrCat("eval:", eval, ":tokens_per_correct");
  for (const json& claim : Part(numbers, "claims")) {
    for (const json& term : Part(claim, "terms")) {
      if (Text(term, "metric") == metric) return true;
    }
  }
  return false;
}

// ---- Markdown ----

std::string Row(const Cells& cells) {
  std::string out = "|";
  for (const std::string& cell : cells) {
    absl::StrAppend(&out, " ", absl::StrReplaceAll(cell, {{"|", "\\|"}, {"\n", " "}}), " |");
  }
  return out + "\n";
}

std::string Rule(size_t columns) {
  std::string out = "|";
  for (size_t i = 0; i < columns; ++i) out += " --- |";
  return out + "\n";
}

// With an empty line before; nothing for a table without rows.
std::string MarkdownTable(const PlainTable& table) {
  if (table.rows.empty()) return "";
  std::string out =
      absl::StrCat("\n", table.caption, "\n\n", Row(table.head), Rule(table.head.size()));
  for (Cells row : table.rows) {
    row[0] = absl::StrReplaceAll(row[0], {{"\n", ": "}});
    out += Row(row);
  }
  return out;
}

std::string MarkdownVerdicts(const json& numbers) {
  const Cells head = {"claim", "literature", "expected", "found", "95 %", "by seed", "verdict"};
  std::string out = absl::StrCat(Row(head), Rule(head.size()));
  for (const json& claim : Part(numbers, "claims")) {
    const std::string note = Text(claim, "note");
    absl::StrAppend(&out, Row({Text(claim, "name"), Text(claim, "literature"),
                               absl::StrCat(Text(claim, "expected"), " (`", Formula(claim), "`)",
                                            note.empty() ? "" : absl::StrCat(" ", note)),
                               Found(claim), IntervalText(claim), BySeed(claim),
                               absl::StrCat("**", Text(claim, "verdict"), "**")}));
  }
  return out;
}

std::string MarkdownComparisons(const json& numbers) {
  std::string out;
  for (const json& comparison : Part(numbers, "comparisons")) {
    std::vector<std::string> pages;
    for (const auto& [seed, page] : Part(comparison, "pages").items()) {
      pages.push_back(absl::StrCat("[seed ", seed, "](", page.get<std::string>(), ")"));
    }
    absl::StrAppend(&out, "\nAll arms on one page: ", absl::StrJoin(pages, ", "), "\n");
    for (const PlainTable& table : ComparisonTables(comparison)) out += MarkdownTable(table);
  }
  return out;
}

// ---- page ----

class Page {
 public:
  explicit Page(const json& numbers) : in_(numbers) {
    int style = 0;
    for (const json& arm : Part(in_, "arms")) style_[Text(arm, "name")] = style++;
  }

  std::string Make() {
    std::string about;
    for (const json& paragraph : Part(in_, "about")) {
      absl::StrAppend(&about, "<p>", EscapeHtml(paragraph.get<std::string>()), "</p>\n");
    }
    const std::string title = Text(in_, "title");
    return Document(
        {.title = title,
         .style = PageStyle() + PlotStyle(),
         .body = absl::StrCat("<header><h1>", EscapeHtml(title), "</h1><p class=\"muted\">",
                              EscapeHtml(SeedsText(in_)), "</p></header><main>", about,
                              Section("World", World()), Section("Verdicts", Verdicts()),
                              Section("Arms", Arms()), Section("Tokens against accuracy", Tokens()),
                              Section("Solving problems with k attempts", Curves()),
                              Section("Crossings, and what only one solves", Comparisons()),
                              Section("Training", Training()), Section("What failed", Failed()),
                              "</main>")});
  }

 private:
  static std::string Section(const char* title, const std::string& content) {
    if (content.empty()) return "";
    return absl::StrCat("<section><h2>", title, "</h2>\n", content, "</section>\n");
  }

  std::string Verdicts() const {
    std::vector<Cells> rows;
    for (const json& claim : Part(in_, "claims")) {
      const std::string verdict = Text(claim, "verdict");
      const char* shown = verdict == "holds" ? "right" : verdict == "fails" ? "wrong" : "";
      std::string expected = absl::StrCat(EscapeHtml(Text(claim, "expected")), "<br><small>",
                                          EscapeHtml(Formula(claim)), "</small>");
      if (!Text(claim, "note").empty()) {
        absl::StrAppend(&expected, "<br><small>", EscapeHtml(Text(claim, "note")), "</small>");
      }
      rows.push_back({EscapeHtml(Text(claim, "name")), EscapeHtml(Text(claim, "literature")),
                      expected, Found(claim), IntervalText(claim), BySeed(claim),
                      absl::StrCat("<span class=\"", shown, "\">", verdict, "</span>")});
    }
    if (rows.empty()) return "";
    return absl::StrCat(
        "<p>", CountsText(in_), ". What did not reproduce: ", EscapeHtml(NotReproduced(in_)),
        ".</p>",
        Table(kHowToRead,
              {"claim", "literature", "expected", "found", "95 %", "by seed", "verdict"}, rows));
  }

  std::string World() const {
    std::string out;
    for (const std::string& line : WorldLines(in_)) {
      absl::StrAppend(&out, "<li>", EscapeHtml(line), "</li>");
    }
    return out.empty() ? "" : absl::StrCat("<ul>", out, "</ul>");
  }

  static std::string HtmlTable(const PlainTable& table) {
    if (table.rows.empty()) return "";
    std::vector<Cells> rows = table.rows;
    for (Cells& row : rows) {
      const std::vector<std::string> lines = absl::StrSplit(row[0], absl::MaxSplits('\n', 1));
      for (std::string& cell : row) cell = EscapeHtml(cell);
      if (lines.size() < 2) continue;
      row[0] = absl::StrCat(EscapeHtml(lines[0]), "<br><small>", EscapeHtml(lines[1]), "</small>");
    }
    return Table(table.caption, table.head, rows);
  }

  std::string Arms() const {
    std::string out;
    for (const PlainTable& table : ArmTables(in_)) out += HtmlTable(table);
    return out;
  }

  std::string Comparisons() const {
    std::string out;
    for (const json& comparison : Part(in_, "comparisons")) {
      out += "<p>All arms on one page:";
      for (const auto& [seed, page] : Part(comparison, "pages").items()) {
        absl::StrAppend(&out, " <a href=\"", EscapeHtml(page.get<std::string>()), "\">seed ",
                        EscapeHtml(seed), "</a>");
      }
      out += "</p>";
      for (const PlainTable& table : ComparisonTables(comparison)) out += HtmlTable(table);
    }
    return out;
  }

  // One point per arm.
  std::string Tokens() const {
    std::string out;
    for (const json& eval : Part(in_, "evals")) {
      if (!CountsTokens(in_, Text(eval, "name"))) continue;
      PlotSpec spec;
      spec.title = absl::StrCat("Tokens per right answer against pass@1, ", Text(eval, "name"));
      spec.caption = "A point per arm, mean over seeds: up is more accurate, left is cheaper.";
      spec.x_label = "tokens per right answer";
      spec.y_label = "pass@1";
      spec.percent_y = true;
      for (const json& arm : Part(in_, "arms")) {
        for (const json& entry : Part(arm, "evals")) {
          const json &tokens = Part(entry, "tokens_per_correct"), &pass = Part(entry, "pass_1");
          if (Text(entry, "eval") != Text(eval, "name") || !tokens.is_object()) continue;
          PlotSeries series = SeriesOf(Text(arm, "name"));
          // Colours come again after eight arms: the place tells them apart.
          absl::StrAppend(&series.name, " (", Plain(Point(tokens), 1), "; ",
                          Plain(Point(pass), 1, 100, " %"), ")");
          series.points.push_back({Number(tokens, "mean"), Number(pass, "mean"), {}, {}});
          spec.series.push_back(std::move(series));
        }
      }
      out += PlotFigure(spec);
    }
    return out.empty() ? "" : absl::StrCat("<div class=\"wide\">", out, "</div>");
  }

  // Without its interval.
  static json Point(const json& value) {
    const double mean = Number(value, "mean");
    return {{"mean", mean}, {"high", mean}};
  }

  PlotSeries SeriesOf(const std::string& arm) const {
    PlotSeries series;
    series.name = arm;
    series.style = style_.at(arm);
    return series;
  }

  std::string Curves() const {
    std::string out;
    for (const json& eval : Part(in_, "evals")) {
      PlotSpec spec;
      spec.title = absl::StrCat("pass@k, ", Text(eval, "name"));
      spec.caption = "Mean over seeds; the band is its 95 % interval.";
      spec.x_label = "k";
      spec.y_label = "share of problems solved";
      spec.log2_x = spec.percent_y = true;
      for (const json& curve : Part(in_, "curves")) {
        if (Text(curve, "eval") != Text(eval, "name")) continue;
        if (Part(curve, "points").size() < 2) continue;
        PlotSeries series = SeriesOf(Text(curve, "arm"));
        for (const json& point : curve["points"]) {
          series.points.push_back({Number(point, "k"), Number(point, "mean"),
                                   std::max(0.0, Number(point, "low")),
                                   std::min(1.0, Number(point, "high"))});
        }
        spec.series.push_back(std::move(series));
      }
      out += PlotFigure(spec);
    }
    return out.empty() ? "" : absl::StrCat("<div class=\"plots\">", out, "</div>");
  }

  std::string Training() const {
    struct Curve {
      const char* key;
      const char* title;
      bool percent;
    };
    static constexpr Curve kCurves[] = {{"reward", "Reward", false},
                                        {"accuracy", "Accuracy of the samples", true},
                                        {"heldout_accuracy", "Held-out accuracy", true},
                                        {"entropy", "Entropy (nats per token)", false},
                                        {"length", "Response length (tokens)", false},
                                        {"mixed_groups", "Groups with mixed rewards", true},
                                        {"sft_loss", "Loss of supervised training", false}};
    std::string out;
    for (const Curve& curve : kCurves) {
      PlotSpec spec;
      spec.title = curve.title;
      spec.caption = "Mean over seeds; the band goes from the lowest to the highest.";
      spec.x_label = "step";
      spec.percent_y = curve.percent;
      spec.markers = false;
      for (const json& entry : Part(in_, "training")) {
        const json& points = Part(entry[1], curve.key);
        if (points.size() < 2) continue;
        PlotSeries series = SeriesOf(entry[0].get<std::string>());
        for (const json& p : points) {
          series.points.push_back(
              {p[0].get<double>(), p[1].get<double>(), p[2].get<double>(), p[3].get<double>()});
        }
        spec.series.push_back(std::move(series));
      }
      out += PlotFigure(spec);
    }
    return out.empty() ? "" : absl::StrCat("<div class=\"plots\">", out, "</div>");
  }

  std::string Failed() const {
    std::string out;
    for (const json& line : Part(in_, "failed")) {
      absl::StrAppend(&out, "<li>", EscapeHtml(line.get<std::string>()), "</li>");
    }
    for (const json& claim : Part(in_, "claims")) {
      for (const json& line : Part(claim, "missing")) {
        absl::StrAppend(&out, "<li>", EscapeHtml(Text(claim, "name")), ": ",
                        EscapeHtml(line.get<std::string>()), "</li>");
      }
    }
    return out.empty() ? "" : absl::StrCat("<ul>", out, "</ul>");
  }

  const json& in_;
  std::map<std::string, int> style_;
};

}  // namespace

std::string StudyMarkdown(const json& numbers) {
  std::string out = absl::StrCat("# ", Text(numbers, "title"), "\n\n");
  for (const json& paragraph : Part(numbers, "about")) {
    absl::StrAppend(&out, paragraph.get<std::string>(), "\n\n");
  }
  for (const std::string& line : WorldLines(numbers)) absl::StrAppend(&out, "- ", line, "\n");
  absl::StrAppend(&out, "\n", SeedsText(numbers), "\n\n## Verdicts\n\n", CountsText(numbers),
                  ". What did not reproduce: ", NotReproduced(numbers), ".\n\n", kHowToRead, "\n\n",
                  MarkdownVerdicts(numbers), "\n## Arms\n");
  for (const PlainTable& table : ArmTables(numbers)) out += MarkdownTable(table);
  const std::string comparisons = MarkdownComparisons(numbers);
  if (!comparisons.empty()) {
    absl::StrAppend(&out, "\n## Crossings, and what only one solves\n", comparisons);
  }
  std::string failed;
  for (const json& line : Part(numbers, "failed")) {
    absl::StrAppend(&failed, "- ", line.get<std::string>(), "\n");
  }
  if (!failed.empty()) absl::StrAppend(&out, "\n## What failed\n\n", failed);
  return out;
}

std::string StudyPage(const json& numbers) { return Page(numbers).Make(); }

}  // namespace cohort
