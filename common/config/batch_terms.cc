#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/config/config.h"

namespace cohort {
namespace {

class Terms {
 public:
  explicit Terms(const v1::RunConfig& config)
      : group_size_(config.rollout().group_size()), limit_(config.rollout().max_new_tokens()) {}

  void Add(std::string name, int64_t prompts, std::string note) {
    const int64_t rows = prompts * group_size_;
    terms_.push_back({std::move(name), prompts, rows, rows * limit_, std::move(note)});
  }
  void AddRows(std::string name, int64_t rows, std::string note) {
    terms_.push_back({std::move(name), rows / group_size_, rows, rows * limit_, std::move(note)});
  }
  std::vector<BatchTerm> Take() { return std::move(terms_); }

 private:
  int64_t group_size_;
  int64_t limit_;
  std::vector<BatchTerm> terms_;
};

void AddGenerationTerms(const v1::RunConfig& config, Terms* terms) {
  const int64_t batch = config.learner().prompts_per_step();
  const v1::PromptFilter& filter = config.algorithm().filter().prompts();
  int64_t rounds = 0;
  std::string field;
  if (filter.has_dynamic()) rounds = filter.dynamic().max_rounds(), field = "dynamic.max_rounds";
  if (filter.has_band()) rounds = filter.band().max_rounds(), field = "band.max_rounds";
  if (filter.has_min_valid())
    rounds = filter.min_valid().max_tries(), field = "min_valid.max_tries";
  if (rounds > 0) {
    terms->Add("generated for one step, at most", batch * rounds,
               absl::StrCat("prompts_per_step x filter.prompts.", field, " ", rounds));
  }
  const int64_t window = config.rollout().max_staleness() + int64_t{1};
  terms->Add("in flight or queued, at most", batch * window,
             absl::StrCat("prompts_per_step x (max_staleness + 1 = ", window, ")"));
  terms->AddRows("decoded together by one worker, at most", config.rollout().max_batch_rows(),
                 "rollout.max_batch_rows");
}

}  // namespace

std::vector<BatchTerm> BatchTerms(const v1::RunConfig& config) {
  const v1::LearnerSection& learner = config.learner();
  const int64_t batch = learner.prompts_per_step();
  const int64_t ranks = std::max(1, learner.ranks());
  const int64_t minis = std::max(1, learner.mini_batches());
  Terms terms(config);
  terms.Add("one group", 1, "rollout.group_size rows");
  terms.Add("step (batch), all ranks", batch, "learner.prompts_per_step");
  terms.Add("step, per rank", batch / ranks, absl::StrCat("/ learner.ranks ", ranks));
  terms.Add("mini-batch (one update), all ranks", batch / minis,
            absl::StrCat("/ learner.mini_batches ", minis));
  terms.Add("mini-batch, per rank", batch / minis / ranks, "/ both");
  AddGenerationTerms(config, &terms);
  terms.Add("whole run", batch * config.run().steps(),
            absl::StrCat("x run.steps ", config.run().steps()));
  return terms.Take();
}

std::string PrintBatchTerms(const v1::RunConfig& config) {
  std::string out = absl::StrFormat("%-42s %10s %12s %16s  %s\n", "batch sizes", "prompts", "rows",
                                    "tokens (max)", "from");
  for (const BatchTerm& term : BatchTerms(config)) {
    absl::StrAppendFormat(&out, "%-42s %10d %12d %16d  %s\n", term.name, term.prompts, term.rows,
                          term.tokens, term.note);
  }
  absl::StrAppendFormat(
      &out,
      "tokens are response tokens, at most rollout.max_new_tokens %d a row; a forward pass packs "
      "at most %d tokens (learner.tokens_per_micro_batch), the prompt once per group\n"
      "updates: %d per step (mini_batches x epochs), %d in the run\n",
      config.rollout().max_new_tokens(), config.learner().tokens_per_micro_batch(),
      UpdatesPerBatch(config), UpdatesPerBatch(config) * config.run().steps());
  return out;
}

}  // namespace cohort
