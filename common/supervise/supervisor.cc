#include "common/supervise/supervisor.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"

extern char** environ;

namespace cohort {
namespace {

// For the kernel to end what was killed. Longer takes only a process that hangs in a device or a
// file system; it ends when that lets go of it, and nobody can do more.
constexpr absl::Duration kKilledWithin = absl::Seconds(10);
constexpr absl::Duration kLook = absl::Milliseconds(200);

// Everything a child needs, made before the fork: after it only system calls follow.
struct Prepared {
  std::vector<std::string> strings;
  std::vector<char*> argv;
  std::vector<char*> environment;
  int log_fd = -1;
  int null_fd = -1;
  int error_pipe[2] = {-1, -1};
  pid_t parent = 0;

  Prepared() = default;
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;
  ~Prepared() {
    for (int fd : {log_fd, null_fd, error_pipe[0], error_pipe[1]}) {
      if (fd >= 0) close(fd);
    }
  }
};

bool Overridden(const char* entry, const ChildSpec& spec) {
  return std::any_of(spec.environment.begin(), spec.environment.end(), [entry](const auto& added) {
    return std::strncmp(entry, added.first.c_str(), added.first.size()) == 0 &&
           entry[added.first.size()] == '=';
  });
}

void PrepareEnvironment(const ChildSpec& spec, Prepared* out) {
  out->strings.reserve(spec.environment.size());  // pointers into it must stay
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!Overridden(*entry, spec)) out->environment.push_back(*entry);
  }
  for (const auto& [name, value] : spec.environment) {
    out->strings.push_back(absl::StrCat(name, "=", value));
    out->environment.push_back(out->strings.back().data());
  }
  out->environment.push_back(nullptr);
}

absl::Status Prepare(const ChildSpec& spec, Prepared* out) {
  for (const std::string& argument : spec.argv) {
    out->argv.push_back(const_cast<char*>(argument.c_str()));
  }
  out->argv.push_back(nullptr);
  PrepareEnvironment(spec, out);
  if (!spec.log_path.empty()) {
    out->log_fd = open(spec.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (out->log_fd < 0) return ErrnoStatus(errno, absl::StrCat("cannot open ", spec.log_path));
  }
  out->null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (out->null_fd < 0) return ErrnoStatus(errno, "cannot open /dev/null");
  if (pipe2(out->error_pipe, O_CLOEXEC) != 0) return ErrnoStatus(errno, "cannot make a pipe");
  out->parent = getpid();
  return absl::OkStatus();
}

// Runs in the child. Only async-signal-safe calls.
[[noreturn]] void RunChild(const Prepared& prepared) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != prepared.parent) _exit(127);  // the parent died before the line above
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);  // what this process ignores is its own affair
  dup2(prepared.null_fd, STDIN_FILENO);
  if (prepared.log_fd >= 0) {
    dup2(prepared.log_fd, STDOUT_FILENO);
    dup2(prepared.log_fd, STDERR_FILENO);
  }
  execve(prepared.argv[0], prepared.argv.data(), prepared.environment.data());
  const int error = errno;
  const ssize_t ignored = write(prepared.error_pipe[1], &error, sizeof(error));
  _exit(ignored < 0 ? 126 : 127);
}

// 0 when the program was executed (the pipe closed), else the errno.
int ExecError(Prepared* prepared) {
  close(prepared->error_pipe[1]);
  prepared->error_pipe[1] = -1;
  int error = 0;
  ssize_t got = 0;
  do {
    got = read(prepared->error_pipe[0], &error, sizeof(error));
  } while (got < 0 && errno == EINTR);
  return got == sizeof(error) ? error : 0;
}

}  // namespace

// ---- SignalGate ----

SignalGate::SignalGate() {
  sigemptyset(&signals_);
  AddStopSignals(&signals_);
  sigaddset(&signals_, SIGCHLD);
  IgnoreBrokenPipes();
  sigprocmask(SIG_BLOCK, &signals_, &before_);
}

SignalGate::~SignalGate() { sigprocmask(SIG_SETMASK, &before_, nullptr); }

int SignalGate::Wait(absl::Duration timeout) {
  const timespec limit = absl::ToTimespec(std::max(timeout, absl::ZeroDuration()));
  const int signal = sigtimedwait(&signals_, nullptr, &limit);
  if (IsStop(signal) && !counter_.Counts()) return 0;
  return signal > 0 ? signal : 0;
}

