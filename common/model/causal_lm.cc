#include "common/model/causal_lm.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/model/decoder_layer.h"
#include "common/model/rope.h"

namespace cohort {
namespace {

// Hands out a layout's tensors in its order; the order of the forward pass is the only place
// where both sides have to agree.
class StorageCursor {
 public:
  explicit StorageCursor(const std::vector<NamedTensor>& storage) : storage_(storage) {}
  at::Tensor Next() { return storage_[next_++].tensor; }
  at::Tensor NextIf(bool present) { return present ? Next() : at::Tensor(); }

 private:
  const std::vector<NamedTensor>& storage_;
  size_t next_ = 0;
};

std::unique_ptr<DecoderLayer> TakeLayer(const ModelConfig& config, int index,
                                        StorageCursor& cursor) {
  auto layer = std::make_unique<DecoderLayer>();
  layer->index = index;
  layer->input_norm = cursor.Next();
  layer->qkv_weight = cursor.Next();
  layer->qkv_bias = cursor.NextIf(config.qkv_bias);
  layer->q_norm = cursor.NextIf(config.qk_norm);
  layer->k_norm = cursor.NextIf(config.qk_norm);
  layer->o_weight = cursor.Next();
  layer->o_bias = cursor.NextIf(config.output_bias);
  layer->post_norm = cursor.Next();
  layer->gate_up = cursor.Next();
  layer->down_weight = cursor.Next();
  return layer;
}

void CheckTokens(const at::Tensor& tokens, const at::Tensor& positions) {
  TORCH_CHECK(tokens.dim() == 1 && tokens.scalar_type() == at::kLong,
              "tokens: expected [num_tokens] int64, found ", tokens.sizes(), " ",
              tokens.scalar_type());
  TORCH_CHECK(positions.sizes() == tokens.sizes() && positions.scalar_type() == at::kLong,
              "positions: expected ", tokens.sizes(), " int64 as tokens, found ", positions.sizes(),
              " ", positions.scalar_type());
}

}  // namespace

CausalLm::CausalLm(ModelConfig config, CausalLmOptions options)
    : config_(std::move(config)), options_(options), layout_(LayoutOf(config_)) {}

CausalLm::~CausalLm() = default;

absl::Status CausalLm::Allocate() {
  const auto dtype = options_.dtype;
  if (dtype != at::kFloat && dtype != at::kBFloat16 && dtype != at::kDouble) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model dtype: expected float, bfloat16 or double, found ", c10::toString(dtype)));
  }
  const auto options = at::TensorOptions().device(options_.device).dtype(dtype);
  for (const StorageSpec& spec : layout_.storage) {
    at::Tensor tensor = at::empty(spec.shape, options);
    tensor.set_requires_grad(options_.trainable);
    storage_.push_back({spec.name, std::move(tensor)});
  }
  StorageCursor cursor(storage_);
  embedding_ = cursor.Next();
  for (int i = 0; i < config_.num_layers; ++i) layers_.push_back(TakeLayer(config_, i, cursor));
  final_norm_ = cursor.Next();
  const bool tied = config_.tie_word_embeddings && config_.num_labels == 0;
  head_ = tied ? embedding_ : cursor.Next();
  rope_frequencies_ = RopeFrequencies(config_).to(options_.device);
  return absl::OkStatus();
}

at::Tensor CausalLm::Forward(const at::Tensor& tokens, const at::Tensor& positions,
                             Attention& attention) const {
  return Forward(tokens, positions, attention, ForwardOptions());
}

at::Tensor CausalLm::Forward(const at::Tensor& tokens, const at::Tensor& positions,
                             Attention& attention, const ForwardOptions& forward) const {
  CheckTokens(tokens, positions);
  const ForwardContext context{&config_, &attention,
                               MakeRopeTable(positions, rope_frequencies_, options_.dtype)};
  at::Tensor hidden = at::embedding(embedding_, tokens);
  const bool checkpoint = forward.checkpoint_activations && hidden.requires_grad();
  for (const auto& layer : layers_) {
    hidden =
        checkpoint ? layer->ForwardCheckpointed(context, hidden) : layer->Forward(context, hidden);
  }
  return RmsNorm(hidden, final_norm_, config_.rms_norm_eps);
}

at::Tensor CausalLm::Logits(const at::Tensor& hidden) const { return Linear(hidden, head_); }

const at::Tensor& CausalLm::head_weight() const { return head_; }

std::vector<NamedTensor> CausalLm::NamedParameters() const {
  std::vector<at::Tensor> tensors;
  for (const NamedTensor& parameter : storage_) tensors.push_back(parameter.tensor.detach());
  return NamedViews(tensors);
}

std::vector<NamedTensor> CausalLm::NamedViews(const std::vector<at::Tensor>& storage_like) const {
  COHORT_CHECK(storage_like.size() == storage_.size())
      << storage_like.size() << " tensors for " << storage_.size() << " parameters";
  std::vector<NamedTensor> views;
  for (const ViewSpec& view : layout_.views) {
    views.push_back({view.name, storage_like[view.storage].narrow(0, view.row, view.rows)});
  }
  return views;
}

}  // namespace cohort
