#include "services/cli/eval_workers.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/cpu_count.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/config.h"
#include "common/run_folder/run_folder.h"
#include "common/supervise/supervisor.h"
#include "common/telemetry/metric_names.h"
#include "common/wire/group_file.h"
#include "services/cli/one_machine.h"

namespace cohort {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr absl::Duration kLearnerGrace = absl::Seconds(10);
constexpr absl::Duration kWorkerGrace = absl::Seconds(5);
constexpr int kLogLines = 20;
constexpr int kMinBatchRows = 64;
constexpr char kLearner[] = "learner";

v1::RunConfig MakeConfig(const EvalArgs& args, const EvalFleet& fleet) {
  v1::RunConfig config;
  config.mutable_run()->set_name("evaluation");
  config.mutable_run()->set_seed(args.seed);
  config.mutable_run()->set_steps(1);
  config.mutable_run()->set_out(fleet.folder);
  config.mutable_model()->set_path(args.model);
  config.mutable_model()->set_dtype(args.dtype);
  config.mutable_model()->set_device(args.device);
  v1::DataSource* data = config.mutable_data()->add_sources();
  v1::EvalSource* source = config.mutable_eval()->add_sources();
  if (args.task.empty()) {
    data->set_path(args.data);
    source->set_path(args.data);
  } else {
    data->set_task(args.task);
    source->set_task(args.task);
  }
  if (!args.reward.empty()) {
    data->set_reward(args.reward);
    source->set_reward(args.reward);
  }
  source->set_split(args.split);
  source->set_prompts(args.prompts);
  config.mutable_data()->set_chat_template(fleet.chat_template);
  v1::EvalSection* eval = config.mutable_eval();
  eval->set_samples(args.samples);
  eval->set_temperature(args.temperature);
  eval->set_top_p(args.top_p);
  eval->set_max_new_tokens(args.max_new_tokens);
  eval->set_entropy(true);
  if (args.em_inf) {
    v1::InferenceEntropy* sharpen =
        config.mutable_algorithm()->mutable_objective()->mutable_inference_entropy();
    sharpen->set_lr(args.em_inf->lr);
    sharpen->set_steps(static_cast<int32_t>(args.em_inf->steps));
    sharpen->set_kl_weight(args.em_inf->kl_weight);
    sharpen->set_threshold(args.em_inf->threshold);
  }
  v1::RolloutSection* rollout = config.mutable_rollout();
  rollout->set_workers(args.workers);
  rollout->set_threads(args.threads > 0 ? args.threads : std::max(1, UsableCpus() / args.workers));
  rollout->set_max_new_tokens(args.max_new_tokens);
  rollout->set_max_batch_rows(std::max(kMinBatchRows, args.samples));
  config.mutable_learner()->set_threads(1);
  config.mutable_learner()->set_prompts_per_step(1);
  config.mutable_log()->set_tensorboard(false);
  return config;
}

class Fleet {
 public:
  Fleet(const EvalArgs& args, const EvalFleet& fleet)
      : args_(args),
        fleet_(fleet),
        programs_(std::filesystem::path(args.self).parent_path().string()) {}

  absl::Status Run() {
    COHORT_RETURN_IF_ERROR(Prepare());
    COHORT_RETURN_IF_ERROR(supervisor_.Start(LearnerSpec()));
    absl::Status status;
    while (status.ok() && supervisor_.IsRunning(kLearner)) {
      if (SignalGate::IsStop(gate_.Wait(kTick))) {
        status = absl::CancelledError("stopped; --resume continues");
        break;
      }
      for (const ChildExit& exit : supervisor_.Reap()) status.Update(HandleExit(exit));
      if (status.ok()) status = StartWorkers();
      if (fleet_.progress) fleet_.progress(CountGroupsIn(fleet_.groups));
    }
    // The learner first: it sends the workers away.
    supervisor_.Stop({kLearner}, kLearnerGrace, &gate_);
    supervisor_.Stop(Names(), kWorkerGrace, &gate_);
    return status;
  }

