#include "services/cli/report_page.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/html/html.h"
#include "common/html/svg_plot.h"
#include "services/cli/report_html.h"

namespace cohort {
namespace {

using nlohmann::json;

class Page {
 public:
  explicit Page(const json& numbers) : in_(numbers) {
    int style = 0;
    for (const json& run : Part(in_, "runs")) style_[Text(run, "name")] = style++;
  }

  std::string Make() {
    Section("Overview", Overview());
    Section("Solving problems with k attempts", Curves());
    Section("Paired comparison", Paired());
    Section("Problems that only one model solves", OnlySolved());
    Section("Training", Training());
    Section("Certainty", Certainty());
    Section("What the base model makes of the solutions", BasePerplexity());
    Section("Answering early", EarlyAnswer());
    Section("Logits", Logits());
    Section("Samples side by side", Samples());
    return Document({.title = Title(),
                     .style = PageStyle() + PlotStyle(),
                     .body = absl::StrCat("<header><h1>", EscapeHtml(Title()),
                                          "</h1></header><nav aria-label=\"Sections\"><ul>", nav_,
                                          "</ul></nav><main>", body_, "</main>")});
  }

 private:
  std::string Title() const {
    std::string names;
    for (const json& run : Part(in_, "runs")) {
      absl::StrAppend(&names, names.empty() ? "" : ", ", Text(run, "name"));
    }
    return absl::StrCat("Report: ", names);
  }

  void Section(const char* title, const std::string& content) {
    if (content.empty()) return;
    ++sections_;
    absl::StrAppend(&nav_, "<li><a href=\"#s", sections_, "\">", title, "</a></li>");
    absl::StrAppend(&body_, "<section id=\"s", sections_, "\"><h2>", title, "</h2>\n", content,
                    "</section>\n");
  }

  int StyleOf(const std::string& run) const {
    const auto found = style_.find(run);
    return found == style_.end() ? 0 : found->second;
  }
  PlotSeries SeriesOf(const json& part) const {
    PlotSeries series;
    series.name = Text(part, "run");
    series.style = StyleOf(series.name);
    return series;
  }

  const json* CurveOf(const char* metric, const std::string& run) const {
    for (const json& curve : Part(Part(in_, metric), "curves")) {
      if (Text(curve, "run") == run && !Part(curve, "points").empty()) return &curve["points"];
    }
    return nullptr;
  }

  // ---- sections ----

  std::string Overview() const {
    std::string out;
    for (const json& warning : Part(in_, "warnings")) {
      absl::StrAppend(&out, "<p class=\"wrong\">", EscapeHtml(warning.get<std::string>()), "</p>");
    }
    std::vector<Cells> rows;
    for (const json& run : Part(in_, "runs")) rows.push_back(OverviewRow(run));
    absl::StrAppend(
        &out, "<ul>", Findings(), "</ul>",
        Table("Means over problems; 95 % intervals by bootstrap over problems in brackets.",
              {"model", "steps", "pass@1", "largest k", "pass@k there", "length", "truncated",
               "entropy (nats)", "tokens per right answer"},
              rows));
    return out;
  }

  Cells OverviewRow(const json& run) const {
    const std::string name = Text(run, "name");
    const bool spurious = run.value("spurious", false);
    Cells cells = {absl::StrCat(EscapeHtml(name),
                                spurious ? " <span class=\"badge\">spurious reward</span>" : "")};
    const auto steps = run.find("steps");
    cells.push_back(steps != run.end() && steps->is_number() ? ShortNumber(steps->get<double>())
                                                             : "-");
    const json* curve = CurveOf("pass_at_k", name);
    cells.push_back(curve ? WithInterval(curve->front()) : "-");
    cells.push_back(curve ? KText(Number(curve->back(), "k")) : "-");
    cells.push_back(curve ? WithInterval(curve->back()) : "-");
    const json& eval = Part(run, "eval");
    const bool evaluated = eval.is_object();
    cells.push_back(evaluated ? absl::StrFormat("%.1f", Number(eval, "length")) : "-");
    cells.push_back(evaluated ? Percent(Number(eval, "truncated")) : "-");
    cells.push_back(evaluated ? absl::StrFormat("%.3f", Number(eval, "entropy")) : "-");
    const double per_right = Number(eval, "tokens_per_right_answer", std::nan(""));
    cells.push_back(evaluated && std::isfinite(per_right) ? absl::StrFormat("%.1f", per_right)
                                                          : "-");
    return cells;
  }

