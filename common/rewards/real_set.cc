#include "common/rewards/real_set.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace cohort {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

IntervalEnd Infinite(bool negative) {
  return {negative ? "-1*infty" : "1*infty", negative ? -kInfinity : kInfinity, false};
}

// Equal ends have one text; others differ in place.
bool Same(const IntervalEnd& a, const IntervalEnd& b) { return a.text == b.text; }
bool Before(const IntervalEnd& a, const IntervalEnd& b) { return !Same(a, b) && a.place < b.place; }

bool IsEmpty(const Interval& interval) {
  if (Same(interval.low, interval.high)) return !interval.low.closed || !interval.high.closed;
  return interval.low.place >= interval.high.place;
}

bool StartsBefore(const Interval& a, const Interval& b) {
  if (Same(a.low, b.low)) return a.low.closed && !b.low.closed;
  return a.low.place < b.low.place;
}

}  // namespace

RealSet UnionOf(absl::Span<const RealSet> sets) {
  RealSet all;
  for (const RealSet& set : sets) {
    for (const Interval& interval : set) {
      if (!IsEmpty(interval)) all.push_back(interval);
    }
  }
  std::stable_sort(all.begin(), all.end(), StartsBefore);
  RealSet out;
  for (const Interval& next : all) {
    const bool apart =
        out.empty() || Before(out.back().high, next.low) ||
        (Same(out.back().high, next.low) && !out.back().high.closed && !next.low.closed);
    if (apart) {
      out.push_back(next);
    } else if (Before(out.back().high, next.high)) {
      out.back().high = next.high;
    } else if (Same(out.back().high, next.high)) {
      out.back().high.closed |= next.high.closed;
    }
  }
  return out;
}

RealSet Intersection(const RealSet& a, const RealSet& b) {
  RealSet out;
  for (const Interval& left : a) {
    for (const Interval& right : b) {
      Interval both = left;
      if (Before(left.low, right.low)) both.low = right.low;
      if (Before(right.high, left.high)) both.high = right.high;
      if (Same(left.low, right.low)) both.low.closed = left.low.closed && right.low.closed;
      if (Same(left.high, right.high)) both.high.closed = left.high.closed && right.high.closed;
      if (!IsEmpty(both)) out.push_back(both);
    }
  }
  return out;
}

RealSet Complement(const RealSet& set) {
  RealSet out;
  IntervalEnd low = Infinite(true);
  for (const Interval& interval : set) {
    IntervalEnd high = interval.low;
    high.closed = !high.closed && high.place > -kInfinity;
    if (!IsEmpty({low, high})) out.push_back({low, high});
    low = interval.high;
    low.closed = !low.closed && low.place < kInfinity;
  }
  if (low.place < kInfinity) out.push_back({low, Infinite(false)});
  return out;
}

RealSet AllReals() { return {{Infinite(true), Infinite(false)}}; }

RealSet Point(const IntervalEnd& at) {
  IntervalEnd end = at;
  end.closed = true;
  return {{end, end}};
}

std::string PrintRealSet(const RealSet& set) {
  if (set.empty()) return "empty";
  std::vector<std::string> parts;
  for (const Interval& interval : set) {
    parts.push_back(absl::StrCat(interval.low.closed ? "[" : "(", interval.low.text, ";",
                                 interval.high.text, interval.high.closed ? "]" : ")"));
  }
  if (parts.size() == 1) return parts[0];
  return absl::StrCat("union{", absl::StrJoin(parts, ";"), "}");
}

}  // namespace cohort
