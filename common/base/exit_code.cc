#include "common/base/exit_code.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace cohort {
namespace {

constexpr char kMark[] = "cohort.dev/exit-code";
constexpr char kTerminationLog[] = "/dev/termination-log";
constexpr size_t kMostReasonBytes = 4096;  // as much as Kubernetes reads

absl::Status Marked(absl::Status status, int code) {
  status.SetPayload(kMark, absl::Cord(absl::StrCat(code)));
  return status;
}

// In one line, whatever the message holds.
std::string OneLine(absl::string_view text) {
  std::string line(absl::StripAsciiWhitespace(text).substr(0, kMostReasonBytes - 1));
  for (char& c : line) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) c = ' ';
  }
  return line;
}

bool MayPass(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kDataLoss:
      return false;
    default:
      return true;
  }
}

}  // namespace

absl::Status BadSetup(absl::Status status) {
  return status.ok() ? status : Marked(std::move(status), kExitBadSetup);
}

absl::Status BadInput(absl::Status status) {
  return MayPass(status.code()) ? status : BadSetup(std::move(status));
}

bool IsBadSetup(const absl::Status& status) { return ExitCodeOf(status) == kExitBadSetup; }

absl::Status StoppedBySignal(int signal, absl::string_view message) {
  return Marked(absl::CancelledError(message), ExitOfSignal(signal));
}

absl::Status WithText(const absl::Status& status, absl::string_view message) {
  absl::Status changed(status.code(), message);
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    changed.SetPayload(type, payload);
  });
  return changed;
}

int ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kExitDone;
  const auto mark = status.GetPayload(kMark);
  int code = kExitFailed;
  return mark && absl::SimpleAtoi(std::string(*mark), &code) ? code : kExitFailed;
}

void WriteTerminationReason(absl::string_view reason) {
  const char* path = std::getenv("COHORT_TERMINATION_LOG");
  const int fd = open(path == nullptr ? kTerminationLog : path, O_WRONLY | O_TRUNC | O_CLOEXEC);
  if (fd < 0) return;
  const std::string line = absl::StrCat(OneLine(reason), "\n");
  // What does not arrive there is on standard error.
  const ssize_t ignored = write(fd, line.data(), line.size());
  static_cast<void>(ignored);
  close(fd);
}

int EndOfProgram(absl::string_view program, const absl::Status& status) {
  if (status.ok()) return kExitDone;
  const std::string line = absl::StrCat(program, ": ", std::string(status.message()));
  std::fprintf(stderr, "%s\n", line.c_str());
  WriteTerminationReason(line);
  return ExitCodeOf(status);
}

}  // namespace cohort
