#include "common/model/model_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr int64_t kMaxSize = int64_t{1} << 32;  // no size of a real model is near

// Reads fields of one JSON object and remembers the first problem.
class Fields {
 public:
  Fields(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  const absl::Status& status() const { return status_; }
  bool Has(const char* key) const { return object_.contains(key) && !object_[key].is_null(); }

  int64_t Integer(const char* key) { return Has(key) ? Integer(key, 0) : Missing(key); }
  int64_t Integer(const char* key, int64_t otherwise) {
    if (!Has(key)) return otherwise;
    const json& value = object_[key];
    if (!value.is_number_integer() ||
        (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(kMaxSize))) {
      return Wrong(key, "a whole number");
    }
    return value.get<int64_t>();
  }

  double Number(const char* key, double otherwise) {
    if (!Has(key)) return otherwise;
    if (!object_[key].is_number() || !std::isfinite(object_[key].get<double>())) {
      return static_cast<double>(Wrong(key, "a number"));
    }
    return object_[key].get<double>();
  }

  bool Bool(const char* key, bool otherwise) {
    if (!Has(key)) return otherwise;
    if (!object_[key].is_boolean()) return Wrong(key, "true or false") != 0;
    return object_[key].get<bool>();
  }

  std::string Text(const char* key, const std::string& otherwise) {
    if (!Has(key)) return otherwise;
    if (!object_[key].is_string()) Wrong(key, "text");
    return object_[key].is_string() ? object_[key].get<std::string>() : otherwise;
  }

  // One id or a list of ids; absent: empty.
  std::vector<int64_t> Ids(const char* key) {
    if (!Has(key)) return {};
    const json list = object_[key].is_array() ? object_[key] : json::array({object_[key]});
    std::vector<int64_t> ids;
    for (const json& id : list) {
      if (!id.is_number_integer()) {
        Wrong(key, "a token id or a list of them");
        return {};
      }
      ids.push_back(id.get<int64_t>());
    }
    return ids;
  }

 private:
  int64_t Missing(const char* key) { return Fail(absl::StrCat(key, " is missing")); }
  int64_t Wrong(const char* key, const char* expected) {
    const std::string found = object_[key].dump(-1, ' ', true, json::error_handler_t::replace);
    return Fail(absl::StrCat(key, ": expected ", expected, ", found ", found.substr(0, 100)));
  }
  int64_t Fail(const std::string& problem) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(where_, ": ", problem));
    return 0;
  }

  const json& object_;
  std::string where_;
  absl::Status status_;
};

absl::Status Unsupported(const std::string& where, const std::string& what) {
  return absl::UnimplementedError(absl::StrCat(where, ": ", what));
}

// What `transformers` assumes where config.json is silent.
struct Defaults {
  int64_t num_kv_heads = 0;  // 0: num_attention_heads
  int64_t head_dim = 0;      // 0: hidden_size / num_attention_heads
  int64_t max_position_embeddings = 0;
};

absl::StatusOr<Defaults> DefaultsOf(const std::string& model_type, const std::string& where) {
  if (model_type == "llama") return Defaults{0, 0, 2048};
  if (model_type == "mistral") return Defaults{8, 0, 131072};
  if (model_type == "qwen2") return Defaults{32, 0, 32768};
  if (model_type == "qwen3") return Defaults{32, 128, 32768};
  return Unsupported(where, absl::StrCat("model_type \"", absl::CHexEscape(model_type),
                                         "\" is not supported; expected llama, mistral, qwen2 or "
                                         "qwen3"));
}

