// How a program of Cohort ends, for those who start it: shells, `cohort train`, Kubernetes.
//
//   0            done: all steps are done and saved; a worker: it was drained
//   128 + n      stopped by signal n; what was done is saved
//   42           configuration, model or data are wrong: another try ends the same way
//   1            everything else
//
// The code travels with the status from where the reason is known: BadSetup and StoppedBySignal
// mark it, ExitCodeOf reads it. A status that is made anew from the code and the message of another
// one (to add to its text) loses the mark; WithText keeps it. Thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cohort {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitBadSetup = 42;
constexpr int ExitOfSignal(int signal) { return 128 + signal; }
// The signal of such a code, 0 for others.
constexpr int SignalOfExit(int code) { return code > 128 && code < 128 + 65 ? code - 128 : 0; }

// The status, marked as an error of configuration, model or data. OK stays OK.
absl::Status BadSetup(absl::Status status);
// The same for what came of reading them, unless its code says that another try may end otherwise:
// a full disk, a device that is in use, a limit of time.
absl::Status BadInput(absl::Status status);
bool IsBadSetup(const absl::Status& status);

// Cancelled, with the signal: the program was told to stop and has saved what it had.
absl::Status StoppedBySignal(int signal, absl::string_view message);

// The status with another message.
absl::Status WithText(const absl::Status& status, absl::string_view message);

// 0, 128 + signal, 42 or 1.
int ExitCodeOf(const absl::Status& status);

// Tells Kubernetes why this container ends: one line, at most 4096 bytes, into the file that
// COHORT_TERMINATION_LOG names, by default /dev/termination-log. Does nothing where there is no
// such file.
void WriteTerminationReason(absl::string_view reason);

// The end of a program: says `PROGRAM: reason` on standard error and to Kubernetes unless the
// status is OK. Returns the exit code.
int EndOfProgram(absl::string_view program, const absl::Status& status);

}  // namespace cohort
