#include "common/html/svg_plot.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/html/html.h"

namespace cohort {
namespace {

constexpr double kWidth = 480;
constexpr double kRight = 12, kTop = 10;
constexpr int kStyles = 8;
constexpr const char* kDashes[] = {"", "7 3", "2 3", "9 3 2 3", "4 4", "12 4", "1 4", "6 2 1 2"};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void Add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
  void Widen() {
    if (high - low > 1e-12) return;
    const double by = std::max(0.5 * std::abs(low), 1e-3);
    low = low >= 0 ? std::max(0.0, low - by) : low - by;  // what cannot be negative stays so
    high += by;
  }
};

// Round numbers within a range, and how far apart they are.
struct TickList {
  std::vector<double> values;
  double step = 1;
};

// With the decimals that tell neighbours apart.
std::string TickText(double value, double step) {
  const bool tiny = step < 1e-3 && std::abs(value) < 100 * step;
  if (std::abs(value) >= 1e5 || tiny || step < 1e-9) return ShortNumber(value);
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  const std::string text = absl::StrFormat("%.*f", decimals, value);
  // A step of 2.5 needs one more than its size says.
  const double shown = std::round(value / step) * step;
  return std::abs(std::stod(text) - shown) > 1e-3 * step
             ? absl::StrFormat("%.*f", decimals + 1, value)
             : text;
}

TickList Ticks(const Range& range, int count, bool whole = false) {
  const double rough = (range.high - range.low) / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= rough) {
      step = factor * power;
      break;
    }
  }
  if (whole && step < 5) step = step <= 1 ? 1 : step <= 2 ? 2 : 5;
  TickList ticks;
  ticks.step = step;
  for (double i = std::ceil(range.low / step - 1e-9); i * step <= range.high + 1e-9 * step; ++i) {
    ticks.values.push_back(i * step == 0 ? 0 : i * step);
  }
  return ticks;
}

class Canvas {
 public:
  // What has no label needs no room for it.
  explicit Canvas(const PlotSpec& spec)
      : spec_(spec),
        left_(spec.y_label.empty() ? 50 : 62),
        bottom_(spec.x_label.empty() ? 26 : 48) {
    for (const PlotSeries& series : spec.series) {
      for (const PlotPoint& point : series.points) {
        x_.Add(X(point.x));
        y_.Add(point.y);
        if (point.low) y_.Add(*point.low);
        if (point.high) y_.Add(*point.high);
      }
    }
    if (x_.empty() || y_.empty()) return;
    if (spec.y_min) y_.Add(*spec.y_min);
    if (spec.y_max) y_.Add(*spec.y_max);
    x_.Widen();
    y_.Widen();
  }

  bool empty() const { return x_.empty() || y_.empty(); }

  std::string Svg() const {
    std::string out =
        absl::StrFormat("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">", kWidth,
                        spec_.height, EscapeHtml(absl::StrCat(spec_.title, ". ", spec_.caption)));
    Axes(&out);
    for (const PlotSeries& series : spec_.series) Band(series, &out);
    for (const PlotSeries& series : spec_.series) Line(series, &out);
    out += "</svg>";
    return out;
  }

  static std::string Marker(int style, double x, double y) {
    const char* name = "m";
    switch (style % 4) {
      case 0:
        return absl::StrFormat("<circle class=\"%s s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\"/>", name,
                               style, x, y);
      case 1:
        return absl::StrFormat(
            "<rect class=\"%s s%d\" x=\"%.1f\" y=\"%.1f\" width=\"6\" height=\"6\"/>", name, style,
            x - 3, y - 3);
      case 2:
        return absl::StrFormat("<path class=\"%s s%d\" d=\"M%.1f %.1fl4 7h-8z\"/>", name, style, x,
                               y - 4.5);
      default:
        return absl::StrFormat("<path class=\"%s s%d\" d=\"M%.1f %.1fl4 4l-4 4l-4 -4z\"/>", name,
                               style, x, y - 4);
    }
  }

 private:
  double X(double x) const { return spec_.log2_x ? std::log2(std::max(x, 1e-9)) : x; }
  double Px(double x) const {
    return left_ + (X(x) - x_.low) / (x_.high - x_.low) * (kWidth - left_ - kRight);
  }
  double Py(double y) const {
    return spec_.height - bottom_ -
           (y - y_.low) / (y_.high - y_.low) * (spec_.height - kTop - bottom_);
  }

  std::string YText(double y, double step) const {
    return spec_.percent_y ? absl::StrCat(TickText(100 * y, 100 * step), " %") : TickText(y, step);
  }

  void XTick(double x, const std::string& text, std::string* out) const {
    absl::StrAppendFormat(out,
                          "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
                          "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>",
                          Px(x), Px(x), kTop, spec_.height - bottom_, Px(x),
                          spec_.height - bottom_ + 16, text);
  }

  void Axes(std::string* out) const {
    if (spec_.log2_x) {
      const double every = std::max(1.0, std::ceil((x_.high - x_.low) / 10));
      for (double e = std::ceil(x_.low - 1e-9); e <= x_.high + 1e-9; e += every) {
        XTick(std::exp2(e), ShortNumber(std::exp2(e)), out);
      }
    } else {
      const TickList ticks = Ticks(x_, 6, spec_.whole_x);
      for (double x : ticks.values) XTick(x, TickText(x, ticks.step), out);
    }
    const TickList ticks = Ticks(y_, spec_.height < 250 ? 4 : 5);
    for (double y : ticks.values) {
      absl::StrAppendFormat(out,
                            "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
                            "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
                            left_, kWidth - kRight, Py(y), Py(y), left_ - 6, Py(y) + 4,
                            YText(y, ticks.step));
    }
    if (spec_.diagonal) {
      const double low = std::max(x_.low, y_.low), high = std::min(x_.high, y_.high);
      absl::StrAppendFormat(
          out, "<line class=\"diagonal\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>",
          Px(low), Py(low), Px(high), Py(high));
    }
    absl::StrAppendFormat(out,
                          "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s"
                          "</text><text class=\"axis\" transform=\"translate(13 %.1f) "
                          "rotate(-90)\" text-anchor=\"middle\">%s</text>",
                          (left_ + kWidth - kRight) / 2, spec_.height - 12,
                          EscapeHtml(spec_.x_label), (kTop + spec_.height - bottom_) / 2,
                          EscapeHtml(spec_.y_label));
  }

