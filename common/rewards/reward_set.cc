#include "common/rewards/reward_set.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

bool Judges(Outcome outcome) {
  return outcome == Outcome::kCorrect || outcome == Outcome::kWrong ||
         outcome == Outcome::kUnparsable;
}

}  // namespace

RewardSet::RewardSet(std::vector<RewardComponent> components, const RewardSetOptions& options)
    : components_(std::move(components)),
      timeout_(options.timeout),
      pool_(std::max(1, options.threads)) {
  for (const RewardComponent& component : components_) names_.push_back(component.name);
}

absl::StatusOr<std::unique_ptr<RewardSet>> RewardSet::Create(
    std::vector<RewardComponent> components, uint64_t run_seed, const RewardSetOptions& options) {
  if (components.empty()) components.push_back({kTaskReward, 1, {}});
  std::unique_ptr<RewardSet> set(new RewardSet(std::move(components), options));
  for (RewardComponent& component : set->components_) {
    if (!std::isfinite(component.weight)) {
      return absl::InvalidArgumentError(
          absl::StrCat("reward ", component.name, ": the weight is not a finite number"));
    }
    component.options.run_seed = run_seed;
    set->verifiers_.push_back(nullptr);
    if (component.name != kTaskReward) {
      COHORT_ASSIGN_OR_RETURN(set->verifiers_.back(),
                              MakeVerifier(component.name, component.options));
      continue;
    }
    for (const std::string& name : VerifierNames()) {
      absl::StatusOr<std::unique_ptr<Verifier>> verifier = MakeVerifier(name, component.options);
      if (verifier.ok()) set->task_verifiers_[name] = *std::move(verifier);
    }
  }
  return set;
}

std::unique_ptr<RewardSet> RewardSet::FromVerifiers(
    std::vector<RewardComponent> components, std::vector<std::shared_ptr<const Verifier>> verifiers,
    const RewardSetOptions& options) {
  COHORT_CHECK(components.size() == verifiers.size());
  std::unique_ptr<RewardSet> set(new RewardSet(std::move(components), options));
  set->verifiers_ = std::move(verifiers);
  return set;
}

std::shared_ptr<const Verifier> RewardSet::Find(size_t component, const RewardInput& input) const {
  if (verifiers_[component] != nullptr) return verifiers_[component];
  const auto it = task_verifiers_.find(input.prompt->reward);
  return it == task_verifiers_.end() ? nullptr : it->second;
}

std::vector<RowReward> RewardSet::Score(absl::Span<const RewardInput> inputs) {
  std::vector<DeadlinePool::Handle> tasks;  // [input][component]
  for (const RewardInput& row : inputs) {
    auto input = std::make_shared<const RewardInput>(row);
    for (size_t c = 0; c < components_.size(); ++c) {
      tasks.push_back(pool_.Submit([input, verifier = Find(c, row)]() -> RewardVerdict {
        if (verifier != nullptr) return verifier->Verify(*input);
        return {Outcome::kUnscorable, 0,
                absl::StrCat("unknown reward \"", input->prompt->reward, "\" of the data source")};
      }));
    }
  }
  std::vector<RowReward> rows(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    for (size_t c = 0; c < components_.size(); ++c) {
      auto verdict = pool_.Wait(tasks[i * components_.size() + c], timeout_);
      if (!verdict) {
        ++timeouts_;
        verdict = RewardVerdict{Outcome::kUnscorable, 0,
                                absl::StrCat("no verdict within ", absl::FormatDuration(timeout_))};
      }
      Merge(c, *std::move(verdict), &rows[i]);
    }
    unscorable_ += rows[i].unscorable;
  }
  return rows;
}

void RewardSet::Merge(size_t component, RewardVerdict verdict, RowReward* row) {
  if (verdict.outcome != Outcome::kUnscorable && !std::isfinite(verdict.value)) {
    ++non_finite_;
    verdict = {Outcome::kUnscorable, 0, absl::StrCat("the reward is ", verdict.value)};
  }
  if (Judges(verdict.outcome)) {
    row->correct = verdict.outcome == Outcome::kCorrect && (!row->judged || row->correct);
    row->judged = true;
  }
  if (verdict.outcome == Outcome::kUnscorable) {
    row->unscorable = true;
    if (row->note.empty()) row->note = absl::StrCat(names_[component], ": ", verdict.note);
    verdict.value = 0;
  }
  row->components.push_back(static_cast<float>(verdict.value));
  row->total += components_[component].weight * verdict.value;
}

}  // namespace cohort
