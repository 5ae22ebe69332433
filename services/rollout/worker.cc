#include "services/rollout/worker.h"

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/exit_code.h"
#include "common/base/hash.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/config/algorithm.h"
#include "common/config/config.h"
#include "common/generate/engine.h"
#include "common/model/causal_lm.h"
#include "common/model/vocabulary.h"
#include "common/rpc/json.h"
#include "common/rpc/security.h"
#include "common/run_rewards/run_rewards.h"
#include "common/telemetry/http_host.h"
#include "common/telemetry/metric_names.h"
#include "common/telemetry/scrape_watch.h"
#include "common/tensor/device.h"
#include "common/text/tokenizer.h"
#include "services/rollout/generation_loop.h"
#include "services/rollout/reward_runner.h"
#include "services/rollout/run_source.h"
#include "services/rollout/session_client.h"
#include "services/rollout/weight_follower.h"

namespace cohort {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(200);
constexpr absl::Duration kGoodbye = absl::Seconds(3);
constexpr absl::Duration kLastScrapes = absl::Seconds(90);
constexpr char kAuto[] = "auto";  // of model.dtype

RewardRunnerOptions RewardOptions(const v1::RunConfig& config) {
  RewardRunnerOptions options;
  options.score_training = !config.algorithm().reward().sources().empty();
  for (const v1::RewardComponent& source : config.algorithm().reward().sources()) {
    if (source.name() == "service") options.concurrency = config.reward().service().concurrency();
  }
  return options;
}

// The parts in the order of their dependence; destroyed in reverse.
class Worker {
 public:
  Worker(const WorkerArgs& args, StopSignal* stop) : args_(args), stop_(stop) {}

  // `dtype`: what a learner has made of `auto`; empty: not known yet.
  absl::Status Prepare(const std::string& dtype);
  absl::Status Serve();
  // After Serve: the learner computes in this dtype, and nothing else was wrong.
  std::string other_dtype() {
    absl::MutexLock lock(&mu_);
    return other_dtype_;
  }

 private:
  absl::Status MakeSecurity(const v1::RunConfig& own);
  absl::Status FindRun();
  absl::Status LoadModel();
  absl::Status MakeEngine();
  absl::Status StartHttp();
  absl::Status Ready() const;
  void MakeLoop();
  void Connect(const FieldMap& semantic);
  void OnWelcome(const v1::Welcome& welcome);
  absl::Status WaitForEnd();
  void CountStreams();
  void DrainAll(absl::Duration limit, const std::string& reason);
  void SendScored(const absl::Status& status, ScoringJob job);

  const WorkerArgs args_;
  StopSignal* const stop_;
  std::shared_ptr<const Security> security_;
  RunSource run_;
  v1::RunConfig config_;        // the run's, with what this process has decided
  bool follows_dtype_ = false;  // model.dtype is auto: the learner's
  std::string worker_id_;
  MetricRegistry metrics_;
  ScrapeWatch scrapes_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<CausalLm> model_;
  std::unique_ptr<GroupGenerator> engine_;
  std::unique_ptr<GroupScorer> scorer_;
  // The session client and the weight follower call into the loop; they end first.
  std::unique_ptr<RewardRunner> rewards_;
  std::unique_ptr<GenerationLoop> loop_;
  std::unique_ptr<WeightFollower> weights_;
  std::unique_ptr<SessionClient> session_;
  // Its threads look at the parts above once `serving_` is set; it ends first.
  std::atomic<bool> serving_{false};
  std::unique_ptr<HttpHost> http_;

  bool sent_away_ = false;  // by a learner whose run is over

  absl::Mutex mu_;
  bool following_ ABSL_GUARDED_BY(mu_) = false;   // the weight stream was started
  std::string other_dtype_ ABSL_GUARDED_BY(mu_);  // the learner's, when it is not the model's
  bool drain_asked_ ABSL_GUARDED_BY(mu_) = false;
  absl::Duration drain_limit_ ABSL_GUARDED_BY(mu_);
  std::string drain_reason_ ABSL_GUARDED_BY(mu_);
};

absl::Status Worker::LoadModel() {
  CausalLmOptions options;
  COHORT_ASSIGN_OR_RETURN(options.device, ResolveDevice(RolloutDevice(config_)));
  COHORT_ASSIGN_OR_RETURN(options.dtype, ResolveDtype(config_.model().dtype(), options.device));
  config_.mutable_model()->set_dtype(DtypeName(options.dtype));
  COHORT_ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Load(config_.model().path()));
  const std::string& path = config_.model().path();
  COHORT_ASSIGN_OR_RETURN(model_, run_.has_weights ? CausalLm::Load(path, options)
                                                   : CausalLm::WithoutWeights(path, options));
  return CheckVocabulary(config_.model().path(), tokenizer_->vocab_size(), model_->config());
}

