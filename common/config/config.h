// The configuration of a run: from a YAML file and `--set` overrides to a resolved, validated
// v1::RunConfig (proto/cohort/v1/config.proto has every field with its unit and default).
//
//   Load      YAML + overrides -> what the user wrote
//   Resolve   fills everything that was left open, explicitly, so that two programs that read the
//             result see the same values whatever their built-in defaults are
//   Validate  refuses what cannot work, naming the fields and what to set
//
// No state, thread-safe. Errors are InvalidArgument (NotFound for a missing file), one line each.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cohort/v1/config.pb.h"

namespace cohort {

// Reads the file and applies the overrides (`optimizer.lr=1e-6`) in order. A path that is no file
// may be a recipe's name (recipes.h). Neither resolved nor validated. Overriding one of data.task,
// data.path and data.sources drops the other two.
absl::StatusOr<v1::RunConfig> LoadConfig(const std::string& path,
                                         const std::vector<std::string>& overrides = {});

// The same from text; `origin` names it in errors.
absl::StatusOr<v1::RunConfig> ParseConfig(absl::string_view yaml, const std::string& origin,
                                          const std::vector<std::string>& overrides = {});

// Applies overrides to a configuration, in order, as LoadConfig does.
absl::Status OverrideConfig(const std::vector<std::string>& overrides, v1::RunConfig* config);

// Fills in every default. What is derived rather than constant:
//   run.name           `name` (a file's name without folder and .yaml)
//   run.out            runs/NAME
//   data.sources       one source from data.task or data.path, which are then cleared
//   *.sources[].name   the task's name, or the file's name without folder and extension
//   eval.sources       the data sources (their held-out part)
//   eval.max_new_tokens, overlong_soft.max_len, cosine.max_len    rollout.max_new_tokens
//   algorithm.reward.sources   [{name: task}]: the data source's own verifier
//   *.sources[].n_votes, column    rollout.group_size; majority_answer, incorrect_answer
//   algorithm.reward.scale     1 / -1 / -1 where rule_dapo judges, else 1 / 0 / 0
//   algorithm.adv.scale        group_std of baseline group_mean, none of the others
//   algorithm.trust            clip 0.2/0.2; none where ratio is none
//   algorithm.offpolicy        bypass where a batch makes one update on fresh samples, else tis
//                              (token level, cap 2)
//   algorithm.agg.empty_rows   count for seq_mean_token_sum_const, else exclude (algorithms.md 2.6)
//   algorithm.agg.constant     rollout.max_new_tokens, for seq_mean_token_sum_const
// Idempotent. Left open on purpose, since only a process knows: model.dtype and device `auto`,
// threads 0, weights.codec `auto`. learner.device and rollout.device stay unset where they are not
// given, so that an override of model.device still reaches them.
void ResolveConfig(const std::string& name, v1::RunConfig* config);

// Ranges, sizes that do not divide, and the rules of algorithms.md 14.3. Expects a resolved
// configuration. All mistakes at once, in one line, separated by "; ".
absl::Status ValidateConfig(const v1::RunConfig& config);

// What is allowed but probably not meant (algorithms.md 14.3 "warn"), one line each.
std::vector<std::string> ConfigWarnings(const v1::RunConfig& config);

// Load, resolve (the name from `path`) and validate: what every program calls.
absl::StatusOr<v1::RunConfig> LoadResolvedConfig(const std::string& path,
                                                 const std::vector<std::string>& overrides = {});

// YAML with every field that is set. Of a resolved configuration that is every value, and
// ParseConfig of the text gives an equal message.
std::string PrintConfig(const v1::RunConfig& config);

// auto, cpu, cuda or cuda:N that a role computes on: its own field where it is set, else
// model.device.
const std::string& LearnerDevice(const v1::RunConfig& config);
const std::string& RolloutDevice(const v1::RunConfig& config);

// Optimizer steps that one batch makes: mini_batches x epochs.
int64_t UpdatesPerBatch(const v1::RunConfig& config);

// One batch size in every unit. Tokens are upper bounds.
struct BatchTerm {
  std::string name;     // "mini-batch, per rank"
  int64_t prompts = 0;  // groups
  int64_t rows = 0;     // responses
  int64_t tokens = 0;   // response tokens at most
  std::string note;     // how it follows from the fields
};
std::vector<BatchTerm> BatchTerms(const v1::RunConfig& config);
std::string PrintBatchTerms(const v1::RunConfig& config);  // the same as a table

// Name -> value of every field that is set.
using FieldMap = std::map<std::string, std::string>;
FieldMap FlatFields(const v1::RunConfig& config);
// The training-semantic ones: those on which learner and worker must agree. `model_sha256` is the
// content hash of the model folder, computed by the caller. HashOfFields (common/base) names them.
FieldMap SemanticFields(const v1::RunConfig& config, const std::string& model_sha256);

}  // namespace cohort
