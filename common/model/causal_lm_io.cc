// CausalLm's ways in and out: checkpoints, seeded weights, copies by name.
#include <ATen/ATen.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/model/causal_lm.h"
#include "common/model/decoder_layer.h"
#include "common/tensor/safetensors.h"

namespace cohort {
namespace {

// What belongs to the tokenizer and is carried along unchanged.
constexpr const char* kCompanionFiles[] = {
    "generation_config.json",  "tokenizer.json",    "tokenizer_config.json",
    "special_tokens_map.json", "vocab.json",        "merges.txt",
    "tokenizer.model",         "added_tokens.json", "chat_template.jinja"};

std::string ShapeText(at::IntArrayRef shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

std::string HuggingFaceDtype(at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return "bfloat16";
  return dtype == at::kDouble ? "float64" : "float32";
}

bool IsFloating(at::ScalarType dtype) {
  return dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf ||
         dtype == at::kDouble;
}

// Tensors that checkpoints carry though they follow from others.
bool IsDerived(const ModelConfig& config, const std::string& name) {
  return absl::EndsWith(name, "rotary_emb.inv_freq") ||
         (config.tie_word_embeddings && name == "lm_head.weight");
}

// A critic made from a language model takes a head of its own in the place of the model's.
bool IsReplaced(bool new_head, const std::string& name) {
  return new_head && name == "lm_head.weight";
}

absl::Status CheckTensor(const std::string& file, const std::string& name, const at::Tensor& found,
                         const std::vector<int64_t>& expected) {
  if (found.sizes() != at::IntArrayRef(expected)) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": tensor ", name, ": expected shape ",
                                                   ShapeText(expected), " by config.json, found ",
                                                   ShapeText(found.sizes())));
  }
  if (!IsFloating(found.scalar_type())) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": tensor ", name,
                                                   ": expected a floating-point dtype, found ",
                                                   c10::toString(found.scalar_type())));
  }
  return absl::OkStatus();
}

// Every tensor the model needs is there with its shape, and none is there that it would ignore.
absl::Status CheckWeights(const WeightsFolder& weights, const ModelConfig& config,
                          const ParameterLayout& layout, bool new_head) {
  std::set<std::string> expected;
  for (const ViewSpec& view : layout.views) {
    expected.insert(view.name);
    if (new_head && view.name == kScoreWeight) continue;
    COHORT_ASSIGN_OR_RETURN(const at::Tensor tensor, weights.Tensor(view.name));
    COHORT_RETURN_IF_ERROR(
        CheckTensor(weights.FileOf(view.name), view.name, tensor, ViewShape(layout, view)));
  }
  for (const std::string& name : weights.names()) {
    if (expected.count(name) != 0 || IsDerived(config, name) || IsReplaced(new_head, name)) {
      continue;
    }
    return absl::InvalidArgumentError(absl::StrCat(
        weights.FileOf(name), ": tensor ", name, " has no place in a ", config.model_type,
        " model of ", config.num_layers, " layers; config.json does not fit the weights"));
  }
  return absl::OkStatus();
}

// Sums of eight 16-bit uniforms: close to a normal distribution, and the same bits on every
// machine because only integers are added and one product is rounded.
void FillNormal(at::Tensor tensor, uint64_t key, double deviation) {
  at::Tensor values = at::empty(tensor.sizes(), at::kDouble);
  auto* out = values.mutable_data_ptr<double>();
  const double scale = deviation * std::sqrt(12.0 / 8.0) / 65536.0;
  for (int64_t i = 0; i < values.numel(); ++i) {
    int64_t sum = 0;
    for (const uint32_t bits : Philox(key, 0, static_cast<uint64_t>(i))) {
      sum += (bits & 0xFFFFU) + (bits >> 16);
    }
    out[i] = (static_cast<double>(sum) - 4.0 * 65535.0) * scale;
  }
  tensor.copy_(values);
}

absl::Status CopyCompanions(const std::string& from, const std::string& to) {
  for (const char* name : kCompanionFiles) {
    const auto text = ReadFile(absl::StrCat(from, "/", name));
    if (absl::IsNotFound(text.status())) continue;
    COHORT_RETURN_IF_ERROR(text.status());
    COHORT_RETURN_IF_ERROR(WriteFileAtomic(absl::StrCat(to, "/", name), *text));
  }
  return absl::OkStatus();
}

std::string GenerationConfigJson(const ModelConfig& config) {
  std::vector<std::string> fields;
  if (!config.eos_token_ids.empty()) {
    fields.push_back(
        absl::StrCat("\"eos_token_id\": [", absl::StrJoin(config.eos_token_ids, ", "), "]"));
  }
  if (config.bos_token_id >= 0) {
    fields.push_back(absl::StrCat("\"bos_token_id\": ", config.bos_token_id));
  }
  if (config.pad_token_id >= 0) {
    fields.push_back(absl::StrCat("\"pad_token_id\": ", config.pad_token_id));
  }
  return absl::StrCat("{", absl::StrJoin(fields, ", "), "}\n");
}