void ReadSizes(Fields& fields, const Defaults& defaults, ModelConfig& config) {
  config.vocab_size = fields.Integer("vocab_size");
  config.hidden_size = fields.Integer("hidden_size");
  config.intermediate_size = fields.Integer("intermediate_size");
  config.num_layers = fields.Integer("num_hidden_layers");
  config.num_heads = fields.Integer("num_attention_heads");
  config.num_kv_heads = fields.Integer(
      "num_key_value_heads", defaults.num_kv_heads > 0 ? defaults.num_kv_heads : config.num_heads);
  int64_t head_dim = defaults.head_dim;
  if (head_dim == 0 && config.num_heads > 0) head_dim = config.hidden_size / config.num_heads;
  config.head_dim = fields.Integer("head_dim", head_dim);
  config.max_position_embeddings =
      fields.Integer("max_position_embeddings", defaults.max_position_embeddings);
}

void ReadOptions(Fields& fields, ModelConfig& config) {
  config.rms_norm_eps = fields.Number("rms_norm_eps", 1e-6);
  config.initializer_range = fields.Number("initializer_range", 0.02);
  config.tie_word_embeddings = fields.Bool("tie_word_embeddings", false);
  const bool attention_bias = fields.Bool("attention_bias", false);
  const bool reads_bias = config.model_type == "llama" || config.model_type == "qwen3";
  config.qkv_bias = config.model_type == "qwen2" || (reads_bias && attention_bias);
  config.output_bias = reads_bias && attention_bias;
  config.qk_norm = config.model_type == "qwen3";
  config.eos_token_ids = fields.Ids("eos_token_id");
  const auto bos = fields.Ids("bos_token_id");
  const auto pad = fields.Ids("pad_token_id");
  config.bos_token_id = bos.empty() ? -1 : bos.front();
  config.pad_token_id = pad.empty() ? -1 : pad.front();
}

// `transformers` 5 writes rope_parameters {rope_theta, rope_type, ...}; older ones rope_theta and
// rope_scaling {rope_type or type, ...}.
absl::Status ReadRope(const json& root, Fields& fields, const std::string& where,
                      ModelConfig& config) {
  config.rope_theta = fields.Number("rope_theta", 10000.0);
  const char* key = fields.Has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!fields.Has(key)) return absl::OkStatus();
  if (!root[key].is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", key, ": expected an object"));
  }
  Fields rope(root[key], absl::StrCat(where, ": ", key));
  config.rope_theta = rope.Number("rope_theta", config.rope_theta);
  const std::string type = rope.Text("rope_type", rope.Text("type", "default"));
  RopeScaling& scaling = config.rope_scaling;
  scaling.factor = rope.Number("factor", 1.0);
  if (type == "default") {
    scaling.factor = 1.0;
  } else if (type == "linear") {
    scaling.kind = RopeScaling::Kind::kLinear;
  } else if (type == "llama3") {
    scaling.kind = RopeScaling::Kind::kLlama3;
    scaling.low_freq_factor = rope.Number("low_freq_factor", 1.0);
    scaling.high_freq_factor = rope.Number("high_freq_factor", 4.0);
    scaling.original_max_position_embeddings = rope.Integer("original_max_position_embeddings");
  } else {
    return Unsupported(where, absl::StrCat(key, " of type \"", absl::CHexEscape(type),
                                           "\" is not supported; expected default, linear or "
                                           "llama3"));
  }
  if (rope.Number("partial_rotary_factor", 1.0) != 1.0) {
    return Unsupported(where, "partial_rotary_factor other than 1 is not supported");
  }
  return rope.status();
}

absl::Status CheckActivation(Fields& fields, const std::string& where) {
  const std::string activation = fields.Text("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") {
    return Unsupported(where, absl::StrCat("hidden_act \"", absl::CHexEscape(activation),
                                           "\" is not supported; expected silu"));
  }
  if (fields.Bool("mlp_bias", false)) return Unsupported(where, "mlp_bias is not supported");
  return absl::OkStatus();
}

void ApplySlidingWindow(Fields& fields, const std::string& where, ModelConfig& config) {
  const bool used = config.model_type == "mistral" ||
                    (config.model_type != "llama" && fields.Bool("use_sliding_window", false));
  const int64_t window = fields.Integer("sliding_window", 0);
  if (!used || window <= 0 || window >= config.max_position_embeddings) return;
  COHORT_LOG(WARNING) << where << ": attention has a sliding window of " << window
                      << " tokens; sequences are limited to that length instead of "
                      << config.max_position_embeddings;
  config.max_position_embeddings = window;
}

