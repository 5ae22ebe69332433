#include "services/cli/sft_run.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "common/html/html.h"
#include "common/model/model_hash.h"
#include "common/model/vocabulary.h"
#include "common/rpc/security.h"
#include "common/rpc/security_flags.h"
#include "common/tasks/training_example.h"
#include "common/tasks/wrong_answer.h"
#include "common/telemetry/jsonl_writer.h"
#include "common/telemetry/metric_names.h"
#include "common/telemetry/tensorboard_writer.h"
#include "common/tensor/device.h"
#include "common/train/checkpoint.h"
#include "common/train/sft.h"
#include "services/cli/evaluator.h"
#include "services/cli/progress.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr int kHeldoutExamples = 64;  // of each source, for the held-out loss
constexpr uint64_t kWrongAnswerKey = 0x77726f6e67;
constexpr absl::Duration kSayEvery = absl::Seconds(2);

LrSchedule MapSchedule(v1::Schedule schedule) {
  switch (schedule) {
    case v1::SCHEDULE_LINEAR:
      return LrSchedule::kLinear;
    case v1::SCHEDULE_COSINE:
      return LrSchedule::kCosine;
    case v1::SCHEDULE_CONSTANT:
      break;
  }
  return LrSchedule::kConstant;
}

SftOptions MakeOptions(const v1::RunConfig& config) {
  const v1::OptimizerSection& optimizer = config.optimizer();
  SftOptions options;
  options.tokens_per_micro_batch = config.learner().tokens_per_micro_batch();
  options.adamw.beta1 = optimizer.beta1();
  options.adamw.beta2 = optimizer.beta2();
  options.adamw.eps = optimizer.eps();
  options.adamw.weight_decay = optimizer.weight_decay();
  options.lr.lr = optimizer.lr();
  options.lr.schedule = MapSchedule(optimizer.schedule());
  options.lr.warmup_steps = optimizer.warmup_steps();
  options.lr.total_steps = config.run().steps();
  options.lr.min_lr_ratio = optimizer.min_lr_ratio();
  options.max_grad_norm = optimizer.max_grad_norm();
  options.checkpoint_activations = config.model().checkpoint_activations();
  return options;
}

template <typename Source>
SourceOptions OptionsOf(const Source& source, uint64_t seed) {
  SourceOptions options;
  options.task = source.task();
  options.path = source.path();
  options.reward = source.reward();
  options.name = source.name();
  options.seed = seed;
  options.heldout_rows = static_cast<uint64_t>(source.heldout_rows());
  return options;
}

Group ToGroup(TrainingExample example, uint64_t ordinal, std::string source) {
  Group group;
  group.ordinal = ordinal;
  group.source = std::move(source);
  group.prompt = std::move(example.prompt);
  Row& row = group.rows.emplace_back();
  row.tokens = std::move(example.tokens);
  row.mask = std::move(example.mask);
  return group;
}

// A seeded share of the examples ends in a wrong answer (sft.wrong_share).
absl::Status TeachWrong(const v1::RunConfig& config, Prompt* prompt) {
  const v1::SftSection& sft = config.sft();
  if (sft.wrong_share() == 0) return absl::OkStatus();
  CounterRng rng(config.run().seed() ^ kWrongAnswerKey, prompt->ordinal);
  if (rng.Uniform() >= sft.wrong_share()) return absl::OkStatus();
  const bool next = sft.wrong_answer() == v1::WRONG_ANSWER_NEXT;
  return EndInWrongAnswer(next ? WrongAnswerKind::kNext : WrongAnswerKind::kAny, &rng, prompt);
}

// What a checkpoint keeps beside weights and optimizer.
struct Totals {
  double train_seconds = 0;
  double packed_tokens = 0;
  double loss_first = 0, loss_last = 0;
  double before = -1, after = -1;  // held-out accuracy; below 0: none
  int64_t too_long = 0;            // examples left out

