#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/config/config.h"
#include "common/config/schema.h"

namespace cohort {
namespace {

constexpr int kHeldoutRows = 64;  // of a file, for the default evaluation

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Writes the schema's default into the field itself.
void SetDefault(const FieldDescriptor& field, Message* message) {
  const Reflection& reflection = *message->GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(message, &field, field.default_value_int32());
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.SetInt64(message, &field, field.default_value_int64());
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.SetUInt64(message, &field, field.default_value_uint64());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.SetDouble(message, &field, field.default_value_double());
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(message, &field, field.default_value_bool());
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.SetEnum(message, &field, field.default_value_enum());
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.SetString(message, &field, field.default_value_string());
    default:
      return;
  }
}

void MaterialiseDefaults(Message* message);

void MaterialiseField(const FieldDescriptor& field, Message* message) {
  const Reflection& reflection = *message->GetReflection();
  const bool is_message = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
  if (field.is_repeated()) {
    const int size = is_message ? reflection.FieldSize(*message, &field) : 0;
    for (int i = 0; i < size; ++i) {
      MaterialiseDefaults(reflection.MutableRepeatedMessage(message, &field, i));
    }
    return;
  }
  const bool given = reflection.HasField(*message, &field);
  if (is_message) {
    const bool optional = field.containing_oneof() != nullptr || AbsentMeansOff(field);
    if (given || !optional) MaterialiseDefaults(reflection.MutableMessage(message, &field));
  } else if (!given && field.has_default_value()) {
    SetDefault(field, message);
  }
}

void MaterialiseDefaults(Message* message) {
  const auto& type = *message->GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) MaterialiseField(*type.field(i), message);
}

std::string Stem(absl::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash != absl::string_view::npos) path.remove_prefix(slash + 1);
  const size_t dot = path.rfind('.');
  return std::string(dot == absl::string_view::npos || dot == 0 ? path : path.substr(0, dot));
}

template <typename Source>
void ResolveSourceName(Source* source) {
  if (!source->has_name()) {
    source->set_name(source->has_task() ? source->task() : Stem(source->path()));
  }
}

void ResolveSources(v1::RunConfig* config) {
  v1::DataSection* data = config->mutable_data();
  // With more than one spelling given Validate says so; nothing is guessed.
  if (data->sources().empty() && data->has_task() != data->has_path()) {
    v1::DataSource* source = data->add_sources();
    if (data->has_task()) source->set_task(data->task());
    if (data->has_path()) source->set_path(data->path());
    data->clear_task();
    data->clear_path();
  }
  v1::EvalSection* eval = config->mutable_eval();
  const bool own_evaluation = eval->sources().empty() && eval->samples() > 0;
  for (v1::DataSource& source : *data->mutable_sources()) {
    ResolveSourceName(&source);
    if (source.has_heldout_rows()) continue;
    source.set_heldout_rows(own_evaluation && source.has_path() ? kHeldoutRows : 0);
  }
  if (eval->sources().empty()) {
    for (const v1::DataSource& source : data->sources()) {
      // A file without held-out rows has nothing but trained rows to be evaluated on.
      if (source.has_path() && source.heldout_rows() == 0) continue;
      v1::EvalSource* held_out = eval->add_sources();
      if (source.has_task()) held_out->set_task(source.task());
      if (source.has_path()) held_out->set_path(source.path());
      if (source.has_reward()) held_out->set_reward(source.reward());
      held_out->set_name(source.name());
      held_out->set_heldout_rows(source.heldout_rows());
    }
  }
  for (v1::EvalSource& source : *eval->mutable_sources()) ResolveSourceName(&source);
}

void ResolveAdvantage(v1::Advantage* adv) {
  if (adv->scale().kind_case() == v1::AdvantageScale::KIND_NOT_SET) {
    if (adv->baseline() == v1::BASELINE_GROUP_MEAN) {
      adv->mutable_scale()->mutable_group_std();
    } else {
      adv->mutable_scale()->mutable_none();
    }
  }
  if (adv->level().kind_case() == v1::AdvantageLevel::KIND_NOT_SET) {
    const bool by_token =
        adv->baseline() == v1::BASELINE_CRITIC_GAE || adv->baseline() == v1::BASELINE_PRIME_LOO;
    if (by_token) {
      adv->mutable_level()->mutable_returns();
    } else {
      adv->mutable_level()->mutable_sequence();
    }
  }
}

void ResolveFilters(v1::AlgorithmSection* algorithm) {
  v1::Filter* filter = algorithm->mutable_filter();
  if (filter->prompts().kind_case() == v1::PromptFilter::KIND_NOT_SET) {
    filter->mutable_prompts()->mutable_none();
  }
  if (filter->rows().kind_case() == v1::RowFilter::KIND_NOT_SET) {
    filter->mutable_rows()->mutable_none();
  }
  if (filter->gate().kind_case() == v1::Gate::KIND_NOT_SET) {
    filter->mutable_gate()->mutable_none();
  }
  if (algorithm->data().select().kind_case() == v1::DataSelect::KIND_NOT_SET) {
    algorithm->mutable_data()->mutable_select()->mutable_none();
  }
}

bool UsesDapoRule(const v1::RunConfig& config) {
  const auto& components = config.algorithm().reward().sources();
  const auto& sources = config.data().sources();
  return std::any_of(components.begin(), components.end(),
                     [](const auto& component) { return component.name() == "rule_dapo"; }) ||
         std::any_of(sources.begin(), sources.end(),
                     [](const auto& source) { return source.reward() == "rule_dapo"; });
}

