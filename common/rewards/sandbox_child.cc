#include "common/rewards/sandbox_child.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <iterator>

namespace cohort {
namespace {

constexpr int kChannel = 3;  // where it stands in the child
constexpr int kReport = 4;   // likewise the report's pipe

[[noreturn]] void Fail(const char* what) {
  ChildFailure failure;
  failure.error = errno;
  for (size_t i = 0; what[i] != '\0' && i + 1 < sizeof(failure.what); ++i)
    failure.what[i] = what[i];
  (void)!write(kReport, &failure, sizeof(failure));
  _exit(127);
}

// A soft limit that may not be reached without being killed.
void Limit(__rlimit_resource resource, uint64_t value) {
  rlimit limit = {value, value};
  if (rlimit now; getrlimit(resource, &now) == 0 && now.rlim_max < value) {
    limit = {now.rlim_max, now.rlim_max};
  }
  if (setrlimit(resource, &limit) != 0) Fail("setting resource limits");
}

void PlaceStreams(const ChildSetup& setup) {
  // The four may stand on each other's places: out of the way first.
  const int input = fcntl(setup.input, F_DUPFD, 10);
  const int output = fcntl(setup.output, F_DUPFD, 10);
  const int errors = fcntl(setup.errors, F_DUPFD, 10);
  const int report = fcntl(setup.report, F_DUPFD, 10);
  const int channel = setup.channel < 0 ? -1 : fcntl(setup.channel, F_DUPFD, 10);
  const bool placed = dup3(report, kReport, O_CLOEXEC) == kReport && dup2(input, 0) == 0 &&
                      dup2(output, 1) == 1 && dup2(errors, 2) == 2 &&
                      (channel < 0 || dup2(channel, kChannel) == kChannel);
  if (!placed) Fail("placing its streams");
  if (channel < 0) close(kChannel);
  if (syscall(SYS_close_range, kReport + 1, ~0u, 0) != 0) Fail("closing inherited files");
}

constexpr uint64_t kRead =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE;
constexpr uint64_t kOfFiles = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE |
                              LANDLOCK_ACCESS_FS_WRITE_FILE;  // what is no folder can be allowed
constexpr uint64_t kAll = kRead | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                          LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                          LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                          LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                          LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

// False: there is no such path, or it is out of this user's reach.
bool Allow(int ruleset, const char* path, uint64_t access) {
  landlock_path_beneath_attr rule = {};
  rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
  if (rule.parent_fd < 0) return false;
  struct stat status;
  const bool is_folder = fstat(rule.parent_fd, &status) == 0 && S_ISDIR(status.st_mode);
  rule.allowed_access = is_folder ? access : access & kOfFiles;
  const bool added =
      syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
  close(rule.parent_fd);
  return added;
}

// Best effort: a kernel without Landlock leaves the file permissions.
void RestrictFiles(const ChildSetup& setup) {
  landlock_ruleset_attr attribute = {};
  attribute.handled_access_fs = kAll;
  const auto ruleset =
      static_cast<int>(syscall(SYS_landlock_create_ruleset, &attribute, sizeof(attribute), 0));
  if (ruleset < 0) return;
  if (!Allow(ruleset, setup.folder, kAll)) Fail("allowing its own folder");
  Allow(ruleset, "/dev/null", kAll);
  for (const char* const* path = setup.readable; *path != nullptr; ++path) {
    Allow(ruleset, *path, kRead);
  }
  if (syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) Fail("restricting files");
  close(ruleset);
}

void DropRoot(unsigned user) {
  if (syscall(SYS_setgroups, 0, nullptr) != 0 || syscall(SYS_setresgid, user, user, user) != 0 ||
      syscall(SYS_setresuid, user, user, user) != 0) {
    Fail("giving up root");
  }
}

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#endif
constexpr uint32_t kOtherAbi = 0x40000000;  // x32: the same calls by other numbers
constexpr uint32_t kNewNamespace = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                   CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

constexpr int kRefused[] = {SYS_socket,
                            SYS_connect,
                            SYS_bind,
                            SYS_listen,
                            SYS_accept4,
                            SYS_io_uring_setup,
                            SYS_ptrace,
                            SYS_process_vm_readv,
                            SYS_process_vm_writev,
                            SYS_unshare,
                            SYS_setns,
                            SYS_mount,
                            SYS_umount2,
                            SYS_pivot_root,
                            SYS_chroot,
                            SYS_keyctl,
                            SYS_add_key,
                            SYS_request_key,
                            SYS_bpf,
                            SYS_perf_event_open,
                            SYS_userfaultfd,
                            SYS_kexec_load,
                            SYS_reboot,
                            SYS_init_module,
                            SYS_finit_module,
                            SYS_truncate,
                            SYS_pidfd_getfd,
                            SYS_open_by_handle_at};
// Without a process namespace the machine's other processes are in sight, and only its process
// group holds what it started: nothing may leave that.
constexpr int kRefusedAmongOthers[] = {SYS_kill,
                                       SYS_tkill,
                                       SYS_tgkill,
                                       SYS_rt_sigqueueinfo,
                                       SYS_rt_tgsigqueueinfo,
                                       SYS_pidfd_send_signal,
                                       SYS_setsid,
                                       SYS_setpgid};

class Filter {
 public:
  void Add(const sock_filter& instruction) { program_[size_++] = instruction; }
  void Load(size_t offset) {
    Add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset)));
  }
  void Refuse(uint32_t call, uint32_t error) {
    Add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    Add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error));
  }
  void Install() {
    const sock_fprog program = {size_, program_};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
      Fail("refusing system calls");
    }
  }

 private:
  sock_filter program_[128] = {};
  uint16_t size_ = 0;
};

void RefuseCalls(bool own_processes) {
  Filter filter;
  filter.Load(offsetof(seccomp_data, arch));
  filter.Add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0));
  filter.Add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  filter.Load(offsetof(seccomp_data, nr));
  filter.Add(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kOtherAbi, 0, 1));
  filter.Add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
  for (const int call : kRefused) filter.Refuse(static_cast<uint32_t>(call), EPERM);
  if (!own_processes) {
    for (const int call : kRefusedAmongOthers) filter.Refuse(static_cast<uint32_t>(call), EPERM);
  }
  // clone3's flags are out of a filter's sight; without it the C library uses clone.
  filter.Refuse(SYS_clone3, ENOSYS);
  filter.Add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3));
  filter.Load(offsetof(seccomp_data, args[0]));
  filter.Add(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kNewNamespace, 0, 1));
  filter.Add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  filter.Add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  filter.Install();
}

}  // namespace

void RunChild(const ChildSetup& setup) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  PlaceStreams(setup);
  setsid();
  if (chdir(setup.folder) != 0) Fail("entering its folder");
  Limit(RLIMIT_CPU, setup.cpu_seconds);
  Limit(RLIMIT_FSIZE, setup.file_bytes);
  Limit(RLIMIT_NOFILE, 64);
  Limit(RLIMIT_CORE, 0);
  Limit(RLIMIT_NPROC, setup.processes);
  if (setup.drop_root) DropRoot(setup.user);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) Fail("giving up privileges");
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // after the identity, which clears it
  RestrictFiles(setup);
  RefuseCalls(setup.own_processes);
  Limit(RLIMIT_AS, setup.memory_bytes);
  execve(setup.arguments[0], setup.arguments, setup.environment);
  Fail("starting the program");
}

}  // namespace cohort
