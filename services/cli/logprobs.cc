#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/packed_attention.h"
#include "common/objective/token_scores.h"
#include "common/text/json.h"
#include "services/cli/commands.h"
#include "services/cli/local_engine.h"

namespace cohort {
namespace {

using nlohmann::json;
using Sequence = std::vector<int64_t>;

constexpr int64_t kTokensPerPass = 4096;

absl::StatusOr<Sequence> ReadSequence(const json& line, const ModelConfig& config,
                                      const std::string& where) {
  const auto invalid = [&](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
  };
  const auto found = line.is_object() ? line.find("tokens") : line.end();
  if (found == line.end() || !found->is_array() || found->empty()) {
    return invalid("expected {\"tokens\": [id, ...]}");
  }
  if (static_cast<int64_t>(found->size()) > config.max_position_embeddings) {
    return invalid(absl::StrCat(found->size(), " tokens; the model's context holds ",
                                config.max_position_embeddings));
  }
  Sequence tokens;
  for (const json& id : *found) {
    if (!id.is_number_integer() || id < 0 || id >= config.vocab_size) {
      return invalid(absl::StrCat("token ", tokens.size(), " is ", id.dump(),
                                  "; the model has ids 0 to ", config.vocab_size - 1));
    }
    tokens.push_back(id.get<int64_t>());
  }
  return tokens;
}

// Log-probabilities of all tokens but the first of each sequence, one after the other, from one
// forward pass over all sequences.
std::vector<float> Score(const CausalLm& model, const std::vector<Sequence>& sequences) {
  const c10::InferenceMode inference;
  std::vector<Segment> segments;
  std::vector<int64_t> tokens, positions, predicting, targets;
  for (const Sequence& sequence : sequences) {
    const auto begin = static_cast<int64_t>(tokens.size());
    const auto length = static_cast<int64_t>(sequence.size());
    segments.push_back({begin, length});
    tokens.insert(tokens.end(), sequence.begin(), sequence.end());
    for (int64_t i = 0; i < length; ++i) positions.push_back(i);
    for (int64_t i = 0; i + 1 < length; ++i) predicting.push_back(begin + i);
    targets.insert(targets.end(), sequence.begin() + 1, sequence.end());
  }
  if (targets.empty()) return {};
  const auto on_device = [&](const std::vector<int64_t>& values) {
    return at::tensor(values, at::kLong).to(model.options().device);
  };
  PackedAttention attention(segments);
  const at::Tensor hidden = model.Forward(on_device(tokens), on_device(positions), attention);
  TokenScoreOptions options;
  options.with_entropy = false;
  const TokenScores scores = ScoreTokens(hidden.index_select(0, on_device(predicting)),
                                         model.head_weight(), on_device(targets), options);
  const at::Tensor host = scores.logprob.to(at::kFloat).cpu().contiguous();
  const float* data = host.const_data_ptr<float>();
  return {data, data + host.numel()};
}

absl::Status PrintScores(const CausalLm& model, std::vector<Sequence>& sequences) {
  std::vector<float> scores;
  try {
    scores = Score(model, sequences);
  } catch (const c10::Error& error) {
    return absl::InternalError(error.what_without_backtrace());
  }
  size_t next = 0;
  for (const Sequence& sequence : sequences) {
    json logprobs = json::array({nullptr});
    for (size_t i = 1; i < sequence.size(); ++i) logprobs.push_back(scores[next++]);
    std::cout << json{{"logprobs", std::move(logprobs)}}.dump() << "\n";
  }
  std::cout << std::flush;
  sequences.clear();
  return absl::OkStatus();
}

absl::Status ScoreStream(const CausalLm& model, const std::string& name, std::istream& in) {
  std::vector<Sequence> batch;
  int64_t tokens = 0;
  std::string text;
  for (int64_t number = 1; std::getline(in, text); ++number) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = absl::StrCat(name, " line ", number);
    COHORT_ASSIGN_OR_RETURN(const json line, ParseJson(text, where));
    COHORT_ASSIGN_OR_RETURN(Sequence sequence, ReadSequence(line, model.config(), where));
    const auto length = static_cast<int64_t>(sequence.size());
    if (tokens + length > kTokensPerPass && !batch.empty()) {
      COHORT_RETURN_IF_ERROR(PrintScores(model, batch));
      tokens = 0;
    }
    tokens += length;
    batch.push_back(std::move(sequence));
  }
  return PrintScores(model, batch);
}

}  // namespace

int RunLogprobs(const LogprobsArgs& args) {
  const auto model = LoadLocalModel(args.model, args.dtype, args.device, args.threads);
  if (!model.ok()) return Fail("logprobs", model.status());
  std::ifstream file;
  if (args.input != "-") {
    file.open(args.input);
    if (!file) {
      return Fail("logprobs", absl::NotFoundError(absl::StrCat("cannot read ", args.input)));
    }
  }
  std::istream& in = args.input == "-" ? std::cin : file;
  const absl::Status status = ScoreStream(**model, args.input, in);
  return status.ok() ? 0 : Fail("logprobs", status);
}

}  // namespace cohort
