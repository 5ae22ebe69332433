// One decoder-only transformer for the Llama family (Llama 2/3, SmolLM2, Mistral), Qwen2/2.5 and
// Qwen3. The generator and the learner both run this class: there is no second forward pass in
// Cohort.
//
// q, k and v live in one matrix, gate and up in another (one product each); Hugging Face names are
// views into them, so loading, saving, hashing and publishing see the checkpoint's own tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/model/attention.h"
#include "common/model/model_config.h"
#include "common/model/parameter_layout.h"
#include "common/tensor/named_tensor.h"

namespace cohort {

struct DecoderLayer;

// What turns hidden states into numbers.
enum class ModelHead {
  kLanguage,  // logits over the vocabulary
  kScore,     // score.weight of a sequence classifier's folder
  kNewScore,  // the same; a language model's folder gets one label with zero weights: a critic
};

struct CausalLmOptions {
  at::Device device = at::kCPU;
  at::ScalarType dtype =
      at::kFloat;          // compute dtype of all parameters: kFloat, kBFloat16 or kDouble
  bool trainable = false;  // storage parameters require gradients
  ModelHead head = ModelHead::kLanguage;  // what Load expects of a folder
};

// Thread-safety: Forward and Logits may run concurrently while nobody changes parameters; CopyFrom
// and in-place updates of parameters need exclusive use.
class CausalLm {
 public:
  // Loads a Hugging Face folder (config.json, [sharded] safetensors in fp32, bf16 or fp16, by
  // mmap). NotFound: a file or tensor is missing; InvalidArgument: malformed or unsupported
  // content, with the file, the tensor, the expected and the found shape.
  static absl::StatusOr<std::unique_ptr<CausalLm>> Load(const std::string& folder,
                                                        const CausalLmOptions& options);
  // The same from config.json alone, for weights that come from elsewhere: the parameters hold
  // whatever was in memory until somebody writes all of them (WeightStaging).
  static absl::StatusOr<std::unique_ptr<CausalLm>> WithoutWeights(const std::string& folder,
                                                                  const CausalLmOptions& options);
  // Weights N(0, initializer_range), seeded: the same on every machine.
  static absl::StatusOr<std::unique_ptr<CausalLm>> Random(const ModelConfig& config,
                                                          const CausalLmOptions& options,
                                                          uint64_t seed);
  ~CausalLm();

  const ModelConfig& config() const { return config_; }
  const CausalLmOptions& options() const { return options_; }

  struct ForwardOptions {
    bool checkpoint_activations = false;  // recompute each layer in the backward pass
  };
  // tokens: [num_tokens] int64; positions: [num_tokens] int64, from 0 within each sequence
  // returns: [num_tokens, hidden_size], after the final norm, compute dtype
  // Builds an autograd graph when trainable and grad mode is on; with checkpoint_activations the
  // model and `attention` must live until its backward pass is over. Throws c10::Error.
  at::Tensor Forward(const at::Tensor& tokens, const at::Tensor& positions, Attention& attention,
                     const ForwardOptions& forward) const;
  at::Tensor Forward(const at::Tensor& tokens, const at::Tensor& positions,
                     Attention& attention) const;

  // hidden: [n, hidden_size] -> logits [n, vocab_size] (a classifier's: [n, num_labels]), compute
  // dtype.
  at::Tensor Logits(const at::Tensor& hidden) const;
  // [vocab_size, hidden_size]; the embedding itself when the model ties them. A classifier's
  // score.weight [num_labels, hidden_size].
  const at::Tensor& head_weight() const;

  // Views with the checkpoint's names, sorted by name; a tied head appears once, as the embedding.
  std::vector<NamedTensor> NamedParameters() const;
  // The same views over other tensors laid out like StorageParameters() (fp32 masters, moments).
  std::vector<NamedTensor> NamedViews(const std::vector<at::Tensor>& storage_like) const;
  // What an optimizer steps: leaf tensors (fused matrices whole), in a fixed order.
  const std::vector<NamedTensor>& StorageParameters() const { return storage_; }

  // Copies values by Hugging Face name; every parameter must be given once, with its shape.
  absl::Status CopyFrom(const std::vector<NamedTensor>& named);

  // Writes config.json, generation_config.json and safetensors (shards of at most
  // `max_shard_bytes`) in the compute dtype, and copies tokenizer files from the folder the model
  // was loaded from. `transformers` loads the result. Files are synced; the folder must exist.
  absl::Status Save(const std::string& folder, int64_t max_shard_bytes = int64_t{4} << 30) const;

 private:
  CausalLm(ModelConfig config, CausalLmOptions options);
  absl::Status Allocate();  // uninitialised storage and the layers over it
  absl::Status LoadWeights(const std::string& folder);
  absl::Status ChooseHead(const std::string& folder);
  void FillRandomly(uint64_t seed);

  ModelConfig config_;
  CausalLmOptions options_;
  ParameterLayout layout_;
  bool new_head_ = false;             // score.weight is not the folder's
  std::string source_folder_;         // empty for Random
  std::vector<NamedTensor> storage_;  // in the order of layout_.storage
  std::vector<std::unique_ptr<DecoderLayer>> layers_;
  at::Tensor embedding_;  // [vocab_size, hidden_size]
  at::Tensor final_norm_;
  at::Tensor head_;              // embedding_ when tied
  at::Tensor rope_frequencies_;  // [head_dim / 2]
};

}  // namespace cohort