  // What the numbers say in words, against the base.
  std::string Findings() const {
    std::string out;
    const std::string base = Text(in_, "base");
    for (const json& pair : Part(in_, "paired")) {
      const std::string a = Text(pair, "a"), b = Text(pair, "b");
      if (a != base && b != base) continue;
      const json& first = Part(pair, "difference").front();
      const json& last = Part(pair, "difference").back();
      absl::StrAppend(&out, "<li>At ", Difference(b, a, first));
      if (Number(last, "k") > 1) absl::StrAppend(&out, "; at ", Difference(b, a, last));
      absl::StrAppend(&out, ". ", CrossingText(a, b), "</li>");
    }
    for (const json& run : Part(in_, "runs")) {
      if (!run.value("spurious", false)) continue;
      absl::StrAppend(&out, "<li><span class=\"badge\">spurious reward</span> ",
                      EscapeHtml(Text(run, "name")),
                      " was trained with a reward that does not see the truth, as a control: a "
                      "gain here is not learning to be right.</li>");
    }
    return out;
  }

  static std::string Difference(const std::string& b, const std::string& a, const json& point) {
    const double mean = Number(point, "mean"), low = Number(point, "low"),
                 high = Number(point, "high");
    const char* verdict = low > 0    ? "is above"
                          : high < 0 ? "is below"
                                     : "cannot be told apart from";
    return absl::StrFormat("k = %s, %s %s %s (%+.1f points, 95 %% interval %+.1f to %+.1f)",
                           KText(Number(point, "k")), EscapeHtml(b), verdict, EscapeHtml(a),
                           100 * mean, 100 * low, 100 * high);
  }

  std::string CrossingText(const std::string& a, const std::string& b) const {
    for (const json& crossing : Part(in_, "crossings")) {
      if (Text(crossing, "a") != a || Text(crossing, "b") != b) continue;
      const double k = Number(crossing, "k", std::nan(""));
      if (!std::isfinite(k)) return "Their curves do not cross.";
      return absl::StrCat("Their curves cross at k \u2248 ", KText(k), ".");
    }
    return "";
  }

  PlotSpec CurvePlot(const char* metric, const char* title, const char* caption) const {
    PlotSpec spec;
    spec.title = title;
    spec.caption = caption;
    spec.x_label = "k (attempts)";
    spec.y_label = "problems solved";
    spec.log2_x = true;
    spec.percent_y = true;
    for (const json& curve : Part(Part(in_, metric), "curves")) {
      PlotSeries series = SeriesOf(curve);
      for (const json& point : Part(curve, "points")) {
        series.points.push_back({Number(point, "k"), Number(point, "mean"), Number(point, "low"),
                                 Number(point, "high")});
      }
      spec.series.push_back(std::move(series));
    }
    return spec;
  }

  std::string Curves() const {
    const json& pass = Part(in_, "pass_at_k");
    if (Part(pass, "curves").empty()) return "";
    std::string out = absl::StrCat(
        "<p class=\"muted\">All models on the same ",
        static_cast<int64_t>(Number(pass, "problems")), " problems.</p><div class=\"plots\">",
        PlotFigure(CurvePlot("pass_at_k", "pass@k",
                             "Unbiased probability that at least one of k attempts is right; bands "
                             "are 95 % intervals over problems. Where a curve crosses the base's, "
                             "training has made right answers likelier, not more numerous.")),
        PlotFigure(CurvePlot("maj_at_k", "maj@k",
                             "Probability that the most frequent answer of k attempts is right "
                             "(exact expectation over all subsets).")),
        "</div>");
    for (const char* metric : {"pass_at_k", "maj_at_k"}) {
      absl::StrAppend(&out, "<details><summary>Numbers of ", metric[0] == 'p' ? "pass@k" : "maj@k",
                      "</summary>", CurveTable(metric), "</details>");
    }
    return out;
  }

