// Child processes that never outlive their parent: started, watched, stopped in order.
//
// For one thread, and before this process starts others: children are forked, and die with the
// thread that forked them (PR_SET_PDEATHSIG), even when this process is killed with -9. Each child
// leads a process group of its own, so that a terminal's Ctrl-C reaches only this process, which
// decides about the order.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/process.h"

namespace cohort {

// While it lives, SIGINT, SIGTERM, SIGHUP (unless it was ignored at the start) and SIGCHLD wait
// here instead of interrupting. Broken pipes are ignored from then on.
class SignalGate {
 public:
  SignalGate();
  ~SignalGate();
  SignalGate(const SignalGate&) = delete;
  SignalGate& operator=(const SignalGate&) = delete;

  // The next signal; 0 after `timeout`, or for one that belongs to the stop before (StopCounter).
  int Wait(absl::Duration timeout);
  static bool IsStop(int signal) {
    return signal == SIGINT || signal == SIGTERM || signal == SIGHUP;
  }

 private:
  sigset_t signals_;
  sigset_t before_;
  StopCounter counter_;
};

struct ChildSpec {
  std::string name;               // for people; unique among the running
  std::vector<std::string> argv;  // [0]: path of the program
  std::vector<std::pair<std::string, std::string>> environment;  // added to ours
  std::string log_path;  // standard output and error are appended; empty: ours
};

struct ChildExit {
  std::string name;
  int wait_status = 0;  // as of waitpid
  absl::Duration alive;

  bool ok() const;
  int code() const;              // of its exit; -1: killed by a signal
  std::string Describe() const;  // "ended with exit code 3", "was killed by signal 9 (Killed)"
};

class Supervisor {
 public:
  Supervisor() = default;
  ~Supervisor();  // Kills what is left.
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // NotFound, PermissionDenied, ...: the program could not be executed.
  absl::Status Start(const ChildSpec& spec);

  // Children that ended since the last call. Never blocks.
  std::vector<ChildExit> Reap();

  bool IsRunning(const std::string& name) const { return children_.count(name) > 0; }
  std::vector<std::string> Running() const;
  pid_t PidOf(const std::string& name) const;  // 0: not running
  // How the last one of this name ended, also when Stop ended it.
  std::optional<ChildExit> ExitOf(const std::string& name) const;

  // SIGTERM to those of `names` that run, then waits until all are gone; after `grace`, or at once
  // with the stop number `stops` that arrives at `gate` (2 where nobody has asked for the end yet:
  // the first one asks for what is done already), SIGKILL. True when none had to be killed. One
  // that the kernel does not end within ten seconds of SIGKILL (it hangs in a device or a file
  // system) is still Running.
  bool Stop(const std::vector<std::string>& names, absl::Duration grace, SignalGate* gate,
            int stops = 1);

 private:
  struct Child {
    pid_t pid = 0;
    absl::Time started;
  };
  void Signal(const std::vector<std::string>& names, int signal) const;
  bool AnyRunning(const std::vector<std::string>& names) const;
  void KillAndReap();

  std::map<std::string, Child> children_;
  std::map<std::string, ChildExit> exits_;
};

// How long to wait before a process that died is started again. A process that lived long enough
// starts the count anew.
class RestartPolicy {
 public:
  struct Options {
    absl::Duration first = absl::Milliseconds(500);
    absl::Duration longest = absl::Seconds(30);
    absl::Duration healthy = absl::Seconds(60);  // lived at least this long: not a quick failure
    int most_quick_failures = 6;                 // in a row
  };
  RestartPolicy() : RestartPolicy(Options{}) {}
  explicit RestartPolicy(const Options& options) : options_(options) {}

  // After an exit; nothing: it fails again and again, give up.
  std::optional<absl::Duration> OnExit(absl::Duration alive);
  int restarts() const { return restarts_; }

 private:
  Options options_;
  int quick_failures_ = 0;
  int restarts_ = 0;
};

}  // namespace cohort
