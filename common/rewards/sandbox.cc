#include "common/rewards/sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rewards/sandbox_child.h"

namespace cohort {
namespace {

constexpr int kNobody = 65534;
constexpr size_t kMaxErrorBytes = 4096;
constexpr uint64_t kMaxFileBytes = 16 << 20;
constexpr uint64_t kMaxProcesses = 64;  // more than its user had, threads included
constexpr absl::Duration kStart = absl::Seconds(30);
constexpr absl::Duration kLook = absl::Milliseconds(200);  // at most between two looks at its time

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  ~Fd() { Reset(); }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void Set(int fd) {
    Reset();
    fd_ = fd;
  }
  void Reset() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

struct Pipe {
  Fd read, write;
  absl::Status Open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "sandbox: making a pipe");
    read.Set(ends[0]);
    write.Set(ends[1]);
    return absl::OkStatus();
  }
};

// The program's standard input as a file without a name.
absl::Status WriteInput(const std::string& text, Fd* input) {
  input->Set(static_cast<int>(syscall(SYS_memfd_create, "input", MFD_CLOEXEC)));
  if (!input->open()) return ErrnoStatus(errno, "sandbox: making the standard input");
  for (size_t done = 0; done < text.size();) {
    const ssize_t wrote = write(input->get(), text.data() + done, text.size() - done);
    if (wrote <= 0) return ErrnoStatus(errno, "sandbox: writing the standard input");
    done += static_cast<size_t>(wrote);
  }
  lseek(input->get(), 0, SEEK_SET);
  return absl::OkStatus();
}

