#include "services/learner/startup.h"

#include <c10/core/GradMode.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/model/model_hash.h"
#include "common/model/vocabulary.h"
#include "common/telemetry/metric_names.h"
#include "common/tensor/device.h"
#include "services/learner/rank_channel.h"
#include "services/learner/training_config.h"

namespace cohort {
namespace {

absl::Status LoadConfiguration(const LearnerArgs& args, LearnerParts* parts) {
  absl::StatusOr<v1::RunConfig> config = LoadResolvedConfig(args.config_path, args.overrides);
  if (!config.ok()) return BadInput(config.status());
  parts->config = *std::move(config);
  parts->out = args.out.empty() ? parts->config.run().out() : args.out;
  parts->config.mutable_run()->set_out(parts->out);
  return SetComputeThreads(parts->config.learner().threads());
}

// Rank 0 makes the run's secret, where there are no certificates; the others dial it and find it
// there.
absl::Status MakeSecurity(const LearnerArgs& args, LearnerParts* parts) {
  const std::string secret = parts->OutPath(metric::kSecretFile);
  const v1::TlsSection& tls = parts->config.tls();
  absl::StatusOr<std::shared_ptr<const Security>> security =
      args.rank == 0 ? MakeServerSecurity(args.security, tls, Role::kLearner, secret)
                     : MakeClientSecurity(args.security, tls, {Role::kLearner}, {secret});
  if (!security.ok()) return BadInput(security.status());
  parts->security = *std::move(security);
  if (args.rank != 0) return absl::OkStatus();
  const std::string& listen = args.listen.empty() ? parts->config.learner().listen() : args.listen;
  return BadInput(parts->security->CheckListen(listen));
}

// Before anything in the folder is changed.
absl::Status OpenFolder(const LearnerArgs& args, LearnerParts* parts) {
  const absl::StatusOr<ResumeMode> mode = ParseResume(args.resume);
  if (!mode.ok()) return BadSetup(mode.status());
  if (args.rank != 0) return absl::OkStatus();  // needs nothing of it
  COHORT_ASSIGN_OR_RETURN(RunLock lock, OpenRunFolder(parts->out, *mode, "cohort-learner"));
  parts->lock.emplace(std::move(lock));
  std::error_code ignored;
  std::filesystem::remove(parts->OutPath(metric::kAddressFile), ignored);  // of an earlier learner
  return absl::OkStatus();
}

// Early, so that who probes the process does not take a long start for its end. Rank 0 always has
// the port; another rank where it is asked for, as the first of its host.

void WaitFor(const LearnerParts& parts, const std::string& what) {
  if (parts.http != nullptr) parts.http->WaitFor(what);
}

absl::StatusOr<CausalLmOptions> ModelOptions(const LearnerParts& parts, int rank) {
  CausalLmOptions options;
  COHORT_ASSIGN_OR_RETURN(options.device, ResolveDevice(LearnerDevice(parts.config), rank));
  COHORT_ASSIGN_OR_RETURN(options.dtype,
                          ResolveDtype(parts.config.model().dtype(), options.device));
  return options;
}

// What must read the same token ids as the policy.
absl::Status CheckSameVocabulary(const std::string& field, const std::string& path,
                                 const CausalLm& model, const CausalLm& policy) {
  const int64_t expected = policy.config().vocab_size, found = model.config().vocab_size;
  if (expected == found) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", path, " has ", found,
                                                 " tokens, the policy (model.path) has ", expected,
                                                 "; it must share the policy's tokenizer"));
}

// The models that algorithm.adv.baseline needs beside the policy, in the policy's dtype.
absl::Status LoadBeside(CausalLmOptions options, LearnerParts* parts) {
  const AdvantageBaseline baseline = parts->algorithm.advantage.baseline;
  options.trainable = true;
  if (baseline == AdvantageBaseline::kCriticGae) {
    const std::string& path = parts->config.critic().path();
    options.head = ModelHead::kNewScore;
    COHORT_ASSIGN_OR_RETURN(parts->critic, CausalLm::Load(path, options));
    if (parts->critic->config().num_labels != 1) {
      return absl::InvalidArgumentError(absl::StrCat("critic.path: ", path,
                                                     ": expected a classifier of one label, found ",
                                                     parts->critic->config().num_labels));
    }
    return CheckSameVocabulary("critic.path", path, *parts->critic, *parts->model);
  }
  if (baseline != AdvantageBaseline::kPrimeLoo) return absl::OkStatus();
  const std::string& path = parts->config.process_model().path();
  COHORT_ASSIGN_OR_RETURN(parts->process_model, CausalLm::Load(path, options));
  options.trainable = false;
  COHORT_ASSIGN_OR_RETURN(parts->process_reference, CausalLm::Load(path, options));
  return CheckSameVocabulary("process_model.path", path, *parts->process_model, *parts->model);
}

