#include "common/wire/lease_codec.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/wire/packed.h"
#include "common/wire/purpose_codec.h"

namespace cohort {
namespace {

v1::SamplePlan EncodePlan(const SamplePlan& plan) {
  v1::SamplePlan message;
  message.set_temperature(plan.temperature);
  message.set_top_p(plan.top_p);
  message.set_top_k(plan.top_k);
  message.set_max_new_tokens(plan.max_new_tokens);
  message.set_parent(plan.parent);
  message.set_parent_tokens(plan.parent_tokens);
  message.set_forced_ids(PackArray(plan.forced));
  message.set_role(static_cast<v1::RowRole>(plan.role));
  message.set_parent_fraction(plan.parent_fraction);
  message.set_parent_until(plan.parent_until);
  return message;
}

absl::Status CheckPlan(const v1::SamplePlan& plan, int row) {
  const auto bad = [row](absl::string_view field, const auto& found) {
    return absl::InvalidArgumentError(
        absl::StrCat("lease.plans[", row, "].", field, ": found ", found));
  };
  if (!(plan.temperature() >= 0) || !std::isfinite(plan.temperature())) {
    return bad("temperature", plan.temperature());
  }
  if (!(plan.top_p() > 0 && plan.top_p() <= 1)) return bad("top_p", plan.top_p());
  if (plan.top_k() < 0) return bad("top_k", plan.top_k());
  if (plan.max_new_tokens() < 1) return bad("max_new_tokens", plan.max_new_tokens());
  if (plan.parent() < -1 || plan.parent() >= row) return bad("parent", plan.parent());
  if (plan.parent_tokens() < 0) return bad("parent_tokens", plan.parent_tokens());
  if (!v1::RowRole_IsValid(plan.role())) return bad("role", static_cast<int>(plan.role()));
  if (!(plan.parent_fraction() >= 0 && plan.parent_fraction() <= 1)) {
    return bad("parent_fraction", plan.parent_fraction());
  }
  return absl::OkStatus();
}

absl::StatusOr<SamplePlan> DecodePlan(const v1::SamplePlan& message, int row) {
  COHORT_RETURN_IF_ERROR(CheckPlan(message, row));
  SamplePlan plan;
  plan.temperature = message.temperature();
  plan.top_p = message.top_p();
  plan.top_k = message.top_k();
  plan.max_new_tokens = message.max_new_tokens();
  plan.parent = message.parent();
  plan.parent_tokens = message.parent_tokens();
  COHORT_RETURN_IF_ERROR(UnpackArray(
      message.forced_ids(), absl::StrCat("lease.plans[", row, "].forced_ids"), &plan.forced));
  plan.role = static_cast<RowRole>(message.role());
  plan.parent_fraction = message.parent_fraction();
  plan.parent_until = message.parent_until();
  return plan;
}

}  // namespace

v1::Lease EncodeLease(const LeaseTerms& lease) {
  v1::Lease message;
  message.set_lease_id(lease.lease_id);
  message.set_group_id(lease.group_id);
  message.set_ordinal(lease.ordinal);
  message.set_purpose(EncodePurpose(lease.purpose));
  message.set_source(lease.source);
  message.set_reward(lease.reward);
  message.set_columns_json(lease.columns_json);
  message.set_prompt_ids(PackArray(lease.prompt));
  for (const SamplePlan& plan : lease.plans) *message.add_plans() = EncodePlan(plan);
  message.set_version_floor(lease.version_floor);
  message.set_deadline_seconds(absl::ToDoubleSeconds(lease.deadline));
  return message;
}

absl::StatusOr<LeaseTerms> DecodeLease(const v1::Lease& message) {
  if (message.prompt_ids().empty()) {
    return absl::InvalidArgumentError("lease.prompt_ids: expected at least one token, found none");
  }
  if (message.plans_size() == 0) {
    return absl::InvalidArgumentError("lease.plans: expected at least one row, found none");
  }
  if (!(message.deadline_seconds() > 0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "lease.deadline_seconds: expected more than 0, found ", message.deadline_seconds()));
  }
  LeaseTerms lease;
  lease.lease_id = message.lease_id();
  lease.group_id = message.group_id();
  lease.ordinal = message.ordinal();
  COHORT_ASSIGN_OR_RETURN(lease.purpose, DecodePurpose(message.purpose()));
  lease.source = message.source();
  lease.reward = message.reward();
  lease.columns_json = message.columns_json();
  COHORT_RETURN_IF_ERROR(UnpackArray(message.prompt_ids(), "lease.prompt_ids", &lease.prompt));
  for (int row = 0; row < message.plans_size(); ++row) {
    COHORT_ASSIGN_OR_RETURN(SamplePlan plan, DecodePlan(message.plans(row), row));
    lease.plans.push_back(std::move(plan));
  }
  lease.version_floor = message.version_floor();
  lease.deadline = absl::Seconds(message.deadline_seconds());
  return lease;
}

}  // namespace cohort
