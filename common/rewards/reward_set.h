// The weighted reward components of a run, scored with a deadline.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/rewards/deadline_pool.h"
#include "common/rewards/verifier.h"

namespace cohort {

// The component whose verifier is the data source's own (RewardPrompt::reward).
inline constexpr char kTaskReward[] = "task";

// Scores all rows of a group in one call, such as a service. Thread-safe.
class BatchScorer {
 public:
  virtual ~BatchScorer() = default;
  // One verdict per input, in order, whatever happens. Bounds its own time.
  virtual std::vector<RewardVerdict> Score(absl::Span<const RewardInput> inputs) = 0;
  // Names of what its score consists of: shown beside it, without a weight of their own.
  virtual const std::vector<std::string>& PartNames() const = 0;
  // An error: it will never score again, and why.
  virtual absl::Status Alive() { return absl::OkStatus(); }
};

struct RewardComponent {
  std::string name;  // kTaskReward, one of VerifierNames(), or anything for a `scorer`
  double weight = 1;
  VerifierOptions options;
  std::string label = "";  // shown as "name:label"; tells two of one name apart
  std::shared_ptr<BatchScorer> scorer = nullptr;  // scores instead of a verifier of that name
  bool inverse = false;                           // the reward is 1 - X
};

struct RewardSetOptions {
  absl::Duration timeout = absl::Seconds(5);  // per sample and component
  int threads = 1;
  // Of the data sources' own rewards; `required` ones must be ready when the set is made.
  CodeOptions code;
  std::vector<std::string> required;
};

struct RowReward {
  std::vector<float> components;  // one per name, unweighted, the parts too; 0 where unscorable
  double total = 0;               // weighted sum
  bool judged = false;            // some component judged whether the answer is right
  bool correct = false;           // judged, and every such component said yes
  bool unscorable = false;        // some component gave no verdict
  // Of the components that judge: kCorrect when all said yes, else what the first that did not
  // said. kUnscorable when some component gave no verdict, kValue when none judges.
  Outcome outcome = Outcome::kValue;
  std::string note;                 // why
  const char* cause = "";           // why, as a metric's label
  std::vector<const char*> limits;  // which limits its programs ran into (cause::kCode...)
};

// Thread-safe.
class RewardSet {
 public:
  // `run_seed` is put into every component's options. Unknown names are errors.
  static absl::StatusOr<std::unique_ptr<RewardSet>> Create(std::vector<RewardComponent> components,
                                                           uint64_t run_seed,
                                                           const RewardSetOptions& options = {});
  // For a verifier of one's own: `verifiers` are the components, named and weighted by
  // `components`.
  static std::unique_ptr<RewardSet> FromVerifiers(
      std::vector<RewardComponent> components,
      std::vector<std::shared_ptr<const Verifier>> verifiers, const RewardSetOptions& options);

  // The components in order, each with its parts behind it ("service.style").
  const std::vector<std::string>& names() const { return names_; }

  // One result per input, in order. Waits at most the timeout per input and component, and what the
  // batch scorers take.
  std::vector<RowReward> Score(absl::Span<const RewardInput> inputs);

  // Since construction.
  int64_t timeouts() const { return timeouts_.load(); }
  int64_t non_finite() const { return non_finite_.load(); }
  int64_t unscorable() const { return unscorable_.load(); }

 private:
  RewardSet(std::vector<RewardComponent> components, const RewardSetOptions& options);
  std::shared_ptr<const Verifier> Find(size_t component, const RewardInput& input) const;
  absl::Status Prepare(uint64_t run_seed, const RewardSetOptions& options);
  absl::Status PrepareTask(const RewardComponent& component, const RewardSetOptions& options);
  void NameComponents();
  RewardVerdict Await(const DeadlinePool::Handle& task, absl::Duration limit);
  void Merge(size_t component, RewardVerdict verdict, RowReward* row);
  absl::Duration LimitOf(const Verifier* verifier) const;

  // Constant after construction.
  std::vector<RewardComponent> components_;
  std::vector<std::string> names_;
  absl::Duration timeout_;
  std::vector<std::shared_ptr<const Verifier>> verifiers_;  // per component; null for kTaskReward
  std::map<std::string, std::shared_ptr<const Verifier>> task_verifiers_;

  std::atomic<int64_t> timeouts_{0};
  std::atomic<int64_t> non_finite_{0};
  std::atomic<int64_t> unscorable_{0};
  DeadlinePool pool_;
};

}  // namespace cohort
