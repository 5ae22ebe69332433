#include "services/learner/serving.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rpc/json.h"
#include "common/rpc/refusals.h"
#include "common/telemetry/metric_names.h"
#include "services/learner/training_config.h"

namespace cohort {
namespace {

constexpr absl::Duration kTick = absl::Seconds(2);
constexpr absl::Duration kTickLimit = absl::Minutes(1);  // from one to the next
// Of what readiness checks and costs something.
constexpr absl::Duration kCheckEvery = absl::Seconds(3);
constexpr absl::Duration kDialLimit = absl::Milliseconds(500);

// The data order of a resumed run.
DispatchCursor CursorOf(const LearnerParts& parts) {
  DispatchCursor cursor;
  if (!parts.resumed) return cursor;
  const auto json = nlohmann::json::parse(parts.resumed->extra_json, nullptr, false);
  if (!json.is_object() || !json.contains("cursor")) return cursor;
  cursor.next_ordinal = json["cursor"].value("next_ordinal", uint64_t{0});
  cursor.holes = json["cursor"].value("holes", std::vector<uint64_t>());
  return cursor;
}

WeightStore::Options StoreOptions(const v1::RunConfig& config) {
  WeightStore::Options options;
  options.block_bytes = int64_t{config.weights().block_kib()} << 10;
  options.keep_versions = config.weights().keep_versions();
  options.codec = config.weights().codec();
  return options;
}

}  // namespace

LearnerServing::LearnerServing(const LearnerArgs& args, LearnerParts* parts,
                               const PromptMaker* prompts, RunReporter* reporter, PhaseTimer* timer,
                               GroupLog* log)
    : args_(args), parts_(parts), reporter_(reporter), timer_(timer), log_(log) {
  const int64_t first_step = parts->resumed ? parts->resumed->step : 0;
  Dispatcher::Options dispatch = MakeDispatcherOptions(parts->config);
  dispatch.train = args.evaluate.empty();
  dispatch.vocab_size = parts->model->config().vocab_size;
  dispatcher_ = std::make_unique<Dispatcher>(
      dispatch, [prompts](uint64_t ordinal) { return prompts->Train(ordinal); },
      MakeGroupFilter(parts->algorithm), log, Clock::Real(), CursorOf(*parts), first_step);
  store_ = std::make_unique<WeightStore>(StoreOptions(parts->config));
  SessionService::Options options;
  options.semantic = parts->semantic;
  v1::RunConfig told = parts->config;
  told.clear_tls();  // paths of this process
  options.resolved_config = MessageToJson(told);
  options.security = parts->security;
  options.heartbeat = absl::Seconds(parts->config.rollout().heartbeat_seconds());
  options.credit_bytes = uint64_t(parts->config.rollout().credit_megabytes()) << 20;
  options.fill_status = [this](v1::StatusReply* reply) { status_->Fill(reply); };
  session_ = std::make_unique<SessionService>(options, dispatcher_.get());
  WeightService::Options weights;
  weights.security = parts->security;
  weights_ = std::make_unique<WeightService>(weights, store_.get());
  files_ = std::make_unique<RunFilesService>(
      RunFilesService::Options{.model_sha256 = parts->model_hash, .security = parts->security},
      told);
  status_ = std::make_unique<StatusBuilder>(StatusSources{.config = &parts_->config,
                                                          .dispatcher = dispatcher_.get(),
                                                          .session = session_.get(),
                                                          .weights = weights_.get(),
                                                          .store = store_.get(),
                                                          .timer = timer,
                                                          .reporter = reporter_});
}

LearnerServing::~LearnerServing() {
  Stop(LearnerEnd::kMayReturn, "the learner ends", absl::ZeroDuration());
  if (parts_->http != nullptr) parts_->http->Forget();
}

absl::Status LearnerServing::Publish(int64_t version) {
  COHORT_RETURN_IF_ERROR(Stage(version));
  Announce();
  return absl::OkStatus();
}

absl::Status LearnerServing::PublishStep(StepRecord record) {
  COHORT_RETURN_IF_ERROR(Stage(record.step));
  record.weights_hash = weights_hash();
  if (absl::Status logged = log_->AppendStep(record); !logged.ok()) {
    return absl::Status(
        logged.code(), absl::StrCat("step ", record.step, " is not published: ", logged.message()));
  }
  Announce();
  return absl::OkStatus();
}

// The version is in the store, and its hash known; nobody hears of it yet.
absl::Status LearnerServing::Stage(int64_t version) {
  weights_->Hold();
  std::vector<PublishedTensor> tensors;
  for (const NamedTensor& parameter : parts_->model->NamedParameters()) {
    tensors.push_back({parameter.name, parameter.tensor.detach()});
  }
  // First, since a group may come back as soon as a worker can fetch the weights. Leases that count
  // from this version already wait for it.
  dispatcher_->SetVersion(version);
  return store_->Publish(version, tensors);
}

void LearnerServing::Announce() {
  session_->SetCurrentVersion(store_->newest());
  weights_->Notify();
}

absl::Status LearnerServing::Start() {
  ServerHost::Options options;
  options.listen = args_.listen.empty() ? parts_->config.learner().listen() : args_.listen;
  options.services = {session_->grpc_service(), weights_->grpc_service(), files_->grpc_service()};
  options.security = parts_->security;
  COHORT_ASSIGN_OR_RETURN(server_, ServerHost::Start(options));

  if (parts_->http == nullptr) COHORT_RETURN_IF_ERROR(StartHttp(args_, parts_));
  status_->SetAddresses(parts_->http->address(), parts_->http->page_address());
  parts_->http->Show(Shown(), &reporter_->registry());
  ticker_ = std::thread([this] {
    do {
      Tick();
    } while (!ended_.WaitForNotificationWithTimeout(kTick));
    Tick();  // how it ended
  });
  // First, for whoever waits for the other one.
  const std::string page = parts_->http->page_address();
  if (!page.empty()) {
    COHORT_RETURN_IF_ERROR(
        WriteFileAtomic(parts_->OutPath(metric::kPageFile), absl::StrCat("http://", page, "/\n")));
  }
  const std::string file =
      args_.address_file.empty() ? parts_->OutPath(metric::kAddressFile) : args_.address_file;
  COHORT_LOG(INFO) << "listening on " << server_->address() << ", http://"
                   << parts_->http->address() << ", page http://" << page
                   << "/; waiting for workers (cohort-rollout --learner " << server_->address()
                   << SecretFlag() << ")";
  return WriteFileAtomic(file, server_->address() + "\n");
}

// What a worker on this machine needs beside the address, where there are no certificates.
std::string LearnerServing::SecretFlag() const {
  const std::string file = args_.security.secret_file.empty() ? parts_->OutPath(metric::kSecretFile)
                                                              : args_.security.secret_file;
  const bool by_secret =
      parts_->security != nullptr && !parts_->security->tls() && access(file.c_str(), F_OK) == 0;
  return by_secret ? absl::StrCat(" --secret-file ", file) : "";
}

LearnerShown LearnerServing::Shown() {
  dials_itself_ =
      std::make_unique<CachedCheck>([this] { return server_->DialSelf(kDialLimit); }, kCheckEvery);
  can_write_ = std::make_unique<CachedCheck>(
      [folder = parts_->out, bytes = WeightBytes()] { return CanWrite(folder, bytes); },
      kCheckEvery);
  LearnerShown shown;
  // Housekeeping takes every lock that serving has, so that a thread that hangs with one of them
  // shows.
  shown.healthy = [this] { return housekeeping_.Check(); };
  shown.ready = [this] { return Ready(); };
  shown.status = [this](v1::StatusReply* reply) { status_->Fill(reply); };
  return shown;
}

absl::Status LearnerServing::Ready() {
  if (ranks_) COHORT_RETURN_IF_ERROR(ranks_());
  COHORT_RETURN_IF_ERROR((*dials_itself_)());
  return (*can_write_)();
}

// What the smallest checkpoint needs.
int64_t LearnerServing::WeightBytes() const {
  int64_t bytes = 0;
  for (const NamedTensor& parameter : parts_->model->NamedParameters()) {
    bytes += static_cast<int64_t>(parameter.tensor.nbytes());
  }
  return bytes;
}

void LearnerServing::CountRefusals() {
  MetricRegistry& registry = reporter_->registry();
  for (const Refused reason : kRefusedReasons) {
    registry.Counter(metric::kRefusedCalls, {{"reason", std::string(RefusedName(reason))}})
        .RaiseTo(static_cast<double>(RefusedCount(reason)));
  }
  if (parts_->security == nullptr || !parts_->security->tls()) return;
  registry.Gauge(metric::kCertificateExpiry)
      .Set(absl::ToDoubleSeconds(parts_->security->expires() - absl::UnixEpoch()));
}

void LearnerServing::Tick() {
  housekeeping_.Begin("counts groups and workers", kTickLimit);
  CountRefusals();
  RunMetrics& metrics = reporter_->metrics();
  const LedgerCounts counts = dispatcher_->Counts();
  metrics.Phase(timer_);
  metrics.Ledger(counts);
  metrics.Workers(status_->Workers(), store_->newest());
  metrics.Sessions(session_->counters());
  metrics.Weights(weights_->counters());
  reporter_->CheckBalance(counts);
  if (parts_->collective == nullptr) return;
  metrics.RankSilences(parts_->collective->Silences());
  // Without all ranks no batch can be trained on: whoever waits for one need not wait.
  if (!parts_->collective->Ended().ok()) dispatcher_->Close();
}

void LearnerServing::Stop(LearnerEnd end, const std::string& reason, absl::Duration limit) {
  if (stopped_) return;
  stopped_ = true;
  dispatcher_->Close();
  if (parts_->http != nullptr) parts_->http->Hide(reason);
  if (server_ != nullptr && end == LearnerEnd::kRunOver) {
    const int left = session_->Drain(reason, limit);
    if (left > 0) COHORT_LOG(WARNING) << left << " workers did not say goodbye in time";
  }
  if (ticker_.joinable()) {
    ended_.Notify();
    ticker_.join();
    housekeeping_.End();
  }
  session_->Shutdown();
  weights_->Shutdown();
  files_->Shutdown();
  if (server_ != nullptr) server_->Shutdown(absl::Seconds(1));
}

}  // namespace cohort
