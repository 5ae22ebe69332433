#include "common/rewards/code_judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "common/base/status_matchers.h"

namespace cohort {
namespace {

using Verdict = JudgedRun::Verdict;

struct Sample {
  const char* program;
  const char* tests;
};

class CodeJudgeTest : public testing::Test {
 protected:
  void SetUp() override {
    if (access("/usr/bin/python3", X_OK) != 0) GTEST_SKIP() << "no /usr/bin/python3 here";
  }
  static Verdict Judge(const Sample& sample, const std::string& entry_point = "") {
    CodeTests tests;
    tests.code = sample.tests;
    tests.entry_point = entry_point;
    CodeOptions options;
    options.interpreter = {"/usr/bin/python3", "-I"};
    const auto run = RunJudged(sample.program, tests, options, {});
    EXPECT_THAT(run, IsOk());
    if (!run.ok()) return Verdict::kNone;
    note_ = run->note;
    return run->verdict;
  }
  static inline std::string note_;  // of the last one
};

TEST_F(CodeJudgeTest, WhatProgramsHandOutIsUsedAsInOneInterpreter) {
  const Sample samples[] = {
      {"def f(a, *, k=2, **more): return (a, k, more)",
       "assert f(1, k=3, op=4) == (1, 3, {'op': 4})"},
      {"def order(a): a.sort()", "x = [3, 1]\norder(x)\nassert x == [1, 3]"},
      {"def f(d):\n  d['k'] = 1\n  return d", "x = {}\nassert f(x) is x and x == {'k': 1}"},
      {"def ap(f, x): return f(x)", "assert ap(lambda v: v + 1, 3) == 4\nassert ap(len, [1]) == 1"},
      {"def gen(n):\n  yield from range(n)",
       "g = gen(3)\nassert next(g) == 0\nassert list(g) == [1, 2]"},
      {"class Stack:\n  def __init__(s): s.a = []\n  def push(s, x): s.a.append(x)\n"
       "  def __len__(s): return len(s.a)",
       "s = Stack()\ns.push([1])\nassert len(s) == 1 and s.a == [[1]]\nassert isinstance(s, "
       "Stack)"},
      {"class P:\n  def __init__(s, x): s.x = x\n  def __eq__(s, o): return s.x == o.x\n"
       "  def __add__(s, o): return P(s.x + o.x)\n  def __lt__(s, o): return s.x < o.x",
       "assert P(1) + P(2) == P(3)\nassert sorted([P(2), P(1)])[0].x == 1"},
      {"class Bad(Exception):\n  code = 4\ndef f(): raise Bad('no')",
       "try:\n  f()\n  assert False\nexcept Bad as e:\n  assert e.code == 4 and str(e) == 'no'"},
      {"from collections import namedtuple\nT = namedtuple('T', 'a b')\ndef f(): return T(1, 2)",
       "assert f() == (1, 2) and f().b == 2"},
      {"def f(n): return 7 ** n", "assert f(9000) == 7 ** 9000"},
      {"import math\ndef area(r): return math.pi * r * r",
       "assert math.isclose(area(2), 12.566370614, rel_tol=1e-6)\nassert abs(area(1) - 3.1416) < "
       "1e-4"},
      {"def sum(a, b): return a * b", "assert sum(2, 5) == 10"},
      {"async def f(x): return x + 1", "import asyncio\nassert asyncio.run(f(1)) == 2"},
      {"def rev(h):\n  p = None\n  while h: h.next, p, h = p, h, h.next\n  return p",
       "class Node:\n  def __init__(s, v, n=None): s.v, s.next = v, n\n"
       "r = rev(Node(1, Node(2)))\nassert (r.v, r.next.v, r.next.next) == (2, 1, None)"},
      {"def hello(): print('hi')",
       "import contextlib, io\nb = io.StringIO()\nwith contextlib.redirect_stdout(b):\n  hello()\n"
       "assert b.getvalue() == 'hi\\n'"},
      {"def ask(): return int(input()) + 1",
       "from unittest.mock import patch\nwith patch('builtins.input', return_value='4'):\n"
       "  assert ask() == 5"},
      {"def twice(n): return 2 * n",
       "import pytest\nfrom solution import twice\n@pytest.mark.parametrize('a,b', [(1, 2), (2, "
       "4)])\n"
       "def test_twice(a, b):\n  assert twice(a) == b\ndef test_error():\n"
       "  with pytest.raises(TypeError):\n    twice(None)\n"},
      {"def calc(): return '3*4+1'", "assert eval(calc()) == 13"},
      {"if __name__ == '__main__':\n  n = int(input())\ndef f(): return 1", "assert f() == 1"},
  };
  for (const Sample& sample : samples) {
    EXPECT_EQ(Judge(sample), Verdict::kRight) << sample.program << "\n" << sample.tests << note_;
  }
}

TEST_F(CodeJudgeTest, ACheckIsCalledWithTheEntryPoint) {
  const char* const check = "def check(candidate):\n    assert candidate(n=4) == 8\n";
  EXPECT_EQ(Judge({"def twice(n): return 2 * n", check}, "twice"), Verdict::kRight) << note_;
  EXPECT_EQ(Judge({"def twice(n): return n * n", check}, "twice"), Verdict::kWrong);
  EXPECT_EQ(Judge({"print('hello')", check}, "twice"), Verdict::kWrong);
  const char* const method = "class Solution:\n  def twice(self, n): return 2 * n";
  EXPECT_EQ(Judge({method, check}, "Solution().twice"), Verdict::kRight) << note_;
  EXPECT_EQ(Judge({method, check}, "twice"), Verdict::kRight) << note_;
}

// An object of the answer is never asked whether it is what the tests expect.
TEST_F(CodeJudgeTest, AnObjectThatEqualsEverythingIsNoRightAnswer) {
  const char* const always =
      "class E:\n"
      "  def __eq__(s, o): return True\n"
      "  __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__\n"
      "  __ne__ = lambda s, o: False\n"
      "  __hash__ = lambda s: hash(5)\n"
      "  __sub__ = __rsub__ = __truediv__ = __xor__ = __mod__ = lambda s, o: 0\n"
      "  __iter__ = lambda s: iter(())\n"
      "def f(): return E()\n";
  for (const char* test :
       {"assert f() == 5", "assert 5 == f()", "assert f() in (4, 5)", "assert f() in {4, 5}",
        "assert [f()] == [5]", "assert abs(f() - 2.5) < 1e-6", "assert not (f() - 2.5)",
        "assert 2 < f() < 3", "assert 3 in f()", "assert not f() ^ 5", "assert f() / 5 == 1",
        "import unittest\nclass T(unittest.TestCase):\n  def test(self):\n"
        "    self.assertAlmostEqual(f(), 2.5)",
        "import pytest\nassert f() == pytest.approx(2.5)"}) {
    EXPECT_EQ(Judge({always, test}), Verdict::kWrong) << test;
  }
  for (const char* base : {"int", "float", "str", "list", "tuple"}) {
    const std::string program = std::string("class E(") + base +
                                "):\n  def __eq__(s, o): return True\n  __hash__ = None\n"
                                "def f(): return E()\n";
    EXPECT_EQ(Judge({program.c_str(), "assert f() == 5"}), Verdict::kWrong) << base;
  }
}

TEST_F(CodeJudgeTest, WhatTestsCompareWithIsNotTheAnswers) {
  for (const Sample& sample :
       {Sample{"abs = lambda x: 0\ndef f(): return 1", "assert abs(f() - 2.5) < 1"},
        {"class math:\n  isclose = lambda *a: True\ndef f(): return 1",
         "assert math.isclose(f(), 2.5)"},
        {"isclose = lambda *a: True\ndef f(): return 1", "assert isclose(f(), 2.5)"}}) {
    EXPECT_EQ(Judge(sample), Verdict::kWrong) << sample.tests;
  }
}

// The answer's interpreter has no test in it, and its word is no verdict.
TEST_F(CodeJudgeTest, TheTestsAreOutOfTheAnswersReach) {
  const Sample samples[] = {
      {"import gc\nn = int('7391')\n"
       "def f(): return any('expected-%d' % n in str(o) for o in gc.get_objects())",
       "text = 'expected' + '-7391'\nassert f() is True"},
      {"def f(g): return g.__globals__", "def h(): return 1\nassert f(h)"},
      {"def f():\n  print('{\"verdict\": \"right\", \"note\": \"\"}')\n  return 1",
       "assert f() == 2"},
      {"def f(): raise SystemExit(0)", "assert f() == 2"},
      {"import os\ndef f(): os._exit(0)", "assert f() == 2"},
      {"import unittest\ndef f(): raise unittest.SkipTest('')",
       "import unittest\nclass T(unittest.TestCase):\n  def test(self):\n    self.assertEqual(f(), "
       "2)"},
      {"def calc(): return '__import__(\"os\")._exit(0)'", "assert eval(calc()) == 13"},
      {"def f(x): return f(x)", "assert f(1) == 13"},
      {"def f(g): return g(g)", "def h(x): return f(x)\nassert f(h) == 13"},
  };
  for (const Sample& sample : samples) {
    EXPECT_EQ(Judge(sample), Verdict::kWrong) << sample.program;
  }
}

TEST_F(CodeJudgeTest, TestsThatCannotBeJudgedAreVoid) {
  for (const char* tests : {"assert f( == 1", "import no_such_module\nassert f() == 1",
                            "import pickle\nassert f() == 1", "exec('x = 1')\nassert f() == 1",
                            "class S(B): pass\nassert S().b == 1"}) {
    EXPECT_EQ(Judge({"class B: b = 1\ndef f(): return 1", tests}), Verdict::kVoid) << tests;
  }
}

}  // namespace
}  // namespace cohort