absl::Status Worker::MakeEngine() {
  EngineOptions options;
  options.max_rows = config_.rollout().max_batch_rows();
  options.max_context = config_.model().max_context();
  options.stop_tokens = tokenizer_->eos_ids();
  options.tokenizer = tokenizer_.get();
  options.em_inf = LogitSharpening(config_);
  COHORT_ASSIGN_OR_RETURN(engine_, GroupGenerator::Create(model_.get(), options));
  COHORT_ASSIGN_OR_RETURN(scorer_, MakeRewards(config_, security_));
  return absl::OkStatus();
}

// Connected, and with weights that a prompt of the learner's may be sampled with.
absl::Status Worker::Ready() const {
  if (!serving_ || !session_->connected()) {
    return absl::UnavailableError(absl::StrCat("waiting for the learner at ", args_.learner));
  }
  const int64_t held = weights_->held_version();
  const int64_t newest = weights_->announced_version();
  if (held < 0) return absl::UnavailableError("waiting for weights");
  const int64_t behind = config_.rollout().max_staleness();
  if (held + behind >= newest) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(
      "waiting for weights: the learner is at version ", newest, ", this worker holds ", held,
      ", expected at most ", behind, " behind (rollout.max_staleness)"));
}

absl::Status Worker::StartHttp() {
  metrics_.Declare(metric::RolloutMetrics());
  HttpCallbacks callbacks;
  callbacks.metrics = [this] {
    scrapes_.Scraped();
    return metrics_.Text();
  };
  callbacks.ready = [this] { return Ready(); };
  callbacks.healthy = [this]() -> absl::Status {
    if (!serving_) return absl::OkStatus();
    COHORT_RETURN_IF_ERROR(loop_->status());
    return loop_->alive();
  };
  COHORT_ASSIGN_OR_RETURN(http_, HttpHost::Start(args_.http_listen, &metrics_, callbacks));
  return absl::OkStatus();
}

// `own`: this host's configuration, empty for a worker that knows only its learner's address. The
// secret of a run on this machine lies in the run's folder, where its configuration is too.
absl::Status Worker::MakeSecurity(const v1::RunConfig& own) {
  std::vector<std::string> secrets;
  if (!args_.config_path.empty()) {
    const std::string beside = std::filesystem::path(args_.config_path).parent_path() / "";
    secrets = {beside + metric::kSecretFile,
               absl::StrCat(own.run().out(), "/", metric::kSecretFile)};
  }
  COHORT_ASSIGN_OR_RETURN(security_,
                          MakeClientSecurity(args_.security, own.tls(), {Role::kRollout}, secrets));
  return security_->CheckDial(args_.learner);
}

absl::Status Worker::Prepare(const std::string& dtype) {
  worker_id_ = args_.worker_id.empty() ? absl::StrCat(ThisHost(), "-", getpid()) : args_.worker_id;
  SetLogRole(worker_id_);
  COHORT_RETURN_IF_ERROR(StartHttp());  // answers while the learner is waited for
  COHORT_RETURN_IF_ERROR(BadInput(FindRun()));
  follows_dtype_ = config_.model().dtype() == kAuto;
  if (!dtype.empty()) config_.mutable_model()->set_dtype(dtype);
  COHORT_RETURN_IF_ERROR(SetComputeThreads(config_.rollout().threads()));
  COHORT_RETURN_IF_ERROR(BadInput(LoadModel()));
  COHORT_RETURN_IF_ERROR(BadInput(MakeEngine()));
  MakeLoop();
  v1::RunConfig said = config_;  // rank 0 decides what `auto` is
  if (follows_dtype_) said.mutable_model()->set_dtype(kAuto);
  metrics_
      .Gauge(metric::kRunInfo,
             {{"run", config_.run().name()},
              {"config_hash", HashOfFields(SemanticFields(config_, run_.model_sha256))},
              {"model_hash", run_.model_sha256}})
      .Set(1);
  Connect(SemanticFields(said, run_.model_sha256));
  return absl::OkStatus();
}

absl::Status Worker::FindRun() {
  RunSourceOptions options;
  options.config_path = args_.config_path;
  options.overrides = args_.overrides;
  options.learner = args_.learner;
  options.worker_id = worker_id_;
  options.cache = args_.cache;
  if (args_.config_path.empty()) COHORT_RETURN_IF_ERROR(MakeSecurity({}));
  options.security = security_;
  COHORT_ASSIGN_OR_RETURN(run_, FindRunSource(options, stop_));
  config_ = run_.config;
  return args_.config_path.empty() ? absl::OkStatus() : MakeSecurity(config_);
}

