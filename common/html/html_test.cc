#include "common/html/html.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "common/html/svg_plot.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(HtmlTest, WhateverAModelSaidIsText) {
  EXPECT_EQ(EscapeHtml("<script>alert('1')</script> & \"x\""),
            "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;x&quot;");
  EXPECT_EQ(EscapeHtml(absl::string_view("a\0b\x1b[31m\x7f\tc\nd", 14)), "ab[31m\tc\nd");
  EXPECT_EQ(EscapeHtml("\xff\xc3(<"), "\xEF\xBF\xBD\xEF\xBF\xBD(&lt;");
}

TEST(HtmlTest, NumbersAreShortAndNoneIsADash) {
  EXPECT_EQ(ShortNumber(0.125), "0.125");
  EXPECT_EQ(ShortNumber(12), "12");
  EXPECT_EQ(ShortNumber(std::numeric_limits<double>::quiet_NaN()), "-");
  EXPECT_EQ(Percent(0.1234), "12.3 %");
}

TEST(DurationTextTest, RoundsToSeconds) {
  EXPECT_EQ(DurationText(absl::Seconds(0)), "0:00");
  EXPECT_EQ(DurationText(absl::Seconds(59.6)), "1:00");
  EXPECT_EQ(DurationText(absl::Seconds(3723)), "1:02:03");
}

TEST(HtmlTest, ADocumentEscapesItsTitleAndATableItsHead) {
  const std::string page = Document({.title = "<t>", .style = "b{}", .body = "<p>x</p>"});
  EXPECT_THAT(page, AllOf(HasSubstr("<title>&lt;t&gt;</title>"), HasSubstr("<style>b{}</style>"),
                          HasSubstr("<body><p>x</p></body>")));
  EXPECT_THAT(Table("<c>", {"<h>"}, {{"<b>1</b>"}}),
              AllOf(HasSubstr("&lt;c&gt;"), HasSubstr("&lt;h&gt;"), HasSubstr("<b>1</b>")));
}

TEST(SvgPlotTest, APlotWithoutPointsIsNothingAndOnePointIsSomething) {
  PlotSpec spec;
  EXPECT_EQ(PlotFigure(spec), "");
  spec.series.push_back({"<a>", 3, {{1, 2, {}, {}}}});
  EXPECT_THAT(PlotFigure(spec), AllOf(HasSubstr("&lt;a&gt;"), Not(HasSubstr("nan"))));
  spec.series[0].points = {{0, 1, {}, {}}, {1, 1.0004, {}, {}}};
  EXPECT_THAT(PlotFigure(spec), HasSubstr(">1.0001<")) << "ticks can be told apart";
  spec.series[0].points = {{1, 0, {}, {}}, {2, 0, {}, {}}};
  EXPECT_THAT(PlotFigure(spec), Not(HasSubstr(">-0"))) << "a share of zero does not go below";
  spec.log2_x = true;
  spec.series[0].points.push_back({256, 2, 1.5, 2.5});
  EXPECT_THAT(PlotFigure(spec),
              AllOf(HasSubstr("polygon"), Not(HasSubstr("nan")), Not(HasSubstr("inf"))));
}

}  // namespace
}  // namespace cohort
