#include "common/scoring/reward_model.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "common/model/packed_attention.h"

namespace cohort {
namespace {

RewardVerdict Unscorable(const char* cause, std::string note) {
  RewardVerdict verdict;
  verdict.cause = cause;
  verdict.note = std::move(note);
  return verdict;
}

absl::Status CheckTokenizer(const RewardModelOptions& options) {
  std::string hashes[2];
  const std::string* const folders[2] = {&options.path, &options.policy_path};
  for (int i = 0; i < 2; ++i) {
    COHORT_ASSIGN_OR_RETURN(const std::string text,
                            ReadFile(absl::StrCat(*folders[i], "/tokenizer.json")));
    Sha256 sha;
    sha.Update(text);
    hashes[i] = sha.HexDigest();
  }
  if (hashes[0] == hashes[1]) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("algorithm.reward.sources[].path: the reward model ", options.path,
                   " has another tokenizer.json than the policy ", options.policy_path,
                   "; it reads the policy's token ids, so both must be the same"));
}

// Prompt and rows as segments of one packed sequence.
struct Packed {
  std::vector<int64_t> tokens, positions;
  std::vector<Segment> segments;
  std::vector<int64_t> pooled;  // packed index of each row's last token

  void Add(const std::vector<int32_t>& ids, int parent, int64_t first_position) {
    const auto begin = static_cast<int64_t>(tokens.size());
    segments.push_back(
        {begin, static_cast<int64_t>(ids.size()), parent, parent < 0 ? 0 : first_position});
    for (size_t i = 0; i < ids.size(); ++i) {
      tokens.push_back(ids[i]);
      positions.push_back(first_position + static_cast<int64_t>(i));
    }
  }
};

at::Tensor ToTensor(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

}  // namespace

absl::StatusOr<std::shared_ptr<RewardModel>> RewardModel::Load(const RewardModelOptions& options) {
  COHORT_RETURN_IF_ERROR(CheckTokenizer(options));
  CausalLmOptions load = options.model;
  load.trainable = false;
  load.head = ModelHead::kScore;
  COHORT_ASSIGN_OR_RETURN(std::unique_ptr<CausalLm> model, CausalLm::Load(options.path, load));
  if (model->config().num_labels != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.path, ": expected a classifier of one label, found ", model->config().num_labels));
  }
  // generation_config.json has no say in which token a classifier looks at.
  COHORT_ASSIGN_OR_RETURN(const ModelConfig own,
                          ParseModelConfig(model->config().json, options.path + "/config.json"));
  return std::shared_ptr<RewardModel>(new RewardModel(options, std::move(model), own.pad_token_id));
}

RewardModel::RewardModel(const RewardModelOptions& options, std::unique_ptr<CausalLm> model,
                         int64_t pad)
    : options_(options), model_(std::move(model)), pad_token_(pad) {}

bool RewardModel::Scorable(const RewardInput& input, RewardVerdict* verdict) const {
  const size_t length = input.prompt->ids.size() + input.response_ids.size();
  const auto limit = static_cast<size_t>(model_->config().max_position_embeddings);
  if (input.prompt->ids.empty() || input.response_ids.empty()) {
    *verdict = Unscorable(cause::kMissing, "the row has no token ids for the reward model");
  } else if (length > limit) {
    *verdict = Unscorable(
        cause::kDeclined,
        absl::StrCat("the row has ", length, " tokens, the reward model reads at most ", limit));
  } else {
    return true;
  }
  return false;
}

// In the sequence of prompt and response.
int64_t RewardModel::PooledToken(const RewardInput& input) const {
  const std::vector<int32_t>& prompt = input.prompt->ids;
  const std::vector<int32_t>& response = input.response_ids;
  const auto total = static_cast<int64_t>(prompt.size() + response.size());
  if (pad_token_ < 0) return total - 1;
  for (int64_t i = total - 1; i > 0; --i) {
    const auto at = static_cast<size_t>(i);
    const int32_t id = at < prompt.size() ? prompt[at] : response[at - prompt.size()];
    if (id != pad_token_) return i;
  }
  return 0;
}

std::vector<RewardVerdict> RewardModel::Score(absl::Span<const RewardInput> inputs) {
  const absl::Time deadline = absl::Now() + options_.timeout;
  std::vector<RewardVerdict> verdicts(
      inputs.size(),
      Unscorable(cause::kTimeout, absl::StrCat("the reward model gave no score within ",
                                               absl::FormatDuration(options_.timeout))));
  absl::MutexLock lock(&mu_);
  std::vector<size_t> part;
  int64_t tokens = 0;
  const auto score_part = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (!part.empty() && absl::Now() < deadline) ScorePart(inputs, part, &verdicts);
    part.clear();
  };
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!Scorable(inputs[i], &verdicts[i])) continue;
    const auto own = static_cast<int64_t>(inputs[i].response_ids.size());
    const bool other_prompt = !part.empty() && inputs[part[0]].prompt != inputs[i].prompt;
    if (other_prompt || (!part.empty() && tokens + own > options_.tokens_per_pass)) score_part();
    if (part.empty()) tokens = static_cast<int64_t>(inputs[i].prompt->ids.size());
    part.push_back(i);
    tokens += own;
  }
  score_part();
  return verdicts;
}

// Rows of one prompt in one forward pass.
void RewardModel::ScorePart(absl::Span<const RewardInput> inputs, absl::Span<const size_t> rows,
                            std::vector<RewardVerdict>* verdicts) try {
  const c10::InferenceMode no_graph;
  const std::vector<int32_t>& prompt = inputs[rows[0]].prompt->ids;
  const auto prompt_tokens = static_cast<int64_t>(prompt.size());
  Packed packed;
  packed.Add(prompt, -1, 0);
  for (size_t row : rows) {
    const int64_t pooled = PooledToken(inputs[row]);
    const auto begin = static_cast<int64_t>(packed.tokens.size());
    packed.pooled.push_back(pooled < prompt_tokens ? pooled : begin + pooled - prompt_tokens);
    packed.Add(inputs[row].response_ids, 0, prompt_tokens);
  }
  const at::Device device = model_->options().device;
  PackedAttention attention(packed.segments);
  const at::Tensor hidden = model_->Forward(ToTensor(packed.tokens, device),
                                            ToTensor(packed.positions, device), attention);
  const at::Tensor last = hidden.index_select(0, ToTensor(packed.pooled, device));
  const at::Tensor scores = model_->Logits(last).to(at::kCPU, at::kDouble).contiguous();
  for (size_t i = 0; i < rows.size(); ++i) {
    RewardVerdict verdict;
    verdict.outcome = Outcome::kValue;
    verdict.value = scores.const_data_ptr<double>()[i];
    (*verdicts)[rows[i]] = verdict;
  }
} catch (const std::exception& error) {
  const std::string text = error.what();
  for (size_t row : rows) {
    (*verdicts)[row] =
        Unscorable(cause::kCrash, absl::StrCat("reward model: ", text.substr(0, text.find('\n'))));
  }
}

}  // namespace cohort
