// cohort-learner: trains on the groups that rollout workers send, one process per rank.
#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/telemetry/flight_recorder.h"
#include "services/learner/run.h"

int main(int argc, char** argv) {
  cohort::EnsurePassiveOpenMp(argv);
  cohort::StopSignal stop;
  cohort::LearnerArgs args;
  CLI::App app("Trains on groups of completions that rollout workers send.", "cohort-learner");
  app.add_option("--config", args.config_path, "configuration of the run (YAML)")->required();
  app.add_option("--set", args.overrides, "key=value over the configuration")->take_all();
  app.add_option("--listen", args.listen, "HOST:PORT for workers (default: learner.listen)");
  app.add_option("--rank", args.rank, "of this process, from 0");
  app.add_option("--world", args.world, "number of ranks")->check(CLI::PositiveNumber);
  app.add_option("--store", args.store, "HOST:PORT where ranks meet; rank 0 listens there");
  app.add_option("--out", args.out, "folder of the run (default: run.out)");
  app.add_option("--http-listen", args.http_listen,
                 "HOST:PORT for /metrics, /healthz, /readyz and status");
  app.add_option("--address-file", args.address_file,
                 "where to write the address for workers (default: `address` in the run's folder)");
  app.add_option("--evaluate", args.evaluate,
                 "do not train: append the groups of eval.sources to this file and end");
  app.add_option("--evaluated", args.evaluated, "with --evaluate: file of ordinals to leave out");
  app.add_flag("--resume", args.resume, "continue from the newest checkpoint");
  CLI11_PARSE(app, argc, argv);
  cohort::ProcessRecorder().InstallFatalHandler();
  cohort::SetLogRole(absl::StrCat("learner-", args.rank));
  const absl::Status status = cohort::RunLearner(args, &stop);
  if (!status.ok()) {
    // Who waited for what is in the message; what happened before it is here.
    if (absl::IsDeadlineExceeded(status)) std::cerr << cohort::ProcessRecorder().Dump();
    std::cerr << "cohort-learner: " << status.message() << "\n";
    return 1;
  }
  return 0;
}
