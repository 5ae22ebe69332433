// `cohort eval`: problems, several samples each, judged; pass@k, avg@k and maj@k with intervals.
//
// One process samples, or `--workers N` share the problems: N processes with an engine each, as a
// rollout worker has one, which write a part of the results that this process puts together. It
// forks before it touches LibTorch.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/model/model_hash.h"
#include "common/telemetry/jsonl_writer.h"
#include "services/cli/accuracy.h"
#include "services/cli/commands.h"
#include "services/cli/evaluator.h"
#include "services/cli/local_engine.h"
#include "services/cli/supervisor.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr int kMaxWorkers = 256;
constexpr int kProgressEvery = 16;  // problems
constexpr absl::Duration kTick = absl::Milliseconds(200);
constexpr absl::Duration kWorkerGrace = absl::Seconds(5);

EvaluatorOptions MakeOptions(const EvalArgs& args) {
  EvaluatorOptions options;
  options.source.task = args.task;
  options.source.path = args.data;
  options.source.reward = args.reward;
  options.source.seed = args.seed;
  options.split = args.split == "train" ? Split::kTrain : Split::kHeldout;
  options.prompts = args.prompts;
  options.samples = args.samples;
  options.temperature = args.temperature;
  options.top_p = args.top_p;
  options.max_new_tokens = args.max_new_tokens;
  options.seed = args.seed;
  options.keep = args.keep;
  return options;
}

struct Shard {
  uint64_t index = 0;
  uint64_t count = 1;
  bool Has(uint64_t problem) const { return problem % count == index; }
};

absl::StatusOr<Shard> ParseShard(const std::string& text) {
  Shard shard;
  const size_t slash = text.find('/');
  if (text.empty()) return shard;
  if (slash == std::string::npos || !absl::SimpleAtoi(text.substr(0, slash), &shard.index) ||
      !absl::SimpleAtoi(text.substr(slash + 1), &shard.count) || shard.index >= shard.count) {
    return absl::InvalidArgumentError(absl::StrCat("--shard: expected I/N, found ", text));
  }
  return shard;
}

std::vector<ProblemScore> Scores(const EvalResults& results) {
  std::vector<ProblemScore> scores;
  for (const auto& [index, problem] : results.problems) {
    if (problem.too_long) continue;
    const ProblemCount count = problem.Count();
    scores.push_back({static_cast<int>(count.correct), static_cast<int>(count.samples)});
  }
  return scores;
}

// Sums over all samples.
struct Totals {
  double samples = 0, truncated = 0, tokens = 0, entropy = 0;
  double right = 0, right_tokens = 0;
  int64_t unscorable = 0, too_long = 0;

  explicit Totals(const EvalResults& results) {
    for (const auto& [index, problem] : results.problems) {
      too_long += problem.too_long ? 1 : 0;
      for (const SampleResult& sample : problem.samples) {
        samples += 1;
        truncated += sample.truncated ? 1 : 0;
        tokens += sample.tokens;
        entropy += sample.entropy * sample.tokens;
        unscorable += sample.unscorable ? 1 : 0;
        right += sample.correct ? 1 : 0;
        right_tokens += sample.correct ? sample.tokens : 0;
      }
    }
  }
};

double Share(double part, double whole) { return whole > 0 ? part / whole : 0; }

class EvalCommand {
 public:
  explicit EvalCommand(const EvalArgs& args) : args_(args), options_(MakeOptions(args)) {}

  absl::Status Run() {
    COHORT_ASSIGN_OR_RETURN(shard_, ParseShard(args_.shard));
    COHORT_RETURN_IF_ERROR(Open());
    const absl::Time start = absl::Now();
    if (Missing() > 0) {
      COHORT_RETURN_IF_ERROR(args_.workers > 1 ? RunWorkers() : RunHere());
    }
    seconds_ = absl::ToDoubleSeconds(absl::Now() - start);
    return args_.shard.empty() ? Report() : absl::OkStatus();
  }

 private:
  std::string ResultsPath() const {
    if (!args_.results.empty()) return args_.results;
    if (args_.out.empty()) return "";
    return absl::StrCat(absl::StripSuffix(args_.out, ".json"), ".jsonl");
  }
  std::string PartPath(int part) const { return absl::StrCat(path_, ".part-", part); }

