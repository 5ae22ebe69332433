// A model, its tokenizer and a generation engine in this process, for `cohort generate` and `eval`.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/generate/engine.h"
#include "common/model/causal_lm.h"
#include "common/text/tokenizer.h"

namespace cohort {

struct LocalModel {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<CausalLm> model;
};

// Loads a folder for inference. `dtype` and `device` as the command line spells them; threads 0:
// all cores. InvalidArgument when the tokenizer has ids that the model has no embedding for.
absl::StatusOr<std::unique_ptr<CausalLm>> LoadLocalModel(const std::string& folder,
                                                         const std::string& dtype,
                                                         const std::string& device, int threads);
absl::StatusOr<LocalModel> LoadLocalModelAndTokenizer(const std::string& folder,
                                                      const std::string& dtype,
                                                      const std::string& device, int threads);

// An engine that ends rows at the tokenizer's end-of-sequence tokens. `em_inf`: sharpens the
// logits.
absl::StatusOr<std::unique_ptr<GroupGenerator>> MakeLocalEngine(
    const LocalModel& local, int max_rows, const std::optional<EmInfOptions>& em_inf = {});

// Generates what `next` gives, many groups together, and hands every group to `take` in the order
// of `next`; a request that the engine refuses arrives there with its status. Stops at the first
// error of either.
using NextRequest = std::function<absl::StatusOr<std::optional<GroupRequest>>()>;
using TakeGroupInOrder = std::function<absl::Status(const FinishedGroup&)>;
absl::Status GenerateInOrder(GroupGenerator& engine, const NextRequest& next,
                             const TakeGroupInOrder& take);

}  // namespace cohort
