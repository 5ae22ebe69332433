// cohort-rollout: samples groups for a learner.
#include <CLI/CLI.hpp>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/exit_code.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/rpc/acceptor.h"
#include "common/telemetry/flight_recorder.h"
#include "services/rollout/worker.h"

int main(int argc, char** argv) {
  cohort::EnsurePassiveOpenMp(argv);
  cohort::RaiseDescriptorLimit();
  cohort::StopSignal stop;
  cohort::WorkerArgs args;
  CLI::App app("Samples groups of completions for a learner and scores them.", "cohort-rollout");
  app.add_option(
      "--config", args.config_path,
      "configuration of the run (YAML); without it, configuration, tokenizer and model come "
      "from the learner");
  app.add_option("--set", args.overrides, "key=value over the configuration")->take_all();
  app.add_option("--learner", args.learner, "HOST:PORT of the learner")
      ->envname("COHORT_LEARNER")
      ->required();
  app.add_option("--cache", args.cache,
                 "folder for files that come from the learner (default: ~/.cache/cohort/files)");
  app.add_option("--pace", args.pace,
                 "at most so many tokens per second (for tests of scaling); 0: as fast as it can")
      ->envname("COHORT_PACE")
      ->type_name("TOKENS_PER_SECOND");
  app.add_option("--http-listen", args.http_listen,
                 "HOST:PORT for /metrics, /healthz and /readyz; port 0: any free one");
  app.add_option("--worker-id", args.worker_id, "name in logs and status (default: HOST-PID)");
  cohort::AddSecurityFlags(&app, &args.security);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (app.exit(error) == 0) return cohort::kExitDone;  // --help
    cohort::WriteTerminationReason(absl::StrCat("cohort-rollout: ", error.what()));
    return cohort::kExitBadSetup;
  }
  if (!(args.pace >= 0)) {  // also what is no number
    return cohort::EndOfProgram(
        "cohort-rollout",
        cohort::BadSetup(absl::InvalidArgumentError(
            absl::StrCat("--pace: expected tokens per second, 0 or more, found ", args.pace))));
  }
  cohort::ProcessRecorder().InstallFatalHandler();
  cohort::SetLogRole("rollout");
  const absl::Status status = cohort::RunWorker(args, &stop);
  // Who waited for what is in the message; what happened before it is here.
  if (absl::IsDeadlineExceeded(status)) std::cerr << cohort::ProcessRecorder().Dump();
  return cohort::EndOfProgram("cohort-rollout", status);
}