  std::string CurveTable(const char* metric) const {
    Cells head = {"model"};
    std::vector<Cells> rows;
    for (const json& curve : Part(Part(in_, metric), "curves")) {
      Cells row = {EscapeHtml(Text(curve, "run"))};
      for (const json& point : Part(curve, "points")) {
        if (rows.empty()) head.push_back(absl::StrCat("k = ", KText(Number(point, "k"))));
        row.push_back(WithInterval(point));
      }
      rows.push_back(std::move(row));
    }
    return Table("Share of problems.", head, rows);
  }

  std::string Paired() const {
    std::vector<Cells> rows, tests, solved;
    for (const json& pair : Part(in_, "paired")) {
      const std::string names =
          absl::StrCat(EscapeHtml(Text(pair, "b")), " \u2212 ", EscapeHtml(Text(pair, "a")));
      for (const json& point : Part(pair, "difference")) {
        const double k = Number(point, "k");
        if (k != 1 && &point != &pair["difference"].back()) continue;
        rows.push_back({names, KText(k), Points(point)});
      }
      const std::string against =
          absl::StrCat(EscapeHtml(Text(pair, "b")), " against ", EscapeHtml(Text(pair, "a")));
      const auto counts = [&](const json& in) {
        return Cells{against, KText(Number(in, "both")), KText(Number(in, "only_b")),
                     KText(Number(in, "only_a")), KText(Number(in, "neither"))};
      };
      const json& test = Part(pair, "mcnemar");
      tests.push_back(counts(test));
      tests.back().push_back(absl::StrFormat("%.3g", Number(test, "p", 1)));
      solved.push_back(counts(Part(pair, "solved")));
    }
    if (rows.empty()) return "";
    return absl::StrCat(
        Table("Difference of pass@k on the same problems, in points, with its 95 % interval "
              "(bootstrap over problems).",
              {"models", "k", "difference"}, rows),
        Table("McNemar's exact test at k = 1, on the first attempt at each problem.",
              {"models", "both right", "only the first named", "only the second named", "neither",
               "p"},
              tests),
        Table("Problems that were solved within all attempts.",
              {"models", "by both", "only by the first named", "only by the second named",
               "by neither"},
              solved));
  }

  std::string OnlySolved() const {
    std::string out;
    for (const json& entry : Part(in_, "only_solved")) {
      const auto count = static_cast<int64_t>(Number(entry, "count"));
      absl::StrAppend(&out, "<details", count > 0 && count <= 5 ? " open" : "", "><summary>",
                      EscapeHtml(Text(entry, "run")), ": ", count,
                      count == 1 ? " problem" : " problems", "</summary>");
      std::vector<Cells> rows;
      for (const json& problem : Part(entry, "problems")) {
        std::string counts;
        for (const json& one : Part(problem, "counts")) {
          absl::StrAppend(&counts, counts.empty() ? "" : ", ", EscapeHtml(Text(one, "run")), " ",
                          KText(Number(one, "correct")), "/", KText(Number(one, "samples")));
        }
        rows.push_back({KText(Number(problem, "index")),
                        absl::StrCat("<pre>", EscapeHtml(Text(problem, "prompt")), "</pre>"),
                        EscapeHtml(Text(problem, "answer")), counts,
                        absl::StrCat("<pre>", EscapeHtml(Text(problem, "text")), "</pre>")});
      }
      if (!rows.empty()) {
        out += Table("Solved by this model within all its attempts, by no other.",
                     {"problem", "prompt", "answer", "right attempts", "a right response"}, rows);
      }
      out += "</details>";
    }
    return out;
  }

