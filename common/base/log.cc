#include "common/base/log.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/utf8.h"

namespace cohort {
namespace {

std::atomic<LogLevel> g_min_level{LogLevel::kInfo};
std::string& Role() {
  static auto* role = new std::string();
  return *role;
}

// Of one message: what a peer sends must not fill the disk.
constexpr size_t kMaxMessageBytes = size_t{64} << 10;

// A message of several lines stays readable, and none of its lines can pass for one of the log's
// own: the further ones begin with a mark.
std::string OneEntry(absl::string_view message) {
  const size_t left_out = message.size() - std::min(message.size(), kMaxMessageBytes);
  message = message.substr(0, kMaxMessageBytes);
  std::string out;
  while (true) {
    const size_t end = message.find('\n');
    out += EscapeControls(message.substr(0, end));
    if (end == absl::string_view::npos) break;
    message.remove_prefix(end + 1);
    if (!message.empty()) out += "\n  | ";
  }
  if (left_out > 0) absl::StrAppend(&out, " (", left_out, " bytes more)");
  return out;
}

}  // namespace

void SetMinLogLevel(LogLevel level) { g_min_level.store(level, std::memory_order_relaxed); }
void SetLogRole(absl::string_view role) { Role() = absl::StrCat(role, " "); }

namespace internal {

bool LogEnabled(LogLevel level) { return level >= g_min_level.load(std::memory_order_relaxed); }

LogMessage::LogMessage(LogLevel level, const char* file, int line)
    : level_(level), file_(file), line_(line) {}

LogMessage::~LogMessage() {
  absl::string_view file = file_;
  if (size_t slash = file.rfind('/'); slash != absl::string_view::npos)
    file.remove_prefix(slash + 1);
  const std::string line =
      absl::StrCat(absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone()), " ",
                   std::string(1, "DIWEF"[static_cast<int>(level_)]), " ", Role(), file, ":", line_,
                   "] ", OneEntry(stream_.str()), "\n");
  // One write per line, so that lines of several threads or processes never interleave.
  std::fwrite(line.data(), 1, line.size(), stderr);
  if (level_ == LogLevel::kFatal) std::abort();
}

}  // namespace internal
}  // namespace cohort