void Worker::MakeLoop() {
  std::vector<PublishedTensor> live;
  for (const NamedTensor& parameter : model_->NamedParameters()) {
    live.push_back({parameter.name, parameter.tensor});
  }
  WeightFollower::Options follow;
  follow.learner = args_.learner;
  follow.security = security_;
  follow.worker_id = worker_id_;
  follow.connect_limit = absl::Seconds(config_.rollout().connect_seconds());
  follow.seed = static_cast<uint64_t>(getpid());
  follow.blank = !run_.has_weights;
  follow.on_ready = [this](int64_t) { loop_->Wake(); };
  weights_ = std::make_unique<WeightFollower>(follow, std::move(live));

  rewards_ = std::make_unique<RewardRunner>(
      scorer_.get(), tokenizer_.get(), &metrics_,
      [this](const absl::Status& status, ScoringJob job) { SendScored(status, std::move(job)); },
      RewardOptions(config_));

  GenerationLoop::Options options;
  options.max_rows = config_.rollout().max_batch_rows();
  options.tokens_per_second = args_.pace;
  options.weights_limit = absl::Seconds(config_.rollout().connect_seconds());
  options.stop_strings = {config_.rollout().stop().begin(), config_.rollout().stop().end()};
  options.train_entropy = scorer_->needs_entropy();
  options.eval_entropy = config_.eval().entropy();
  options.fail_lease = [this](GroupId group, v1::LeaseFailed::Reason reason,
                              const std::string& detail) {
    session_->FailLease(group, reason, detail);
  };
  loop_ = std::make_unique<GenerationLoop>(options, engine_.get(), weights_.get(), rewards_.get(),
                                           &metrics_);
}

void Worker::Connect(const FieldMap& semantic) {
  SessionClient::Options options;
  options.learner = args_.learner;
  options.security = security_;
  options.worker_id = worker_id_;
  options.semantic = semantic;
  options.max_rows = static_cast<uint32_t>(config_.rollout().max_batch_rows());
  options.host = ThisHost();
  options.pid = static_cast<uint32_t>(getpid());
  options.http_address = http_->address();
  options.connect_limit = absl::Seconds(config_.rollout().connect_seconds());
  options.seed = static_cast<uint64_t>(getpid());
  SessionClient::Events events;
  events.on_welcome = [this](const v1::Welcome& welcome) { OnWelcome(welcome); };
  events.on_lease = [this](LeaseTerms lease) { loop_->AddLease(std::move(lease)); };
  events.on_cancel = [this](GroupId group, uint64_t) { loop_->CancelLease(group); };
  events.on_drain = [this](absl::Duration limit, const std::string& reason) {
    absl::MutexLock lock(&mu_);
    drain_asked_ = true;
    drain_limit_ = limit;
    drain_reason_ = reason;
  };
  events.pulse = [this] { return loop_->Pulse(); };
  session_ = std::make_unique<SessionClient>(options, std::move(events));
}

// The learner's `auto` is this worker's, too: one that was made for another dtype starts again.
void Worker::OnWelcome(const v1::Welcome& welcome) {
  v1::RunConfig learner;
  const bool known = MessageFromJson(welcome.resolved_config(), &learner).ok();
  absl::MutexLock lock(&mu_);
  if (follows_dtype_ && known && learner.model().dtype() != config_.model().dtype()) {
    other_dtype_ = learner.model().dtype();
    return;
  }
  if (!std::exchange(following_, true)) weights_->Start();
}

void Worker::SendScored(const absl::Status& status, ScoringJob job) {
  const GroupId id = job.group.id;
  if (!status.ok()) {
    session_->FailLease(
        id, absl::IsCancelled(status) ? v1::LeaseFailed::DRAINING : v1::LeaseFailed::INFRA,
        absl::StrCat("rewards: ", status.message()));
    return;
  }
  const absl::Status sent = session_->SendGroup(job.group, absl::Now() + absl::Minutes(10));
  if (!sent.ok()) {
    COHORT_LOG(WARNING) << "group of ordinal " << job.group.ordinal
                        << " was not sent: " << sent.message();
    metrics_.Counter(metric::kRolloutGroupsUnsent).Add();
    return;
  }
  metrics_.Counter(metric::kRolloutGroups).Add();
}

