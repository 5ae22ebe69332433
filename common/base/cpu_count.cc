#include "common/base/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"

namespace cohort {
namespace {

using Strings = std::vector<std::string>;

int AllowedCpus() {
  // The kernel refuses a set that is smaller than its own; most machines fit the first.
  for (size_t cpus = 1024; cpus <= size_t{1} << 20; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(cpus);
    const size_t bytes = CPU_ALLOC_SIZE(cpus);
    const bool read = set != nullptr && sched_getaffinity(0, bytes, set) == 0;
    const int count = read ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

Strings LinesOf(const std::string& path) {
  const auto text = ReadFile(path);
  return text.ok() ? Strings(absl::StrSplit(*text, '\n', absl::SkipEmpty())) : Strings();
}

// The number at the start of a file, or nothing: absent, or no limit ("max", -1).
std::optional<double> PositiveIn(absl::string_view text) {
  double number = 0;
  if (!absl::SimpleAtod(absl::StripAsciiWhitespace(text), &number) || number <= 0) return {};
  return number;
}

std::optional<double> PositiveInFile(const std::string& path) {
  const auto text = ReadFile(path);
  return text.ok() ? PositiveIn(*text) : std::nullopt;
}

// What one control group grants, in processors.
std::optional<double> GrantOf(const std::string& group) {
  std::optional<double> quota, period;
  if (const auto both = ReadFile(group + "/cpu.max"); both.ok()) {  // version 2: "QUOTA PERIOD"
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(absl::StripAsciiWhitespace(*both), ' ');
    quota = PositiveIn(parts.first);
    period = PositiveIn(parts.second);
  } else {
    quota = PositiveInFile(group + "/cpu.cfs_quota_us");
    period = PositiveInFile(group + "/cpu.cfs_period_us");
  }
  if (!quota || !period) return {};
  return *quota / *period;
}

// A mounted hierarchy that can limit processors.
struct Hierarchy {
  bool version2 = false;
  std::string root;   // the group that is seen at the mount point
  std::string mount;  // the mount point
};

// A line of mountinfo: ID PARENT DEVICE ROOT MOUNT OPTIONS [TAG...] - TYPE SOURCE SUPEROPTIONS.
std::optional<Hierarchy> HierarchyOf(const std::string& line) {
  const std::pair<std::string, std::string> halves =
      absl::StrSplit(line, absl::MaxSplits(" - ", 1));
  const Strings left = absl::StrSplit(halves.first, ' ');
  const Strings right = absl::StrSplit(halves.second, ' ');
  if (left.size() < 6 || right.size() < 3) return {};
  const bool version2 = right[0] == "cgroup2";
  const bool version1 =
      right[0] == "cgroup" && absl::c_linear_search(Strings(absl::StrSplit(right[2], ',')), "cpu");
  if (!version1 && !version2) return {};
  return Hierarchy{version2, left[3], left[4]};
}

// The path of this process's group in a hierarchy: a line of /proc/self/cgroup is
// ID:CONTROLLERS:PATH, without controllers for version 2.
std::optional<std::string> GroupIn(const Hierarchy& hierarchy, const Strings& groups) {
  for (const std::string& line : groups) {
    const Strings parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() < 3) continue;
    const bool here = hierarchy.version2
                          ? parts[0] == "0" && parts[1].empty()
                          : absl::c_linear_search(Strings(absl::StrSplit(parts[1], ',')), "cpu");
    if (here) return parts[2];
  }
  return {};
}

// The least grant of this process's group and of those above it, as far as the mount shows them.
double QuotaIn(const Hierarchy& hierarchy, const std::string& group, const std::string& root) {
  const std::string top = absl::StrCat(root, hierarchy.mount);
  absl::string_view below = group;
  // In a container the mount may begin at its own group, and show that one as its top.
  const bool inside = hierarchy.root == "/" || (absl::ConsumePrefix(&below, hierarchy.root) &&
                                                (below.empty() || below[0] == '/'));
  std::string path = inside ? std::string(absl::StripSuffix(below, "/")) : "";
  double least = 0;
  for (;;) {
    const std::optional<double> grant = GrantOf(top + path);
    if (grant && (least == 0 || *grant < least)) least = *grant;
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return least;
    path.resize(slash);
  }
}

}  // namespace

int CpuLimits::usable() const {
  if (quota <= 0) return std::max(1, allowed);
  const double whole = std::ceil(quota);
  return whole >= allowed ? std::max(1, allowed) : std::max(1, static_cast<int>(whole));
}

CpuLimits ReadCpuLimits(const std::string& root) {
  CpuLimits limits;
  limits.allowed = AllowedCpus();
  const Strings groups = LinesOf(root + "/proc/self/cgroup");
  for (const std::string& line : LinesOf(root + "/proc/self/mountinfo")) {
    const std::optional<Hierarchy> hierarchy = HierarchyOf(line);
    if (!hierarchy) continue;
    const std::optional<std::string> group = GroupIn(*hierarchy, groups);
    if (!group) continue;
    const double quota = QuotaIn(*hierarchy, *group, root);
    if (quota > 0 && (limits.quota == 0 || quota < limits.quota)) limits.quota = quota;
  }
  return limits;
}

int UsableCpus() { return ReadCpuLimits().usable(); }

}  // namespace cohort