  json ToJson() const {
    return {{"train_seconds", train_seconds},
            {"packed_tokens", packed_tokens},
            {"loss_first", loss_first},
            {"loss_last", loss_last},
            {"before", before},
            {"after", after},
            {"too_long", too_long}};
  }
  void Read(const json& in) {
    for (const auto& [key, value] :
         std::vector<std::pair<const char*, double*>>{{"train_seconds", &train_seconds},
                                                      {"packed_tokens", &packed_tokens},
                                                      {"loss_first", &loss_first},
                                                      {"loss_last", &loss_last},
                                                      {"before", &before},
                                                      {"after", &after}}) {
      if (in.contains(key) && in[key].is_number()) *value = in[key].get<double>();
    }
    if (in.contains("too_long") && in["too_long"].is_number()) too_long = in["too_long"];
  }
};

class SftRun {
 public:
  explicit SftRun(const SftRunOptions& options)
      : options_(options), config_(options.config), first_rank_(options.rank == 0) {}

  absl::Status Run() {
    COHORT_RETURN_IF_ERROR(Prepare());
    const absl::Status status = Train();
    if (!status.ok() && stopped_by_ == 0) collective_->Abort();
    return status;
  }

 private:
  std::string OutPath(const std::string& name) const {
    return absl::StrCat(config_.run().out(), "/", name);
  }
  int64_t step() const { return trainer_->steps(); }

  absl::Status Prepare();
  absl::Status LoadModel();
  absl::StatusOr<std::shared_ptr<const Security>> StoreSecurity() const;
  absl::Status MeetOthers();
  absl::Status OpenCheckpoints();
  absl::Status OpenData();
  absl::Status OpenReports();

  absl::StatusOr<std::vector<Group>> Batch(int64_t step);
  absl::Status Train();
  absl::Status OneStep();
  absl::StatusOr<bool> Continue();
  absl::Status Evaluate(MetricRow* row);
  absl::Status Report(MetricRow row);
  absl::Status KeepCheckpoint(double accuracy);
  absl::Status SaveCheckpoint();
  absl::Status WriteSummary() const;
  void Say(const SftReport& report, double seconds, bool always);

  const SftRunOptions& options_;
  v1::RunConfig config_;
  const bool first_rank_;
  FieldMap semantic_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<CausalLm> model_;
  std::unique_ptr<Collective> collective_;
  std::unique_ptr<SftTrainer> trainer_;
  std::unique_ptr<CheckpointStore> checkpoints_;
  std::unique_ptr<PromptMixture> mixture_;
  PromptFormat format_;
  std::vector<std::unique_ptr<Evaluator>> evaluators_;  // rank 0
  std::vector<std::pair<std::string, std::vector<Group>>> heldout_;
  std::unique_ptr<JsonlWriter> metrics_;
  std::unique_ptr<TensorBoardWriter> tensorboard_;
  Totals totals_;
  int64_t saved_step_ = 0;
  int stopped_by_ = 0;    // signal that ended the run before its last step
  double accuracy_ = -1;  // of the last evaluation; below 0: none
  absl::Time last_said_ = absl::InfinitePast();
};

absl::Status SftRun::Prepare() {
  COHORT_RETURN_IF_ERROR(SetComputeThreads(config_.learner().threads()));
  COHORT_RETURN_IF_ERROR(BadInput(LoadModel()));
  COHORT_RETURN_IF_ERROR(MeetOthers());
  trainer_ = std::make_unique<SftTrainer>(MakeOptions(config_), model_.get(), collective_.get());
  COHORT_RETURN_IF_ERROR(OpenCheckpoints());
  COHORT_RETURN_IF_ERROR(trainer_->SyncWeights());
  COHORT_RETURN_IF_ERROR(BadInput(OpenData()));
  return first_rank_ ? OpenReports() : absl::OkStatus();
}

