#include "common/generate/group_state.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

absl::Status Invalid(const GroupRequest& request, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("group ", request.id, ": ", what));
}

// The first row that is trained on: its temperature is the group's. Row 0 where there is none.
const SamplePlan& TemperaturePlan(const GroupRequest& request) {
  for (const SamplePlan& plan : request.plans) {
    if (plan.role == RowRole::kTrain) return plan;
  }
  return request.plans[0];
}

absl::Status CheckTokens(const GroupRequest& request, const std::vector<int32_t>& tokens,
                         int64_t vocab_size, absl::string_view what) {
  for (const int32_t token : tokens) {
    if (token >= 0 && token < vocab_size) continue;
    return Invalid(request, absl::StrCat(what, " holds token ", token, "; the model has ids 0 to ",
                                         vocab_size - 1));
  }
  return absl::OkStatus();
}

absl::Status CheckPlan(const GroupRequest& request, size_t index, int64_t vocab_size,
                       bool has_tokenizer) {
  const SamplePlan& plan = request.plans[index];
  const auto invalid = [&](absl::string_view what) {
    return Invalid(request, absl::StrCat("row ", index, ": ", what));
  };
  if (!(plan.temperature >= 0 && plan.temperature < 1e6f)) {
    return invalid(absl::StrCat("temperature ", plan.temperature, " is not in [0, 1e6)"));
  }
  const SamplePlan& trained = TemperaturePlan(request);
  if (plan.role == RowRole::kTrain && plan.temperature != trained.temperature) {
    return invalid(absl::StrCat("temperature ", plan.temperature, " differs from that of an ",
                                "earlier row, ", trained.temperature,
                                "; the rows that are trained on have one temperature"));
  }
  if (!(plan.top_p > 0 && plan.top_p <= 1)) {
    return invalid(absl::StrCat("top_p ", plan.top_p, " is not in (0, 1]"));
  }
  if (plan.top_k < 0) return invalid(absl::StrCat("top_k ", plan.top_k, " is negative"));
  if (plan.max_new_tokens < 1) {
    return invalid(absl::StrCat("max_new_tokens ", plan.max_new_tokens, " is not positive"));
  }
  if (plan.parent >= static_cast<int32_t>(index) || plan.parent < -1) {
    return invalid(absl::StrCat("parent ", plan.parent, " is not an earlier row"));
  }
  if (plan.parent_tokens < 0 || (plan.parent < 0 && plan.parent_tokens != 0)) {
    return invalid(absl::StrCat("parent_tokens ", plan.parent_tokens, " without such a parent"));
  }
  if (!(plan.parent_fraction >= 0 && plan.parent_fraction <= 1) ||
      (plan.parent < 0 && plan.parent_fraction != 0)) {
    return invalid(absl::StrCat("parent_fraction ", plan.parent_fraction,
                                " is not in [0, 1] or has no parent"));
  }
  if (plan.parent >= 0 && plan.role != request.plans[static_cast<size_t>(plan.parent)].role) {
    return invalid(absl::StrCat("its parent ", plan.parent, " has another role"));
  }
  if (!plan.parent_until.empty() && !has_tokenizer) {
    return invalid("parent_until needs a tokenizer and the engine has none");
  }
  return CheckTokens(request, plan.forced, vocab_size, absl::StrCat("row ", index, ": forced"));
}

// Tokens the row draws itself, without forced ones.
int64_t SampledTokens(const RowState& row) {
  return static_cast<int64_t>(row.row.tokens.size()) -
         static_cast<int64_t>(row.plan().forced.size());
}

bool ReachedLimit(const RowState& row, const StopRules& rules) {
  const auto context = static_cast<int64_t>(row.group->request.prompt.size() + row.path.size());
  return SampledTokens(row) >= row.plan().max_new_tokens || context >= rules.max_context;
}

void Record(RowState& row, const SampledToken& sampled, int64_t version, bool forced) {
  row.path.push_back(sampled.token);
  row.row.tokens.push_back(sampled.token);
  row.row.logprobs.push_back(sampled.logprob);
  row.row.mask.push_back(forced ? 0 : 1);
  row.row.versions.push_back(version);
  if (row.NextSpec().truncated()) row.row.truncated_logprobs.push_back(sampled.truncated_logprob);
  if (row.group->request.with_entropy) row.row.entropy.push_back(sampled.entropy);
}

absl::StatusOr<bool> Stops(RowState& row, int32_t token, const StopRules& rules) {
  const std::vector<int32_t>& stops = rules.stop_tokens;
  if (std::find(stops.begin(), stops.end(), token) != stops.end()) return true;
  if (!row.stops.has_value()) return false;
  return row.stops->Append(token);
}

// How many of the tokens lie wholly before the text, all of them where it does not occur. In text,
// since how it is split into tokens depends on what stands before it.
size_t TokensBefore(absl::Span<const int32_t> tokens, const std::string& until,
                    const Tokenizer* tokenizer) {
  IncrementalDecoder decoder(tokenizer, /*skip_special=*/false);
  std::string text;
  std::vector<size_t> ends;  // in the text, after each token
  for (const int32_t token : tokens) {
    // Every token was sampled by a model whose ids the tokenizer has.
    text += decoder.Append(token).value_or("");
    ends.push_back(text.size());
  }
  const size_t begin = text.find(until);
  if (begin == std::string::npos) return tokens.size();
  return static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), begin) - ends.begin());
}