  void Band(const PlotSeries& series, std::string* out) const {
    std::string upper, lower;
    for (const PlotPoint& point : series.points) {
      if (!point.low || !point.high) continue;
      absl::StrAppendFormat(&upper, "%.1f,%.1f ", Px(point.x), Py(*point.high));
      lower = absl::StrFormat("%.1f,%.1f ", Px(point.x), Py(*point.low)) + lower;
    }
    if (upper.empty()) return;
    absl::StrAppendFormat(out, "<polygon class=\"band s%d\" points=\"%s%s\"/>",
                          series.style % kStyles, upper, lower);
  }

  void Line(const PlotSeries& series, std::string* out) const {
    const int style = series.style % kStyles;
    std::string points;
    for (const PlotPoint& point : series.points) {
      absl::StrAppendFormat(&points, "%.1f,%.1f ", Px(point.x), Py(point.y));
    }
    absl::StrAppendFormat(out,
                          "<polyline class=\"line s%d\" stroke-dasharray=\"%s\"%s points=\"%s\"/>",
                          style, kDashes[style], spec_.readout ? Values(series) : "", points);
    if (!spec_.markers && !series.markers && series.points.size() > 1) return;
    for (const PlotPoint& point : series.points) *out += Marker(style, Px(point.x), Py(point.y));
  }

  static std::string Values(const PlotSeries& series) {
    std::string values;
    for (const PlotPoint& point : series.points) {
      absl::StrAppend(&values, values.empty() ? "" : " ", ShortNumber(point.x), ":",
                      ShortNumber(point.y));
    }
    return absl::StrCat(" data-n=\"", EscapeHtml(series.name), "\" data-v=\"", values, "\"");
  }

  const PlotSpec& spec_;
  const double left_, bottom_;
  Range x_, y_;
};

}  // namespace

std::string PlotLegend(const PlotSpec& spec) {
  std::string out = "<ul class=\"legend\">";
  for (const PlotSeries& series : spec.series) {
    if (series.points.empty()) continue;
    const int style = series.style % kStyles;
    absl::StrAppendFormat(
        &out,
        "<li><svg viewBox=\"0 0 36 12\" aria-hidden=\"true\"><line class=\"line s%d\" "
        "stroke-dasharray=\"%s\" x1=\"1\" x2=\"35\" y1=\"6\" y2=\"6\"/>%s</svg>%s</li>",
        style, kDashes[style], spec.markers ? Canvas::Marker(style, 18, 6) : "",
        EscapeHtml(series.name));
  }
  return out + "</ul>";
}

std::string PlotSvg(const PlotSpec& spec) {
  const Canvas canvas(spec);
  return canvas.empty() ? "" : canvas.Svg();
}

std::string PlotFigure(const PlotSpec& spec) {
  const std::string svg = PlotSvg(spec);
  if (svg.empty()) return "";
  return absl::StrCat("<figure><h3>", EscapeHtml(spec.title), "</h3>", PlotLegend(spec), svg,
                      "<figcaption>", EscapeHtml(spec.caption), "</figcaption></figure>\n");
}

std::string PlotStyle() {
  // Okabe and Ito's colours, which most eyes can tell apart; lighter ones on dark.
  static constexpr const char* kLight[] = {"#0072b2", "#c44e00", "#00785a", "#a8457c",
                                           "#8a6500", "#2b7fb5", "#5b5b5b", "#7a4fbf"};
  static constexpr const char* kDark[] = {"#5bb5ee", "#ff9b57", "#3fd0a6", "#ee9dc9",
                                          "#f0c24b", "#9bd3f5", "#c4c4c4", "#b79bf0"};
  std::string light, dark, classes;
  for (int i = 0; i < kStyles; ++i) {
    absl::StrAppend(&light, "--c", i, ":", kLight[i], ";");
    absl::StrAppend(&dark, "--c", i, ":", kDark[i], ";");
    absl::StrAppendFormat(
        &classes, ".line.s%d{stroke:var(--c%d)}.band.s%d,.m.s%d{fill:var(--c%d)}\n", i, i, i, i, i);
  }
  return absl::StrCat(
      ":root{", light, "}\n@media (prefers-color-scheme:dark){:root{", dark, "}}\n", classes,
      ".line{fill:none;stroke-width:2}.band{opacity:.16}.grid{stroke:var(--grid);stroke-width:1}\n"
      ".diagonal{stroke:var(--muted);stroke-width:1;stroke-dasharray:3 3}\n"
      "figure{margin:0}figure svg{width:100%;height:auto;display:block}\n"
      "figure svg text{fill:var(--muted);font-size:13px}figure svg text.axis{fill:var(--text)}\n"
      "figcaption{color:var(--muted);font-size:.875rem;margin-top:.25rem}\n"
      ".legend{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1.1rem;padding:0;"
      "margin:.15rem 0 .35rem;font-size:.875rem}\n"
      ".legend li{display:flex;align-items:center;gap:.4rem}\n"
      ".legend svg{width:36px;height:12px}\n");
}

}  // namespace cohort