absl::Status SftRun::LoadModel() {
  const std::string& path = config_.model().path();
  CausalLmOptions options;
  COHORT_ASSIGN_OR_RETURN(options.device, ResolveDevice(LearnerDevice(config_)));
  COHORT_ASSIGN_OR_RETURN(options.dtype, ResolveDtype(config_.model().dtype(), options.device));
  config_.mutable_model()->set_dtype(DtypeName(options.dtype));
  options.trainable = true;
  COHORT_ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Load(path));
  COHORT_ASSIGN_OR_RETURN(model_, CausalLm::Load(path, options));
  COHORT_RETURN_IF_ERROR(CheckVocabulary(path, tokenizer_->vocab_size(), model_->config()));
  COHORT_ASSIGN_OR_RETURN(const std::string hash, ModelContentHash(path));
  semantic_ = SemanticFields(config_, hash);
  if (!config_.data().chat_template() || tokenizer_->has_chat_template()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("data.chat_template is on, but ", path,
                   " has no chat template; set data.chat_template: false"));
}

// All ranks run on this machine: the secret in the run's folder joins them.
absl::StatusOr<std::shared_ptr<const Security>> SftRun::StoreSecurity() const {
  const std::string secret = OutPath(metric::kSecretFile);
  if (config_.learner().ranks() == 1) return nullptr;
  return first_rank_ ? MakeServerSecurity({}, v1::TlsSection(), Role::kLearner, secret)
                     : MakeClientSecurity({}, v1::TlsSection(), {Role::kLearner}, {secret});
}

absl::Status SftRun::MeetOthers() {
  C10dOptions options;
  options.rank = options_.rank;
  options.world_size = config_.learner().ranks();
  options.backend = model_->options().device.is_cuda() ? "nccl" : "gloo";
  // The others wait here while rank 0 evaluates.
  options.timeout = absl::Seconds(config_.learner().step_timeout_seconds());
  options.silence = absl::Seconds(config_.learner().rank_silence_seconds());
  COHORT_ASSIGN_OR_RETURN(options.security, StoreSecurity());
  options.run_hash = HashOfFields(semantic_);
  options.interface = config_.learner().interface();
  COHORT_ASSIGN_OR_RETURN(collective_, MeetRanks(std::move(options), options_.store));
  return absl::OkStatus();
}

absl::Status SftRun::OpenCheckpoints() {
  checkpoints_ = std::make_unique<CheckpointStore>(OutPath(metric::kCheckpointFolder),
                                                   config_.checkpoint().keep_last());
  if (first_rank_) COHORT_RETURN_IF_ERROR(checkpoints_->Open());
  COHORT_RETURN_IF_ERROR(collective_->Barrier("start"));
  if (!options_.resume) return absl::OkStatus();
  const auto of_this_run = [this](const LoadedCheckpoint& found) {
    if (found.state.config_hash == HashOfFields(semantic_)) return absl::OkStatus();
    return BadSetup(absl::FailedPreconditionError(
        absl::StrCat(found.path,
                     " was written under another configuration; resume with the run's "
                     "own config.yaml or start a new run with --out")));
  };
  const absl::StatusOr<LoadedCheckpoint> loaded =
      checkpoints_->LoadNewest(model_.get(), &trainer_->optimizer(), {}, of_this_run);
  // It was stopped before its first checkpoint.
  if (absl::IsNotFound(loaded.status())) return absl::OkStatus();
  if (!loaded.ok()) return BadInput(loaded.status());
  const CheckpointState* const state = &loaded->state;
  totals_.Read(json::parse(state->extra_json, nullptr, false));
  saved_step_ = state->step;
  accuracy_ = totals_.after;
  return absl::OkStatus();
}