absl::Status LoadPolicy(int rank, bool trainable, LearnerParts* parts) {
  const std::string& path = parts->config.model().path();
  COHORT_ASSIGN_OR_RETURN(CausalLmOptions options, ModelOptions(*parts, rank));
  options.trainable = trainable;
  parts->config.mutable_model()->set_dtype(DtypeName(options.dtype));
  COHORT_ASSIGN_OR_RETURN(parts->tokenizer, Tokenizer::Load(path));
  COHORT_ASSIGN_OR_RETURN(parts->model, CausalLm::Load(path, options));
  COHORT_RETURN_IF_ERROR(
      CheckVocabulary(path, parts->tokenizer->vocab_size(), parts->model->config()));
  COHORT_RETURN_IF_ERROR(
      CheckContext(parts->config, parts->model->config().max_position_embeddings));
  COHORT_ASSIGN_OR_RETURN(parts->model_hash, ModelContentHash(path));
  parts->semantic = SemanticFields(parts->config, parts->model_hash);
  return absl::OkStatus();
}

// The frozen and the trained models beside the policy.
absl::Status LoadOthers(LearnerParts* parts) {
  CausalLmOptions options = parts->model->options();
  if (parts->algorithm.kl.placement != KlPlacement::kNone) {
    options.trainable = false;
    COHORT_ASSIGN_OR_RETURN(parts->reference,
                            CausalLm::Load(parts->config.model().path(), options));
  }
  return LoadBeside(options, parts);
}

absl::Status MeetOthers(const LearnerArgs& args, LearnerParts* parts) {
  const v1::LearnerSection& learner = parts->config.learner();
  C10dOptions options;
  options.rank = args.rank;
  options.world_size = args.world;
  options.backend = parts->model->options().device.is_cuda() ? "nccl" : "gloo";
  // The others wait here while rank 0 waits for a batch or for an evaluation.
  options.timeout = absl::Seconds(2 * learner.step_timeout_seconds()) + absl::Minutes(1);
  options.silence = absl::Seconds(learner.rank_silence_seconds());
  options.waits_for = [parts](const std::string& what) { WaitFor(*parts, what); };
  options.security = parts->security;
  options.run_hash = HashOfFields(parts->semantic);
  options.interface = args.interface.empty() ? learner.interface() : args.interface;
  absl::StatusOr<std::unique_ptr<Collective>> met = MeetRanks(std::move(options), args.store);
  // A port or a place that is still taken becomes free.
  if (absl::IsAlreadyExists(met.status())) return met.status();
  if (!met.ok()) return BadInput(met.status());
  parts->collective = *std::move(met);
  return absl::OkStatus();
}

// A checkpoint goes on only under the configuration that it was made with.
absl::Status CheckSameRun(const LoadedCheckpoint& found, const FieldMap& semantic) {
  if (found.state.config_hash == HashOfFields(semantic)) return absl::OkStatus();
  const auto extra = nlohmann::json::parse(found.state.extra_json, nullptr, false);
  std::string difference = "fields of an earlier version of this program";
  if (extra.is_object() && extra.contains("semantic") && extra["semantic"].is_object()) {
    for (const auto& [name, value] : semantic) {
      const auto before = extra["semantic"].find(name);
      if (before != extra["semantic"].end() && *before == value) continue;
      const std::string was = before == extra["semantic"].end() ? "absent" : before->dump();
      difference = absl::StrCat(name, " was ", was, " and is \"", value, "\" now");
      break;
    }
  }
  return BadSetup(absl::FailedPreconditionError(
      absl::StrCat(found.path, " was written under another configuration: ", difference,
                   "; resume with the run's own config.yaml or start a new run with --out")));
}

absl::Status Resume(LearnerParts* parts) {
  absl::StatusOr<LoadedCheckpoint> loaded = parts->checkpoints->LoadNewest(
      parts->model.get(), &parts->trainer->optimizer(), parts->trainer->Beside(),
      [parts](const LoadedCheckpoint& found) { return CheckSameRun(found, parts->semantic); });
  if (absl::IsNotFound(loaded.status())) {
    COHORT_LOG(INFO) << "no checkpoint in " << parts->out << ": the run begins at step 0";
    return absl::OkStatus();
  }
  if (!loaded.ok()) return BadInput(loaded.status());
  parts->resumed = std::move(loaded->state);
  parts->trainer->Restore(parts->resumed->step, parts->resumed->kl_coef);
  COHORT_LOG(INFO) << "resumed from " << loaded->path << ", step " << parts->resumed->step;
  return absl::OkStatus();
}