// algorithms.md 6.4: a point in 1..T of the parent's reasoning. T is what precedes the plan's text,
// else all tokens but the one that ended it; 0 where there are none.
int32_t FractionOf(const Row& parent, const SamplePlan& plan, const Tokenizer* tokenizer) {
  const absl::Span<const int32_t> said(
      parent.tokens.data(), parent.tokens.size() - (parent.finish == FinishReason::kStop ? 1 : 0));
  const size_t length =
      plan.parent_until.empty() ? said.size() : TokensBefore(said, plan.parent_until, tokenizer);
  return static_cast<int32_t>(std::ceil(plan.parent_fraction * static_cast<double>(length)));
}

double Seconds(absl::Duration duration) { return absl::ToDoubleSeconds(duration); }

}  // namespace

const SamplePlan& RowState::plan() const {
  return group->request.plans[static_cast<size_t>(index)];
}

SampleSpec RowState::NextSpec() const {
  const SamplePlan& p = plan();
  const size_t position = row.tokens.size();
  SampleSpec spec;
  spec.temperature = p.temperature;
  spec.top_p = p.top_p;
  spec.top_k = p.top_k;
  spec.uniform = UniformOpen(group->request.id, static_cast<uint64_t>(index), position);
  spec.forced = position < p.forced.size() ? p.forced[position] : -1;
  spec.entropy = group->request.with_entropy;
  return spec;
}

absl::Status ValidateRequest(const GroupRequest& request, int64_t vocab_size, int64_t max_context,
                             bool has_tokenizer) {
  if (request.prompt.empty()) return Invalid(request, "the prompt is empty");
  if (request.plans.empty()) return Invalid(request, "no row was asked for");
  if (static_cast<int64_t>(request.prompt.size()) >= max_context) {
    return absl::OutOfRangeError(absl::StrCat(
        "prompt_too_long: group ", request.id, " has a prompt of ", request.prompt.size(),
        " tokens; with one response token the context holds ", max_context - 1));
  }
  COHORT_RETURN_IF_ERROR(CheckTokens(request, request.prompt, vocab_size, "the prompt"));
  for (size_t row = 0; row < request.plans.size(); ++row) {
    COHORT_RETURN_IF_ERROR(CheckPlan(request, row, vocab_size, has_tokenizer));
  }
  for (const std::string& stop : request.stop_strings) {
    if (stop.empty()) return Invalid(request, "a stop string is empty");
  }
  if (!request.stop_strings.empty() && !has_tokenizer) {
    return Invalid(request, "stop strings need a tokenizer and the engine has none");
  }
  return absl::OkStatus();
}

std::unique_ptr<GroupState> MakeGroupState(GroupRequest request, const Tokenizer* tokenizer,
                                           absl::Time now) {
  auto state = std::make_unique<GroupState>();
  state->request = std::move(request);
  state->tokenizer = tokenizer;
  state->submitted = now;
  state->rows.resize(state->request.plans.size());
  for (size_t i = 0; i < state->rows.size(); ++i) {
    RowState& row = state->rows[i];
    row.group = state.get();
    row.index = static_cast<int>(i);
    row.row.parent = row.plan().parent;
    row.row.parent_tokens = row.plan().parent_tokens;
    row.row.role = row.plan().role;
    if (row.row.parent >= 0) ++state->rows[static_cast<size_t>(row.row.parent)].waiting_children;
    if (!state->request.stop_strings.empty()) {
      row.stops.emplace(tokenizer, state->request.stop_strings);
    }
  }
  return state;
}

void BeginRow(RowState& row) {
  row.path.clear();
  if (row.plan().parent < 0) return;
  const RowState& parent = row.group->rows[static_cast<size_t>(row.plan().parent)];
  // A plan may ask for more of the parent than it said: the row continues its end.
  const auto own = static_cast<int32_t>(parent.row.tokens.size());
  row.row.parent_tokens = row.plan().parent_fraction > 0
                              ? FractionOf(parent.row, row.plan(), row.group->tokenizer)
                              : std::min(row.plan().parent_tokens, own);
  const auto keep = static_cast<std::ptrdiff_t>(parent.path.size()) - own + row.row.parent_tokens;
  row.path.assign(parent.path.begin(), parent.path.begin() + keep);
}

absl::StatusOr<bool> AppendToken(RowState& row, const SampledToken& sampled, int64_t version,
                                 const StopRules& rules) {
  const bool forced = row.row.tokens.size() < row.plan().forced.size();
  Record(row, sampled, version, forced);
  COHORT_ASSIGN_OR_RETURN(const bool stops, Stops(row, sampled.token, rules));
  if (stops && !forced) {
    row.row.finish = FinishReason::kStop;
    return true;
  }
  if (!ReachedLimit(row, rules)) return false;
  row.row.finish = FinishReason::kLength;
  return true;
}

Group TakeGroup(GroupState& state) {
  Group group;
  group.id = state.request.id;
  group.ordinal = state.request.ordinal;
  group.purpose = state.request.purpose;
  group.source = std::move(state.request.source);
  group.prompt = std::move(state.request.prompt);
  for (RowState& row : state.rows) group.rows.push_back(std::move(row.row));
  group.start_version = state.start_version;
  group.end_version = state.end_version;
  const float temperature = TemperaturePlan(state.request).temperature;
  group.temperature = temperature > 0 ? temperature : 1.0f;
  group.timings.queue_seconds = state.queue_seconds;
  group.timings.prefill_seconds = state.prefill_seconds;
  group.timings.decode_seconds = Seconds(state.last_token - state.first_token);
  return group;
}

}  // namespace cohort
