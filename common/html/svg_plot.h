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
  bool markers = false;  // also in a plot that has none
};

struct PlotSpec {
  std::string title;
  std::string caption;  // one or two sentences: what it shows and how to read it
  std::string x_label, y_label;
  bool log2_x = false;
  bool whole_x = false;    // x counts something: no ticks between whole numbers
  bool percent_y = false;  // labels of y are shares
  bool diagonal = false;   // a faint line y = x
  bool markers = true;
  double height = 300;   // of 480 that it is wide
  bool readout = false;  // the exact values are in the lines, for a script (data-v="x:y x:y")
  std::optional<double> y_min, y_max;  // widened where the data needs it
  std::vector<PlotSeries> series;
};

// A <figure> with the plot, its legend and its caption; empty when no series has a point.
std::string PlotFigure(const PlotSpec& spec);

// Its parts, for a page that arranges them otherwise: the plot alone, and the names of its series.
std::string PlotSvg(const PlotSpec& spec);
std::string PlotLegend(const PlotSpec& spec);

// The style that the figures need, for a <style> element.
std::string PlotStyle();

}  // namespace cohort