void ResolveReward(const v1::RunConfig& config, v1::RewardChoice* reward) {
  const int32_t max_new_tokens = config.rollout().max_new_tokens();
  const bool needs_reward = !config.algorithm().objective().has_entropy_direct();
  if (reward->sources().empty() && needs_reward) reward->add_sources()->set_name("task");
  for (v1::RewardComponent& source : *reward->mutable_sources()) {
    if (source.name() == "majority_online" && source.n_votes() == 0) {
      source.set_n_votes(config.rollout().group_size());
    }
    if (source.has_column()) continue;
    if (source.name() == "majority_offline") source.set_column("majority_answer");
    if (source.name() == "incorrect_label") source.set_column("incorrect_answer");
  }
  if (!reward->has_scale() && UsesDapoRule(config)) {
    reward->mutable_scale()->set_wrong(-1);
    reward->mutable_scale()->set_unparsable(-1);
  }
  for (v1::Shaping& shaping : *reward->mutable_shaping()) {
    if (shaping.has_overlong_soft() && shaping.overlong_soft().max_len() == 0) {
      shaping.mutable_overlong_soft()->set_max_len(max_new_tokens);
    }
    if (shaping.has_cosine() && shaping.cosine().max_len() == 0) {
      shaping.mutable_cosine()->set_max_len(max_new_tokens);
    }
  }
}

void ResolveAggregation(int32_t max_new_tokens, v1::Aggregation* agg) {
  const bool by_constant = agg->mode() == v1::AGG_SEQ_MEAN_TOKEN_SUM_CONST;
  if (agg->empty_rows() == v1::EMPTY_ROWS_AUTO) {
    agg->set_empty_rows(by_constant ? v1::EMPTY_ROWS_COUNT : v1::EMPTY_ROWS_EXCLUDE);
  }
  if (by_constant && agg->constant() == 0) agg->set_constant(max_new_tokens);
}

// algorithms.md section 5: the table's bounds, and what a single one of them means.
void ResolveReject(v1::Reject* reject) {
  if (!absl::EndsWith(reject->stat(), "_k1")) {
    if (!reject->has_hi()) reject->set_hi(0.01);
    return;
  }
  if (!reject->has_lo() && !reject->has_hi()) {
    reject->set_hi(reject->stat() == "seq_mean_k1" ? 1.001 : 2);
    reject->set_lo(reject->stat() == "seq_mean_k1" ? 0.999 : 0.5);
  } else if (!reject->has_lo() && reject->hi() > 0) {
    reject->set_lo(1 / reject->hi());
  } else if (!reject->has_hi() && reject->lo() > 0) {
    reject->set_hi(1 / reject->lo());
  }
}

void ResolveLoss(v1::AlgorithmSection* algorithm) {
  if (algorithm->trust().kind_case() == v1::Trust::KIND_NOT_SET) {
    if (algorithm->ratio() == v1::RATIO_NONE) {
      algorithm->mutable_trust()->mutable_none();
    } else {
      algorithm->mutable_trust()->mutable_clip();
    }
  }
  if (algorithm->kl().placement_case() == v1::Kl::PLACEMENT_NOT_SET) {
    algorithm->mutable_kl()->mutable_none();
  }
  if (algorithm->objective().kind_case() == v1::Objective::KIND_NOT_SET) {
    algorithm->mutable_objective()->mutable_policy_gradient();
  }
  if (algorithm->offpolicy().kind_case() == v1::OffPolicy::KIND_NOT_SET) {
    if (algorithm->objective().has_entropy_direct()) {
      algorithm->mutable_offpolicy()->mutable_none();
    } else {
      algorithm->mutable_offpolicy()->mutable_tis();
    }
  }
  if (algorithm->offpolicy().has_reject()) {
    ResolveReject(algorithm->mutable_offpolicy()->mutable_reject());
  }
}

// Models beside the policy start from it, and the critic learns as often as the policy.
void ResolveBeside(v1::RunConfig* config) {
  v1::CriticSection* critic = config->mutable_critic();
  if (!critic->has_path()) critic->set_path(config->model().path());
  if (critic->mini_batches() == 0) critic->set_mini_batches(config->learner().mini_batches());
  if (critic->epochs() == 0) critic->set_epochs(config->learner().epochs());
  v1::ProcessModelSection* process = config->mutable_process_model();
  if (!process->has_path()) process->set_path(config->model().path());
}

}  // namespace

void ResolveConfig(const std::string& name, v1::RunConfig* config) {
  v1::RunSection* run = config->mutable_run();
  if (!run->has_name()) run->set_name(name);
  if (!run->has_out()) run->set_out(absl::StrCat("runs/", run->name()));

  ResolveSources(config);
  const int32_t max_new_tokens = config->rollout().max_new_tokens();
  if (config->eval().max_new_tokens() == 0) {
    config->mutable_eval()->set_max_new_tokens(max_new_tokens);
  }
  v1::AlgorithmSection* algorithm = config->mutable_algorithm();
  ResolveReward(*config, algorithm->mutable_reward());
  ResolveFilters(algorithm);
  ResolveAdvantage(algorithm->mutable_adv());
  ResolveLoss(algorithm);
  ResolveAggregation(max_new_tokens, algorithm->mutable_agg());
  ResolveBeside(config);
  MaterialiseDefaults(config);
}

}  // namespace cohort
