// One program in a child process that can do little harm: no network, limits on time, memory, files
// and output, a folder of its own, nothing inherited but its standard streams, everything it
// started killed when it ends.
//
// What holds it, from the outside in:
//   namespaces   its own network (without even a loopback), processes and IPC; by way of a user
//                namespace where the caller is not root. Left out where the kernel refuses.
//   identity     a user of its own for each program, where the caller is root (nobody, where the
//                user namespace has no ids to give)
//   Landlock     writes only below its folder; reads there, of the system's programs and libraries
//                (ReadableBySandboxes), and of what the caller names. Left out where the kernel has
//                none.
//   rlimits      address space of each process, 64 processes and threads more than its user had,
//                CPU time, file size, open files, no core
//   seccomp      no sockets, no namespaces, no tracing, no io_uring; always. So there is no network
//                even where namespaces are refused.
// Without Landlock it may read what its user may read.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace cohort {

struct SandboxProgram {
  std::vector<std::string> arguments;  // arguments[0] is an absolute path
  std::string folder;                  // working folder; given to its user where the caller is root
  std::vector<std::string> readable;   // files and folders besides the system's
  std::string input;                   // standard input
  absl::Duration seconds = absl::Seconds(4);  // its own time: running and sleeping
  int64_t memory_bytes = int64_t{512} << 20;  // address space
  int64_t output_bytes = 256 << 10;           // of standard output
  int channel = -1;  // a descriptor of the caller that the program has as its descriptor 3
  int stop = -1;     // a descriptor: when it can be read, the program is ended (kStopped)
  // Of two programs that wait for each other: where this one's process id is put, and where the
  // other's is found, whose work and waiting for a processor is not this one's time. 0: not there.
  std::atomic<pid_t>* pid = nullptr;
  const std::atomic<pid_t>* partner = nullptr;
};

struct SandboxResult {
  enum class End : uint8_t {
    kExited,       // `exit_code`
    kCrashed,      // by a signal of its own doing: `exit_code` is its number
    kTimeLimit,    // its own time, or its CPU time
    kOutputLimit,  // it printed or wrote too much
    kKilled,       // by somebody else, such as a machine out of memory: nothing is known about it
    kStarved,      // the machine gave it no time to finish: likewise
    kStopped,      // by the caller
  };
  End end = End::kExited;
  int exit_code = 0;
  std::string output;             // standard output
  std::string errors;             // the last bytes of standard error
  bool memory_exhausted = false;  // it asked for more memory than it may have
};

// Waits for the program to end, at most five times its time and ten seconds. An error: it could not
// be started, whatever the program is. Thread-safe; forks with only system calls in the child, so
// other threads may hold any lock.
absl::StatusOr<SandboxResult> RunInSandbox(const SandboxProgram& program);

// Layers that hold between the programs of this process.
struct Isolation {
  bool namespaces = true;  // of its own
  bool landlock = true;
  bool users = true;  // a count of processes of its own: by a user or a user namespace
};

// What RunInSandbox logs once where the kernel or the container's runtime leaves layers out: what
// programs can therefore do, and what mends it. Empty: nothing is left out.
std::string MissingIsolation(const Isolation& isolation);

// The longest that RunInSandbox takes.
absl::Duration SandboxBound(absl::Duration seconds);

}  // namespace cohort
