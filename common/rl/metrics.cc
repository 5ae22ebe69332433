#include "common/rl/metrics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <unordered_map>

#include "absl/strings/str_cat.h"

namespace cohort {
namespace {

absl::Status CheckSubset(const char* metric, int64_t n, int64_t k) {
  if (k >= 1 && k <= n) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(metric, ": expected 1 <= k <= samples; found k ", k, ", samples ", n));
}

// Binomial coefficients up to row n. long double holds C(16384, 8192).
std::vector<long double> BinomialRow(int64_t n) {
  std::vector<long double> row{1};
  for (int64_t x = 1; x <= n; ++x) {
    row.push_back(row.back() * static_cast<long double>(n - x + 1) / static_cast<long double>(x));
  }
  return row;
}

// Votes per distinct answer, those equal to gold marked, and the number of answers without a vote.
struct Ballot {
  std::vector<int64_t> count;
  std::vector<bool> gold;
  int64_t silent = 0;
};

Ballot CountBallot(absl::Span<const Answer> answers, const std::string& gold,
                   const AnswerEquality& equal) {
  Ballot ballot;
  std::unordered_map<std::string, size_t> slot;
  for (const Answer& answer : answers) {
    if (!answer || answer->empty()) {
      ++ballot.silent;
      continue;
    }
    const auto [it, added] = slot.try_emplace(*answer, ballot.count.size());
    if (added) {
      ballot.count.push_back(0);
      ballot.gold.push_back(equal ? equal(gold, *answer) : gold == *answer);
    }
    ++ballot.count[it->second];
  }
  return ballot;
}

// ways[drawn][ties]: choices of samples from the other answers with at most `top` of each, `ties`
// of which reach `top`.
class SubsetCounter {
 public:
  SubsetCounter(int64_t k, int64_t top) : k_(k), top_(top), max_ties_(k / top), ways_(Cells(), 0) {
    ways_[0] = 1;
  }

  void AddAnswer(const std::vector<long double>& binomial) { Extend(binomial, true); }
  void AddSilent(const std::vector<long double>& binomial) { Extend(binomial, false); }

  // Sum of ways to draw `drawn`, each divided by the number of winners.
  long double SharedWins(int64_t drawn) const {
    long double sum = 0;
    for (int64_t ties = 0; ties <= max_ties_; ++ties) {
      sum += ways_[Cell(drawn, ties)] / static_cast<long double>(ties + 1);
    }
    return sum;
  }

 private:
  size_t Cells() const { return static_cast<size_t>((k_ + 1) * (max_ties_ + 1)); }
  size_t Cell(int64_t drawn, int64_t ties) const {
    return static_cast<size_t>(drawn * (max_ties_ + 1) + ties);
  }

  void Extend(const std::vector<long double>& binomial, bool votes) {
    const int64_t available = static_cast<int64_t>(binomial.size()) - 1;
    const int64_t most = std::min(votes ? std::min(available, top_) : available, k_);
    std::vector<long double> next(Cells(), 0);
    for (int64_t drawn = 0; drawn <= k_; ++drawn) {
      for (int64_t ties = 0; ties <= max_ties_; ++ties) {
        const long double ways = ways_[Cell(drawn, ties)];
        if (ways == 0) continue;
        for (int64_t x = 0; x <= std::min(most, k_ - drawn); ++x) {
          const int64_t tied = ties + (votes && x == top_ ? 1 : 0);
          if (tied <= max_ties_) {
            next[Cell(drawn + x, tied)] += ways * binomial[static_cast<size_t>(x)];
          }
        }
      }
    }
    ways_ = std::move(next);
  }

