// How many processors this process may use. std::thread::hardware_concurrency knows of the
// affinity, but of no quota: on a node of 64 cores a container that is granted 4 would start 64
// threads, and be stopped by the kernel for most of every 100 ms.
#pragma once

#include <string>

namespace cohort {

struct CpuLimits {
  int allowed = 1;   // by affinity and cpuset
  double quota = 0;  // processors' worth of time that the control groups grant; 0: no limit

  // The least of both, a part of a processor counted as a whole one; at least 1.
  int usable() const;
};

// `root` is put before /proc/self/cgroup, /proc/self/mountinfo and the mount points named there
// (tests); the affinity is always this process's own. What cannot be read limits nothing.
CpuLimits ReadCpuLimits(const std::string& root = "");

// What "all cores" means everywhere in Cohort. Read anew at every call, since limits can be
// changed.
int UsableCpus();

}  // namespace cohort
