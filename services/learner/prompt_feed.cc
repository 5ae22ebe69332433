#include "services/learner/prompt_feed.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/rl/signals.h"
#include "common/text/json_text.h"
#include "services/learner/prompt_selection.h"
#include "services/learner/test_columns.h"

namespace cohort {
namespace {

constexpr uint64_t kEndlessEvalPrompts = 64;
constexpr char kTask[] = "task";  // the reward that is the data source's own
constexpr char kCodeTests[] = "code_tests";
constexpr uint64_t kLengthStream = 0x6c656e677468u;    // apart from the sampler's numbers
constexpr uint64_t kEvalOrdinals = uint64_t{1} << 32;  // per evaluation source

int64_t PromptLimit(const v1::RunConfig& config, int64_t max_context, int64_t new_tokens) {
  if (config.model().max_context() > 0) {
    max_context = std::min<int64_t>(max_context, config.model().max_context());
  }
  const int64_t left = std::max<int64_t>(1, max_context - new_tokens);
  const int64_t asked = config.data().max_prompt_tokens();
  return asked > 0 ? std::min(asked, left) : left;
}

SamplePlan EvalPlan(const v1::RunConfig& config) {
  SamplePlan plan;
  plan.temperature = static_cast<float>(config.eval().temperature());
  plan.top_p = static_cast<float>(config.eval().top_p());
  plan.max_new_tokens = config.eval().max_new_tokens() > 0 ? config.eval().max_new_tokens()
                                                           : config.rollout().max_new_tokens();
  return plan;
}

// algorithms.md 6.3: the request at the end of the prompt, and the column that tells the reward.
void AskForLength(const v1::L1& request, bool maximum, uint64_t seed, uint64_t ordinal,
                  Prompt* prompt, PromptFormat* format) {
  CounterRng rng(seed ^ kLengthStream, ordinal);
  const int64_t tokens = rng.Between(request.min_tokens(), request.max_tokens());
  const std::string text =
      absl::StrCat(maximum ? " Think for maximum " : " Think for ", tokens, " tokens.");
  (format->prompt_suffix.empty() ? prompt->instruction : format->prompt_suffix) += text;
  const std::string requested = absl::StrCat(tokens);
  std::vector<JsonMember> columns = JsonMembers(prompt->columns_json);
  columns.emplace_back(kTargetTokens, requested);
  prompt->columns_json = JsonObject(columns);
}

// Whether answers to the source's prompts are run against their tests.
bool RunsPrograms(const v1::RunConfig& config, const PromptSource& source) {
  const auto& components = config.algorithm().reward().sources();
  return std::any_of(components.begin(), components.end(), [&](const v1::RewardComponent& one) {
    return one.name() == kCodeTests || (one.name() == kTask && source.reward() == kCodeTests);
  });
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
                         RowPlanner planner, int64_t max_context)
    : config_(config),
      tokenizer_(tokenizer),
      planner_(std::move(planner)),
      eval_plan_(EvalPlan(config)),
      max_prompt_tokens_(PromptLimit(config, max_context, planner_.LongestRow())),
      max_eval_prompt_tokens_(PromptLimit(config, max_context, eval_plan_.max_new_tokens)) {
  format_.chat_template = config.data().chat_template() && tokenizer->has_chat_template();
  format_.system_prompt = config.data().system_prompt();
  format_.prompt_suffix = config.data().prompt_suffix();
  for (const v1::Shaping& shaping : config.algorithm().reward().shaping()) {
    if (shaping.has_l1_exact()) request_ = shaping.l1_exact();
    if (!shaping.has_l1_max()) continue;
    request_ = shaping.l1_max();
    request_maximum_ = true;
  }
}

absl::StatusOr<std::unique_ptr<PromptMaker>> PromptMaker::Create(const v1::RunConfig& config,
                                                                 const Tokenizer* tokenizer,
                                                                 int64_t max_context) {
  if (config.data().chat_template() && !tokenizer->has_chat_template()) {
    return absl::FailedPreconditionError(
        absl::StrCat("data.chat_template is on, but ", config.model().path(),
                     " has no chat template; set data.chat_template: false"));
  }
  COHORT_ASSIGN_OR_RETURN(RowPlanner planner, RowPlanner::Create(config, *tokenizer));
  std::unique_ptr<PromptMaker> maker(
      new PromptMaker(config, tokenizer, std::move(planner), max_context));
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
    if (source.split() == "heldout") part.split = Split::kHeldout;
    if (RunsPrograms(config_, *part.source)) {
      COHORT_RETURN_IF_ERROR(CheckTestColumns(*part.source, part.split));
    }
    parts.push_back(std::move(part));
  }
  COHORT_RETURN_IF_ERROR(SelectPrompts(config_, format_, *tokenizer_, &parts));
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
  const Split split = options.split() == "train" ? Split::kTrain : Split::kHeldout;
  const uint64_t size = source->Size(split);
  uint64_t wanted = options.prompts() > 0 ? static_cast<uint64_t>(options.prompts())
                    : size == kEndless    ? kEndlessEvalPrompts
                                          : size;
  wanted = std::min(wanted, size);
  for (uint64_t i = 0; i < wanted; ++i) {
    COHORT_ASSIGN_OR_RETURN(const Prompt prompt, source->At(i, split));
    absl::StatusOr<PromptItem> item = Encode(prompt, first_ordinal + i, max_eval_prompt_tokens_);
    if (absl::IsOutOfRange(item.status())) {
      ++set.too_long;
      continue;
    }
    COHORT_RETURN_IF_ERROR(item.status());
    item->purpose = Purpose::kEval;
    item->plans.assign(static_cast<size_t>(config_.eval().samples()), eval_plan_);
    set.items.push_back(*std::move(item));
  }
  return set;
}

absl::StatusOr<PromptItem> PromptMaker::Encode(Prompt prompt, uint64_t ordinal,
                                               int64_t max_prompt_tokens) const {
  PromptFormat format = format_;
  if (request_) {
    AskForLength(*request_, request_maximum_, config_.run().seed(), ordinal, &prompt, &format);
  }
  PromptItem item;
  item.ordinal = ordinal;
  item.source = prompt.source;
  item.reward = prompt.reward;
  item.columns_json = prompt.columns_json;
  COHORT_ASSIGN_OR_RETURN(item.prompt_ids, EncodePrompt(prompt, format, *tokenizer_));
  const auto length = static_cast<int64_t>(item.prompt_ids.size());
  if (length == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a prompt of ", prompt.source, " has no tokens"));
  }
  if (length <= max_prompt_tokens) return item;
  return absl::OutOfRangeError(absl::StrCat("prompt of ", length, " tokens from ", prompt.source,
                                            ", at most ", max_prompt_tokens, " fit"));
}

std::string PromptMaker::Gold(uint64_t ordinal) const {
  if (config_.data().sealed_labels()) return "";
  const absl::StatusOr<Prompt> prompt = mixture_->At(ordinal);
  return prompt.ok() ? prompt->answer : "";
}

absl::StatusOr<PromptItem> PromptMaker::Train(uint64_t ordinal) const {
  COHORT_ASSIGN_OR_RETURN(Prompt prompt, mixture_->At(ordinal));
  COHORT_ASSIGN_OR_RETURN(PromptItem item, Encode(std::move(prompt), ordinal, max_prompt_tokens_));
  item.purpose = Purpose::kTrain;
  item.plans = planner_.For(ordinal);
  if (config_.data().sealed_labels()) {
    item.columns_json = Seal(item.columns_json);
  }
  return item;
}

// An allow-list: a file's own columns may hold the answer under any name.
std::string PromptMaker::Seal(const std::string& columns_json) const {
  std::set<std::string> allowed = {kTargetTokens};
  for (const v1::RewardComponent& source : config_.algorithm().reward().sources()) {
    if (source.name() == "majority_offline") allowed.insert(source.column());
  }
  std::vector<JsonMember> sealed = JsonMembers(columns_json);
  std::erase_if(sealed, [&](const JsonMember& column) { return !allowed.contains(column.first); });
  return JsonObject(sealed);
}

}  // namespace cohort
