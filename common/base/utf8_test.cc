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

}  // namespace
}  // namespace cohort
