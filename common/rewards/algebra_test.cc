#include "common/rewards/algebra.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "common/rewards/formula.h"

namespace cohort {
namespace {

std::string Print(const char* text) {
  bool complete = true;
  AlgebraBudget budget;
  Algebra algebra(&budget);
  const auto value = ParseFormula(&algebra, TokenizeLatex(text, &complete));
  return value ? algebra.Print(*value) : "none";
}

TEST(AlgebraTest, RootsLeaveDenominators) {
  EXPECT_EQ(Print("1/(\\sqrt{3}+\\sqrt{2})"), Print("\\sqrt3-\\sqrt2"));
  EXPECT_EQ(Print("\\frac{1}{\\sqrt[3]{2}-1}"), Print("1+\\sqrt[3]2+\\sqrt[3]{4}"));
  EXPECT_EQ(Print("\\frac{1}{x+\\sqrt{x}}"), Print("\\frac{x-\\sqrt{x}}{x^2-x}"));
  EXPECT_EQ(Print("\\frac{1}{1+i}"), Print("\\frac{1-i}{2}"));
}

TEST(AlgebraTest, PowersOfOnePrimeHaveOneForm) {
  EXPECT_EQ(Print("2^{1/2}2^{1/3}"), Print("2^{5/6}"));
  EXPECT_EQ(Print("\\sqrt{\\sqrt{2}}"), Print("2^{1/4}"));
  EXPECT_EQ(Print("2^{3/8}2^{5/8}"), "2");
  EXPECT_EQ(Print("8^{-2/3}"), "1/4");
  EXPECT_EQ(Print("\\sqrt[3]{-8}"), "-2");
  EXPECT_EQ(Print("\\sqrt{(10^{20}+1)^2}"), Print("10^{20}+1"));
}

TEST(AlgebraTest, WhatHasNoValueHasNone) {
  for (const char* text : {"1/0", "\\frac{1}{x-x}", "0^{-1}", "\\log 0", "\\frac{1}{\\sqrt4-2}",
                           "\\tan 90^\\circ", "(-2)!", "", "+", "3 +", "(", "\\frac{1}"}) {
    EXPECT_EQ(Print(text), "none") << text;
  }
}

TEST(AlgebraTest, WhatWouldBeLargeIsNotBegun) {
  for (const char* text :
       {"9^{9^{9}}", "(a+b+c+d)^{900}", "5000!", "\\binom{90000}{4000}", "(1+x)^{4000}",
        "2^{100000}", "1e999999", "((x+1)^{90})^{90}", "(x-1)^{200}(y-1)^{200}"}) {
    EXPECT_EQ(Print(text), "none") << text;
  }
}

// A root of a root holds itself many times when it is multiplied out.
TEST(AlgebraTest, NestedRootsEnd) {
  for (int depth = 1; depth < 30; ++depth) {
    std::string roots = "x";
    std::string functions = "x";
    for (int i = 0; i < depth; ++i) {
      roots = "(\\sqrt{1+" + roots + "})^{3}";
      functions = "\\sin" + functions;
    }
    EXPECT_EQ(Print(roots.c_str()), Print(roots.c_str()));
    if (depth > 6) {
      EXPECT_EQ(Print(roots.c_str()), "none");
    }
    EXPECT_EQ(Print((functions + std::string(100, '!')).c_str()),
              Print((functions + std::string(100, '!')).c_str()));
  }
}

// FLINT caches memory for each thread; a thread that ends gives it back (AddressSanitizer looks).
TEST(AlgebraTest, ThreadsCalculateByThemselves) {
  std::vector<std::string> results(4);
  std::vector<std::thread> threads;
  for (std::string& result : results) {
    threads.emplace_back([&result] { result = Print("(3^{30}+x)^{6}/(x+7^{50})"); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& result : results) EXPECT_EQ(result, results[0]);
  EXPECT_NE(results[0], "none");
}

}  // namespace
}  // namespace cohort
