// The child's side of the sandbox: from the fork to the program. Internal to sandbox.cc.
#pragma once

#include <cstdint>

namespace cohort {

// Everything is made before the fork: the child allocates nothing.
struct ChildSetup {
  char* const* arguments = nullptr;
  char* const* environment = nullptr;
  const char* folder = nullptr;
  int input = -1;
  int output = -1;
  int errors = -1;
  int report = -1;   // a ChildFailure goes here; closed by the program's start
  int channel = -1;  // the program's descriptor 3; -1: it has none
  uint64_t cpu_seconds = 0;
  uint64_t memory_bytes = 0;
  uint64_t file_bytes = 0;
  uint64_t processes = 0;                 // of its user, all of them together
  const char* const* readable = nullptr;  // files and folders, to a null pointer
  bool drop_root = false;
  unsigned user = 0;           // and group, with drop_root
  bool own_processes = false;  // it is in a process namespace of its own
};

struct ChildFailure {
  int error = 0;       // errno
  char what[28] = {};  // the step
};

// Never returns.
[[noreturn]] void RunChild(const ChildSetup& setup);

}  // namespace cohort
