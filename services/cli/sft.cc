// `cohort sft`: supervised fine-tuning in this process, with the other data-parallel ranks as its
// children. It forks before it touches LibTorch.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/cpu_count.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/telemetry/metric_names.h"
#include "services/cli/commands.h"
#include "services/cli/free_port.h"
#include "services/cli/progress.h"
#include "services/cli/run_folder.h"
#include "services/cli/sft_run.h"
#include "services/cli/supervisor.h"

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
    if (args.resume) spec.argv.push_back("--resume");
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

int RunRankZero(const SftArgs& args, v1::RunConfig config) {
  const absl::StatusOr<RunFolderLock> lock = PrepareRunFolder(config, args.resume);
  if (!lock.ok()) return Fail("sft", lock.status());
  SignalGate gate;
  Supervisor supervisor;
  SftRunOptions options;
  if (config.learner().ranks() > 1) {
    const absl::StatusOr<int> port = FreePort();
    if (!port.ok()) return Fail("sft", port.status());
    options.store = absl::StrCat("127.0.0.1:", *port);
    const absl::Status started = StartRanks(args, config, options.store, &supervisor);
    if (!started.ok()) return Fail("sft", started);
  }
  int signal = 0;
  options.stopped = [&] {
    const int next = gate.Wait(absl::ZeroDuration());
    if (SignalGate::IsStop(next)) signal = next;
    return signal != 0;
  };
  options.resume = args.resume;
  options.config = config;
  const absl::Status status = RunSftRank(options);
  supervisor.Stop(supervisor.Running(), kRankGrace, &gate);
  if (!status.ok()) {
    return Fail("sft",
                absl::Status(status.code(), absl::StrCat(status.message(), LastWords(config))));
  }
  if (signal != 0) {
    std::cout << "stopped; continue with: cohort sft -c " << config.run().out() << "/"
              << metric::kConfigFile << " --resume" << std::endl;
    return 128 + signal;
  }
  ShowSummary(config);
  return 0;
}

}  // namespace

int RunSft(const SftArgs& args) {
  absl::StatusOr<v1::RunConfig> config = LoadResolvedConfig(args.config, args.overrides);
  if (!config.ok()) return Fail("sft", config.status());
  if (!args.out.empty()) config->mutable_run()->set_out(args.out);
  ShareCores(&*config);
  if (args.rank == 0) return RunRankZero(args, *std::move(config));
  SftRunOptions options;
  options.config = *std::move(config);
  options.rank = args.rank;
  options.store = args.store;
  options.resume = args.resume;
  const absl::Status status = RunSftRank(options);
  return status.ok() ? 0 : Fail("sft", status);
}

}  // namespace cohort