 private:
  std::string InFolder(absl::string_view name) const {
    return absl::StrCat(fleet_.folder, "/", name);
  }
  std::string LogPath(const std::string& name) const {
    return absl::StrCat(InFolder(metric::kLogFolder), "/", name, ".log");
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (int i = 0; i < args_.workers; ++i) names.push_back(absl::StrCat("worker-", i));
    return names;
  }

  absl::Status Prepare() const {
    std::error_code ignored;
    std::filesystem::remove(InFolder(metric::kAddressFile), ignored);
    COHORT_RETURN_IF_ERROR(MakeFolders(InFolder(metric::kLogFolder)));
    COHORT_RETURN_IF_ERROR(
        WriteFileAtomic(InFolder("done"), absl::StrJoin(fleet_.done, "\n") + "\n"));
    return WriteFileAtomic(InFolder(metric::kConfigFile), PrintConfig(MakeConfig(args_, fleet_)));
  }

  ChildSpec LearnerSpec() const {
    ChildSpec spec;
    spec.name = kLearner;
    spec.argv = {programs_ + "/cohort-learner",
                 "--config",
                 InFolder(metric::kConfigFile),
                 "--evaluate",
                 fleet_.groups,
                 "--evaluated",
                 InFolder("done")};
    spec.environment = WithoutCertificates();
    spec.environment.emplace_back("OMP_WAIT_POLICY", "passive");
    spec.environment.emplace_back("OMP_NUM_THREADS", "1");
    spec.log_path = LogPath(spec.name);
    return spec;
  }

  ChildSpec WorkerSpec(const std::string& name) const {
    ChildSpec spec;
    spec.name = name;
    spec.argv = {programs_ + "/cohort-rollout", "--config", InFolder(metric::kConfigFile),
                 "--learner", address_};
    spec.environment = WithoutCertificates();
    spec.environment.emplace_back("OMP_WAIT_POLICY", "passive");
    spec.log_path = LogPath(name);
    return spec;
  }

  // Those that do not run and are not waiting to be started again, once the learner listens.
  absl::Status StartWorkers() {
    if (address_.empty()) {
      const absl::StatusOr<std::string> address = ReadFile(InFolder(metric::kAddressFile));
      if (!address.ok()) return absl::OkStatus();
      address_ = std::string(absl::StripAsciiWhitespace(*address));
    }
    for (const std::string& name : Names()) {
      Worker& worker = workers_[name];
      if (worker.sent_away || supervisor_.IsRunning(name) || absl::Now() < worker.not_before) {
        continue;
      }
      COHORT_RETURN_IF_ERROR(supervisor_.Start(WorkerSpec(name)));
    }
    return absl::OkStatus();
  }

  absl::Status HandleExit(const ChildExit& exit) {
    if (exit.ok()) {
      workers_[exit.name].sent_away = true;
      return absl::OkStatus();
    }
    if (exit.name != kLearner) {
      Worker& worker = workers_[exit.name];
      const std::optional<absl::Duration> wait = worker.policy.OnExit(exit.alive);
      if (wait) {
        worker.not_before = absl::Now() + *wait;
        return absl::OkStatus();
      }
    }
    return absl::UnavailableError(
        absl::StrCat(exit.name, " ", exit.Describe(),
                     "; --resume continues with what is there. Its log ends with\n",
                     LastLines(LogPath(exit.name), kLogLines)));
  }

  const EvalArgs& args_;
  const EvalFleet& fleet_;
  const std::string programs_;
  SignalGate gate_;
  Supervisor supervisor_;
  std::string address_;
  struct Worker {
    RestartPolicy policy;
    absl::Time not_before = absl::InfinitePast();
    bool sent_away = false;
  };
  std::map<std::string, Worker> workers_;
};

}  // namespace

absl::Status SampleByWorkers(const EvalArgs& args, const EvalFleet& fleet) {
  return Fleet(args, fleet).Run();
}

}  // namespace cohort
