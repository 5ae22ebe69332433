#include "common/rewards/sandbox_user.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "common/base/file.h"

namespace cohort {
namespace {

constexpr uid_t kNobody = 65534;
// Below what systemd gives to dynamic services, above what distributions give to people and
// packages; inside the 65536 ids that a container has at least.
constexpr uid_t kFirst = 60706;
constexpr uid_t kCount = 478;

struct Pool {
  absl::Mutex mu;
  std::set<uid_t> taken ABSL_GUARDED_BY(mu);
  uid_t next ABSL_GUARDED_BY(mu) = static_cast<uid_t>(getpid()) * 97 % kCount;
};

Pool& Users() {
  static Pool* const pool = new Pool;  // threads may outlive what main destroys
  return *pool;
}

bool CanHaveOwnUsers() {
  static const bool can = MapsSandboxUsers(ReadFile("/proc/self/uid_map").value_or("")) &&
                          MapsSandboxUsers(ReadFile("/proc/self/gid_map").value_or(""));
  return can;
}

}  // namespace

SandboxUser::SandboxUser() : id_(getuid()) {
  if (geteuid() != 0) return;
  changes_ = true;
  id_ = kNobody;
  if (!CanHaveOwnUsers()) return;
  Pool& pool = Users();
  absl::MutexLock lock(&pool.mu);
  for (uid_t tried = 0; tried < kCount; ++tried) {
    const uid_t id = kFirst + pool.next++ % kCount;
    if (pool.taken.contains(id) || TasksOf(id) > 0) continue;
    pool.taken.insert(id);
    id_ = id;
    own_ = true;
    return;
  }
}

SandboxUser::~SandboxUser() {
  if (!own_) return;
  Pool& pool = Users();
  absl::MutexLock lock(&pool.mu);
  pool.taken.erase(id_);
}

uint64_t TasksOf(uid_t user) {
  uint64_t tasks = 0;
  DIR* const folder = opendir("/proc");
  if (folder == nullptr) return 0;
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    const std::string path = absl::StrCat("/proc/", entry->d_name, "/task");
    struct stat status;
    if (stat(path.c_str(), &status) != 0 || status.st_uid != user) continue;
    tasks += status.st_nlink > 2 ? status.st_nlink - 2 : 1;  // a link per thread, besides its two
  }
  closedir(folder);
  return tasks;
}

bool MapsSandboxUsers(absl::string_view uid_map) {
  for (const absl::string_view line : absl::StrSplit(uid_map, '\n', absl::SkipWhitespace())) {
    const std::vector<absl::string_view> fields =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    uint64_t inside = 0, count = 0;
    if (fields.size() != 3 || !absl::SimpleAtoi(fields[0], &inside) ||
        !absl::SimpleAtoi(fields[2], &count)) {
      continue;
    }
    if (inside <= kFirst && inside + count >= kFirst + kCount) return true;
  }
  return false;
}

}  // namespace cohort
