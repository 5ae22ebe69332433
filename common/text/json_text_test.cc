#include "common/text/json_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cohort {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

TEST(JsonTextTest, MembersKeepTheirSpelling) {
  EXPECT_THAT(
      JsonMembers(
          R"( {"a": 91827364554637281900122, "b\"": 0.00003 ,"c":[1, {"d":"},"}],"e":""} )"),
      ElementsAre(Pair("a", "91827364554637281900122"), Pair("b\"", "0.00003"),
                  Pair("c", "[1, {\"d\":\"},\"}]"), Pair("e", "\"\"")));
  EXPECT_THAT(JsonMembers("{}"), IsEmpty());
  EXPECT_THAT(JsonMembers(R"({"a": 1, "b": 2, "a": 3.0})"),
              ElementsAre(Pair("a", "3.0"), Pair("b", "2")));
}

TEST(JsonTextTest, ElementsKeepTheirSpelling) {
  EXPECT_THAT(JsonElements(R"([ 1e-5, "a,b", [2, 3], true ])"),
              ElementsAre("1e-5", "\"a,b\"", "[2, 3]", "true"));
  EXPECT_THAT(JsonElements("[ ]"), IsEmpty());
}

TEST(JsonTextTest, AValueSaysItsContent) {
  EXPECT_EQ(JsonValueText(R"("a\n\u00e9\"")"), "a\n\u00e9\"");
  EXPECT_EQ(JsonValueText(" 27.0 "), "27.0");
  EXPECT_EQ(JsonValueText("null"), "");
  EXPECT_EQ(JsonValueText("false"), "false");
}

TEST(JsonTextTest, AnObjectIsWrittenFromItsMembers) {
  EXPECT_EQ(JsonObject({{"a\"", "27.0"}, {"b", "[1,2]"}}), R"({"a\"":27.0,"b":[1,2]})");
  EXPECT_EQ(JsonObject({}), "{}");
}

TEST(JsonTextTest, TextThatIsNoJsonDoesNoHarm) {
  for (const char* text : {"", "{", "{\"", "{\"a\\", "[[", "]", "{\"a\":", "}{"}) {
    JsonMembers(text);
    JsonElements(text);
    JsonValueText(text);
  }
}

}  // namespace
}  // namespace cohort
