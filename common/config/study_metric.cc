#include <algorithm>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/config/studies.h"

namespace cohort {
namespace {

constexpr const char* kAtK[] = {"pass", "avg", "maj"};
constexpr const char* kPlain[] = {"entropy", "length", "truncated", "tokens_per_correct"};
constexpr const char* kLogits[] = {"mean", "std", "skew", "kurtosis", "margin", "top_probability"};
constexpr const char* kParts[] = {"first", "last", "mean", "max", "min", "std"};

template <size_t N>
bool IsOneOf(const std::string& text, const char* const (&all)[N]) {
  return std::any_of(std::begin(all), std::end(all), [&](const char* one) { return text == one; });
}

absl::Status Wrong(absl::string_view text, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat("expected ", expected, ", found '", text, "'"));
}

absl::StatusOr<StudyMetric> EvalMetric(absl::string_view text,
                                       const std::vector<std::string>& parts) {
  constexpr absl::string_view kExpected =
      "eval:NAME:KEY with the key pass@K, avg@K, maj@K, entropy, length, truncated or "
      "tokens_per_correct";
  if (parts.size() != 3) return Wrong(text, kExpected);
  StudyMetric metric;
  metric.kind = StudyMetric::Kind::kEval;
  metric.eval = parts[1];
  metric.key = parts[2];
  if (IsOneOf(metric.key, kPlain)) return metric;
  const std::vector<std::string> at = absl::StrSplit(parts[2], '@');
  if (at.size() != 2 || !IsOneOf(at[0], kAtK) || !absl::SimpleAtoi(at[1], &metric.k) ||
      metric.k < 1) {
    return Wrong(text, kExpected);
  }
  metric.key = at[0];
  return metric;
}

absl::StatusOr<StudyMetric> LogitsMetric(absl::string_view text,
                                         const std::vector<std::string>& parts) {
  if (parts.size() != 3 || !IsOneOf(parts[2], kLogits)) {
    return Wrong(text,
                 "logits:NAME:KEY with the key mean, std, skew, kurtosis, margin or "
                 "top_probability");
  }
  StudyMetric metric;
  metric.kind = StudyMetric::Kind::kLogits;
  metric.eval = parts[1];
  metric.key = parts[2];
  return metric;
}

}  // namespace

absl::StatusOr<StudyMetric> ParseStudyMetric(absl::string_view text) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  if (parts[0] == "eval") return EvalMetric(text, parts);
  if (parts[0] == "logits") return LogitsMetric(text, parts);
  if (parts[0] != "train") return Wrong(text, "eval:NAME:KEY, logits:NAME:KEY or train:KEY:PART");
  if (parts.size() != 3 || parts[1].empty() || !IsOneOf(parts[2], kParts)) {
    return Wrong(text, "train:KEY:PART with the part first, last, mean, max, min or std");
  }
  StudyMetric metric;
  metric.kind = StudyMetric::Kind::kTrain;
  metric.key = parts[1];
  metric.part = parts[2];
  return metric;
}

}  // namespace cohort
