// Sets of real numbers as unions of intervals with exact ends.
#pragma once

#include <string>
#include <vector>

#include "absl/types/span.h"

namespace cohort {

struct IntervalEnd {
  std::string text;  // exact, printed; equal ends print the same
  double place = 0;  // where it is, for the order; infinite at the ends of the line
  bool closed = false;
};

struct Interval {
  IntervalEnd low;
  IntervalEnd high;
};

// Disjoint, in order, none empty: equal sets are equal.
using RealSet = std::vector<Interval>;

RealSet UnionOf(absl::Span<const RealSet> sets);
RealSet Intersection(const RealSet& a, const RealSet& b);
RealSet Complement(const RealSet& set);
RealSet AllReals();
RealSet Point(const IntervalEnd& at);

// "(1;2]", "union{(1;2];[5;5]}", "empty".
std::string PrintRealSet(const RealSet& set);

}  // namespace cohort
