// Logging to standard error, one line per message:
//   2026-01-31T12:00:00.123Z I learner session.cc:42] worker w-1 connected
// Thread-safe. The level is set once by SetMinLogLevel (default kInfo).
#pragma once

#include <sstream>

#include "absl/strings/string_view.h"

namespace cohort {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kFatal };

void SetMinLogLevel(LogLevel level);
// The process's role in every line ("learner-0", "rollout"). Call before threads start.
void SetLogRole(absl::string_view role);

namespace internal {
bool LogEnabled(LogLevel level);
class LogMessage {
 public:
  LogMessage(LogLevel level, const char* file, int line);
  ~LogMessage();  // Writes the line; aborts for kFatal.
  LogMessage(const LogMessage&) = delete;
  LogMessage& operator=(const LogMessage&) = delete;
  std::ostream& stream() { return stream_; }

 private:
  LogLevel level_;
  const char* file_;
  int line_;
  std::ostringstream stream_;
};
struct Voidify {
  void operator&(std::ostream&) {}
};
}  // namespace internal

#define COHORT_LOG_LEVEL_DEBUG ::cohort::LogLevel::kDebug
#define COHORT_LOG_LEVEL_INFO ::cohort::LogLevel::kInfo
#define COHORT_LOG_LEVEL_WARNING ::cohort::LogLevel::kWarning
#define COHORT_LOG_LEVEL_ERROR ::cohort::LogLevel::kError
#define COHORT_LOG_LEVEL_FATAL ::cohort::LogLevel::kFatal

// COHORT_LOG(INFO) << "..."; levels DEBUG, INFO, WARNING, ERROR, FATAL (aborts).
#define COHORT_LOG(level)                                   \
  !::cohort::internal::LogEnabled(COHORT_LOG_LEVEL_##level) \
      ? (void)0                                             \
      : ::cohort::internal::Voidify() &                     \
            ::cohort::internal::LogMessage(COHORT_LOG_LEVEL_##level, __FILE__, __LINE__).stream()

// For what only our own code can get wrong. What the world does to us is an absl::Status.
#define COHORT_CHECK(condition)                                                                    \
  (condition) ? (void)0                                                                            \
              : ::cohort::internal::Voidify() &                                                    \
                    ::cohort::internal::LogMessage(::cohort::LogLevel::kFatal, __FILE__, __LINE__) \
                            .stream()                                                              \
                        << "CHECK failed: " #condition " "

}  // namespace cohort
