// Line plots as inline SVG for pages that must stand alone: no scripts, no fonts, no links. Colours
// come from the page's style (classes s0 to s7), so that light and dark both read; every series has
// a dash and a marker of its own besides its colour.
//
// Pure functions. Text is escaped here.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace cohort {

struct PlotPoint {
  double x = 0;
  double y = 0;
  std::optional<double> low, high;  // of y: drawn as a band
};

struct PlotSeries {
  std::string name;
  int style = 0;  // the same number looks the same in every plot of a page
  std::vector<PlotPoint> points;
};

struct PlotSpec {
  std::string title;
  std::string caption;  // one or two sentences: what it shows and how to read it
  std::string x_label, y_label;
  bool log2_x = false;
  bool percent_y = false;  // labels of y are shares
  bool diagonal = false;   // a faint line y = x
  bool markers = true;
  std::optional<double> y_min, y_max;  // widened where the data needs it
  std::vector<PlotSeries> series;
};

// A <figure> with the plot, its legend and its caption; empty when no series has a point.
std::string PlotFigure(const PlotSpec& spec);

// The style that the figures need, for a <style> element.
std::string PlotStyle();

}  // namespace cohort