absl::Status SftRun::OpenData() {
  const uint64_t seed = config_.run().seed();
  format_.chat_template = config_.data().chat_template();
  format_.system_prompt = config_.data().system_prompt();
  format_.prompt_suffix = config_.data().prompt_suffix();
  std::vector<PromptMixture::Part> parts;
  for (const v1::DataSource& source : config_.data().sources()) {
    PromptMixture::Part part;
    COHORT_ASSIGN_OR_RETURN(part.source, MakeSource(OptionsOf(source, seed)));
    part.weight = source.weight();
    parts.push_back(std::move(part));
  }
  COHORT_ASSIGN_OR_RETURN(mixture_,
                          PromptMixture::Create(std::move(parts), seed, config_.data().shuffle()));
  if (config_.eval().samples() <= 0 || !first_rank_) return absl::OkStatus();
  for (const v1::EvalSource& source : config_.eval().sources()) {
    EvaluatorOptions options;
    options.source = OptionsOf(source, seed);
    options.prompts = source.prompts();
    options.samples = config_.eval().samples();
    options.temperature = config_.eval().temperature();
    options.max_new_tokens = config_.eval().max_new_tokens();
    options.seed = seed;
    options.format = format_;
    options.keep = 1;
    COHORT_ASSIGN_OR_RETURN(auto evaluator, Evaluator::Create(options, tokenizer_.get()));
    evaluators_.push_back(std::move(evaluator));
  }
  return absl::OkStatus();
}

absl::Status SftRun::OpenReports() {
  const int64_t keep = step() > 0 ? step() : -1;
  COHORT_ASSIGN_OR_RETURN(metrics_, JsonlWriter::Resume(OutPath(metric::kMetricsFile), keep));
  if (config_.log().tensorboard()) {
    COHORT_ASSIGN_OR_RETURN(tensorboard_,
                            TensorBoardWriter::Open(OutPath(metric::kTensorBoardFolder)));
  }
  return WriteFileAtomic(OutPath(metric::kConfigFile), PrintConfig(config_));
}

// The examples of step `step` (from 0), the same on every rank; longer ones than the model can hold
// are left out and counted.
absl::StatusOr<std::vector<Group>> SftRun::Batch(int64_t step) {
  int64_t limit = model_->config().max_position_embeddings;
  if (config_.model().max_context() > 0) {
    limit = std::min<int64_t>(limit, config_.model().max_context());
  }
  const auto size = static_cast<uint64_t>(config_.learner().prompts_per_step());
  std::vector<Group> batch;
  for (uint64_t i = 0; i < size; ++i) {
    const uint64_t ordinal = static_cast<uint64_t>(step) * size + i;
    COHORT_ASSIGN_OR_RETURN(Prompt prompt, mixture_->At(ordinal));
    COHORT_RETURN_IF_ERROR(TeachWrong(config_, &prompt));
    COHORT_ASSIGN_OR_RETURN(TrainingExample example,
                            EncodeTrainingExample(prompt, format_, *tokenizer_));
    if (example.size() > limit) {
      ++totals_.too_long;
      continue;
    }
    batch.push_back(ToGroup(std::move(example), ordinal, prompt.source));
  }
  if (!batch.empty()) return batch;
  return absl::InvalidArgumentError(
      absl::StrCat("step ", step + 1, ": none of ", size, " examples fits into ", limit,
                   " tokens; shorten them or raise model.max_context"));
}

// Rank 0 decides for all.
absl::StatusOr<bool> SftRun::Continue() {
  const double goal = config_.sft().stop_accuracy();
  bool go = step() < config_.run().steps() && !(goal > 0 && accuracy_ >= goal);
  if (go && first_rank_ && options_.stop_signal) stopped_by_ = options_.stop_signal();
  go = go && stopped_by_ == 0;
  std::string command(1, go ? 'g' : 's');
  COHORT_RETURN_IF_ERROR(collective_->BroadcastBytes(command, 0, "command of rank 0"));
  return command == "g";
}