  std::string Training() const {
    struct Wanted {
      const char* key;
      const char* title;
      const char* caption;
      bool percent;
    };
    static constexpr Wanted kWanted[] = {
        {"reward", "Reward", "Mean over the step's rows, after shaping.", false},
        {"accuracy", "Training accuracy", "The verifier's own verdict.", true},
        {"heldout_accuracy", "Held-out accuracy", "On problems that were not trained.", true},
        {"sft_loss", "Supervised loss", "Nats per learned token.", false},
        {"loss", "Policy loss", "Of each step's updates.", false},
        {"entropy", "Entropy",
         "Nats per token of the step's responses; of supervised steps at the learned tokens.",
         false},
        {"length", "Response length", "Tokens, mean.", false},
        {"truncated", "Truncated responses", "Share that met the length limit.", true},
        {"mixed_groups", "Mixed groups", "Share of groups whose rewards differ: only they teach.",
         true},
        {"clipped_high", "Clipped above", "Share of tokens cut at the upper bound.", true},
        {"clipped_low", "Clipped below", "Share of tokens cut at the lower bound.", true},
        {"ratio_max", "Largest ratio", "New against old probability of a token, maximum.", false},
        {"ppo_kl", "Step size", "Mean log-ratio of old to new policy, nats.", false},
        {"mismatch_kl", "Sampler against learner", "KL of rollout to old policy, nats.", false},
        {"kl_reference", "Distance from the start", "KL to the reference policy, nats.", false},
        {"grad_norm", "Gradient norm", "Before clipping.", false}};
    std::string plots;
    for (const Wanted& wanted : kWanted) {
      PlotSpec spec;
      spec.title = wanted.title;
      spec.caption = wanted.caption;
      spec.x_label = "step";
      spec.percent_y = wanted.percent;
      spec.markers = false;
      for (const json& run : Part(in_, "training")) {
        PlotSeries series = SeriesOf(run);
        for (const json& point : Part(Part(run, "series"), wanted.key)) {
          series.points.push_back({point[0].get<double>(), point[1].get<double>(), {}, {}});
        }
        if (!series.points.empty()) spec.series.push_back(std::move(series));
      }
      plots += PlotFigure(spec);
    }
    return plots.empty() ? "" : absl::StrCat("<div class=\"plots\">", plots, "</div>");
  }

  std::string Certainty() const {
    PlotSpec entropy;
    entropy.title = "Entropy of tokens";
    entropy.caption =
        "How the evaluated tokens spread over entropy (nats): mass at the left means "
        "that the model is sure of most tokens.";
    entropy.x_label = "entropy (nats)";
    entropy.y_label = "share of tokens";
    entropy.percent_y = true;
    entropy.markers = false;
    for (const json& histogram : Part(in_, "entropy_histogram")) {
      PlotSeries series = SeriesOf(histogram);
      const json& share = Part(histogram, "share");
      size_t used = share.size();
      while (used > 1 && share[used - 1].get<double>() < 1e-4) --used;
      for (size_t i = 0; i < used; ++i) {
        const double center = (static_cast<double>(i) + 0.5) * Number(histogram, "bin_width");
        series.points.push_back({center, share[i].get<double>(), {}, {}});
      }
      entropy.series.push_back(std::move(series));
    }
    PlotSpec calibration;
    calibration.title = "Calibration";
    calibration.caption =
        "Share of right responses by confidence: how many of the attempts give the same answer "
        "(ten bins). On the dotted line an answer is as often right as it is given; below it, the "
        "model is over-confident.";
    calibration.x_label = "confidence";
    calibration.y_label = "right";
    calibration.percent_y = true;
    calibration.diagonal = true;
    calibration.y_min = 0;
    calibration.y_max = 1;
    std::vector<Cells> rows;
    for (const json& one : Part(in_, "calibration")) {
      PlotSeries series = SeriesOf(one);
      for (const json& bin : Part(one, "bins")) {
        series.points.push_back({Number(bin, "confidence"), Number(bin, "accuracy"), {}, {}});
      }
      rows.push_back({EscapeHtml(series.name), absl::StrFormat("%.3f", Number(one, "error")),
                      absl::StrFormat("%.3f", Number(one, "token_error"))});
      calibration.series.push_back(std::move(series));
    }
    const std::string plots = PlotFigure(entropy) + PlotFigure(calibration);
    if (plots.empty()) return "";
    return absl::StrCat("<div class=\"plots\">", plots, "</div>",
                        Table("Expected calibration error: mean distance between confidence and "
                              "share of right responses.",
                              {"model", "by answers", "by mean token probability"}, rows));
  }

  std::string BasePerplexity() const {
    std::vector<Cells> rows;
    for (const json& run : Part(in_, "base_perplexity")) {
      const auto cell = [&](const char* kind) {
        const json& part = Part(run, kind);
        if (!part.is_object() || Number(part, "count") == 0) return std::string("-");
        return absl::StrFormat("%.3g <small>(%.3g to %.3g, n = %.0f)</small>",
                               Number(part, "median"), Number(part, "low"), Number(part, "high"),
                               Number(part, "count"));
      };
      const double inside = Number(run, "right_within_base_range", std::nan(""));
      rows.push_back({EscapeHtml(Text(run, "run")), cell("right"), cell("wrong"),
                      std::isfinite(inside) ? Percent(inside) : "-"});
    }
    if (rows.empty()) return "";
    return absl::StrCat(
        "<p>How surprising each model's responses are to the base model (perplexity per token, "
        "lower is less surprising). Right responses that the base model finds no more surprising "
        "than 95 % of its own responses were within its reach before training.</p>",
        Table("Median, and the range of the middle 90 %.",
              {"model", "right responses", "wrong responses", "right ones within the base's range"},
              rows));
  }