// ---- ChildExit ----

bool ChildExit::ok() const { return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0; }

int ChildExit::code() const { return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1; }

std::string ChildExit::Describe() const {
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    return absl::StrCat("was killed by signal ", signal, " (", strsignal(signal), ")");
  }
  return absl::StrCat("ended with exit code ", WEXITSTATUS(wait_status));
}

// ---- Supervisor ----

Supervisor::~Supervisor() { KillAndReap(); }

absl::Status Supervisor::Start(const ChildSpec& spec) {
  if (IsRunning(spec.name)) {
    return absl::AlreadyExistsError(absl::StrCat(spec.name, " is already running"));
  }
  Prepared prepared;
  if (absl::Status status = Prepare(spec, &prepared); !status.ok()) return status;
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, absl::StrCat("cannot fork ", spec.name));
  if (pid == 0) RunChild(prepared);
  setpgid(pid, pid);  // both sides do it: whoever comes first
  if (const int error = ExecError(&prepared); error != 0) {
    waitpid(pid, nullptr, 0);  // bounded: all that the child does after its report is _exit
    return ErrnoStatus(error, absl::StrCat("cannot start ", spec.name, ": ", spec.argv[0]));
  }
  children_[spec.name] = {pid, absl::Now()};
  return absl::OkStatus();
}

std::vector<ChildExit> Supervisor::Reap() {
  std::vector<ChildExit> exits;
  for (auto it = children_.begin(); it != children_.end();) {
    int wait_status = 0;
    if (waitpid(it->second.pid, &wait_status, WNOHANG) == it->second.pid) {
      exits.push_back({it->first, wait_status, absl::Now() - it->second.started});
      exits_[it->first] = exits.back();
      it = children_.erase(it);
    } else {
      ++it;
    }
  }
  return exits;
}

std::vector<std::string> Supervisor::Running() const {
  std::vector<std::string> names;
  for (const auto& [name, child] : children_) names.push_back(name);
  return names;
}

pid_t Supervisor::PidOf(const std::string& name) const {
  const auto it = children_.find(name);
  return it == children_.end() ? 0 : it->second.pid;
}

std::optional<ChildExit> Supervisor::ExitOf(const std::string& name) const {
  const auto it = exits_.find(name);
  return it == exits_.end() ? std::nullopt : std::make_optional(it->second);
}

void Supervisor::Signal(const std::vector<std::string>& names, int signal) const {
  for (const std::string& name : names) {
    if (const pid_t pid = PidOf(name); pid > 0) kill(-pid, signal);
  }
}

bool Supervisor::AnyRunning(const std::vector<std::string>& names) const {
  return std::any_of(names.begin(), names.end(),
                     [this](const std::string& name) { return IsRunning(name); });
}

bool Supervisor::Stop(const std::vector<std::string>& names, absl::Duration grace, SignalGate* gate,
                      int stops) {
  Signal(names, SIGTERM);
  absl::Time deadline = absl::Now() + grace;
  bool killed = false;
  for (Reap(); AnyRunning(names); Reap()) {
    const absl::Duration left = deadline - absl::Now();
    if (SignalGate::IsStop(gate->Wait(std::min(left, kLook)))) --stops;
    const bool at_once = stops <= 0;
    if (left > absl::ZeroDuration() && (killed || !at_once)) continue;
    if (killed) break;
    Signal(names, SIGKILL);
    killed = true;
    deadline = absl::Now() + kKilledWithin;
  }
  return !killed;
}

void Supervisor::KillAndReap() {
  Signal(Running(), SIGKILL);
  SignalGate gate;  // so that the end of a child wakes us
  const absl::Time deadline = absl::Now() + kKilledWithin;
  for (Reap(); !children_.empty() && absl::Now() < deadline; Reap()) gate.Wait(kLook);
  children_.clear();
}

// ---- RestartPolicy ----

std::optional<absl::Duration> RestartPolicy::OnExit(absl::Duration alive) {
  quick_failures_ = alive >= options_.healthy ? 0 : quick_failures_ + 1;
  if (quick_failures_ > options_.most_quick_failures) return std::nullopt;
  ++restarts_;
  absl::Duration wait = options_.first;
  for (int i = 1; i < quick_failures_; ++i) wait = std::min(wait * 2, options_.longest);
  return wait;
}

}  // namespace cohort
