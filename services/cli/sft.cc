// `cohort sft`: supervised fine-tuning in this process, with the other data-parallel ranks as its
// children. It forks before it touches LibTorch.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/cpu_count.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/run_folder/run_folder.h"
#include "common/supervise/stop_watcher.h"
#include "common/supervise/supervisor.h"
#include "common/telemetry/metric_names.h"
#include "services/cli/commands.h"
#include "services/cli/free_port.h"
#include "services/cli/progress.h"
#include "services/cli/sft_run.h"

namespace cohort {
namespace {

constexpr absl::Duration kRankGrace = absl::Seconds(5);

// Cores are shared by the ranks where nothing else is said.
void ShareCores(v1::RunConfig* config) {
  const int ranks = config->learner().ranks();
  if (ranks == 1 || config->learner().threads() > 0) return;
  config->mutable_learner()->set_threads(std::max(1, UsableCpus() / ranks));
}

absl::Status StartRanks(const SftArgs& args, const v1::RunConfig& config, const std::string& store,
                        Supervisor* supervisor) {
  const std::string& out = config.run().out();
  for (int rank = 1; rank < config.learner().ranks(); ++rank) {
    ChildSpec spec;
    spec.name = absl::StrCat("rank-", rank);
    spec.argv = {args.self,  "sft",
                 "--config", absl::StrCat(out, "/", metric::kConfigFile),
                 "--rank",   absl::StrCat(rank),
                 "--store",  store};
    if (!args.resume.empty()) spec.argv.push_back("--resume=auto");  // rank 0 has looked already
    spec.environment = {{"OMP_WAIT_POLICY", "passive"},
                        {"OMP_NUM_THREADS", absl::StrCat(config.learner().threads())}};
    spec.log_path = absl::StrCat(out, "/", metric::kLogFolder, "/", spec.name, ".log");
    COHORT_RETURN_IF_ERROR(supervisor->Start(spec));
  }
  return absl::OkStatus();
}

// What the others said last, where rank 0 failed because of them.
std::string LastWords(const v1::RunConfig& config) {
  std::string words;
  for (int rank = 1; rank < config.learner().ranks(); ++rank) {
    const std::string path =
        absl::StrCat(config.run().out(), "/", metric::kLogFolder, "/rank-", rank, ".log");
    const std::string last = LastLines(path, 3);
    if (!last.empty()) absl::StrAppend(&words, "\nrank ", rank, ": ", last);
  }
  return words;
}

void ShowSummary(const v1::RunConfig& config) {
  const std::string path = absl::StrCat(config.run().out(), "/", metric::kSummaryFile);
  const absl::StatusOr<std::string> text = ReadFile(path);
  const auto summary = nlohmann::json::parse(text.ok() ? *text : "", nullptr, false);
  if (!summary.is_object()) return;
  std::cout << SummaryText(summary) << "model              "
            << summary.value("checkpoint", std::string()) << "\nrun folder         "
            << config.run().out() << std::endl;
}

// The other ranks are forked already: from here on this process may have threads.
absl::Status RunWatched(SftRunOptions* options) {
  StopSignal signals;
  StopWatcher watcher(&signals, [](int) {});
  watcher.SetGrace(absl::Seconds(options->config.run().stop_grace_seconds()));
  options->stop_signal = [&watcher] { return watcher.signal(); };
  return RunSftRank(*options);
}

int RunRankZero(const SftArgs& args, ResumeMode resume, v1::RunConfig config) {
  const absl::StatusOr<RunLock> lock = PrepareRunFolder(config, resume, "cohort sft");
  if (!lock.ok()) return EndOfProgram("cohort sft", lock.status());
  SignalGate gate;
  Supervisor supervisor;
  SftRunOptions options;
  if (config.learner().ranks() > 1) {
    const absl::StatusOr<int> port = FreePort();
    if (!port.ok()) return EndOfProgram("cohort sft", port.status());
    options.store = absl::StrCat("127.0.0.1:", *port);
    const absl::Status started = StartRanks(args, config, options.store, &supervisor);
    if (!started.ok()) return EndOfProgram("cohort sft", started);
  }
  options.resume = resume != ResumeMode::kNew;
  options.config = config;
  const absl::Status status = RunWatched(&options);
  supervisor.Stop(supervisor.Running(), kRankGrace, &gate);
  if (const int signal = SignalOfExit(ExitCodeOf(status)); signal != 0) {
    std::cout << "stopped; continue with: cohort sft -c " << config.run().out() << "/"
              << metric::kConfigFile << " --resume" << std::endl;
    WriteTerminationReason(absl::StrCat("cohort sft: ", std::string(status.message())));
    return ExitOfSignal(signal);
  }
  if (!status.ok()) {
    return EndOfProgram("cohort sft", WithText(status, absl::StrCat(std::string(status.message()),
                                                                    LastWords(config))));
  }
  ShowSummary(config);
  return 0;
}

}  // namespace

int RunSft(const SftArgs& args) {
  const absl::StatusOr<ResumeMode> resume = ParseResume(args.resume);
  if (!resume.ok()) return EndOfProgram("cohort sft", BadSetup(resume.status()));
  absl::StatusOr<v1::RunConfig> config = LoadResolvedConfig(args.config, args.overrides);
  if (!config.ok()) return EndOfProgram("cohort sft", BadInput(config.status()));
  if (!args.out.empty()) config->mutable_run()->set_out(args.out);
  ShareCores(&*config);
  if (args.rank == 0) return RunRankZero(args, *resume, *std::move(config));
  SftRunOptions options;
  options.config = *std::move(config);
  options.rank = args.rank;
  options.store = args.store;
  options.resume = *resume != ResumeMode::kNew;
  const absl::Status status = RunSftRank(options);
  return EndOfProgram("cohort sft", status);
}

}  // namespace cohort
