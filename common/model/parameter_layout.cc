#include "common/model/parameter_layout.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cohort {
namespace {

class LayoutBuilder {
 public:
  // One storage tensor that a checkpoint knows under the same name.
  void Add(const std::string& name, std::vector<int64_t> shape) {
    AddFused(name, shape, {{name, shape[0]}});
  }

  // One storage tensor whose rows a checkpoint knows as several tensors.
  void AddFused(const std::string& name, std::vector<int64_t> shape,
                const std::vector<std::pair<std::string, int64_t>>& parts) {
    int64_t row = 0;
    for (const auto& [part, rows] : parts) {
      layout_.views.push_back({part, layout_.storage.size(), row, rows});
      row += rows;
    }
    layout_.storage.push_back({name, std::move(shape)});
  }

  ParameterLayout Build() {
    std::sort(layout_.views.begin(), layout_.views.end(),
              [](const ViewSpec& a, const ViewSpec& b) { return a.name < b.name; });
    return std::move(layout_);
  }

 private:
  ParameterLayout layout_;
};

void AddAttention(const ModelConfig& c, const std::string& prefix, LayoutBuilder& builder) {
  const auto qkv = [&](const char* kind) {
    return std::vector<std::pair<std::string, int64_t>>{
        {absl::StrCat(prefix, "q_proj.", kind), c.q_size()},
        {absl::StrCat(prefix, "k_proj.", kind), c.kv_size()},
        {absl::StrCat(prefix, "v_proj.", kind), c.kv_size()}};
  };
  builder.AddFused(prefix + "qkv_proj.weight", {c.qkv_size(), c.hidden_size}, qkv("weight"));
  if (c.qkv_bias) builder.AddFused(prefix + "qkv_proj.bias", {c.qkv_size()}, qkv("bias"));
  if (c.qk_norm) {
    builder.Add(prefix + "q_norm.weight", {c.head_dim});
    builder.Add(prefix + "k_norm.weight", {c.head_dim});
  }
  builder.Add(prefix + "o_proj.weight", {c.hidden_size, c.q_size()});
  if (c.output_bias) builder.Add(prefix + "o_proj.bias", {c.hidden_size});
}

void AddLayer(const ModelConfig& c, int64_t index, LayoutBuilder& builder) {
  const std::string prefix = absl::StrCat("model.layers.", index, ".");
  builder.Add(prefix + "input_layernorm.weight", {c.hidden_size});
  AddAttention(c, prefix + "self_attn.", builder);
  builder.Add(prefix + "post_attention_layernorm.weight", {c.hidden_size});
  builder.AddFused(prefix + "mlp.gate_up_proj.weight", {2 * c.intermediate_size, c.hidden_size},
                   {{prefix + "mlp.gate_proj.weight", c.intermediate_size},
                    {prefix + "mlp.up_proj.weight", c.intermediate_size}});
  builder.Add(prefix + "mlp.down_proj.weight", {c.hidden_size, c.intermediate_size});
}

}  // namespace

ParameterLayout LayoutOf(const ModelConfig& config) {
  LayoutBuilder builder;
  builder.Add("model.embed_tokens.weight", {config.vocab_size, config.hidden_size});
  for (int64_t i = 0; i < config.num_layers; ++i) AddLayer(config, i, builder);
  builder.Add("model.norm.weight", {config.hidden_size});
  if (config.num_labels > 0) {
    builder.Add(kScoreWeight, {config.num_labels, config.hidden_size});
  } else if (!config.tie_word_embeddings) {
    builder.Add("lm_head.weight", {config.vocab_size, config.hidden_size});
  }
  return builder.Build();
}

std::vector<int64_t> ViewShape(const ParameterLayout& layout, const ViewSpec& view) {
  std::vector<int64_t> shape = layout.storage[view.storage].shape;
  shape[0] = view.rows;
  return shape;
}

}  // namespace cohort
