#include "common/rewards/sandbox.h"

#include <fcntl.h>
#include <glob.h>
#include <linux/landlock.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
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
#include "common/rewards/fd.h"
#include "common/rewards/sandbox_child.h"
#include "common/rewards/sandbox_user.h"

namespace cohort {
namespace {

constexpr size_t kMaxErrorBytes = 4096;
constexpr uint64_t kMaxFileBytes = 16 << 20;
constexpr uint64_t kMaxProcesses = 64;  // more than its user had, threads included
constexpr absl::Duration kStart = absl::Seconds(30);
constexpr absl::Duration kLook = absl::Milliseconds(200);  // at most between two looks at its time

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

// A child with as many namespaces of its own as the kernel grants. Forks by the bare system call:
// no handler of any library runs in the child.
pid_t CloneChild(ChildSetup* setup, bool own_user, Isolation* isolation) {
  const auto clone = [](uint64_t flags) {
    return static_cast<pid_t>(
        syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  };
  constexpr uint64_t kOwn = CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC;
  const uint64_t others = TasksOf(setup->user);
  for (const uint64_t flags : {kOwn, kOwn | CLONE_NEWUSER, uint64_t{0}}) {
    setup->own_processes = isolation->namespaces = flags != 0;
    const bool own_count = (flags & CLONE_NEWUSER) != 0 && NamespacesCountProcesses();
    isolation->users = own_user || own_count;
    setup->processes = kMaxProcesses + (own_count ? 0 : others);
    const pid_t pid = clone(flags);
    if (pid == 0) RunChild(*setup);
    if (pid > 0 || (errno != EPERM && errno != ENOSPC && errno != EINVAL)) return pid;
  }
  return -1;
}

// How long the process has run, and waited for a processor. Zero: it is gone.
struct Scheduled {
  absl::Duration ran, waited;
};
Scheduled ScheduleOf(pid_t pid) {
  char path[64];
  std::snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
  std::FILE* file = std::fopen(path, "re");
  if (file == nullptr) return {};
  unsigned long long ran = 0, waited = 0;
  const int read = std::fscanf(file, "%llu %llu", &ran, &waited);
  std::fclose(file);
  if (read != 2) return {};
  return {absl::Nanoseconds(static_cast<int64_t>(ran)),
          absl::Nanoseconds(static_cast<int64_t>(waited))};
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
      if (!ended) stopped = unwanted_ ? SandboxResult::End::kStopped : OverLimit(result);
    }
    Reap();
    Drain(output, errors, &result);
    Classify(stopped, &result);
    return result;
  }

