#include "common/generate/engine.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <list>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/generate/cache_attention.h"
#include "common/generate/group_state.h"
#include "common/generate/kv_cache.h"
#include "common/generate/sampler.h"
#include "common/generate/sharpen.h"

namespace cohort {
namespace {

absl::Status ComputeError(absl::string_view phase, const char* what) {
  return absl::InternalError(absl::StrCat(phase, " failed: ", what));
}

// [n] int64 on the device of the model.
at::Tensor Ids(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

}  // namespace

class GroupGenerator::Impl {
 public:
  Impl(const CausalLm* model, const EngineOptions& options, int64_t max_context)
      : model_(*model),
        options_(options),
        clock_(options.clock != nullptr ? options.clock : Clock::Real()),
        cache_(model->config(), options.max_rows,
               at::TensorOptions(model->options().device).dtype(model->options().dtype)) {
    rules_.max_context = max_context;
    if (options.stop_tokens.has_value()) {
      rules_.stop_tokens = *options.stop_tokens;
    } else {
      for (const int64_t id : model->config().eos_token_ids) {
        rules_.stop_tokens.push_back(static_cast<int32_t>(id));
      }
    }
    const at::ScalarType dtype = model->options().dtype;
    fused_ = options.fused_cpu_attention && model->options().device.is_cpu() &&
             (dtype == at::kFloat || dtype == at::kBFloat16);
  }

  absl::Status Submit(GroupRequest request);
  StepResult Step();
  bool Cancel(GroupId id);
  void SetVersion(int64_t version) { version_ = version; }

  int64_t version() const { return version_; }
  int active_rows() const { return static_cast<int>(active_.size()); }
  int waiting_rows() const;
  int waiting_groups() const;
  bool idle() const { return groups_.empty(); }
  int64_t max_context() const { return rules_.max_context; }

 private:
  // Admission.
  void Admit(StepResult& result);
  std::vector<RowState*> ChooseRows() const;
  void Prefill(const std::vector<GroupState*>& groups, StepResult& result);
  void ComputePrompts(const std::vector<GroupState*>& groups);
  void Start(RowState& row);
  bool NeedsPrefill(const GroupState& group) const {
    return group.prompt == nullptr || group.prompt->version != version_;
  }

  // Decoding.
  void DecodeToken(StepResult& result);
  at::Tensor LastHidden();
  at::Tensor ForwardRows(const std::vector<RowState*>& rows);
  void Take(RowState& row, const SampledToken& sampled, StepResult& result);

  // Endings.
  void FinishRow(RowState& row, StepResult& result);
  void Release(RowState& row);
  void Fail(GroupState& group, const absl::Status& status, StepResult& result);
  void Forget(GroupState& group);

  const CausalLm& model_;
  const EngineOptions options_;
  const Clock* const clock_;
  StopRules rules_;
  bool fused_ = false;

