#include "common/supervise/exit_reason.h"

#include <sys/mman.h>
#include <unistd.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"

namespace cohort {

ExitReason::ExitReason() : fd_(memfd_create("reason", 0)) {}
ExitReason::~ExitReason() {
  if (fd_ >= 0) close(fd_);
}

// The child finds it under the same number.
std::string ExitReason::path() const { return absl::StrCat("/proc/self/fd/", fd_); }

std::pair<std::string, std::string> ExitReason::Variable() const {
  return {"COHORT_TERMINATION_LOG", path()};
}

void ExitReason::Clear() const {
  if (fd_ >= 0 && ftruncate(fd_, 0) != 0) return;  // memory of our own: it cannot fail
}

std::string ExitReason::Read() const {
  return std::string(absl::StripAsciiWhitespace(ReadFile(path()).value_or("")));
}

}  // namespace cohort
