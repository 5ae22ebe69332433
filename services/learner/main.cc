// cohort-learner: trains on the groups that rollout workers send, one process per rank.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/exit_code.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/rpc/acceptor.h"
#include "common/telemetry/flight_recorder.h"
#include "services/learner/local_ranks.h"
#include "services/learner/run.h"

namespace cohort {
namespace {

constexpr char kProgram[] = "cohort-learner";

void AddPlacement(CLI::App* app, LearnerArgs* args, RankPlacement* placement) {
  CLI::Option* pods = app->add_option("--pods", placement->pods, "pods (or hosts) of the run");
  CLI::Option* index = app->add_option("--pod-index", placement->pod_index,
                                       "of this one, from 0 (default: JOB_COMPLETION_INDEX, or 0)")
                           ->check(CLI::Range(0, 1 << 20));
  CLI::Option* offset = app->add_option("--pod-index-offset", placement->pod_index_offset,
                                        "added to it, where another job has the first pods");
  CLI::Option* local = app->add_option(
      "--ranks-per-pod", placement->ranks_per_pod,
      "ranks that this program starts and watches here; rank = pod index * this + 0, 1, ...");
  app->add_option("--local-rank", placement->local_rank, "used for the ranks that it starts")
      ->group("");
  for (CLI::Option* option :
       {app->add_option("--rank", args->rank, "of this process, from 0"),
        app->add_option("--world", args->world, "number of ranks")->check(CLI::PositiveNumber)}) {
    for (CLI::Option* other : {pods, index, offset, local}) option->excludes(other);
  }
}

void AddOptions(CLI::App* app, LearnerArgs* args) {
  app->add_option("--config", args->config_path, "configuration of the run (YAML)")->required();
  app->add_option("--set", args->overrides, "key=value over the configuration")->take_all();
  app->add_option("--listen", args->listen, "HOST:PORT for workers (default: learner.listen)");
  app->add_option("--store", args->store, "HOST:PORT where ranks meet; rank 0 listens there");
  app->add_option("--interface", args->interface,
                  "network interface of the ranks' own, unencrypted traffic (default: "
                  "learner.interface)");
  app->add_option("--out", args->out, "folder of the run (default: run.out)");
  app->add_option("--http-listen", args->http_listen,
                  "HOST:PORT for /metrics, /healthz and /readyz");
  app->add_option("--page-listen", args->page_listen,
                  "HOST:PORT for the page and /status (default: learner.page_listen, else the port "
                  "of --http-listen where that is a loopback address, else 127.0.0.1:0)");
  app->add_option(
      "--address-file", args->address_file,
      "where to write the address for workers (default: `address` in the run's folder)");
  app->add_option("--evaluate", args->evaluate,
                  "do not train: append the groups of eval.sources to this file and end");
  app->add_option("--evaluated", args->evaluated, "with --evaluate: file of ordinals to leave out");
  app->add_flag("--resume", args->resume,
                "continue the run in the folder; --resume=auto: or start one there");
  AddSecurityFlags(app, &args->security);
}

// This process as the parent of its pod's ranks.
int StartRanks(int argc, char** argv, const LearnerArgs& args, const RankPlacement& placement) {
  SetLogRole("learner");
  const absl::StatusOr<v1::RunConfig> config = LoadResolvedConfig(args.config_path, args.overrides);
  if (!config.ok()) return EndOfProgram(kProgram, BadInput(config.status()));
  LocalRanksOptions options;
  std::error_code error;
  options.program = std::filesystem::read_symlink("/proc/self/exe", error).string();
  if (error) options.program = argv[0];
  options.arguments.assign(argv + 1, argv + argc);
  options.placement = placement;
  options.threads = config->learner().threads();
  options.grace = absl::Seconds(config->run().stop_grace_seconds());
  return RunLocalRanks(options);
}

int RunRank(const LearnerArgs& args, StopSignal* stop) {
  ProcessRecorder().InstallFatalHandler();
  SetLogRole(absl::StrCat("learner-", args.rank));
  const absl::Status status = RunLearner(args, stop);
  // Who waited for what is in the message; what happened before it is here.
  if (absl::IsDeadlineExceeded(status)) std::cerr << ProcessRecorder().Dump();
  return EndOfProgram(kProgram, status);
}

int Main(int argc, char** argv) {
  EnsurePassiveOpenMp(argv);
  RaiseDescriptorLimit();
  StopSignal stop;
  LearnerArgs args;
  RankPlacement asked;
  CLI::App app("Trains on groups of completions that rollout workers send.", kProgram);
  AddOptions(&app, &args);
  AddPlacement(&app, &args, &asked);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (app.exit(error) == 0) return kExitDone;  // --help
    WriteTerminationReason(absl::StrCat(kProgram, ": ", error.what()));
    return kExitBadSetup;
  }
  const absl::StatusOr<RankPlacement> placement = Place(asked);
  if (!placement.ok()) return EndOfProgram(kProgram, BadSetup(placement.status()));
  if (placement->is_parent()) return StartRanks(argc, argv, args, *placement);
  if (placement->world() > 1) {
    args.rank = placement->rank_of(std::max(0, placement->local_rank));
    args.world = placement->world();
  }
  if (placement->local_rank > 0) args.http_listen.clear();  // one port per pod
  return RunRank(args, &stop);
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) { return cohort::Main(argc, argv); }
