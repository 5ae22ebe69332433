#include "common/rewards/reward_set.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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
  NameComponents();
}

void RewardSet::NameComponents() {
  for (const RewardComponent& component : components_) {
    std::string name = component.name;
    if (!component.label.empty()) absl::StrAppend(&name, ":", component.label);
    names_.push_back(name);
    if (component.scorer == nullptr) continue;
    for (const std::string& part : component.scorer->PartNames()) {
      names_.push_back(absl::StrCat(name, ".", part));
    }
  }
}

absl::StatusOr<std::unique_ptr<RewardSet>> RewardSet::Create(
    std::vector<RewardComponent> components, uint64_t run_seed, const RewardSetOptions& options) {
  if (components.empty()) components.push_back({kTaskReward, 1, {}});
  std::unique_ptr<RewardSet> set(new RewardSet(std::move(components), options));
  COHORT_RETURN_IF_ERROR(set->Prepare(run_seed, options));
  return set;
}

absl::Status RewardSet::Prepare(uint64_t run_seed, const RewardSetOptions& options) {
  const std::set<std::string> distinct(names_.begin(), names_.end());
  if (distinct.size() < names_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("algorithm.reward.sources: two components of one name (",
                     absl::StrJoin(names_, ", "), "); give them a label each"));
  }
  for (RewardComponent& component : components_) {
    if (!std::isfinite(component.weight)) {
      return absl::InvalidArgumentError(
          absl::StrCat("reward ", component.name, ": the weight is not a finite number"));
    }
    component.options.run_seed = run_seed;
    verifiers_.push_back(nullptr);
    if (component.scorer != nullptr) continue;
    if (component.name == kTaskReward) {
      COHORT_RETURN_IF_ERROR(PrepareTask(component, options));
    } else {
      COHORT_ASSIGN_OR_RETURN(std::shared_ptr<const Verifier> verifier,
                              MakeVerifier(component.name, component.options));
      verifiers_.back() = component.inverse ? Inverse(std::move(verifier)) : verifier;
    }
  }
  return absl::OkStatus();
}

absl::Status RewardSet::PrepareTask(const RewardComponent& component,
                                    const RewardSetOptions& options) {
  VerifierOptions common = component.options;
  common.code = options.code;
  for (const std::string& name : VerifierNames()) {
    const bool required = absl::c_linear_search(options.required, name);
    // Tried only where it is needed: it starts the interpreter.
    if (name == "code_tests" && !required && options.code.interpreter.empty()) continue;
    absl::StatusOr<std::unique_ptr<Verifier>> verifier = MakeVerifier(name, common);
    if (verifier.ok()) {
      task_verifiers_[name] =
          component.inverse ? Inverse(*std::move(verifier)) : *std::move(verifier);
    } else if (required) {
      return verifier.status();
    }
  }
  return absl::OkStatus();
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

absl::Duration RewardSet::LimitOf(const Verifier* verifier) const {
  return verifier == nullptr ? timeout_ : std::max(timeout_, verifier->TimeLimit());
}

RewardVerdict RewardSet::Await(const DeadlinePool::Handle& task, absl::Duration limit) {
  if (auto verdict = pool_.Wait(task, limit)) return *std::move(verdict);
  ++timeouts_;
  return {Outcome::kUnscorable, 0, absl::StrCat("no verdict within ", absl::FormatDuration(limit)),
          cause::kTimeout};
}

std::vector<RowReward> RewardSet::Score(absl::Span<const RewardInput> inputs) {
  struct Task {
    DeadlinePool::Handle handle;
    absl::Duration limit;
  };
  std::vector<Task> tasks;  // [input][component], without those of scorers
  for (const RewardInput& row : inputs) {
    auto input = std::make_shared<const RewardInput>(row);
    for (size_t c = 0; c < components_.size(); ++c) {
      if (components_[c].scorer != nullptr) continue;
      const auto verifier = Find(c, row);
      const auto judge = [input, verifier]() -> RewardVerdict {
        if (verifier != nullptr) return verifier->Verify(*input);
        return {Outcome::kUnscorable, 0,
                absl::StrCat("unknown reward \"", input->prompt->reward, "\" of the data source"),
                cause::kUnknown};
      };
      tasks.push_back({pool_.Submit(judge), LimitOf(verifier.get())});
    }
  }
  std::vector<std::vector<RewardVerdict>> batches;  // while the threads work
  for (const RewardComponent& component : components_) {
    batches.emplace_back();
    if (component.scorer != nullptr) batches.back() = component.scorer->Score(inputs);
  }
  std::vector<RowReward> rows(inputs.size());
  size_t next = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    for (size_t c = 0; c < components_.size(); ++c) {
      if (components_[c].scorer != nullptr) {
        Merge(c, std::move(batches[c][i]), &rows[i]);
      } else {
        Merge(c, Await(tasks[next].handle, tasks[next].limit), &rows[i]);
        ++next;
      }
    }
    unscorable_ += rows[i].unscorable;
  }
  return rows;
}

void RewardSet::Merge(size_t component, RewardVerdict verdict, RowReward* row) {
  const size_t parts = components_[component].scorer == nullptr
                           ? 0
                           : components_[component].scorer->PartNames().size();
  const auto finite = [](double value) { return std::isfinite(value); };
  if (verdict.outcome != Outcome::kUnscorable &&
      !(finite(verdict.value) && absl::c_all_of(verdict.parts, finite))) {
    ++non_finite_;
    verdict = {Outcome::kUnscorable, 0, absl::StrCat("the reward is ", verdict.value),
               cause::kNonFinite};
  }
  if (Judges(verdict.outcome)) {
    row->correct = verdict.outcome == Outcome::kCorrect && (!row->judged || row->correct);
    row->judged = true;
    if (row->outcome == Outcome::kValue || row->outcome == Outcome::kCorrect) {
      row->outcome = verdict.outcome;
    }
  }
  if (verdict.outcome == Outcome::kUnscorable) {
    if (!row->unscorable) {
      row->note = absl::StrCat(components_[component].name, ": ", verdict.note);
      row->cause = verdict.cause;
    }
    row->unscorable = true;
    row->outcome = Outcome::kUnscorable;
    verdict.value = 0;
    verdict.parts.clear();
  } else if (*verdict.cause != '\0') {
    row->limits.push_back(verdict.cause);
  }
  row->components.push_back(static_cast<float>(verdict.value));
  verdict.parts.resize(parts, 0);
  for (const double part : verdict.parts) row->components.push_back(static_cast<float>(part));
  row->total += components_[component].weight * verdict.value;
}

}  // namespace cohort
