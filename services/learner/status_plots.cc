#include "services/learner/status_plots.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/html/html.h"
#include "common/html/svg_plot.h"
#include "common/telemetry/metric_names.h"

namespace cohort {
namespace {

constexpr int kNewest = 100;  // points of the plots that show the last steps
constexpr int kFewPoints = 40;

struct Line {
  std::string name;
  const v1::Curve* curve = nullptr;
  int style = 0;
};

struct Card {
  std::string id, title, about;
  std::string now = {}, note = {};  // the newest value, and what to compare it with
  bool percent = false;
  bool from_zero = false;
  std::vector<Line> lines = {};
};

const v1::Curve* Find(const v1::StatusReply& reply, absl::string_view key) {
  for (const v1::Curve& curve : reply.curves()) {
    if (curve.key() == key && curve.value_size() > 0) return &curve;
  }
  return nullptr;
}

double Last(const v1::Curve& curve) { return curve.value(curve.value_size() - 1); }

std::string Fixed(double value) { return absl::StrFormat("%.3f", value); }

// "0.312 at step 1"
std::string Began(const v1::Curve& curve, std::string (*text)(double)) {
  const int64_t step = static_cast<int64_t>(curve.step(0));
  const std::string value = text(curve.value(0));
  if (curve.value_size() < 2) return "";
  return step == 0 ? absl::StrCat(value, " before training")
                   : absl::StrCat(value, " at step ", step);
}

PlotPoint PointAt(const v1::Curve& curve, int i) {
  PlotPoint point{curve.step(i), curve.value(i), {}, {}};
  if (curve.low(i) < curve.high(i)) {
    point.low = curve.low(i);
    point.high = curve.high(i);
  }
  return point;
}

// The first step of the last kNewest ones; below 0: the run has no more than these.
double NewestFrom(const v1::StatusReply& reply) {
  const v1::Curve* reward = Find(reply, metric::kRewardMean);
  if (reward == nullptr || reward->step_size() <= kNewest) return -1;
  return reward->step(reward->step_size() - kNewest);
}

PlotSpec SpecOf(const Card& card, double from) {
  PlotSpec spec;
  spec.title = card.title;
  spec.caption = absl::StrCat(card.about, " Now ", card.now, ".");
  spec.percent_y = card.percent;
  spec.whole_x = true;
  spec.markers = false;
  spec.readout = true;
  spec.height = 190;
  if (card.from_zero) spec.y_min = 0;
  for (const Line& line : card.lines) {
    PlotSeries series{.name = line.name, .style = line.style, .points = {}, .markers = false};
    for (int i = 0; i < line.curve->step_size(); ++i) {
      if (line.curve->step(i) >= from) series.points.push_back(PointAt(*line.curve, i));
    }
    // What is measured now and then is seen where it was.
    series.markers =
        absl::StartsWith(line.curve->key(), "eval/") && series.points.size() <= kFewPoints;
    spec.series.push_back(std::move(series));
  }
  return spec;
}

std::string CardHtml(const Card& card, double newest_from) {
  const PlotSpec spec = SpecOf(card, -1);
  std::string plots = absl::StrCat("<div class=\"plot", newest_from < 0 ? "" : " all", "\">",
                                   PlotSvg(spec), "</div>");
  if (newest_from >= 0) {
    absl::StrAppend(&plots, "<div class=\"plot new\">", PlotSvg(SpecOf(card, newest_from)),
                    "</div>");
  }
  return absl::StrCat(
      "<article class=\"card\" data-plot tabindex=\"0\" id=\"c-", card.id, "\" aria-label=\"",
      EscapeHtml(absl::StrCat(card.title, ", now ", card.now, "; arrow keys read the curve")),
      "\"><h3>", EscapeHtml(card.title), "</h3><p class=\"now\"><b>", EscapeHtml(card.now),
      "</b><span>", EscapeHtml(card.note), "</span></p>",
      card.lines.size() > 1 ? PlotLegend(spec) : "", plots,
      "<p class=\"readout\" aria-live=\"polite\"></p></article>\n");
}

Card Reward(const v1::StatusReply& reply) {
  Card card{.id = "reward", .title = "Reward", .about = "Mean over the rows of a step."};
  const v1::Curve* curve = Find(reply, metric::kRewardMean);
  if (curve == nullptr) return card;
  card.now = Fixed(Last(*curve));
  card.note = Began(*curve, Fixed);
  card.lines.push_back({"reward", curve, 0});
  return card;
}

// The last held-out accuracy is what counts; that of training is beside it.
Card Accuracy(const v1::StatusReply& reply) {
  Card card{.id = "accuracy",
            .title = "Held-out accuracy",
            .about = "Share of right answers to problems that are not trained.",
            .percent = true};
  int style = 0;
  for (const v1::Curve& curve : reply.curves()) {
    absl::string_view name = curve.key();
    if (curve.value_size() == 0 || !absl::ConsumePrefix(&name, "eval/") ||
        !absl::ConsumeSuffix(&name, "/accuracy")) {
      continue;
    }
    if (card.now.empty()) {
      card.now = Percent(Last(curve));
      card.note = Began(curve, Percent);
    }
    card.lines.push_back({absl::StrCat("held out: ", name), &curve, style});
    style += style == 0 ? 2 : 1;  // style 1 is training's
  }
  const v1::Curve* training = Find(reply, metric::kAccuracyMean);
  if (training == nullptr) return card;
  if (card.lines.empty()) {
    card.title = "Training accuracy";
    card.about = "The verifier's own verdict. Nothing is held out, or not evaluated yet.";
    card.now = Percent(Last(*training));
    card.note = Began(*training, Percent);
  }
  card.lines.push_back({"training", training, 1});
  return card;
}

Card Entropy(const v1::StatusReply& reply) {
  Card card{.id = "entropy",
            .title = "Entropy, nats per token",
            .about = "How undecided the policy is about a token.",
            .from_zero = true};
  const v1::Curve* curve = Find(reply, metric::kEntropy);
  if (curve == nullptr) return card;
  card.now = Fixed(Last(*curve));
  card.note = Began(*curve, Fixed);
  card.lines.push_back({"entropy", curve, 0});
  return card;
}

// To the reference policy; without one, of the update.
Card Kl(const v1::StatusReply& reply) {
  Card card{
      .id = "kl", .title = "KL, nats", .about = "How far the policy has moved.", .from_zero = true};
  const v1::Curve* moved = Find(reply, metric::kKlRef);
  const char* name = "to the reference";
  if (moved == nullptr) {
    moved = Find(reply, metric::kPpoKl);
    name = "of the update";
  }
  if (moved == nullptr) return card;
  card.now = absl::StrFormat("%.3g", Last(*moved));
  card.note = name;
  card.lines.push_back({name, moved, 0});
  if (const v1::Curve* mismatch = Find(reply, metric::kMismatchKl)) {
    card.lines.push_back({"sampler to learner", mismatch, 1});
  }
  return card;
}

Card Length(const v1::StatusReply& reply) {
  Card card{.id = "length",
            .title = "Response length, tokens",
            .about = "Mean over rows.",
            .from_zero = true};
  const v1::Curve* curve = Find(reply, metric::kResponseLengthMean);
  if (curve == nullptr) return card;
  card.now = absl::StrFormat("%.1f", Last(*curve));
  const v1::Curve* cut = Find(reply, metric::kResponseLengthClipRatio);
  if (cut != nullptr) card.note = absl::StrCat(Percent(Last(*cut)), " truncated");
  card.lines.push_back({"length", curve, 0});
  return card;
}

Card Staleness(const v1::StatusReply& reply) {
  Card card{.id = "staleness",
            .title = "Staleness, versions",
            .about = "Age of the weights that sampled what was trained.",
            .from_zero = true};
  const v1::Curve* mean = Find(reply, metric::kOffPolicyMean);
  if (mean == nullptr) return card;
  card.now = absl::StrFormat("%.2g", Last(*mean));
  card.note = absl::StrCat("at most ", reply.max_staleness(), " allowed");
  card.lines.push_back({"mean", mean, 0});
  if (const v1::Curve* most = Find(reply, metric::kOffPolicyMax)) {
    card.lines.push_back({"oldest", most, 1});
  }
  return card;
}

std::string Range(double newest_from) {
  if (newest_from < 0) return "<span id=\"range\" data-live></span>";
  return absl::StrCat(
      "<fieldset class=\"range\" id=\"range\" data-live><legend class=\"sr\">Steps shown</legend>"
      "<label><input type=\"radio\" name=\"range\" id=\"range-all\" checked> whole run</label>"
      "<label><input type=\"radio\" name=\"range\" id=\"range-new\"> last ",
      kNewest, " steps</label></fieldset>");
}

}  // namespace

std::string CurveSection(const v1::StatusReply& reply) {
  const double newest_from = NewestFrom(reply);
  std::string cards;
  for (const Card& card : {Reward(reply), Accuracy(reply), Entropy(reply), Kl(reply), Length(reply),
                           Staleness(reply)}) {
    if (!card.lines.empty()) cards += CardHtml(card, newest_from);
  }
  if (cards.empty()) cards = "<p class=\"muted\">No step is done yet.</p>";
  return absl::StrCat(
      "<section aria-labelledby=\"h-curves\"><div class=\"head\">"
      "<h2 id=\"h-curves\">Is it learning?</h2>",
      Range(newest_from), "</div><div class=\"cards\" id=\"cards\" data-live>", cards,
      "</div></section>\n");
}

}  // namespace cohort
