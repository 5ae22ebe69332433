// The Markdown and the page of a study, from its numbers.
#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "services/cli/report_html.h"
#include "services/cli/study_report.h"
#include "services/cli/svg_plot.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr char kHowToRead[] =
    "Every value is computed once per seed. \"holds\": the 95 % interval of its mean over the "
    "seeds "
    "(Student's t) lies on the expected side; \"fails\": on the other; \"unclear\": on both. With "
    "one seed the value itself decides.";

std::string Plain(const json& value, int decimals, double scale = 1, const char* unit = "") {
  if (!value.is_object()) return "-";
  const double mean = scale * Number(value, "mean");
  const double half = scale * Number(value, "high") - mean;
  std::string text = absl::StrFormat("%.*f", decimals, mean);
  if (half != 0) absl::StrAppendFormat(&text, " ± %.*f", decimals, half);
  return text + unit;
}

std::string Found(const json& claim) {
  if (!claim.contains("mean")) return "-";
  return absl::StrFormat("%.4g", Number(claim, "mean"));
}

std::string IntervalText(const json& claim) {
  if (!claim.contains("mean")) return "-";
  const size_t seeds = Part(claim, "values").size();
  if (seeds < 2) return absl::StrCat(seeds, " seed");
  return absl::StrFormat("[%.4g, %.4g], %d seeds", Number(claim, "low"), Number(claim, "high"),
                         seeds);
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

std::vector<std::string> ArmHead(const json& eval) {
  const std::string k = absl::StrCat(static_cast<int64_t>(Number(eval, "samples")));
  return {"arm",
          "starts from",
          "steps",
          "sampled tokens",
          "seconds",
          "reward first",
          "reward last",
          "pass@1",
          absl::StrCat("pass@", k),
          absl::StrCat("maj@", k),
          "length",
          "entropy",
          "tokens per right answer"};
}

// Plain texts; nothing where the arm was not evaluated so.
std::vector<std::string> ArmCells(const json& arm, const std::string& eval) {
  for (const json& entry : Part(arm, "evals")) {
    if (Text(entry, "eval") != eval) continue;
    return {Text(arm, "name"),
            Text(arm, "from"),
            Plain(Part(arm, "steps"), 0),
            Plain(Part(arm, "sampled_tokens"), 0),
            Plain(Part(arm, "seconds"), 0),
            Plain(Part(arm, "reward_first"), 3),
            Plain(Part(arm, "reward_last"), 3),
            Plain(Part(entry, "pass_1"), 1, 100, " %"),
            Plain(Part(entry, "pass_k"), 1, 100, " %"),
            Plain(Part(entry, "maj_k"), 1, 100, " %"),
            Plain(Part(entry, "length"), 1),
            Plain(Part(entry, "entropy"), 3),
            Plain(Part(entry, "tokens_per_correct"), 1)};
  }
  return {};
}

std::string EvalText(const json& eval) {
  return absl::StrFormat("%s: %s, %s, %.0f problems x %.0f samples, temperature %.3g",
                         Text(eval, "name"), Text(eval, "source"), Text(eval, "split"),
                         Number(eval, "prompts"), Number(eval, "samples"),
                         Number(eval, "temperature"));
}

std::string SeedsText(const json& numbers) {
  std::vector<int> seeds;
  for (const json& seed : Part(numbers, "seeds")) seeds.push_back(seed.get<int>());
  return absl::StrCat("Seeds: ", absl::StrJoin(seeds, ", "), ". ",
                      absl::StrFormat("%.1f minutes per seed, added up over its jobs.",
                                      Number(numbers, "job_seconds_per_seed") / 60));
}

std::string Row(const std::vector<std::string>& cells) {
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
    const std::string title = EscapeHtml(Text(in_, "title"));
    return absl::StrCat(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>",
        title, "</title><style>", PageStyle(), PlotStyle(), "</style></head><body><header><h1>",
        title, "</h1><p class=\"muted\">", EscapeHtml(SeedsText(in_)), "</p></header><main>", about,
        Section("Verdicts", Verdicts()), Section("Arms", Arms()),
        Section("Solving problems with k attempts", Curves()), Section("Training", Training()),
        Section("What failed", Failed()), "</main></body></html>\n");
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
                      expected, Found(claim), IntervalText(claim),
                      absl::StrCat("<span class=\"", shown, "\">", verdict, "</span>")});
    }
    if (rows.empty()) return "";
    return Table(kHowToRead, {"claim", "literature", "expected", "found", "interval", "verdict"},
                 rows);
  }

  std::string Arms() const {
    std::string out;
    for (const json& eval : Part(in_, "evals")) {
      std::vector<Cells> rows;
      for (const json& arm : Part(in_, "arms")) {
        Cells cells = ArmCells(arm, Text(eval, "name"));
        if (cells.empty()) continue;
        for (std::string& cell : cells) cell = EscapeHtml(cell);
        if (!Text(arm, "about").empty()) {
          absl::StrAppend(&cells[0], "<br><small>", EscapeHtml(Text(arm, "about")), "</small>");
        }
        rows.push_back(std::move(cells));
      }
      if (!rows.empty()) out += Table(EvalText(eval), ArmHead(eval), rows);
    }
    return out;
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
  absl::StrAppend(&out, SeedsText(numbers), "\n\n## Verdicts\n\n", kHowToRead, "\n\n");
  const Cells head = {"claim", "literature", "expected", "found", "interval", "verdict"};
  absl::StrAppend(&out, Row(head), Rule(head.size()));
  for (const json& claim : Part(numbers, "claims")) {
    const std::string note = Text(claim, "note");
    absl::StrAppend(&out, Row({Text(claim, "name"), Text(claim, "literature"),
                               absl::StrCat(Text(claim, "expected"), " (`", Formula(claim), "`)",
                                            note.empty() ? "" : absl::StrCat(" ", note)),
                               Found(claim), IntervalText(claim),
                               absl::StrCat("**", Text(claim, "verdict"), "**")}));
  }
  absl::StrAppend(&out, "\n## Arms\n");
  for (const json& eval : Part(numbers, "evals")) {
    std::string rows;
    for (const json& arm : Part(numbers, "arms")) {
      const std::vector<std::string> cells = ArmCells(arm, Text(eval, "name"));
      if (!cells.empty()) rows += Row(cells);
    }
    if (rows.empty()) continue;
    const std::vector<std::string> columns = ArmHead(eval);
    absl::StrAppend(&out, "\n", EvalText(eval), "\n\n", Row(columns), Rule(columns.size()), rows);
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