  std::string EarlyAnswer() const {
    PlotSpec spec;
    spec.title = "Accuracy against thinking budget";
    spec.caption =
        "Responses are cut after so many tokens and an answer is forced; what was done "
        "by then counts as it is.";
    spec.x_label = "budget (tokens)";
    spec.y_label = "right";
    spec.percent_y = true;
    spec.y_min = 0;
    std::vector<Cells> rows;
    for (const json& run : Part(in_, "early_answer")) {
      PlotSeries series = SeriesOf(run);
      for (const json& point : Part(run, "points")) {
        series.points.push_back({Number(point, "budget"), Number(point, "accuracy"), {}, {}});
      }
      rows.push_back({EscapeHtml(series.name), Percent(Number(run, "full_accuracy")),
                      KText(Number(run, "smallest_budget"))});
      spec.series.push_back(std::move(series));
    }
    const std::string plot = PlotFigure(spec);
    if (plot.empty()) return "";
    return absl::StrCat("<div class=\"wide\">", plot, "</div>",
                        Table("The smallest budget within one point of the full response's "
                              "accuracy: where thinking could stop.",
                              {"model", "full accuracy", "budget (tokens)"}, rows));
  }

  std::string Logits() const {
    std::vector<Cells> rows;
    for (const json& run : Part(in_, "logits")) {
      for (const char* kind : {"raw", "normalised"}) {
        const json& part = Part(run, kind);
        Cells row = {absl::StrCat(EscapeHtml(Text(run, "run")),
                                  kind[0] == 'r' ? ", logits" : ", log-probabilities")};
        for (const char* moment : {"mean", "std", "skew", "kurtosis"}) {
          row.push_back(absl::StrFormat("%.3f", Number(part, moment)));
        }
        row.push_back(kind[0] == 'r' ? absl::StrFormat("%.3f", Number(run, "margin")) : "");
        row.push_back(kind[0] == 'r' ? Percent(Number(run, "top_probability")) : "");
        rows.push_back(std::move(row));
      }
    }
    if (rows.empty()) return "";
    return absl::StrCat(
        "<p>All entries of the score vectors of each model's own responses. A shift of the "
        "skewness to the right means mass on high logits (reported of entropy minimisation), to "
        "the left what is reported of reinforcement learning. Log-probabilities (z \u2212 "
        "logsumexp z) do not change when a constant is added to all logits.</p>",
        Table("First four moments; margin between the two largest logits and the largest "
              "probability, means over tokens.",
              {"model", "mean", "deviation", "skewness", "kurtosis", "margin", "top probability"},
              rows));
  }

  std::string Samples() const {
    std::string out;
    for (const json& problem : Part(in_, "samples")) {
      absl::StrAppend(&out, "<h3>Problem ", KText(Number(problem, "index")), " (answer ",
                      EscapeHtml(Text(problem, "answer")), ")</h3><pre>",
                      EscapeHtml(Text(problem, "prompt")), "</pre><div class=\"side\">");
      for (const json& sample : Part(problem, "samples")) {
        const bool right = sample.value("correct", false);
        absl::StrAppend(&out, "<div class=\"sample\"><strong>", EscapeHtml(Text(sample, "run")),
                        "</strong> <span class=\"", right ? "right\">right" : "wrong\">wrong",
                        "</span> <small>", KText(Number(sample, "tokens")), " tokens</small><pre>",
                        EscapeHtml(Text(sample, "text")), "</pre></div>");
      }
      out += "</div>";
    }
    return out;
  }

  const json& in_;
  std::map<std::string, int> style_;  // by run
  std::string nav_, body_;
  int sections_ = 0;
};

}  // namespace

std::string ReportPage(const json& numbers) { return Page(numbers).Make(); }

}  // namespace cohort