  absl::Status CheckKs() {
    ks_ = args_.ks.empty() ? PowersOfTwoUpTo(args_.samples) : args_.ks;
    std::sort(ks_.begin(), ks_.end());
    for (int64_t k : ks_) {
      if (k >= 1 && k <= args_.samples) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("--k ", k, ": expected 1 <= k <= --samples (", args_.samples, ")"));
    }
    return absl::OkStatus();
  }

  absl::Status Open() {
    COHORT_RETURN_IF_ERROR(CheckKs());
    COHORT_ASSIGN_OR_RETURN(const auto source, MakeSource(options_.source));
    count_ = CountProblems(*source, options_.split, args_.prompts);
    COHORT_ASSIGN_OR_RETURN(const std::string hash, ModelContentHash(args_.model));
    results_.header = {{"kind", "eval"},
                       {"model_sha256", hash},
                       {"source", source->name()},
                       {"split", args_.split},
                       {"reward", source->reward()},
                       {"samples", args_.samples},
                       {"temperature", args_.temperature},
                       {"top_p", args_.top_p},
                       {"max_new_tokens", args_.max_new_tokens},
                       {"seed", args_.seed}};
    path_ = ResultsPath();
    if (args_.resume && path_.empty()) {
      return absl::InvalidArgumentError("--resume needs --results FILE.jsonl or --out FILE.json");
    }
    if (args_.resume || !args_.shard.empty()) COHORT_RETURN_IF_ERROR(TakeEarlierResults());
    results_.header["model"] = args_.model;
    results_.header["data"] = args_.data;
    if (path_.empty() && args_.workers > 1) {
      folder_ = std::make_unique<TemporaryFolder>();
      path_ = folder_->path() + "/results.jsonl";
    }
    if (path_.empty() || !args_.shard.empty()) return absl::OkStatus();
    RemoveParts();
    return WriteEvalResults(path_, results_);
  }

  // What an interrupted evaluation left: its file and those of its workers.
  absl::Status TakeEarlierResults() {
    const int parts = args_.shard.empty() ? kMaxWorkers : 0;
    for (int part = -1; part < parts; ++part) {
      const std::string path = part < 0 ? path_ : PartPath(part);
      if (!std::filesystem::exists(path)) continue;
      COHORT_ASSIGN_OR_RETURN(EvalResults earlier, ReadEvalResults(path));
      COHORT_RETURN_IF_ERROR(CheckSameEvaluation(path, earlier.header, results_.header));
      for (auto& [index, problem] : earlier.problems) {
        if (index < count_) results_.problems[index] = std::move(problem);
      }
    }
    if (args_.shard.empty() && !results_.problems.empty()) {
      std::cerr << "cohort eval: " << results_.problems.size() << " of " << count_
                << " problems are there already" << std::endl;
    }
    return absl::OkStatus();
  }

  void RemoveParts() const {
    std::error_code ignored;
    for (int part = 0; part < kMaxWorkers; ++part) std::filesystem::remove(PartPath(part), ignored);
  }

  uint64_t Missing() const {
    uint64_t missing = 0;
    for (uint64_t i = 0; i < count_; ++i) missing += Wanted(i) ? 1 : 0;
    return missing;
  }
  bool Wanted(uint64_t index) const {
    return shard_.Has(index) && results_.problems.count(index) == 0;
  }

  absl::Status RunHere() {
    COHORT_ASSIGN_OR_RETURN(
        const LocalModel local,
        LoadLocalModelAndTokenizer(args_.model, args_.dtype, args_.device, args_.threads));
    COHORT_ASSIGN_OR_RETURN(const auto evaluator,
                            Evaluator::Create(options_, local.tokenizer.get()));
    std::unique_ptr<JsonlWriter> writer;
    if (!path_.empty()) {
      const std::string path =
          args_.shard.empty() ? path_ : PartPath(static_cast<int>(shard_.index));
      COHORT_ASSIGN_OR_RETURN(writer, JsonlWriter::Open(path));
      if (!args_.shard.empty()) COHORT_RETURN_IF_ERROR(writer->WriteLine(results_.header.dump()));
    }
    return evaluator->Run(
        *local.model, [this](uint64_t index) { return Wanted(index); },
        [&](const ProblemResult& problem) -> absl::Status {
          if (problem.too_long) {
            std::cerr << "cohort eval: problem " << problem.index
                      << " is longer than the model's context; skipped" << std::endl;
          }
          results_.problems[problem.index] = problem;
          if (args_.shard.empty()) Progress(results_.problems.size());
          return writer == nullptr ? absl::OkStatus() : writer->WriteLine(ProblemLine(problem));
        });
  }

  // ---- workers ----

  ChildSpec WorkerSpec(int index) const {
    const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    const int threads = args_.threads > 0 ? args_.threads : std::max(1, cores / args_.workers);
    ChildSpec spec;
    spec.name = absl::StrCat("worker-", index);
    spec.argv = {args_.self,
                 "eval",
                 "--model",
                 args_.model,
                 args_.task.empty() ? "--data" : "--task",
                 args_.task.empty() ? args_.data : args_.task,
                 "--reward",
                 args_.reward,
                 "--split",
                 args_.split,
                 "--samples",
                 absl::StrCat(args_.samples),
                 "--temperature",
                 absl::StrFormat("%.17g", args_.temperature),
                 "--top-p",
                 absl::StrFormat("%.17g", args_.top_p),
                 "--max-new-tokens",
                 absl::StrCat(args_.max_new_tokens),
                 "--prompts",
                 absl::StrCat(args_.prompts),
                 "--seed",
                 absl::StrCat(args_.seed),
                 "--keep",
                 absl::StrCat(args_.keep),
                 "--dtype",
                 args_.dtype,
                 "--device",
                 args_.device,
                 "--threads",
                 absl::StrCat(threads),
                 "--results",
                 path_,
                 "--shard",
                 absl::StrCat(index, "/", args_.workers)};
    spec.environment = {{"OMP_WAIT_POLICY", "passive"}, {"OMP_NUM_THREADS", absl::StrCat(threads)}};
    return spec;
  }

  absl::Status RunWorkers() {
    SignalGate gate;
    Supervisor supervisor;
    std::vector<std::string> names;
    for (int i = 0; i < args_.workers; ++i) {
      const ChildSpec spec = WorkerSpec(i);
      names.push_back(spec.name);
      COHORT_RETURN_IF_ERROR(supervisor.Start(spec));
    }
    absl::Status status;
    while (status.ok() && !supervisor.Running().empty()) {
      if (SignalGate::IsStop(gate.Wait(kTick))) {
        status = absl::CancelledError("stopped; --resume continues");
      }
      for (const ChildExit& exit : supervisor.Reap()) {
        if (exit.ok() || !status.ok()) continue;
        status = absl::UnavailableError(absl::StrCat(exit.name, " ", exit.Describe(),
                                                     "; --resume continues with what is there"));
      }
      Progress(results_.problems.size() + LinesInParts());
    }
    if (!status.ok()) supervisor.Stop(names, kWorkerGrace, &gate);
    COHORT_RETURN_IF_ERROR(status);
    return MergeParts();
  }

  size_t LinesInParts() const {
    size_t lines = 0;
    for (int i = 0; i < args_.workers; ++i) {
      const absl::StatusOr<std::string> text = ReadFile(PartPath(i));
      if (!text.ok() || text->empty()) continue;
      lines += static_cast<size_t>(std::count(text->begin(), text->end(), '\n')) - 1;
    }
    return lines;
  }

  absl::Status MergeParts() {
    for (int i = 0; i < args_.workers; ++i) {
      if (!std::filesystem::exists(PartPath(i))) continue;  // nothing was missing in its share
      COHORT_ASSIGN_OR_RETURN(EvalResults part, ReadEvalResults(PartPath(i)));
      for (auto& [index, problem] : part.problems) results_.problems[index] = std::move(problem);
    }
    COHORT_RETURN_IF_ERROR(WriteEvalResults(path_, results_));
    RemoveParts();
    return absl::OkStatus();
  }

  void Progress(size_t done) {
    if (done < shown_ + kProgressEvery || done == count_) return;
    shown_ = done;
    std::cerr << "cohort eval: " << done << " of " << count_ << " problems" << std::endl;
  }

  // ---- report ----

  absl::Status Report() const {
    const Accuracy accuracy = MeanAccuracy(Scores(results_), args_.seed);
    const Totals totals(results_);
    const std::string source = results_.header["source"];
    if (accuracy.problems == 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          "no completion could be judged: ", totals.too_long, " prompts were too long, ",
          totals.unscorable, " completions unscorable (verifier ",
          std::string(results_.header["reward"]), ")"));
    }
    std::cout << absl::StrFormat(
                     "%s (%s): accuracy %.4f, 95 %% interval [%.4f, %.4f] (%s), %d problems x %d "
                     "samples",
                     source, args_.split, accuracy.mean, accuracy.low, accuracy.high,
                     accuracy.method, accuracy.problems, args_.samples)
              << std::endl;
    COHORT_ASSIGN_OR_RETURN(const auto pass, PassCurve(results_, ks_, args_.seed));
    COHORT_ASSIGN_OR_RETURN(const auto average, AverageCurve(results_, ks_, args_.seed));
    COHORT_ASSIGN_OR_RETURN(const auto majority, MajorityCurve(results_, ks_, args_.seed));
    if (args_.samples > 1 || !args_.ks.empty()) PrintCurves(pass, average, majority);
    std::cout << absl::StrFormat(
                     "length %.1f tokens, truncated %.1f %%, entropy %.3f nats per token",
                     Share(totals.tokens, totals.samples),
                     100 * Share(totals.truncated, totals.samples),
                     Share(totals.entropy, totals.tokens))
              << std::endl;
    if (args_.out.empty()) return absl::OkStatus();
    json result = Result(accuracy, totals);
    result["pass_at_k"] = CurveJson(pass);
    result["avg_at_k"] = CurveJson(average);
    result["maj_at_k"] = CurveJson(majority);
    result["maj_votes"] = "canonical answers (equal values vote together), exact expectation";
    return WriteFileAtomic(args_.out,
                           result.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
  }

  static void PrintCurves(const std::vector<MetricAtK>& pass, const std::vector<MetricAtK>& average,
                          const std::vector<MetricAtK>& majority) {
    const auto cell = [](const MetricAtK& metric) {
      return absl::StrFormat("%.4f [%.4f, %.4f]", metric.value.mean, metric.value.low,
                             metric.value.high);
    };
    std::cout << absl::StrFormat("%6s  %-24s  %-24s  %-24s\n", "k", "pass@k", "avg@k", "maj@k");
    for (size_t i = 0; i < pass.size(); ++i) {
      std::cout << absl::StrFormat("%6d  %-24s  %-24s  %-24s\n", pass[i].k, cell(pass[i]),
                                   cell(average[i]), cell(majority[i]));
    }
  }

  json Result(const Accuracy& accuracy, const Totals& totals) const {
    json problems = json::array();
    for (const auto& [index, problem] : results_.problems) {
      if (problem.too_long) continue;
      const ProblemCount count = problem.Count();
      problems.push_back(
          {{"index", index},
           {"answer", problem.answer},
           {"correct", count.correct},
           {"samples", count.samples},
           {"first_completion", problem.samples.empty() ? "" : problem.samples[0].text}});
    }
    json result = {{"model", args_.model},
                   {"accuracy", accuracy.mean},
                   {"interval", {accuracy.low, accuracy.high}},
                   {"interval_method", accuracy.method},
                   {"problems", accuracy.problems},
                   {"skipped_too_long", totals.too_long},
                   {"unscorable", totals.unscorable},
                   {"truncated_share", Share(totals.truncated, totals.samples)},
                   {"mean_response_tokens", Share(totals.tokens, totals.samples)},
                   {"mean_right_response_tokens", Share(totals.right_tokens, totals.right)},
                   {"mean_entropy", Share(totals.entropy, totals.tokens)},
                   {"seconds", seconds_},
                   {"results", path_},
                   {"per_problem", problems}};
    for (const char* key : {"source", "split", "reward", "samples", "temperature", "top_p",
                            "max_new_tokens", "seed", "model_sha256"}) {
      result[key] = results_.header[key];
    }
    return result;
  }

  const EvalArgs& args_;
  const EvaluatorOptions options_;
  Shard shard_;
  std::vector<int64_t> ks_;
  uint64_t count_ = 0;  // problems to evaluate
  std::string path_;    // of the results; empty: none
  std::unique_ptr<TemporaryFolder> folder_;
  EvalResults results_;
  size_t shown_ = 0;
  double seconds_ = 0;
};

}  // namespace

int RunEval(const EvalArgs& args) {
  const absl::Status status = EvalCommand(args).Run();
  return status.ok() ? 0 : Fail("eval", status);
}

}  // namespace cohort
