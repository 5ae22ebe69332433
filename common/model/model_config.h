// What config.json of a Hugging Face folder says about a decoder-only transformer.
// Supported: model_type llama (Llama 2/3, SmolLM2), mistral, qwen2 (Qwen2/2.5), qwen3 (dense).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cohort {

// How rotary frequencies are stretched; the formulas are those of `transformers`.
struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3 };
  Kind kind = Kind::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0;                     // kLlama3
  double high_freq_factor = 4.0;                    // kLlama3
  int64_t original_max_position_embeddings = 8192;  // kLlama3, tokens
};

struct ModelConfig {
  std::string model_type;  // "llama", "mistral", "qwen2" or "qwen3"
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  // Longest sequence in tokens. A sliding window bounds it too: up to the window's length, windowed
  // and full attention are the same function.
  int64_t max_position_embeddings = 0;
  bool tie_word_embeddings = false;
  bool qkv_bias = false;     // q, k, v projections have biases
  bool output_bias = false;  // so has o_proj
  bool qk_norm = false;      // RMSNorm over each head of q and k before the rotary embedding
  // 0: a language model. Otherwise a sequence classifier (LlamaForSequenceClassification and the
  // like): score.weight [num_labels, hidden_size] without bias takes the head's place.
  int64_t num_labels = 0;
  double initializer_range = 0.02;
  // From generation_config.json where it exists, else config.json.
  std::vector<int64_t> eos_token_ids;
  int64_t bos_token_id = -1;  // -1: none
  int64_t pad_token_id = -1;  // -1: none
  // config.json as read, unknown fields included; Save writes it back. Empty: made from the fields.
  std::string json;

  int64_t q_size() const { return num_heads * head_dim; }
  int64_t kv_size() const { return num_kv_heads * head_dim; }
  int64_t qkv_size() const { return q_size() + 2 * kv_size(); }
};

// Parses the text of a config.json; `where` is named in errors. InvalidArgument: malformed JSON or
// numbers that contradict each other; Unimplemented: a model or an option that is not supported.
absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view json, const std::string& where);

// Reads FOLDER/config.json and, for special tokens, FOLDER/generation_config.json if it is there.
absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& folder);

// InvalidArgument unless the sizes are positive and fit together. `where` is named in errors.
absl::Status ValidateModelConfig(const ModelConfig& config, const std::string& where);

// Text of a config.json that `transformers` reads, with "dtype" as given ("float32", "bfloat16").
std::string ModelConfigJson(const ModelConfig& config, absl::string_view dtype);

}  // namespace cohort
