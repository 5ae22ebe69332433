// What every rank of the learner holds: configuration, model, collective, trainer, checkpoints.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/collective/collective.h"
#include "common/config/config.h"
#include "common/model/causal_lm.h"
#include "common/rpc/security.h"
#include "common/rpc/security_flags.h"
#include "common/run_folder/run_folder.h"
#include "common/text/tokenizer.h"
#include "common/train/checkpoint.h"
#include "common/train/trainer.h"
#include "services/learner/learner_http.h"

namespace cohort {

struct LearnerArgs {
  std::string config_path;
  std::vector<std::string> overrides;  // --set
  std::string listen;                  // empty: learner.listen
  std::string http_listen;             // empty: learner.http_listen at rank 0, none at others
  std::string page_listen;             // empty: learner.page_listen, which see; rank 0 alone
  int rank = 0;
  int world = 1;
  std::string store;         // HOST:PORT where ranks meet; not needed by one rank
  std::string interface;     // of the ranks' own traffic; empty: learner.interface
  std::string out;           // empty: run.out
  std::string address_file;  // empty: `address` in the run's folder
  SecurityFlags security;
  std::string resume;     // --resume[=auto], as common/run_folder/run_folder.h reads it
  std::string evaluate;   // file: no training, the groups of eval.sources are appended to it
  std::string evaluated;  // file of ordinals, one a line, that are left out of it; empty: none
};

// Made in this order, ended in the reverse one.
struct LearnerParts {
  v1::RunConfig config;  // resolved, every `auto` decided
  AlgorithmSpec algorithm;
  std::string out;                           // the run's folder
  std::optional<RunLock> lock;               // of it; rank 0
  std::shared_ptr<const Security> security;  // of every port and connection of this process
  std::string model_hash;
  FieldMap semantic;
  std::unique_ptr<LearnerHttp> http;  // from its first moments on; null: this rank serves none
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<CausalLm> model, reference;  // reference: null without a KL term
  // Null where algorithm.adv.baseline needs none.
  std::unique_ptr<CausalLm> critic, process_model, process_reference;
  std::unique_ptr<Collective> collective;
  std::unique_ptr<Trainer> trainer;
  std::unique_ptr<CheckpointStore> checkpoints;
  std::optional<CheckpointState> resumed;

  std::string OutPath(const std::string& name) const { return out + "/" + name; }
};

// The HTTP ports of this rank into `parts`; none where it has none.
absl::Status StartHttp(const LearnerArgs& args, LearnerParts* parts);

// Configuration, tokenizer and model of an evaluation, and nothing that trains.
absl::StatusOr<std::unique_ptr<LearnerParts>> StartEvaluation(const LearnerArgs& args);

// Loads and checks everything, meets the other ranks, restores the newest checkpoint when asked to.
// `cancelled` becomes TrainerOptions::cancelled.
absl::StatusOr<std::unique_ptr<LearnerParts>> StartLearner(const LearnerArgs& args,
                                                           std::function<bool()> cancelled);

}  // namespace cohort
