#include "services/learner/prompt_feed.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

constexpr uint64_t kEndlessEvalPrompts = 64;
constexpr uint64_t kEvalOrdinals = uint64_t{1} << 32;  // per evaluation source

int64_t PromptLimit(const v1::RunConfig& config, int64_t max_context, int64_t new_tokens) {
  if (config.model().max_context() > 0) {
    max_context = std::min<int64_t>(max_context, config.model().max_context());
  }
  const int64_t left = std::max<int64_t>(1, max_context - new_tokens);
  const int64_t asked = config.data().max_prompt_tokens();
  return asked > 0 ? std::min(asked, left) : left;
}

SamplePlan TrainPlan(const v1::RunConfig& config) {
  SamplePlan plan;
  plan.temperature = static_cast<float>(config.rollout().temperature());
  plan.top_p = static_cast<float>(config.rollout().top_p());
  plan.top_k = config.rollout().top_k();
  plan.max_new_tokens = config.rollout().max_new_tokens();
  return plan;
}

SamplePlan EvalPlan(const v1::RunConfig& config) {
  SamplePlan plan;
  plan.temperature = static_cast<float>(config.eval().temperature());
  plan.max_new_tokens = config.eval().max_new_tokens() > 0 ? config.eval().max_new_tokens()
                                                           : config.rollout().max_new_tokens();
  return plan;
}

template <typename Source>
SourceOptions OptionsOf(const Source& source, uint64_t seed) {
  SourceOptions options;
  options.task = source.task();
  options.path = source.path();
  options.reward = source.reward();
  options.name = source.name();
  options.seed = seed;
  options.heldout_rows = static_cast<uint64_t>(source.heldout_rows());
  return options;
}

}  // namespace

PromptMaker::PromptMaker(const v1::RunConfig& config, const Tokenizer* tokenizer,
                         int64_t max_context)
    : config_(config),
      tokenizer_(tokenizer),
      train_plan_(TrainPlan(config)),
      eval_plan_(EvalPlan(config)),
      max_prompt_tokens_(PromptLimit(config, max_context, train_plan_.max_new_tokens)),
      max_eval_prompt_tokens_(PromptLimit(config, max_context, eval_plan_.max_new_tokens)) {
  format_.chat_template = config.data().chat_template() && tokenizer->has_chat_template();
  format_.system_prompt = config.data().system_prompt();
  format_.prompt_suffix = config.data().prompt_suffix();
}

absl::StatusOr<std::unique_ptr<PromptMaker>> PromptMaker::Create(const v1::RunConfig& config,
                                                                 const Tokenizer* tokenizer,
                                                                 int64_t max_context) {
  if (config.data().chat_template() && !tokenizer->has_chat_template()) {
    return absl::FailedPreconditionError(
        absl::StrCat("data.chat_template is on, but ", config.model().path(),
                     " has no chat template; set data.chat_template: false"));
  }
  std::unique_ptr<PromptMaker> maker(new PromptMaker(config, tokenizer, max_context));
  COHORT_RETURN_IF_ERROR(maker->MakeMixture());
  COHORT_RETURN_IF_ERROR(maker->MakeEvaluation());
  return maker;
}

absl::Status PromptMaker::MakeMixture() {
  std::vector<PromptMixture::Part> parts;
  for (const v1::DataSource& source : config_.data().sources()) {
    PromptMixture::Part part;
    COHORT_ASSIGN_OR_RETURN(part.source, MakeSource(OptionsOf(source, config_.run().seed())));
    part.weight = source.weight();
    parts.push_back(std::move(part));
  }
  COHORT_ASSIGN_OR_RETURN(mixture_, PromptMixture::Create(std::move(parts), config_.run().seed(),
                                                          config_.data().shuffle()));
  return absl::OkStatus();
}

absl::Status PromptMaker::MakeEvaluation() {
  if (config_.eval().samples() <= 0) return absl::OkStatus();
  uint64_t first_ordinal = 0;
  for (const v1::EvalSource& source : config_.eval().sources()) {
    COHORT_ASSIGN_OR_RETURN(EvalSet set, MakeEvalSet(source, first_ordinal));
    if (set.items.empty() && set.too_long == 0) {
      COHORT_LOG(WARNING) << "evaluation " << set.name << ": no held-out prompts";
      continue;
    }
    evaluation_.push_back(std::move(set));
    first_ordinal += kEvalOrdinals;
  }
  return absl::OkStatus();
}

absl::StatusOr<PromptMaker::EvalSet> PromptMaker::MakeEvalSet(const v1::EvalSource& options,
                                                              uint64_t first_ordinal) const {
  COHORT_ASSIGN_OR_RETURN(const auto source, MakeSource(OptionsOf(options, config_.run().seed())));
  EvalSet set;
  set.name = source->name();
  const uint64_t size = source->Size(Split::kHeldout);
  uint64_t wanted = options.prompts() > 0 ? static_cast<uint64_t>(options.prompts())
                    : size == kEndless    ? kEndlessEvalPrompts
                                          : size;
  wanted = std::min(wanted, size);
  for (uint64_t i = 0; i < wanted; ++i) {
    COHORT_ASSIGN_OR_RETURN(const Prompt prompt, source->At(i, Split::kHeldout));
    absl::StatusOr<PromptItem> item = Encode(prompt, max_eval_prompt_tokens_);
    if (absl::IsOutOfRange(item.status())) {
      ++set.too_long;
      continue;
    }
    COHORT_RETURN_IF_ERROR(item.status());
    item->ordinal = first_ordinal + i;
    item->purpose = Purpose::kEval;
    item->plans.assign(static_cast<size_t>(config_.eval().samples()), eval_plan_);
    set.items.push_back(*std::move(item));
  }
  return set;
}

absl::StatusOr<PromptItem> PromptMaker::Encode(const Prompt& prompt,
                                               int64_t max_prompt_tokens) const {
  PromptItem item;
  item.source = prompt.source;
  item.reward = prompt.reward;
  item.columns_json = prompt.columns_json;
  COHORT_ASSIGN_OR_RETURN(item.prompt_ids, EncodePrompt(prompt, format_, *tokenizer_));
  const auto length = static_cast<int64_t>(item.prompt_ids.size());
  if (length == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a prompt of ", prompt.source, " has no tokens"));
  }
  if (length <= max_prompt_tokens) return item;
  return absl::OutOfRangeError(absl::StrCat("prompt of ", length, " tokens from ", prompt.source,
                                            ", at most ", max_prompt_tokens, " fit"));
}

absl::StatusOr<PromptItem> PromptMaker::Train(uint64_t ordinal) const {
  COHORT_ASSIGN_OR_RETURN(const Prompt prompt, mixture_->At(ordinal));
  COHORT_ASSIGN_OR_RETURN(PromptItem item, Encode(prompt, max_prompt_tokens_));
  item.ordinal = ordinal;
  item.purpose = Purpose::kTrain;
  item.plans.assign(static_cast<size_t>(config_.rollout().group_size()), train_plan_);
  return item;
}

}  // namespace cohort
