#include "common/reward_service/service_process.h"

#include <signal.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/find_program.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

constexpr absl::Duration kLook = absl::Milliseconds(20);
constexpr absl::Duration kGrace = absl::Seconds(5);  // from SIGTERM to SIGKILL
constexpr char kService[] = "reward service";

}  // namespace

ServiceProcess::ServiceProcess(const std::string& field, const std::vector<std::string>& command)
    : field_(field), name_(absl::StrJoin(command, " ")) {}

absl::StatusOr<std::unique_ptr<ServiceProcess>> ServiceProcess::Start(
    const std::string& field, const std::vector<std::string>& command, absl::Duration limit) {
  std::unique_ptr<ServiceProcess> process(new ServiceProcess(field, command));
  ChildSpec spec;
  spec.name = kService;
  spec.argv = command;
  spec.argv[0] = FindProgram(command[0]).value_or(command[0]);
  spec.environment = {{"COHORT_REWARD_ADDRESS_FILE", process->folder_.path() + "/address"}};
  {
    absl::MutexLock lock(&process->mu_);
    const absl::Status started = process->children_.Start(spec);
    if (!started.ok()) {
      return absl::Status(started.code(),
                          absl::StrCat(field, ": the reward service '", process->name_,
                                       "' cannot be started: ", started.message()));
    }
  }
  COHORT_RETURN_IF_ERROR(process->AwaitAddress(absl::Now() + limit));
  COHORT_LOG(INFO) << "the reward service '" << process->name_ << "' answers at "
                   << process->address_;
  return process;
}

absl::Status ServiceProcess::AwaitAddress(absl::Time deadline) {
  while (absl::Now() < deadline) {
    COHORT_RETURN_IF_ERROR(Alive());
    const std::string said = ReadFile(folder_.path() + "/address").value_or("");
    if (absl::EndsWith(said, "\n")) {
      address_ = std::string(absl::StripAsciiWhitespace(said));
      const absl::StatusOr<HostPort> where = ParseHostPort(address_);
      if (where.ok() && IsLoopbackHost(where->host) && where->port > 0) return absl::OkStatus();
      return absl::InvalidArgumentError(
          absl::StrCat(field_, ": the reward service '", name_, "' gave the address '", address_,
                       "', expected one like 127.0.0.1:PORT in $COHORT_REWARD_ADDRESS_FILE"));
    }
    std::this_thread::sleep_for(absl::ToChronoMilliseconds(kLook));
  }
  return absl::DeadlineExceededError(
      absl::StrCat(field_, ": the reward service '", name_,
                   "' wrote no address into "
                   "$COHORT_REWARD_ADDRESS_FILE in time (reward.service.start_seconds); "
                   "examples/cohort_reward.py does it"));
}

absl::Status ServiceProcess::Alive() {
  absl::MutexLock lock(&mu_);
  for (const ChildExit& exit : children_.Reap()) {
    end_ = absl::FailedPreconditionError(absl::StrCat(field_, ": the reward service '", name_, "' ",
                                                      exit.Describe(),
                                                      "; what it printed stands above"));
  }
  return end_;
}

ServiceProcess::~ServiceProcess() {
  absl::MutexLock lock(&mu_);
  const pid_t pid = children_.PidOf(kService);
  if (pid > 0) kill(-pid, SIGTERM);
  const absl::Time deadline = absl::Now() + kGrace;
  for (children_.Reap(); children_.IsRunning(kService) && absl::Now() < deadline;
       children_.Reap()) {
    std::this_thread::sleep_for(absl::ToChronoMilliseconds(kLook));
  }
  // The supervisor kills what is left.
}

}  // namespace cohort