 private:
  // True: the process has ended.
  bool WaitABit(int output, int errors, SandboxResult* result) {
    pollfd files[4] = {{pidfd_.get(), POLLIN, 0},
                       {output_open_ ? output : -1, POLLIN, 0},
                       {errors_open_ ? errors : -1, POLLIN, 0},
                       {program_.stop, POLLIN, 0}};
    const absl::Duration left = program_.seconds - OwnTime();
    const auto wait = std::clamp(left, absl::Milliseconds(1), kLook);
    if (poll(files, 4, static_cast<int>(absl::ToInt64Milliseconds(wait)) + 1) <= 0) return false;
    if (files[1].revents != 0) output_open_ = ReadSome(output, &result->output);
    if (files[2].revents != 0) errors_open_ = ReadSome(errors, &result->errors);
    KeepTail(&result->errors);
    unwanted_ = files[3].revents != 0;
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
  absl::Duration OwnTime() const {
    const pid_t other = program_.partner == nullptr ? 0 : program_.partner->load();
    const Scheduled partner = other > 0 ? ScheduleOf(other) : Scheduled();
    return absl::Now() - start_ - ScheduleOf(pid_).waited - partner.ran - partner.waited;
  }

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
  bool unwanted_ = false;
  bool reaped_ = false;
  int status_ = 0;
  rusage usage_ = {};
};

bool KernelHasLandlock() {
  return syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

void SayOnceWhatIsMissing(Isolation isolation) {
  static std::once_flag said;
  std::call_once(said, [&isolation] {
    isolation.landlock = KernelHasLandlock();
    const std::string missing = MissingIsolation(isolation);
    if (!missing.empty()) COHORT_LOG(WARNING) << missing;
  });
}

// What every program needs that is linked with the system's libraries, and little else: not the
// folders where data sets, secrets and other programs' files are.
std::vector<std::string> ReadableOfTheSystem() {
  std::vector<std::string> paths = {
      "/usr",      "/lib",      "/lib32",      "/lib64",
      "/bin",      "/sbin",     "/proc",       "/sys/devices/system/cpu",
      "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
  for (const char* name : {"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone",
                           "passwd", "group", "nsswitch.conf", "mime.types", "alternatives"}) {
    paths.push_back(absl::StrCat("/etc/", name));
  }
  glob_t found = {};
  if (glob("/etc/python*", 0, nullptr, &found) == 0) {
    paths.insert(paths.end(), found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  globfree(&found);
  return paths;
}

// Everything that the child needs to know; its pointers are into this object.
class Launch {
 public:
  explicit Launch(const SandboxProgram& program)
      : arguments_(program.arguments),
        environment_({"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8",
                      absl::StrCat("HOME=", program.folder),
                      absl::StrCat("TMPDIR=", program.folder), "PYTHONDONTWRITEBYTECODE=1",
                      "OMP_NUM_THREADS=1"}),
        readable_(ReadableOfTheSystem()) {
    readable_.insert(readable_.end(), program.readable.begin(), program.readable.end());
    setup_.arguments = argument_list_.data();
    setup_.environment = environment_list_.data();
    readable_list_ = Pointers(&readable_);
    setup_.readable = readable_list_.data();
    setup_.folder = program.folder.c_str();
    setup_.channel = program.channel;
    setup_.cpu_seconds =
        static_cast<uint64_t>(std::ceil(absl::ToDoubleSeconds(program.seconds))) + 1;
    setup_.memory_bytes = static_cast<uint64_t>(program.memory_bytes);
    setup_.file_bytes = kMaxFileBytes;
    setup_.drop_root = user_.changes();
    setup_.user = user_.id();
  }

  absl::Status GiveFolder() const {
    if (!user_.changes() || chown(setup_.folder, user_.id(), user_.id()) == 0) {
      return absl::OkStatus();
    }
    return ErrnoStatus(
        errno, absl::StrCat("sandbox: giving user ", user_.id(), " the folder ", setup_.folder));
  }
  ChildSetup* setup() { return &setup_; }
  const SandboxUser& user() const { return user_; }

 private:
  const SandboxUser user_;
  std::vector<std::string> arguments_, environment_, readable_;
  const std::vector<char*> argument_list_ = Pointers(&arguments_);
  const std::vector<char*> environment_list_ = Pointers(&environment_);
  std::vector<char*> readable_list_;
  ChildSetup setup_;
};

}  // namespace

absl::Duration SandboxBound(absl::Duration seconds) { return seconds * 5 + absl::Seconds(10); }

absl::StatusOr<SandboxResult> RunInSandbox(const SandboxProgram& program) {
  Pipe output, errors, report;
  Fd input;
  COHORT_RETURN_IF_ERROR(output.Open());
  COHORT_RETURN_IF_ERROR(errors.Open());
  COHORT_RETURN_IF_ERROR(report.Open());
  COHORT_RETURN_IF_ERROR(WriteInput(program.input, &input));
  Launch launch(program);
  COHORT_RETURN_IF_ERROR(launch.GiveFolder());
  launch.setup()->input = input.get();
  launch.setup()->output = output.write.get();
  launch.setup()->errors = errors.write.get();
  launch.setup()->report = report.write.get();
  Isolation isolation;
  const pid_t pid = CloneChild(launch.setup(), launch.user().own(), &isolation);
  if (pid < 0) return ErrnoStatus(errno, "sandbox: starting a process");
  if (program.pid != nullptr) program.pid->store(pid);
  RunningChild child(program, pid);
  SayOnceWhatIsMissing(isolation);
  output.write.Reset();
  errors.write.Reset();
  report.write.Reset();
  COHORT_RETURN_IF_ERROR(child.AwaitStart(report.read.get()));
  return child.Watch(output.read.get(), errors.read.get());
}

}  // namespace cohort
