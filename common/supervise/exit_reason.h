// Where a child process leaves the reason of its end: memory of this process, so that neither a
// full disk nor a log full of other lines loses it.
#pragma once

#include <string>
#include <utility>

namespace cohort {

// For one thread. Make it before the child is started, which inherits it.
class ExitReason {
 public:
  ExitReason();
  ~ExitReason();
  ExitReason(const ExitReason&) = delete;
  ExitReason& operator=(const ExitReason&) = delete;

  // For the child's environment (ChildSpec::environment): WriteTerminationReason writes there.
  std::pair<std::string, std::string> Variable() const;
  void Clear() const;        // before the child is started again
  std::string Read() const;  // without white space around it; empty: the child said nothing

 private:
  std::string path() const;
  const int fd_;  // -1: the system has no such memory; nothing is read then
};

}  // namespace cohort