absl::Status FromException(const std::exception& error, const std::string& what) {
  const std::string text = error.what();
  return absl::InternalError(absl::StrCat(what, ": ", text.substr(0, text.find('\n'))));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CausalLm>> CausalLm::Load(const std::string& folder,
                                                         const CausalLmOptions& options) try {
  COHORT_ASSIGN_OR_RETURN(ModelConfig config, LoadModelConfig(folder));
  std::unique_ptr<CausalLm> model(new CausalLm(std::move(config), options));
  COHORT_RETURN_IF_ERROR(model->ChooseHead(folder));
  COHORT_RETURN_IF_ERROR(model->LoadWeights(folder));
  model->source_folder_ = folder;
  return model;
} catch (const std::exception& error) {
  return FromException(error, absl::StrCat("cannot load the model in ", folder));
}

absl::StatusOr<std::unique_ptr<CausalLm>> CausalLm::WithoutWeights(
    const std::string& folder, const CausalLmOptions& options) try {
  COHORT_ASSIGN_OR_RETURN(ModelConfig config, LoadModelConfig(folder));
  std::unique_ptr<CausalLm> model(new CausalLm(std::move(config), options));
  COHORT_RETURN_IF_ERROR(model->ChooseHead(folder));
  COHORT_RETURN_IF_ERROR(model->Allocate());
  model->source_folder_ = folder;
  return model;
} catch (const std::exception& error) {
  return FromException(error, absl::StrCat("cannot make the model of ", folder));
}

absl::Status CausalLm::ChooseHead(const std::string& folder) {
  const bool classifier = config_.num_labels > 0;
  if (options_.head == ModelHead::kLanguage && classifier) {
    return absl::InvalidArgumentError(absl::StrCat(
        folder, ": expected a language model, found a sequence classifier of ", config_.num_labels,
        " labels; it can be a reward model (algorithm.reward.sources: reward_model) or a critic "
        "(critic.path)"));
  }
  if (options_.head == ModelHead::kScore && !classifier) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder,
                     ": expected a sequence classifier (config.json: architectures: "
                     "[...ForSequenceClassification]), found a language model"));
  }
  if (options_.head != ModelHead::kNewScore || classifier) return absl::OkStatus();
  new_head_ = true;
  config_.num_labels = 1;
  layout_ = LayoutOf(config_);
  return absl::OkStatus();
}

absl::Status CausalLm::LoadWeights(const std::string& folder) {
  COHORT_ASSIGN_OR_RETURN(const WeightsFolder weights, WeightsFolder::Open(folder));
  COHORT_RETURN_IF_ERROR(CheckWeights(weights, config_, layout_, new_head_));
  COHORT_RETURN_IF_ERROR(Allocate());
  for (const NamedTensor& parameter : NamedParameters()) {
    if (new_head_ && parameter.name == kScoreWeight) {
      parameter.tensor.copy_(at::zeros({}));
      continue;
    }
    COHORT_ASSIGN_OR_RETURN(const at::Tensor value, weights.Tensor(parameter.name));
    parameter.tensor.copy_(value);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CausalLm>> CausalLm::Random(const ModelConfig& config,
                                                           const CausalLmOptions& options,
                                                           uint64_t seed) try {
  COHORT_RETURN_IF_ERROR(ValidateModelConfig(config, "model"));
  std::unique_ptr<CausalLm> model(new CausalLm(config, options));
  COHORT_RETURN_IF_ERROR(model->Allocate());
  model->FillRandomly(seed);
  return model;
} catch (const std::exception& error) {
  return FromException(error, "cannot make a random model");
}

void CausalLm::FillRandomly(uint64_t seed) {
  for (const NamedTensor& parameter : NamedParameters()) {
    if (absl::EndsWith(parameter.name, "norm.weight")) {
      parameter.tensor.copy_(at::ones({}));
    } else if (absl::EndsWith(parameter.name, ".bias")) {
      parameter.tensor.copy_(at::zeros({}));
    } else {
      FillNormal(parameter.tensor, Xxh3Low(parameter.name) ^ seed, config_.initializer_range);
    }
  }
}

absl::Status CausalLm::CopyFrom(const std::vector<NamedTensor>& named) try {
  std::map<std::string, at::Tensor> given;
  for (const NamedTensor& tensor : named) {
    if (!given.emplace(tensor.name, tensor.tensor).second) {
      return absl::InvalidArgumentError(absl::StrCat("parameter ", tensor.name, " is given twice"));
    }
  }
  const std::vector<NamedTensor> parameters = NamedParameters();
  for (const NamedTensor& parameter : parameters) {
    const auto found = given.find(parameter.name);
    if (found == given.end()) {
      return absl::InvalidArgumentError(absl::StrCat("parameter ", parameter.name, " is missing"));
    }
    COHORT_RETURN_IF_ERROR(CheckTensor("given weights", parameter.name, found->second,
                                       parameter.tensor.sizes().vec()));
  }
  if (given.size() != parameters.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected ", parameters.size(), " parameters, found ", given.size()));
  }
  for (const NamedTensor& parameter : parameters) {
    parameter.tensor.copy_(given[parameter.name].detach());
  }
  return absl::OkStatus();
} catch (const std::exception& error) {
  return FromException(error, "cannot copy parameters");
}

absl::Status CausalLm::Save(const std::string& folder, int64_t max_shard_bytes) const try {
  COHORT_RETURN_IF_ERROR(WriteWeightsFolder(folder, NamedParameters(), max_shard_bytes));
  COHORT_RETURN_IF_ERROR(
      WriteFileAtomic(absl::StrCat(folder, "/config.json"),
                      ModelConfigJson(config_, HuggingFaceDtype(options_.dtype))));
  if (!source_folder_.empty()) COHORT_RETURN_IF_ERROR(CopyCompanions(source_folder_, folder));
  const std::string generation = absl::StrCat(folder, "/generation_config.json");
  if (std::error_code ec; !std::filesystem::exists(generation, ec)) {
    COHORT_RETURN_IF_ERROR(WriteFileAtomic(generation, GenerationConfigJson(config_)));
  }
  return absl::OkStatus();
} catch (const std::exception& error) {
  return FromException(error, absl::StrCat("cannot save the model to ", folder));
}

}  // namespace cohort
