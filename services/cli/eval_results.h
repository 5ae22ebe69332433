// What an evaluation found, problem by problem, as a JSONL file: a header line, then one line per
// problem in any order. `cohort eval` writes and resumes it, `cohort report` reads it.
//
//   {"kind":"eval","model":...,"source":...,"samples":16,...}
//   {"index":3,"prompt":...,"answer":"42","correct":[1,0,null],"tokens":[..],"truncated":[..],
//    "entropy":[..],"logprob":[..],"answers":["42",null,..],"texts":[..],"ids":[[..]],
//    "entropy_histogram":[..],"top_entropy":0.9}
//
// Plain data; errors name the file and the line.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rl/eval_stats.h"

namespace cohort {

struct SampleResult {
  int tokens = 0;  // of the response, the end-of-sequence token included
  bool truncated = false;
  bool judged = false;  // a verdict about being right exists
  bool correct = false;
  bool unscorable = false;
  std::string answer;  // as it votes; empty: no vote
  double entropy = 0;  // nats per token, mean over the response
  double logprob = 0;  // nats, sum over the response
  std::string text;    // of the first samples only
  std::vector<int32_t> ids;
};

inline constexpr double kTopShare = 0.2;         // of tokens (algorithms.md 10.5)
inline constexpr double kEntropyBinWidth = 0.1;  // nats
inline constexpr size_t kEntropyBins = 60;       // the last one holds everything above

struct ProblemResult {
  uint64_t index = 0;     // in the source's split
  std::string prompt;     // the user's messages
  std::string answer;     // gold
  bool too_long = false;  // the prompt does not fit the model; no samples
  std::vector<int32_t> prompt_ids;
  std::vector<SampleResult> samples;
  std::string right_text;                  // of the first right sample, where those kept are wrong
  std::vector<int64_t> entropy_histogram;  // tokens per bin, over all samples
  // Nats, mean over the kTopShare of those tokens with most of it; unset: nobody said.
  std::optional<double> top_entropy;

  ProblemCount Count() const;
};

struct EvalResults {
  nlohmann::json header;
  std::map<uint64_t, ProblemResult> problems;  // by index
};

std::string ProblemLine(const ProblemResult& problem);  // without a line break
// The header may come with any fields; a half line at the end of the file is left out.
absl::StatusOr<EvalResults> ReadEvalResults(const std::string& path);
absl::Status WriteEvalResults(const std::string& path, const EvalResults& results);
// FailedPrecondition naming the first field of `now` in which an earlier file differs.
absl::Status CheckSameEvaluation(const std::string& path, const nlohmann::json& before,
                                 const nlohmann::json& now);

// pass@k, avg@k and maj@k over the problems that have at least k judged samples.
struct MetricAtK {
  int64_t k = 0;
  Interval value;
  int64_t problems = 0;
};
absl::StatusOr<std::vector<MetricAtK>> PassCurve(const EvalResults& results,
                                                 absl::Span<const int64_t> ks, uint64_t seed);
// The mean correctness of the first k samples of each problem.
absl::StatusOr<std::vector<MetricAtK>> AverageCurve(const EvalResults& results,
                                                    absl::Span<const int64_t> ks, uint64_t seed);
// Of all judged samples of a problem: a tie goes to the answer that came first. Of fewer: the exact
// expectation over all k-subsets, ties broken uniformly. Votes are canonical answers: equal values
// vote together.
absl::StatusOr<std::vector<MetricAtK>> MajorityCurve(const EvalResults& results,
                                                     absl::Span<const int64_t> ks, uint64_t seed);

// What algorithms.md 10.5 asks of an evaluation, over all its samples. Means over nothing are null.
//   mean_right_response_tokens, mean_wrong_response_tokens, mean_truncated_response_tokens
//   mean_group_std      deviation of being right within a problem, mean over problems
//   mean_top_entropy    of the tokens with most entropy, mean over problems
nlohmann::json SampleMeans(const EvalResults& results);

nlohmann::json CurveJson(const std::vector<MetricAtK>& curve);

// How an answer votes: what the verifier looks at, in a form that equal values share. Empty: none.
std::string VotingAnswer(const std::string& reward, const std::string& completion);

}  // namespace cohort