std::vector<char*> Pointers(std::vector<std::string>* texts) {
  std::vector<char*> pointers;
  for (std::string& text : *texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Since Linux 5.14 a user namespace has a count of processes of its own.
bool NamespacesCountProcesses() {
  utsname system;
  int major = 0, minor = 0;
  if (uname(&system) != 0 || std::sscanf(system.release, "%d.%d", &major, &minor) != 2) {
    return false;
  }
  return major > 5 || (major == 5 && minor >= 14);
}

// Processes and threads of a user that this process can see. Else the kernel's limit counts them
// all, not only those of one sandbox.
uint64_t TasksOf(uid_t user) {
  uint64_t tasks = 0;
  DIR* const folder = opendir("/proc");
  if (folder == nullptr) return 0;
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    const std::string path = absl::StrCat("/proc/", entry->d_name, "/task");
    struct stat status;
    if (stat(path.c_str(), &status) != 0 || status.st_uid != user) continue;
    tasks += status.st_nlink > 2 ? status.st_nlink - 2 : 1;  // a link per thread, besides its two
  }
  closedir(folder);
  return tasks;
}

// A child with as many namespaces of its own as the kernel grants. Forks by the bare system call:
// no handler of any library runs in the child.
pid_t CloneChild(ChildSetup* setup) {
  const auto clone = [](uint64_t flags) {
    return static_cast<pid_t>(
        syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  };
  constexpr uint64_t kOwn = CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC;
  const uint64_t others = TasksOf(setup->drop_root ? kNobody : getuid());
  setup->own_processes = true;
  for (const uint64_t flags : {kOwn, kOwn | CLONE_NEWUSER, uint64_t{0}}) {
    if (flags == 0) setup->own_processes = false;
    const bool own_count = (flags & CLONE_NEWUSER) != 0 && NamespacesCountProcesses();
    setup->processes = kMaxProcesses + (own_count ? 0 : others);
    const pid_t pid = clone(flags);
    if (pid == 0) RunChild(*setup);
    if (pid > 0 || (errno != EPERM && errno != ENOSPC && errno != EINVAL)) return pid;
  }
  return -1;
}

// Nanoseconds that the process has waited for a processor.
absl::Duration RunDelay(pid_t pid) {
  char path[64];
  std::snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
  std::FILE* file = std::fopen(path, "re");
  if (file == nullptr) return absl::ZeroDuration();
  unsigned long long ran = 0, waited = 0;
  const int read = std::fscanf(file, "%llu %llu", &ran, &waited);
  std::fclose(file);
  return read == 2 ? absl::Nanoseconds(static_cast<int64_t>(waited)) : absl::ZeroDuration();
}

class RunningChild {
 public:
  RunningChild(const SandboxProgram& program, pid_t pid)
      : program_(program), pid_(pid), start_(absl::Now()) {
    pidfd_.Set(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  }
  ~RunningChild() {
    if (!reaped_) Reap();
  }

  // What it failed at before it became the program.
  absl::Status AwaitStart(int report) {
    pollfd file = {report, POLLIN, 0};
    if (poll(&file, 1, static_cast<int>(absl::ToInt64Milliseconds(kStart))) == 0) {
      return absl::UnavailableError("sandbox: the child process did not start in time");
    }
    ChildFailure failure;
    ssize_t got;
    do {
      got = read(report, &failure, sizeof(failure));
    } while (got < 0 && errno == EINTR);
    if (got == 0) return absl::OkStatus();
    failure.what[sizeof(failure.what) - 1] = '\0';
    return ErrnoStatus(failure.error,
                       absl::StrCat("sandbox: ", failure.what, " (", program_.arguments[0], ")"));
  }

  SandboxResult Watch(int output, int errors) {
    SandboxResult result;
    std::optional<SandboxResult::End> stopped;
    bool ended = false;
    while (!ended && !stopped) {
      ended = WaitABit(output, errors, &result);
      if (!ended) stopped = OverLimit(result);
    }
    Reap();
    Drain(output, errors, &result);
    Classify(stopped, &result);
    return result;
  }

 private:
  // True: the process has ended.
  bool WaitABit(int output, int errors, SandboxResult* result) {
    pollfd files[3] = {{pidfd_.get(), POLLIN, 0},
                       {output_open_ ? output : -1, POLLIN, 0},
                       {errors_open_ ? errors : -1, POLLIN, 0}};
    const absl::Duration left = program_.seconds - OwnTime();
    const auto wait = std::clamp(left, absl::Milliseconds(1), kLook);
    if (poll(files, 3, static_cast<int>(absl::ToInt64Milliseconds(wait)) + 1) <= 0) return false;
    if (files[1].revents != 0) output_open_ = ReadSome(output, &result->output);
    if (files[2].revents != 0) errors_open_ = ReadSome(errors, &result->errors);
    KeepTail(&result->errors);
    return files[0].revents != 0;
  }

  // False at the end of the stream.
  static bool ReadSome(int fd, std::string* to) {
    char bytes[16 << 10];
    const ssize_t got = read(fd, bytes, sizeof(bytes));
    if (got > 0) to->append(bytes, static_cast<size_t>(got));
    return got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN));
  }
  static void KeepTail(std::string* errors) {
    if (errors->size() > kMaxErrorBytes) errors->erase(0, errors->size() - kMaxErrorBytes);
  }

  // What is left in the pipes, without waiting for whoever may still hold them.
  void Drain(int output, int errors, SandboxResult* result) {
    fcntl(output, F_SETFL, O_NONBLOCK);
    fcntl(errors, F_SETFL, O_NONBLOCK);
    for (const auto& [fd, to] : {std::pair{output, &result->output}, {errors, &result->errors}}) {
      size_t before;
      do {
        before = to->size();
        ReadSome(fd, to);
      } while (to->size() > before && result->output.size() <= OutputLimit());
    }
    KeepTail(&result->errors);
  }

  size_t OutputLimit() const { return static_cast<size_t>(program_.output_bytes); }
  absl::Duration OwnTime() const { return absl::Now() - start_ - RunDelay(pid_); }

  std::optional<SandboxResult::End> OverLimit(const SandboxResult& result) const {
    if (result.output.size() > OutputLimit()) return SandboxResult::End::kOutputLimit;
    if (OwnTime() >= program_.seconds) return SandboxResult::End::kTimeLimit;
    if (absl::Now() - start_ >= SandboxBound(program_.seconds)) return SandboxResult::End::kStarved;
    return std::nullopt;
  }

  // Kills it with all it has started, and takes its status.
  void Reap() {
    kill(pid_, SIGKILL);
    kill(-pid_, SIGKILL);
    while (wait4(pid_, &status_, 0, &usage_) < 0 && errno == EINTR) {
    }
    reaped_ = true;
  }

  void Classify(std::optional<SandboxResult::End> stopped, SandboxResult* result) const {
    using End = SandboxResult::End;
    for (const char* sign :
         {"MemoryError", "bad_alloc", "out of memory", "annot allocate memory"}) {
      result->memory_exhausted =
          result->memory_exhausted || absl::StrContains(result->errors, sign);
    }
    if (stopped) {
      result->end = *stopped;
    } else if (result->output.size() > OutputLimit()) {
      result->end = End::kOutputLimit;
    } else if (WIFEXITED(status_)) {
      result->exit_code = WEXITSTATUS(status_);
    } else {
      result->exit_code = WTERMSIG(status_);
      result->end = EndBySignal(result->exit_code);
    }
  }

  SandboxResult::End EndBySignal(int signal) const {
    const auto cpu =
        absl::DurationFromTimeval(usage_.ru_utime) + absl::DurationFromTimeval(usage_.ru_stime);
    if (signal == SIGXCPU || (signal == SIGKILL && cpu >= program_.seconds)) {
      return SandboxResult::End::kTimeLimit;
    }
    if (signal == SIGXFSZ) return SandboxResult::End::kOutputLimit;
    return signal == SIGKILL ? SandboxResult::End::kKilled : SandboxResult::End::kCrashed;
  }

  const SandboxProgram& program_;
  const pid_t pid_;
  const absl::Time start_;
  Fd pidfd_;
  bool output_open_ = true;
  bool errors_open_ = true;
  bool reaped_ = false;
  int status_ = 0;
  rusage usage_ = {};
};

bool KernelHasLandlock() {
  return syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

void SayOnceWhatIsMissing(bool own_namespaces) {
  static std::once_flag said;
  std::call_once(said, [own_namespaces] {
    const std::string missing = MissingIsolation(own_namespaces, KernelHasLandlock());
    if (!missing.empty()) COHORT_LOG(WARNING) << missing;
  });
}

}  // namespace

std::string MissingIsolation(bool own_namespaces, bool landlock) {
  if (own_namespaces && landlock) return "";
  std::string text = "sandbox of code rewards: not isolated here:";
  if (!own_namespaces) {
    absl::StrAppend(&text,
                    " processes (a program sees those of this host or container, and the limit on "
                    "processes counts all of its user: the kernel or the container's runtime "
                    "refuses namespaces)");
  }
  if (!landlock) {
    absl::StrAppend(&text, own_namespaces ? "" : ";",
                    " files (a program may write wherever its user may: the kernel has no "
                    "Landlock)");
  }
  return absl::StrCat(text,
                      ". Sockets, signals to others and the limits on time, memory and output hold "
                      "all the same; run workers whose answers you do not trust on nodes of their "
                      "own");
}

absl::Duration SandboxBound(absl::Duration seconds) { return seconds * 5 + absl::Seconds(10); }

absl::StatusOr<SandboxResult> RunInSandbox(const SandboxProgram& program) {
  Pipe output, errors, report;
  Fd input;
  COHORT_RETURN_IF_ERROR(output.Open());
  COHORT_RETURN_IF_ERROR(errors.Open());
  COHORT_RETURN_IF_ERROR(report.Open());
  COHORT_RETURN_IF_ERROR(WriteInput(program.input, &input));
  std::vector<std::string> arguments = program.arguments;
  std::vector<std::string> environment = {
      "PATH=/usr/local/bin:/usr/bin:/bin",   "LANG=C.UTF-8",
      absl::StrCat("HOME=", program.folder), absl::StrCat("TMPDIR=", program.folder),
      "PYTHONDONTWRITEBYTECODE=1",           "OMP_NUM_THREADS=1"};
  const std::vector<char*> argument_list = Pointers(&arguments);
  const std::vector<char*> environment_list = Pointers(&environment);
  ChildSetup setup;
  setup.arguments = argument_list.data();
  setup.environment = environment_list.data();
  setup.folder = program.folder.c_str();
  setup.input = input.get();
  setup.output = output.write.get();
  setup.errors = errors.write.get();
  setup.report = report.write.get();
  setup.cpu_seconds = static_cast<uint64_t>(std::ceil(absl::ToDoubleSeconds(program.seconds))) + 1;
  setup.memory_bytes = static_cast<uint64_t>(program.memory_bytes);
  setup.file_bytes = kMaxFileBytes;
  setup.drop_root = geteuid() == 0;
  if (setup.drop_root && chown(setup.folder, kNobody, kNobody) != 0) {
    return ErrnoStatus(errno, absl::StrCat("sandbox: giving nobody the folder ", program.folder));
  }
  const pid_t pid = CloneChild(&setup);
  if (pid < 0) return ErrnoStatus(errno, "sandbox: starting a process");
  RunningChild child(program, pid);
  SayOnceWhatIsMissing(setup.own_processes);
  output.write.Reset();
  errors.write.Reset();
  report.write.Reset();
  COHORT_RETURN_IF_ERROR(child.AwaitStart(report.read.get()));
  return child.Watch(output.read.get(), errors.read.get());
}

}  // namespace cohort
