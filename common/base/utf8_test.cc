#include "common/base/utf8.h"

#include <gtest/gtest.h>

namespace cohort {
namespace {

TEST(ValidUtf8Test, ReplacesWhatIsNone) {
  EXPECT_EQ(ValidUtf8("a\u00e9\u20ac\U0001F600"), "a\u00e9\u20ac\U0001F600");
  EXPECT_EQ(ValidUtf8("a\xff"
                      "b"),
            "a\uFFFD"
            "b");
  EXPECT_EQ(ValidUtf8("\xe2\x82"), "\uFFFD\uFFFD");
  EXPECT_EQ(ValidUtf8("\xc0\xaf\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD");
}

TEST(EscapeControlsTest, ForgesNoLineAndNoColour) {
  EXPECT_EQ(EscapeControls("a\nb\x1b[31m\x7f"), "a\\x0ab\\x1b[31m\\x7f");
  EXPECT_EQ(EscapeControls("\u0085\u009b"), "\\xc2\\x85\\xc2\\x9b");
  EXPECT_EQ(EscapeControls("\xff\xe2\x82"), "\\xff\\xe2\\x82");
  EXPECT_EQ(EscapeControls("a\u00e9\u20ac \\x"), "a\u00e9\u20ac \\x");
  EXPECT_TRUE(HasControls("worker\n1"));
  EXPECT_FALSE(HasControls("worker-1"));
}

}  // namespace
}  // namespace cohort
