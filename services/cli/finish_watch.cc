#include "common/kube/finish_watch.h"

#include <csignal>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/exit_code.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/base/status_macros.h"
#include "services/cli/commands.h"

namespace cohort {
namespace {

absl::StatusOr<KubeOptions> ApiOf(const FinishWatchArgs& args) {
  KubeOptions options;
  if (args.api.empty()) {
    COHORT_ASSIGN_OR_RETURN(options, InClusterKube());
  }
  if (!args.api.empty()) options.api = args.api;
  if (!args.token_file.empty()) options.token_file = args.token_file;
  if (!args.ca_file.empty()) options.ca_file = args.ca_file;
  return options;
}

absl::Status Watch(const FinishWatchArgs& args, StopSignal* stop, int* signal) {
  COHORT_ASSIGN_OR_RETURN(const KubeOptions api, ApiOf(args));
  COHORT_ASSIGN_OR_RETURN(const KubeClient client, KubeClient::Create(api));
  FinishWatchOptions options;
  options.job = args.job;
  options.deployment = args.deployment;
  options.name_space = args.name_space;
  if (options.name_space.empty()) {
    COHORT_ASSIGN_OR_RETURN(options.name_space, InClusterNamespace());
  }
  options.pause = [stop, signal](absl::Duration limit) {
    *signal = stop->Wait(limit);
    return *signal != 0;
  };
  return WatchForFinish(client, options);
}

}  // namespace

int RunFinishWatch(const FinishWatchArgs& args) {
  SetLogRole("finish-watch");
  StopSignal stop;
  int signal = 0;
  const absl::Status status = Watch(args, &stop, &signal);
  if (signal != 0) return ExitOfSignal(signal);
  return status.ok() ? 0 : Fail("finish-watch", status);
}

}  // namespace cohort
