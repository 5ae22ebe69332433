#include "common/config/availability.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/reward_sources.h"
#include "common/config/schema.h"

namespace cohort {
namespace {

using Names = std::vector<std::string>;

class Availability {
 public:
  void Check(const std::string& field, const std::string& value, const Names& available) {
    if (std::find(available.begin(), available.end(), value) != available.end()) return;
    found_.push_back(absl::StrCat(
        field, ": ", value, " is not available yet; available: ", absl::StrJoin(available, ", ")));
  }
  // The part that a choice has taken; nothing when it has none.
  void CheckChoice(const std::string& field, const google::protobuf::Message& message,
                   const Names& available) {
    const auto* part = message.GetReflection()->GetOneofFieldDescriptor(
        message, ChoiceOf(*message.GetDescriptor()));
    if (part != nullptr) Check(field, part->name(), available);
  }
  Names Take() { return std::move(found_); }

 private:
  Names found_;
};

template <typename E>
std::string Text(const google::protobuf::EnumDescriptor* type, E value) {
  return EnumValueText(*type->FindValueByNumber(value));
}

}  // namespace

std::vector<std::string> VerifierChoices() {
  Names names;
  for (const RewardSourceRow& row : kRewardSources) {
    if (IsVerifier(row)) names.emplace_back(row.name);
  }
  return names;
}

std::vector<std::string> NotAvailable(const v1::RunConfig& config) {
  const v1::AlgorithmSection& algorithm = config.algorithm();
  Availability have;
  Names sources;
  for (const RewardSourceRow& row : kRewardSources) sources.emplace_back(row.name);
  for (const v1::RewardComponent& source : algorithm.reward().sources()) {
    have.Check("algorithm.reward.sources[].name", source.name(), sources);
  }
  have.Check("algorithm.adv.baseline", Text(v1::Baseline_descriptor(), algorithm.adv().baseline()),
             {"none", "group_mean", "leave_one_out", "length_weighted", "critic_gae", "second_best",
              "prime_loo", "greedy"});
  have.CheckChoice("algorithm.objective", algorithm.objective(),
                   {"policy_gradient", "entropy_direct", "inference_entropy"});
  return have.Take();
}

}  // namespace cohort
