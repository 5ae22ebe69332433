#include "common/run_folder/run_lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

// As statfs(2) has them.
constexpr int64_t kFuse = 0x65735546;
constexpr int64_t k9p = 0x01021997;
constexpr int64_t kCifs = 0xff534d42;
constexpr int64_t kSmb2 = 0xfe534d42;

constexpr size_t kMostHolderBytes = 512;

std::string LockPath(const std::string& folder) { return absl::StrCat(folder, "/.lock"); }

struct flock WholeFile(int16_t type) {
  struct flock range{};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  return range;
}

// Locks of the open file, which other threads' closing of the same file does not release; where
// the kernel has none, locks of the process. 0 or the errno.
int Command(int fd, int open_file, int process, struct flock* range) {
  struct flock first = *range;
  if (fcntl(fd, open_file, &first) == 0) {
    *range = first;
    return 0;
  }
  if (errno != EINVAL) return errno;
  return fcntl(fd, process, range) == 0 ? 0 : errno;
}

// What the owner wrote.
std::string ReadAll(int fd) {
  char text[kMostHolderBytes];
  const ssize_t size = pread(fd, text, sizeof(text), 0);
  return std::string(text, size > 0 ? static_cast<size_t>(size) : 0);
}

// The same, made fit for a message.
std::string Holder(int fd) {
  std::string holder = ReadAll(fd);
  for (char& c : holder) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = ' ';
  }
  holder = std::string(absl::StripAsciiWhitespace(holder));
  return holder.empty() ? "another process" : holder;
}

absl::Status InUse(const std::string& folder, int fd) {
  return absl::FailedPreconditionError(absl::StrCat(
      folder, " is in use by ", Holder(fd), "; stop it or choose another folder with --out DIR"));
}

void SayWeakness(const std::string& folder, const std::string& why) {
  COHORT_LOG(WARNING) << "the lock of " << folder << ": " << why
                      << "; nothing keeps a second learner on another host out of the folder";
}

absl::Status WriteHolder(int fd, const std::string& folder, absl::string_view program) {
  const std::string text =
      absl::StrCat(program, " on host ", ThisHost(), ", process ", getpid(), ", since ",
                   absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone()), "\n");
  if (ftruncate(fd, 0) == 0 && pwrite(fd, text.data(), text.size(), 0) >= 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, absl::StrCat("cannot write ", LockPath(folder)));
}

}  // namespace

namespace internal {

std::string WeaknessOfLocks(int64_t filesystem_type) {
  switch (filesystem_type) {
    case kFuse:
      return "it lies on a FUSE file system, whose locks may be this machine's alone";
    case k9p:
      return "it lies on a 9p file system, whose locks may be this machine's alone";
    case kCifs:
    case kSmb2:
      return "it lies on an SMB share, whose locks may be this machine's alone";
    default:
      return "";
  }
}

bool CannotLock(int error) {
  return error == ENOLCK || error == ENOSYS || error == EOPNOTSUPP || error == EINVAL;
}

}  // namespace internal

absl::StatusOr<RunLock> RunLock::Take(const std::string& folder, absl::string_view program) {
  const int fd = open(LockPath(folder).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("cannot write into ", folder));
  RunLock lock(fd, folder);
  struct flock range = WholeFile(F_WRLCK);
  const int error = Command(fd, F_OFD_SETLK, F_SETLK, &range);
  if (error == EAGAIN || error == EACCES) return InUse(folder, fd);
  if (error != 0 && !internal::CannotLock(error)) {
    return ErrnoStatus(error, absl::StrCat("cannot lock ", LockPath(folder)));
  }
  struct statfs filesystem{};
  if (error != 0) {
    SayWeakness(folder, absl::StrCat("its file system cannot lock (", strerror(error), ")"));
  } else if (fstatfs(fd, &filesystem) == 0) {
    const std::string why = internal::WeaknessOfLocks(static_cast<uint32_t>(filesystem.f_type));
    if (!why.empty()) SayWeakness(folder, why);
  }
  COHORT_RETURN_IF_ERROR(WriteHolder(fd, folder, program));
  return lock;
}

absl::Status RunLock::CheckFree(const std::string& folder) {
  const int fd = open(LockPath(folder).c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return absl::OkStatus();  // nobody ever took it, or Take will say what is wrong
  const RunLock closes(fd, folder);
  struct flock range = WholeFile(F_WRLCK);
  const bool known = Command(fd, F_OFD_GETLK, F_GETLK, &range) == 0;
  return known && range.l_type != F_UNLCK ? InUse(folder, fd) : absl::OkStatus();
}

// File systems without numbers of their own may change a file's: what the owner wrote decides then.
absl::Status RunLock::CheckPlace() const {
  const std::string path = LockPath(folder_);
  struct stat held{}, there{};
  if (fstat(fd_, &held) != 0) return ErrnoStatus(errno, absl::StrCat("the lock of ", folder_));
  const bool found = stat(path.c_str(), &there) == 0;
  if (!found && errno != ENOENT && errno != ENOTDIR) return absl::OkStatus();  // not known
  if (found && held.st_dev == there.st_dev && held.st_ino == there.st_ino) return absl::OkStatus();
  if (found && ReadFile(path).value_or("") == ReadAll(fd_)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the run's folder ", folder_, " was removed, moved or replaced while this process trained: ",
      path, found ? " is another file than" : " is gone, not",
      " the one that it took; put the folder back and continue with --resume"));
}

RunLock::RunLock(RunLock&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), folder_(std::move(other.folder_)) {}
RunLock::~RunLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace cohort
