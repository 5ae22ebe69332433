#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/rewards/sandbox.h"

namespace cohort {

std::string MissingIsolation(const Isolation& isolation) {
  std::vector<std::string> missing;
  if (!isolation.namespaces) {
    missing.push_back(
        "processes (a program sees those of this host or container: the kernel or the container's "
        "runtime refuses namespaces)");
  }
  if (!isolation.users) {
    missing.push_back(
        "users (all programs are one user's and share its limit on processes, so that one that "
        "forks without end can starve the others until its time is up; a worker that is root gives "
        "each a user of its own)");
  }
  if (!isolation.landlock) {
    missing.push_back(
        "files (a program may read and write whatever its user may, the prompts' tests among it if "
        "they are there: the kernel has no Landlock)");
  }
  if (missing.empty()) return "";
  return absl::StrCat("sandbox of code rewards: not isolated here: ", absl::StrJoin(missing, "; "),
                      ". Sockets, signals to others and the limits on time, memory and output hold "
                      "all the same; run workers whose answers you do not trust on nodes of their "
                      "own");
}

}  // namespace cohort