absl::Status SftRun::Train() {
  if (first_rank_ && step() == 0 && !evaluators_.empty()) {
    MetricRow row;
    row.Set(metric::kStep, 0);
    COHORT_RETURN_IF_ERROR(Evaluate(&row));
    totals_.before = accuracy_;
    COHORT_RETURN_IF_ERROR(Report(std::move(row)));
  }
  if (first_rank_ && step() > 0 && step() >= config_.run().steps()) {
    std::cout << "the run was complete already; to go on, raise run.steps" << std::endl;
  }
  while (true) {
    COHORT_ASSIGN_OR_RETURN(const bool go, Continue());
    if (!go) break;
    COHORT_RETURN_IF_ERROR(OneStep());
  }
  if (!first_rank_) return absl::OkStatus();
  if (step() > saved_step_) COHORT_RETURN_IF_ERROR(SaveCheckpoint());
  COHORT_RETURN_IF_ERROR(WriteSummary());
  if (stopped_by_ == 0) return absl::OkStatus();
  return StoppedBySignal(stopped_by_, absl::StrCat("stopped by signal ", stopped_by_, " at step ",
                                                   step(), " of ", config_.run().steps()));
}

absl::Status SftRun::OneStep() {
  const absl::Time start = absl::Now();
  const absl::StatusOr<std::vector<Group>> batch = Batch(step());
  if (!batch.ok()) return BadInput(batch.status());
  COHORT_ASSIGN_OR_RETURN(const SftReport report, trainer_->Step(*batch));
  if (!first_rank_) return absl::OkStatus();
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  if (step() == 1) totals_.loss_first = report.loss;
  totals_.loss_last = report.loss;
  totals_.train_seconds += seconds;
  totals_.packed_tokens += static_cast<double>(report.packed_tokens);
  MetricRow row;
  row.Set(metric::kStep, step());
  row.Set(metric::kTimeStep, seconds);
  row.Set(metric::TimePhase(metric::kPhaseForward), report.seconds.forward);
  row.Set(metric::TimePhase(metric::kPhaseBackward), report.seconds.backward);
  row.Set(metric::TimePhase(metric::kPhaseAllReduce), report.seconds.allreduce);
  row.Set(metric::TimePhase(metric::kPhaseOptimizer), report.seconds.optimizer);
  row.Set(metric::kLoss, report.loss);
  row.Set(metric::kGradNorm, report.grad_norm);
  row.Set(metric::kLearningRate, report.learning_rate);
  row.Set(metric::kEntropy, report.entropy);
  row.Set(metric::kResponseLengthMean,
          static_cast<double>(report.learned_tokens) / static_cast<double>(report.examples));
  row.Set(metric::kSftExamples, report.examples);
  row.Set(metric::kSftTooLong, totals_.too_long);
  row.Set(metric::kSftLearnedTokens, report.learned_tokens);
  row.Set(metric::kTrainTokensPerSecond,
          seconds > 0 ? static_cast<double>(report.packed_tokens) / seconds : 0);
  const int64_t every = config_.eval().every_steps();
  const bool last = step() == config_.run().steps();
  const bool evaluate = !evaluators_.empty() && (last || (every > 0 && step() % every == 0));
  if (evaluate) COHORT_RETURN_IF_ERROR(Evaluate(&row));
  Say(report, seconds, evaluate || last);
  COHORT_RETURN_IF_ERROR(Report(std::move(row)));
  return KeepCheckpoint(evaluate ? accuracy_ : -1);
}

absl::Status SftRun::Evaluate(MetricRow* row) {
  const c10::NoGradGuard no_grad;
  const absl::Time start = absl::Now();
  for (size_t i = 0; i < evaluators_.size(); ++i) {
    Evaluator& evaluator = *evaluators_[i];
    double correct = 0, judged = 0, tokens = 0, unscorable = 0;
    COHORT_RETURN_IF_ERROR(evaluator.Run(*model_, {}, [&](const ProblemResult& problem) {
      const ProblemCount count = problem.Count();
      correct += static_cast<double>(count.correct);
      judged += static_cast<double>(count.samples);
      for (const SampleResult& sample : problem.samples) {
        tokens += sample.tokens;
        unscorable += sample.unscorable ? 1 : 0;
      }
      return absl::OkStatus();
    }));
    const double accuracy = judged > 0 ? correct / judged : 0;
    if (i == 0) accuracy_ = accuracy;
    const std::string& name = evaluator.source().name();
    row->Set(metric::EvalAccuracy(name), accuracy);
    row->Set(metric::EvalRows(name), judged);
    row->Set(metric::EvalUnscorable(name), unscorable);
    row->Set(metric::EvalResponseLength(name), judged > 0 ? tokens / judged : 0);
  }
  if (step() > 0) totals_.after = accuracy_;
  row->Set(metric::TimePhase(metric::kPhaseEval), absl::ToDoubleSeconds(absl::Now() - start));
  return absl::OkStatus();
}