  int64_t version_ = 0;
  SuffixCache cache_;
  std::unordered_map<GroupId, std::unique_ptr<GroupState>> groups_;
  std::list<GroupState*> waiting_;  // groups with rows that have not started, oldest first
  std::vector<RowState*> active_;   // rows with a slot, in the order of their start
};

absl::Status GroupGenerator::Impl::Submit(GroupRequest request) {
  COHORT_RETURN_IF_ERROR(ValidateRequest(request, model_.config().vocab_size, rules_.max_context,
                                         options_.tokenizer != nullptr));
  const GroupId id = request.id;
  if (groups_.count(id) > 0) {
    return absl::AlreadyExistsError(absl::StrCat("group ", id, " is already being generated"));
  }
  auto state = MakeGroupState(std::move(request), options_.tokenizer, clock_->Now());
  waiting_.push_back(state.get());
  groups_[id] = std::move(state);
  return absl::OkStatus();
}

StepResult GroupGenerator::Impl::Step() {
  StepResult result;
  const c10::InferenceMode inference;
  Admit(result);
  if (!active_.empty()) DecodeToken(result);
  return result;
}

// ---- admission ----

void GroupGenerator::Impl::Admit(StepResult& result) {
  const std::vector<RowState*> rows = ChooseRows();
  std::vector<GroupState*> cold;
  for (RowState* row : rows) {
    GroupState* group = row->group;
    if (row->plan().parent < 0 && NeedsPrefill(*group) && (cold.empty() || cold.back() != group)) {
      cold.push_back(group);
    }
  }
  if (!cold.empty()) Prefill(cold, result);
  for (RowState* row : rows) {
    // A group that failed its prefill is gone, and its rows with it.
    const bool failed = std::any_of(result.finished.begin(), result.finished.end(),
                                    [&](const FinishedGroup& f) { return !f.status.ok(); });
    if (failed) break;
    Start(*row);
  }
  waiting_.remove_if([](const GroupState* group) { return group->AllStarted(); });
}

// Rows for the free slots, oldest group first, as far as the prefill budget allows.
std::vector<RowState*> GroupGenerator::Impl::ChooseRows() const {
  std::vector<RowState*> chosen;
  int64_t prefill = 0;
  for (GroupState* group : waiting_) {
    bool admitted = !NeedsPrefill(*group);
    for (RowState& row : group->rows) {
      if (static_cast<int>(chosen.size()) >= cache_.free_slots()) return chosen;
      if (row.phase != RowState::Phase::kWaiting) continue;
      const int parent = row.plan().parent;
      if (parent >= 0 && group->rows[static_cast<size_t>(parent)].phase != RowState::Phase::kDone) {
        continue;
      }
      if (parent < 0 && !admitted) {
        prefill += static_cast<int64_t>(group->request.prompt.size());
        if (prefill > options_.prefill_tokens && !chosen.empty()) return chosen;
        admitted = true;
      }
      chosen.push_back(&row);
    }
  }
  return chosen;
}

void GroupGenerator::Impl::Prefill(const std::vector<GroupState*>& groups, StepResult& result) {
  const absl::Time begin = clock_->Now();
  try {
    ComputePrompts(groups);
  } catch (const c10::Error& error) {
    const absl::Status status = ComputeError("prefill", error.what_without_backtrace());
    for (GroupState* group : groups) Fail(*group, status, result);
    return;
  }
  const double seconds = absl::ToDoubleSeconds(clock_->Now() - begin);
  for (GroupState* group : groups) {
    result.prefilled_tokens += group->prompt->tokens;
    group->prefill_seconds += seconds;
    if (group->started_rows > 0) continue;
    group->queue_seconds = absl::ToDoubleSeconds(begin - group->submitted);
    group->start_version = group->end_version = version_;
  }
}

// One forward pass over the prompts of all `groups`.
void GroupGenerator::Impl::ComputePrompts(const std::vector<GroupState*>& groups) {
  const ModelConfig& config = model_.config();
  const at::TensorOptions options =
      at::TensorOptions(model_.options().device).dtype(model_.options().dtype);
  std::vector<std::shared_ptr<PromptCache>> caches;
  std::vector<PromptCache*> pointers;
  std::vector<int64_t> tokens, positions, last;
  for (const GroupState* group : groups) {
    auto cache = std::make_shared<PromptCache>();
    cache->version = version_;
    for (const int32_t token : group->request.prompt) {
      tokens.push_back(token);
      positions.push_back(cache->tokens++);
    }
    last.push_back(static_cast<int64_t>(tokens.size()) - 1);
    cache->keys = at::empty(
        {config.num_layers, config.num_kv_heads, cache->tokens, config.head_dim}, options);
    cache->values = at::empty_like(cache->keys);
    pointers.push_back(cache.get());
    caches.push_back(std::move(cache));
  }
  PrefillAttention attention(pointers);
  const at::Device device = model_.options().device;
  const at::Tensor hidden = model_.Forward(Ids(tokens, device), Ids(positions, device), attention);
  for (size_t i = 0; i < groups.size(); ++i) {
    caches[i]->last_hidden = hidden.select(0, last[i]).clone();
    groups[i]->prompt = std::move(caches[i]);
  }
}

void GroupGenerator::Impl::Start(RowState& row) {
  GroupState& group = *row.group;
  BeginRow(row);
  row.slot = cache_.Allocate();
  row.prompt = group.prompt;
  if (row.plan().parent >= 0) {
    RowState& parent = group.rows[static_cast<size_t>(row.plan().parent)];
    row.prompt = parent.prompt;
    // The last token of the path is fed again: its logits are what the row starts from.
    row.cached = std::max<int64_t>(0, static_cast<int64_t>(row.path.size()) - 1);
    if (row.cached > 0) cache_.Restore(row.slot, *parent.saved, row.cached);
    if (--parent.waiting_children == 0) parent.saved.reset();
  }
  row.phase = RowState::Phase::kActive;
  ++group.started_rows;
  active_.push_back(&row);
}

// ---- decoding ----

void GroupGenerator::Impl::DecodeToken(StepResult& result) {
  const std::vector<RowState*> rows = active_;
  std::vector<SampledToken> sampled;
  try {
    std::vector<SampleSpec> specs;
    for (const RowState* row : rows) specs.push_back(row->NextSpec());
    at::Tensor logits = model_.Logits(LastHidden());
    if (options_.em_inf.has_value()) logits = SharpenLogits(logits, *options_.em_inf);
    sampled = SampleTokens(logits, specs);
  } catch (const c10::Error& error) {
    const absl::Status status = ComputeError("decoding", error.what_without_backtrace());
    while (!active_.empty()) Fail(*active_.back()->group, status, result);
    return;
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    // A row that failed takes the rest of its group along.
    if (std::find(active_.begin(), active_.end(), rows[i]) == active_.end()) continue;
    Take(*rows[i], sampled[i], result);
  }
}

// [active rows, hidden_size]: rows at their prompt's end first use what the prefill left.
at::Tensor GroupGenerator::Impl::LastHidden() {
  std::vector<RowState*> decoding;
  for (RowState* row : active_) {
    if (!row->at_prompt()) decoding.push_back(row);
  }
  const at::Tensor decoded = decoding.empty() ? at::Tensor() : ForwardRows(decoding);
  if (decoding.size() == active_.size()) return decoded;
  std::vector<at::Tensor> hidden;
  int64_t next = 0;
  for (const RowState* row : active_) {
    hidden.push_back(row->at_prompt() ? row->prompt->last_hidden : decoded.select(0, next++));
  }
  return at::stack(hidden);
}

at::Tensor GroupGenerator::Impl::ForwardRows(const std::vector<RowState*>& rows) {
  std::vector<int64_t> tokens, positions;
  std::vector<DecodeRow> decode;
  int64_t longest = 0;
  for (RowState* row : rows) {
    COHORT_CHECK(row->cached + 1 == static_cast<int64_t>(row->path.size()));
    tokens.push_back(row->path.back());
    positions.push_back(row->prompt->tokens + row->cached);
    decode.push_back({row->prompt.get(), row->slot, row->cached});
    longest = std::max(longest, ++row->cached);
  }
  cache_.Reserve(longest);
  const at::Device device = model_.options().device;
  DecodeAttention attention(&cache_, std::move(decode), device, fused_);
  return model_.Forward(Ids(tokens, device), Ids(positions, device), attention);
}

void GroupGenerator::Impl::Take(RowState& row, const SampledToken& sampled, StepResult& result) {
  GroupState& group = *row.group;
  const auto failure = [&](absl::string_view what) {
    return absl::InternalError(absl::StrCat("group ", group.request.id, " row ", row.index,
                                            " token ", row.row.tokens.size(), ": ", what,
                                            " (weight version ", version_, ")"));
  };
  if (!sampled.finite) {
    Fail(group, failure("the model's logits are not finite"), result);
    return;
  }
  const absl::StatusOr<bool> finished = AppendToken(row, sampled, version_, rules_);
  if (!finished.ok()) {
    Fail(group, failure(finished.status().message()), result);
    return;
  }
  ++result.sampled_tokens;
  group.last_token = clock_->Now();
  group.first_token = std::min(group.first_token, group.last_token);
  group.end_version = version_;
  if (*finished) FinishRow(row, result);
}

// ---- endings ----

void GroupGenerator::Impl::FinishRow(RowState& row, StepResult& result) {
  GroupState& group = *row.group;
  if (row.waiting_children > 0 && row.cached > 0) row.saved = cache_.Save(row.slot, row.cached);
  Release(row);
  ++group.done_rows;
  if (!group.AllDone()) return;
  result.finished.push_back({group.request.id, absl::OkStatus(), TakeGroup(group)});
  Forget(group);
}

// Gives the row's slot back.
void GroupGenerator::Impl::Release(RowState& row) {
  cache_.Free(row.slot);
  row.slot = -1;
  row.phase = RowState::Phase::kDone;
  active_.erase(std::find(active_.begin(), active_.end(), &row));
}

void GroupGenerator::Impl::Fail(GroupState& group, const absl::Status& status, StepResult& result) {
  FinishedGroup failed{group.request.id, status, {}};
  failed.group.id = group.request.id;
  failed.group.ordinal = group.request.ordinal;
  failed.group.purpose = group.request.purpose;
  result.finished.push_back(std::move(failed));
  Forget(group);
}

void GroupGenerator::Impl::Forget(GroupState& group) {
  for (RowState& row : group.rows) {
    if (row.phase == RowState::Phase::kActive) Release(row);
  }
  waiting_.remove(&group);
  groups_.erase(group.request.id);
}

bool GroupGenerator::Impl::Cancel(GroupId id) {
  const auto found = groups_.find(id);
  if (found == groups_.end()) return false;
  Forget(*found->second);
  return true;
}

int GroupGenerator::Impl::waiting_rows() const {
  int rows = 0;
  for (const GroupState* group : waiting_) {
    rows += static_cast<int>(group->rows.size()) - group->started_rows;
  }
  return rows;
}

int GroupGenerator::Impl::waiting_groups() const {
  return static_cast<int>(std::count_if(waiting_.begin(), waiting_.end(), [](const auto* group) {
    return group->started_rows == 0;
  }));
}

// ---- the public face ----

absl::StatusOr<std::unique_ptr<GroupGenerator>> GroupGenerator::Create(
    const CausalLm* model, const EngineOptions& options) {
  if (options.max_rows < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_rows is ", options.max_rows, "; at least 1 is needed"));
  }
  const int64_t limit = model->config().max_position_embeddings;
  const int64_t context = options.max_context > 0 ? options.max_context : limit;
  if (options.max_context < 0 || context > limit || context < 2) {
    return absl::InvalidArgumentError(absl::StrCat("max_context is ", options.max_context,
                                                   " tokens; the model takes 2 to ", limit,
                                                   " (0: its own limit)"));
  }
  return std::unique_ptr<GroupGenerator>(
      new GroupGenerator(std::make_unique<Impl>(model, options, context)));
}

GroupGenerator::GroupGenerator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GroupGenerator::~GroupGenerator() = default;

absl::Status GroupGenerator::Submit(GroupRequest request) {
  return impl_->Submit(std::move(request));
}
StepResult GroupGenerator::Step() { return impl_->Step(); }
bool GroupGenerator::Cancel(GroupId id) { return impl_->Cancel(id); }
void GroupGenerator::SetVersion(int64_t version) { impl_->SetVersion(version); }
int64_t GroupGenerator::version() const { return impl_->version(); }
int GroupGenerator::active_rows() const { return impl_->active_rows(); }
int GroupGenerator::waiting_rows() const { return impl_->waiting_rows(); }
int GroupGenerator::waiting_groups() const { return impl_->waiting_groups(); }
bool GroupGenerator::idle() const { return impl_->idle(); }
int64_t GroupGenerator::max_context() const { return impl_->max_context(); }

}  // namespace cohort