absl::Status Worker::Serve() {
  COHORT_LOG(INFO) << "model " << run_.model_name << " in " << config_.model().dtype()
                   << ", metrics at http://" << http_->address() << "/metrics, learner "
                   << args_.learner;
  metrics_.Gauge(metric::kRolloutDraining).Set(0);
  serving_ = true;
  loop_->Start();
  session_->Start();  // the weights follow its welcome
  const absl::Status end = WaitForEnd();
  // The loop uses the follower, the scoring thread the session: ended in that order.
  session_->LimitSends(absl::Now());
  loop_->Drain(absl::ZeroDuration());
  rewards_->Stop(absl::Now());
  session_->Stop();  // no welcome starts the weights after this
  weights_->Stop();
  // The run is over: nobody waits for this worker but those who read its metrics.
  if (sent_away_ && end.ok()) {
    scrapes_.WaitForLast(kLastScrapes, [this] { return stop_->Wait(absl::ZeroDuration()) != 0; });
  }
  http_->Stop();
  return end;
}

absl::Status Worker::WaitForEnd() {
  for (;;) {
    CountStreams();
    if (const int signal = stop_->Wait(kPoll); signal != 0) {
      // Without a learner nobody would take what is finished.
      const double seconds = session_->connected() ? config_.rollout().drain_seconds() : 0;
      DrainAll(absl::Seconds(seconds), absl::StrCat("signal ", signal));
      return absl::OkStatus();
    }
    bool drain = false;
    absl::Duration limit;
    std::string reason;
    {
      absl::MutexLock lock(&mu_);
      drain = drain_asked_;
      limit = drain_limit_;
      reason = drain_reason_;
      if (!other_dtype_.empty()) return absl::OkStatus();
    }
    if (drain) {
      DrainAll(limit, reason);
      CountStreams();
      sent_away_ = true;
      return absl::OkStatus();
    }
    if (session_->ended()) return session_->Wait(absl::Now());
    COHORT_RETURN_IF_ERROR(loop_->status());
    COHORT_RETURN_IF_ERROR(scorer_->Alive());
  }
}

void Worker::CountStreams() {
  if (security_->tls()) {
    metrics_.Gauge(metric::kCertificateExpiry)
        .Set(absl::ToDoubleSeconds(security_->expires() - absl::UnixEpoch()));
  }
  metrics_.Gauge(metric::kRolloutConnected).Set(session_->connected() ? 1 : 0);
  metrics_.Counter(metric::kReconnects).RaiseTo(static_cast<double>(session_->reconnects()));
  metrics_.Gauge(metric::kRolloutUnacknowledgedGroups)
      .Set(static_cast<double>(session_->unacked_groups()));
  metrics_.Gauge(metric::kRolloutWeightVersionAnnounced)
      .Set(static_cast<double>(weights_->announced_version()));
  metrics_.Counter(metric::kWeightSyncBytes)
      .RaiseTo(static_cast<double>(weights_->bytes_received()));
  const WeightFailures failures = weights_->failures();
  const std::pair<const char*, uint64_t> counts[] = {{"superseded", failures.superseded},
                                                     {"interrupted", failures.interrupted},
                                                     {"damaged", failures.damaged},
                                                     {"refused", failures.refused},
                                                     {"protocol", failures.protocol}};
  for (const auto& [reason, count] : counts) {
    metrics_.Counter(metric::kWeightSyncFailures, {{"reason", reason}})
        .RaiseTo(static_cast<double>(count));
  }
}

void Worker::DrainAll(absl::Duration limit, const std::string& reason) {
  metrics_.Gauge(metric::kRolloutDraining).Set(1);
  COHORT_LOG(INFO) << "draining for at most " << absl::FormatDuration(limit) << ": "
                   << (reason.empty() ? "the learner asked for it" : reason);
  const absl::Time deadline = absl::Now() + limit;
  session_->LimitSends(deadline);
  loop_->Drain(limit);
  rewards_->Stop(deadline);
  const absl::Status goodbye = session_->Finish(reason, absl::Now() + kGoodbye);
  if (!goodbye.ok()) COHORT_LOG(WARNING) << goodbye.message();
}

}  // namespace

absl::Status RunWorker(const WorkerArgs& args, StopSignal* stop) {
  std::string dtype;
  while (true) {
    Worker worker(args, stop);
    const absl::Status prepared = worker.Prepare(dtype);
    if (absl::IsCancelled(prepared)) return absl::OkStatus();  // stopped before it had begun
    COHORT_RETURN_IF_ERROR(prepared);
    const absl::Status end = worker.Serve();
    const std::string other = worker.other_dtype();
    if (!end.ok() || other.empty()) return end;
    COHORT_LOG(INFO) << "model.dtype is auto here and " << other
                     << " at the learner: loading the model anew";
    dtype = other;
  }
}

}  // namespace cohort