absl::Status SftRun::Report(MetricRow row) {
  if (tensorboard_ != nullptr) COHORT_RETURN_IF_ERROR(tensorboard_->Write(step(), row));
  return metrics_->Write(row);
}

void SftRun::Say(const SftReport& report, double seconds, bool always) {
  if (!always && absl::Now() - last_said_ < kSayEvery && step() > 1) return;
  last_said_ = absl::Now();
  const double left = totals_.train_seconds / static_cast<double>(step()) *
                      static_cast<double>(config_.run().steps() - step());
  std::string line = absl::StrFormat(
      "step %d/%d  loss %.4f  grad %.2f  %.0f tok/s", step(), config_.run().steps(), report.loss,
      report.grad_norm, seconds > 0 ? static_cast<double>(report.packed_tokens) / seconds : 0);
  if (always && accuracy_ >= 0) absl::StrAppendFormat(&line, "  held-out %.1f%%", 100 * accuracy_);
  std::cout << line << "  left " << DurationText(absl::Seconds(left)) << std::endl;
}

absl::Status SftRun::KeepCheckpoint(double accuracy) {
  const int64_t every = config_.checkpoint().every_steps();
  const CheckpointStore::Best best = checkpoints_->best();
  const bool better =
      config_.checkpoint().keep_best() && accuracy >= 0 && (best.step < 0 || accuracy > best.score);
  if (!better && !(every > 0 && step() % every == 0)) return absl::OkStatus();
  COHORT_RETURN_IF_ERROR(SaveCheckpoint());
  return better ? checkpoints_->MarkBest(step(), accuracy) : absl::OkStatus();
}

absl::Status SftRun::SaveCheckpoint() {
  CheckpointState state;
  state.step = state.version = step();
  state.optimizer_steps = step();
  state.config_hash = HashOfFields(semantic_);
  state.extra_json = totals_.ToJson().dump();
  COHORT_RETURN_IF_ERROR(checkpoints_->Save(*model_, trainer_->optimizer(), state));
  saved_step_ = step();
  return absl::OkStatus();
}

absl::Status SftRun::WriteSummary() const {
  json summary = {{metric::kSummarySteps, step()},
                  {metric::kSummaryTrainSeconds, totals_.train_seconds},
                  {"loss_first", totals_.loss_first},
                  {"loss_last", totals_.loss_last},
                  {metric::kSummaryHeldoutBefore, nullptr},
                  {metric::kSummaryHeldoutAfter, nullptr},
                  {metric::kSummaryTokensPerSecond,
                   totals_.train_seconds > 0 ? totals_.packed_tokens / totals_.train_seconds : 0},
                  {"examples_too_long", totals_.too_long},
                  {"kind", "sft"},
                  {"checkpoint", checkpoints_->PathOf(saved_step_)},
                  {"model", config_.model().path()},
                  {"dtype", config_.model().dtype()},
                  {"seed", config_.run().seed()},
                  {"spurious", config_.run().spurious()}};
  if (totals_.before >= 0) summary[metric::kSummaryHeldoutBefore] = totals_.before;
  if (totals_.after >= 0) summary[metric::kSummaryHeldoutAfter] = totals_.after;
  return WriteFileAtomic(OutPath(metric::kSummaryFile), summary.dump(2) + "\n");
}

}  // namespace

absl::Status RunSftRank(const SftRunOptions& options) { return SftRun(options).Run(); }

}  // namespace cohort