absl::StatusOr<json> ParseObject(absl::string_view text, const std::string& where) {
  json root = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!root.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected a JSON object, found text that is none"));
  }
  return root;
}

absl::Status ReadGenerationConfig(const std::string& folder, ModelConfig& config) {
  const std::string path = absl::StrCat(folder, "/generation_config.json");
  const auto text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  COHORT_RETURN_IF_ERROR(text.status());
  COHORT_ASSIGN_OR_RETURN(const json root, ParseObject(*text, path));
  Fields fields(root, path);
  if (const auto eos = fields.Ids("eos_token_id"); !eos.empty()) config.eos_token_ids = eos;
  if (const auto bos = fields.Ids("bos_token_id"); !bos.empty()) config.bos_token_id = bos.front();
  if (const auto pad = fields.Ids("pad_token_id"); !pad.empty()) config.pad_token_id = pad.front();
  return fields.status();
}

json RopeJson(const ModelConfig& config) {
  json rope = {{"rope_theta", config.rope_theta}, {"rope_type", "default"}};
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.kind == RopeScaling::Kind::kNone) return rope;
  rope["factor"] = scaling.factor;
  rope["rope_type"] = scaling.kind == RopeScaling::Kind::kLinear ? "linear" : "llama3";
  if (scaling.kind == RopeScaling::Kind::kLlama3) {
    rope["low_freq_factor"] = scaling.low_freq_factor;
    rope["high_freq_factor"] = scaling.high_freq_factor;
    rope["original_max_position_embeddings"] = scaling.original_max_position_embeddings;
  }
  return rope;
}

constexpr char kClassifier[] = "ForSequenceClassification";

std::string ArchitectureOf(const ModelConfig& config) {
  const std::string& type = config.model_type;
  const char* family = type == "llama"     ? "Llama"
                       : type == "mistral" ? "Mistral"
                       : type == "qwen2"   ? "Qwen2"
                                           : "Qwen3";
  return absl::StrCat(family, config.num_labels > 0 ? kClassifier : "ForCausalLM");
}

// 0 for a language model; `transformers` writes the number of labels as the size of id2label and
// assumes two where nothing is said.
int64_t LabelsOf(const json& root, Fields& fields) {
  const auto names = root.find("architectures");
  if (names == root.end() || !names->is_array() || names->empty()) return 0;
  const json& name = names->front();
  if (!name.is_string() || !absl::EndsWith(name.get<std::string>(), kClassifier)) return 0;
  const auto labels = root.find("id2label");
  if (labels != root.end() && labels->is_object()) return static_cast<int64_t>(labels->size());
  return fields.Integer("num_labels", 2);
}

void SetLabels(const ModelConfig& config, json& root) {
  root["architectures"] = {ArchitectureOf(config)};
  json names = json::object(), ids = json::object();
  for (int64_t i = 0; i < config.num_labels; ++i) {
    const std::string label = absl::StrCat("LABEL_", i);
    names[absl::StrCat(i)] = label;
    ids[label] = i;
  }
  root["id2label"] = names;
  root["label2id"] = ids;
}

