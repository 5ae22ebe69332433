#include "services/learner/prompt_selection.h"

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rl/learning_curves.h"
#include "common/tasks/prompt_history.h"
#include "common/telemetry/metric_names.h"

namespace cohort {
namespace {

constexpr uint64_t kDraws = 4096;  // of a task without an end

// Some prompts of one split of another source, as both splits.
class ChosenPrompts final : public PromptSource {
 public:
  ChosenPrompts(std::unique_ptr<PromptSource> all, Split split, std::vector<uint64_t> chosen)
      : all_(std::move(all)), split_(split), chosen_(std::move(chosen)) {}
  const std::string& name() const override { return all_->name(); }
  const std::string& reward() const override { return all_->reward(); }
  uint64_t Size(Split) const override { return chosen_.size(); }
  absl::StatusOr<Prompt> At(uint64_t index, Split) const override {
    if (index >= chosen_.size()) {
      return absl::OutOfRangeError(
          absl::StrCat(name(), ": prompt ", index, " of ", chosen_.size(), " chosen ones"));
    }
    return all_->At(chosen_[index], split_);
  }

 private:
  const std::unique_ptr<PromptSource> all_;
  const Split split_;
  const std::vector<uint64_t> chosen_;
};

struct Candidate {
  size_t part = 0;
  uint64_t index = 0;  // in the part's split
  std::string key;
};

// The distinct prompts of all parts.
class Candidates {
 public:
  Candidates(const PromptFormat& format, const Tokenizer& tokenizer)
      : format_(format), tokenizer_(tokenizer) {}

  absl::Status Add(size_t number, const PromptMixture::Part& part) {
    const uint64_t size = part.source->Size(part.split);
    const uint64_t rows = size == kEndless ? kDraws : size;
    for (uint64_t i = 0; i < rows; ++i) {
      COHORT_ASSIGN_OR_RETURN(const Prompt prompt, part.source->At(i, part.split));
      COHORT_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens,
                              EncodePrompt(prompt, format_, tokenizer_));
      std::string key = PromptKey(tokens);
      if (seen_.insert(key).second) list_.push_back({number, i, std::move(key)});
    }
    return absl::OkStatus();
  }

  const std::vector<Candidate>& list() const { return list_; }

 private:
  const PromptFormat& format_;
  const Tokenizer& tokenizer_;
  std::set<std::string> seen_;
  std::vector<Candidate> list_;
};

std::vector<RankedPrompt> Rank(const v1::DataSelect& select, const AccuracyHistory& history) {
  if (select.has_lim()) return RankByLim(history, select.lim().theta());
  std::vector<RankedPrompt> ranked = RankByHistoryVariance(history);
  const auto most = static_cast<size_t>(select.variance_topk().k());
  if (ranked.size() > most) ranked.resize(most);
  return ranked;
}

void Keep(const std::vector<Candidate>& candidates, const std::vector<RankedPrompt>& ranked,
          std::vector<PromptMixture::Part>* parts) {
  std::vector<std::vector<uint64_t>> chosen(parts->size());
  for (const RankedPrompt& one : ranked) {
    chosen[candidates[one.prompt].part].push_back(candidates[one.prompt].index);
  }
  std::vector<PromptMixture::Part> kept;
  for (size_t i = 0; i < chosen.size(); ++i) {
    if (chosen[i].empty()) continue;
    PromptMixture::Part part;
    part.weight = static_cast<double>(chosen[i].size());  // every prompt as often as any other
    part.source = std::make_unique<ChosenPrompts>(std::move((*parts)[i].source), (*parts)[i].split,
                                                  std::move(chosen[i]));
    kept.push_back(std::move(part));
  }
  *parts = std::move(kept);
}

}  // namespace

absl::Status SelectPrompts(const v1::RunConfig& config, const PromptFormat& format,
                           const Tokenizer& tokenizer, std::vector<PromptMixture::Part>* parts) {
  const v1::DataSelect& select = config.algorithm().data().select();
  if (!select.has_variance_topk() && !select.has_lim()) return absl::OkStatus();
  const std::string run = select.has_lim() ? select.lim().run() : select.variance_topk().run();
  absl::StatusOr<PromptHistory> history =
      PromptHistory::Read(absl::StrCat(run, "/", metric::kGroupsFile));
  if (!history.ok()) {
    return absl::Status(
        history.status().code(),
        absl::StrCat("algorithm.data.select: ", history.status().message(),
                     "; `run` needs the folder of a run that trained on this data"));
  }
  Candidates candidates(format, tokenizer);
  for (size_t i = 0; i < parts->size(); ++i) {
    COHORT_RETURN_IF_ERROR(candidates.Add(i, (*parts)[i]));
  }
  const size_t all = candidates.list().size();
  // A pass over one file is an epoch; of prompts that are drawn the n-th visit is the n-th.
  const bool passes = parts->size() == 1 && (*parts)[0].source->Size((*parts)[0].split) != kEndless;
  AccuracyHistory curves;
  for (const Candidate& candidate : candidates.list()) {
    curves.push_back(history->Curve(candidate.key, passes ? all : 0));
  }
  const std::vector<RankedPrompt> ranked = Rank(select, curves);
  if (ranked.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "algorithm.data.select: none of ", all, " prompts can be chosen by the history of ", run,
        "; it needs a run of at least one pass over the same prompts (or a lower lim.theta)"));
  }
  COHORT_LOG(INFO) << "algorithm.data.select: " << ranked.size() << " of " << all
                   << " prompts by the history of " << run << ", first score " << ranked[0].score;
  Keep(candidates.list(), ranked, parts);
  return absl::OkStatus();
}

}  // namespace cohort