  int64_t k_, top_, max_ties_;
  std::vector<long double> ways_;
};

// Subsets in which answer `winner` gets exactly `top` votes and wins, weighted by shared wins. An
// answer with fewer votes can be drawn freely, like those without a vote: (1 + x)^a (1 + x)^b =
// (1 + x)^(a + b), so all of them are one row of coefficients.
long double WinsWith(const Ballot& ballot, size_t winner, int64_t top, int64_t k) {
  SubsetCounter others(k, top);
  int64_t harmless = ballot.silent;
  for (size_t j = 0; j < ballot.count.size(); ++j) {
    if (j == winner) continue;
    if (ballot.count[j] < top) {
      harmless += ballot.count[j];
    } else {
      others.AddAnswer(BinomialRow(ballot.count[j]));
    }
  }
  others.AddSilent(BinomialRow(harmless));
  return BinomialRow(ballot.count[winner])[static_cast<size_t>(top)] * others.SharedWins(k - top);
}

}  // namespace

absl::StatusOr<double> PassAtK(int64_t n, int64_t c, int64_t k) {
  if (absl::Status status = CheckSubset("pass@k", n, k); !status.ok()) return status;
  if (c < 0 || c > n) {
    return absl::InvalidArgumentError(
        absl::StrCat("pass@k: expected 0 <= correct <= samples; found ", c, " of ", n));
  }
  if (n - c < k) return 1.0;
  double miss = 1;
  for (int64_t j = n - c + 1; j <= n; ++j) {
    miss *= 1 - static_cast<double>(k) / static_cast<double>(j);
  }
  return 1 - miss;
}

double AverageCorrect(absl::Span<const double> correct) {
  double sum = 0;
  for (double c : correct) sum += c;
  return correct.empty() ? 0 : sum / static_cast<double>(correct.size());
}

double MajorityCorrect(absl::Span<const Answer> answers, const std::string& gold,
                       const AnswerEquality& equal) {
  const Vote vote = MajorityVote(answers);
  if (!vote.label) return 0;
  return (equal ? equal(gold, *vote.label) : gold == *vote.label) ? 1 : 0;
}

absl::StatusOr<double> MajorityAtK(absl::Span<const Answer> answers, const std::string& gold,
                                   int64_t k, const AnswerEquality& equal) {
  const int64_t n = static_cast<int64_t>(answers.size());
  if (absl::Status status = CheckSubset("maj@k", n, k); !status.ok()) return status;
  const Ballot ballot = CountBallot(answers, gold, equal);
  long double wins = 0;
  for (size_t j = 0; j < ballot.count.size(); ++j) {
    if (!ballot.gold[j]) continue;
    for (int64_t top = 1; top <= std::min(ballot.count[j], k); ++top) {
      wins += WinsWith(ballot, j, top, k);
    }
  }
  return static_cast<double>(wins / BinomialRow(n)[static_cast<size_t>(k)]);
}

double TopShareMean(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const double wanted = std::ceil(share * static_cast<double>(values.size()));
  const auto top =
      static_cast<std::ptrdiff_t>(std::clamp(wanted, 1.0, static_cast<double>(values.size())));
  std::nth_element(values.begin(), values.begin() + (top - 1), values.end(), std::greater<>());
  return std::accumulate(values.begin(), values.begin() + top, 0.0) / static_cast<double>(top);
}

void MomentAccumulator::Add(double x) {
  if (!std::isfinite(x) || (drop_zeros_ && x == 0)) return;
  const double before = static_cast<double>(count_++);
  const double n = before + 1;
  const double delta = x - mean_;
  const double step = delta / n;
  const double term = delta * step * before;
  mean_ += step;
  m4_ += term * step * step * (n * n - 3 * n + 3) + 6 * step * step * m2_ - 4 * step * m3_;
  m3_ += term * step * (n - 2) - 3 * step * m2_;
  m2_ += term;
}

double MomentAccumulator::std() const {
  return count_ > 0 ? std::sqrt(m2_ / static_cast<double>(count_)) : 0;
}

double MomentAccumulator::skew() const {
  if (m2_ <= 0) return 0;
  return std::sqrt(static_cast<double>(count_)) * m3_ / std::pow(m2_, 1.5);
}

double MomentAccumulator::kurtosis() const {
  if (m2_ <= 0) return 0;
  return static_cast<double>(count_) * m4_ / (m2_ * m2_);
}

}  // namespace cohort