// Rank 0 alone reads the checkpoint; the others end as it does when it cannot.
absl::Status ResumeTogether(const LearnerArgs& args, LearnerParts* parts) {
  absl::Status status;
  if (args.rank == 0 && !args.resume.empty()) status = Resume(parts);
  if (args.world == 1) return status;
  std::string code = absl::StrCat(ExitCodeOf(status));
  const absl::Status told = parts->collective->BroadcastBytes(code, 0, "outcome of --resume");
  if (args.rank == 0) return status.ok() ? told : status;
  COHORT_RETURN_IF_ERROR(told);
  int64_t number = kExitFailed;
  if (!absl::SimpleAtoi(code, &number)) number = kExitFailed;
  return EndAsRankZero(number);
}

absl::Status MakeTrainer(const LearnerArgs& args, std::function<bool()> cancelled,
                         LearnerParts* parts) {
  COHORT_ASSIGN_OR_RETURN(TrainerOptions options, MakeTrainerOptions(parts->config));
  options.cancelled = std::move(cancelled);
  BesideModels beside;
  beside.reference = parts->reference.get();
  beside.critic = parts->critic.get();
  beside.process = parts->process_model.get();
  beside.process_reference = parts->process_reference.get();
  parts->trainer =
      std::make_unique<Trainer>(options, parts->model.get(), beside, parts->collective.get());
  parts->checkpoints = std::make_unique<CheckpointStore>(parts->OutPath(metric::kCheckpointFolder),
                                                         parts->config.checkpoint().keep_last());
  // Clears what an interrupted write left.
  if (args.rank == 0) COHORT_RETURN_IF_ERROR(parts->checkpoints->Open());
  COHORT_RETURN_IF_ERROR(ResumeTogether(args, parts));
  return parts->trainer->SyncWeights();  // the others need nothing of the run's folder
}

}  // namespace

absl::Status StartHttp(const LearnerArgs& args, LearnerParts* parts) {
  if (args.rank != 0 && args.http_listen.empty()) return absl::OkStatus();
  const v1::LearnerSection& learner = parts->config.learner();
  const std::string listen = args.http_listen.empty() ? learner.http_listen() : args.http_listen;
  const std::string page =
      PageListen(listen, args.page_listen.empty() ? learner.page_listen() : args.page_listen);
  COHORT_ASSIGN_OR_RETURN(parts->http, LearnerHttp::Start(listen, args.rank == 0 ? page : ""));
  parts->http->WaitFor("loading the model");
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<LearnerParts>> StartEvaluation(const LearnerArgs& args) {
  auto parts = std::make_unique<LearnerParts>();
  COHORT_RETURN_IF_ERROR(LoadConfiguration(args, parts.get()));
  COHORT_RETURN_IF_ERROR(MakeFolders(parts->out));
  COHORT_RETURN_IF_ERROR(MakeSecurity(args, parts.get()));
  COHORT_RETURN_IF_ERROR(StartHttp(args, parts.get()));
  COHORT_RETURN_IF_ERROR(BadInput(LoadPolicy(args.rank, /*trainable=*/false, parts.get())));
  return parts;
}

absl::StatusOr<std::unique_ptr<LearnerParts>> StartLearner(const LearnerArgs& args,
                                                           std::function<bool()> cancelled) {
  auto parts = std::make_unique<LearnerParts>();
  COHORT_RETURN_IF_ERROR(LoadConfiguration(args, parts.get()));
  COHORT_RETURN_IF_ERROR(OpenFolder(args, parts.get()));
  COHORT_RETURN_IF_ERROR(StartHttp(args, parts.get()));
  COHORT_RETURN_IF_ERROR(MakeSecurity(args, parts.get()));
  const absl::StatusOr<TrainerOptions> options = MakeTrainerOptions(parts->config);
  if (!options.ok()) return BadInput(options.status());
  parts->algorithm = options->algorithm;
  COHORT_RETURN_IF_ERROR(BadInput(LoadPolicy(args.rank, /*trainable=*/true, parts.get())));
  COHORT_RETURN_IF_ERROR(BadInput(LoadOthers(parts.get())));
  WaitFor(*parts, absl::StrCat("waiting for ranks: ", args.world, " meet at ", args.store));
  COHORT_RETURN_IF_ERROR(MeetOthers(args, parts.get()));
  WaitFor(*parts, "preparing the run");
  COHORT_RETURN_IF_ERROR(MakeTrainer(args, std::move(cancelled), parts.get()));
  // Rank 0 shows the run once it serves it.
  if (args.rank != 0 && parts->http != nullptr) parts->http->Show({}, nullptr);
  return parts;
}

}  // namespace cohort