json JsonFromFields(const ModelConfig& config) {
  json root = {{"architectures", {ArchitectureOf(config)}},
               {"model_type", config.model_type},
               {"vocab_size", config.vocab_size},
               {"hidden_size", config.hidden_size},
               {"intermediate_size", config.intermediate_size},
               {"num_hidden_layers", config.num_layers},
               {"num_attention_heads", config.num_heads},
               {"num_key_value_heads", config.num_kv_heads},
               {"head_dim", config.head_dim},
               {"hidden_act", "silu"},
               {"rms_norm_eps", config.rms_norm_eps},
               {"max_position_embeddings", config.max_position_embeddings},
               {"tie_word_embeddings", config.tie_word_embeddings},
               {"initializer_range", config.initializer_range},
               {"rope_theta", config.rope_theta},
               {"rope_parameters", RopeJson(config)}};
  if (config.rope_scaling.kind != RopeScaling::Kind::kNone) root["rope_scaling"] = RopeJson(config);
  if (config.model_type != "qwen2") root["attention_bias"] = config.qkv_bias;
  if (config.model_type == "mistral") root["sliding_window"] = nullptr;
  if (!config.eos_token_ids.empty()) root["eos_token_id"] = config.eos_token_ids;
  if (config.bos_token_id >= 0) root["bos_token_id"] = config.bos_token_id;
  if (config.pad_token_id >= 0) root["pad_token_id"] = config.pad_token_id;
  return root;
}

}  // namespace

absl::Status ValidateModelConfig(const ModelConfig& config, const std::string& where) {
  const std::pair<const char*, int64_t> sizes[] = {
      {"vocab_size", config.vocab_size},
      {"hidden_size", config.hidden_size},
      {"intermediate_size", config.intermediate_size},
      {"num_hidden_layers", config.num_layers},
      {"num_attention_heads", config.num_heads},
      {"num_key_value_heads", config.num_kv_heads},
      {"head_dim", config.head_dim},
      {"max_position_embeddings", config.max_position_embeddings}};
  for (const auto& [name, size] : sizes) {
    if (size <= 0 || size > (int64_t{1} << 31)) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": ", name, ": expected a positive size, found ", size));
    }
  }
  if (config.num_labels < 0 || config.num_labels > (int64_t{1} << 20)) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": num_labels: expected a small number, found ", config.num_labels));
  }
  if (config.num_heads % config.num_kv_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": num_attention_heads ", config.num_heads,
                     " is not a multiple of num_key_value_heads ", config.num_kv_heads));
  }
  if (config.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": head_dim: rotary embeddings need an even size, found ", config.head_dim));
  }
  if (!(config.rope_theta > 0 && config.rms_norm_eps >= 0 && config.rope_scaling.factor > 0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": expected rope_theta > 0, rope factor > 0 and rms_norm_eps >= 0, found ",
        config.rope_theta, ", ", config.rope_scaling.factor, " and ", config.rms_norm_eps));
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, const std::string& where) {
  COHORT_ASSIGN_OR_RETURN(const json root, ParseObject(text, where));
  Fields fields(root, where);
  ModelConfig config;
  config.json = std::string(text);
  config.model_type = fields.Text("model_type", "");
  COHORT_ASSIGN_OR_RETURN(const Defaults defaults, DefaultsOf(config.model_type, where));
  ReadSizes(fields, defaults, config);
  ReadOptions(fields, config);
  COHORT_RETURN_IF_ERROR(ReadRope(root, fields, where, config));
  COHORT_RETURN_IF_ERROR(CheckActivation(fields, where));
  ApplySlidingWindow(fields, where, config);
  config.num_labels = LabelsOf(root, fields);
  COHORT_RETURN_IF_ERROR(fields.status());
  COHORT_RETURN_IF_ERROR(ValidateModelConfig(config, where));
  return config;
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/config.json");
  COHORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  COHORT_ASSIGN_OR_RETURN(ModelConfig config, ParseModelConfig(text, path));
  COHORT_RETURN_IF_ERROR(ReadGenerationConfig(folder, config));
  return config;
}

std::string ModelConfigJson(const ModelConfig& config, absl::string_view dtype) {
  json root = config.json.empty() ? JsonFromFields(config)
                                  : json::parse(config.json, nullptr, /*allow_exceptions=*/false);
  if (config.num_labels > 0) SetLabels(config, root);
  root["dtype"] = std::string(dtype);
  root["torch_dtype"] = std::string(dtype);  // the name that `transformers` 4 reads
  return root.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace cohort
