// Fixture trees stand for machines; the last test asks the kernel of this one.
#include "common/base/cpu_count.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"

namespace cohort {
namespace {

constexpr char kVersion2[] =
    "22 1 0:21 / /proc rw - proc proc rw\n"
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr char kVersion1[] =
    "33 32 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:8 - cgroup cgroup rw,cpu,cpuacct\n";

// A machine's files, by path.
class Machine {
 public:
  explicit Machine(const std::map<std::string, std::string>& files) {
    for (const auto& [path, text] : files) {
      const std::string file = absl::StrCat(folder_.path(), path);
      EXPECT_THAT(MakeFolders(file.substr(0, file.rfind('/'))), IsOk());
      EXPECT_THAT(WriteFileAtomic(file, text), IsOk());
    }
  }
  double quota() const { return ReadCpuLimits(folder_.path()).quota; }

 private:
  TemporaryFolder folder_;
};

TEST(CpuCountTest, AMachineWithoutControlGroupsHasNoQuota) {
  EXPECT_EQ(Machine({}).quota(), 0);
  EXPECT_EQ(Machine({{"/proc/self/cgroup", "0::/\n"}, {"/proc/self/mountinfo", kVersion2}}).quota(),
            0);
}

TEST(CpuCountTest, TheLeastOfNestedQuotasOfVersion2) {
  const auto at = [](const std::string& outer, const std::string& inner) {
    return Machine({{"/proc/self/cgroup", "0::/pods/pod1/container\n"},
                    {"/proc/self/mountinfo", kVersion2},
                    {"/sys/fs/cgroup/pods/cpu.max", "max 100000\n"},
                    {"/sys/fs/cgroup/pods/pod1/cpu.max", outer},
                    {"/sys/fs/cgroup/pods/pod1/container/cpu.max", inner}})
        .quota();
  };
  EXPECT_EQ(at("max 100000\n", "250000 100000\n"), 2.5);
  EXPECT_EQ(at("150000 100000\n", "250000 100000\n"), 1.5);
  EXPECT_EQ(at("150000 100000\n", "max 100000\n"), 1.5);
  EXPECT_EQ(at("max 100000\n", "max 100000\n"), 0);
}

TEST(CpuCountTest, AContainerSeesItsOwnGroupAtTheTop) {
  EXPECT_EQ(Machine({{"/proc/self/cgroup", "0::/\n"},
                     {"/proc/self/mountinfo", kVersion2},
                     {"/sys/fs/cgroup/cpu.max", "400000 100000\n"}})
                .quota(),
            4);
  // Without a namespace of groups the mount begins at the container's group.
  EXPECT_EQ(Machine({{"/proc/self/cgroup", "4:cpu,cpuacct:/docker/abc/inner\n"},
                     {"/proc/self/mountinfo",
                      "31 30 0:28 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup "
                      "rw,cpu,cpuacct\n"},
                     {"/sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_quota_us", "300000\n"},
                     {"/sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_period_us", "100000\n"}})
                .quota(),
            3);
  // A group outside of what is mounted: the top is all that can be known.
  EXPECT_EQ(Machine({{"/proc/self/cgroup", "0::/../other\n"},
                     {"/proc/self/mountinfo",
                      "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n"},
                     {"/sys/fs/cgroup/cpu.max", "700000 100000\n"}})
                .quota(),
            7);
}

TEST(CpuCountTest, TheLeastOfNestedQuotasOfVersion1) {
  const auto at = [](const std::string& outer, const std::string& inner) {
    const std::string mount = "/sys/fs/cgroup/cpu,cpuacct";
    return Machine({{"/proc/self/cgroup", "3:cpuset:/\n2:cpu,cpuacct:/a/b\n0::/\n"},
                    {"/proc/self/mountinfo", kVersion1},
                    {mount + "/a/cpu.cfs_quota_us", outer},
                    {mount + "/a/cpu.cfs_period_us", "100000\n"},
                    {mount + "/a/b/cpu.cfs_quota_us", inner},
                    {mount + "/a/b/cpu.cfs_period_us", "50000\n"}})
        .quota();
  };
  EXPECT_EQ(at("-1\n", "100000\n"), 2);
  EXPECT_EQ(at("50000\n", "100000\n"), 0.5);
  EXPECT_EQ(at("-1\n", "-1\n"), 0);
}

TEST(CpuCountTest, RubbishLimitsNothing) {
  for (const char* text : {"", "max", "x y", "100000", "0 100000\n", "-5 100000\n", "1 0\n"}) {
    EXPECT_EQ(Machine({{"/proc/self/cgroup", "0::/a\n:::\nx\n"},
                       {"/proc/self/mountinfo", absl::StrCat("x - y\n - \n", kVersion2)},
                       {"/sys/fs/cgroup/a/cpu.max", text}})
                  .quota(),
              0)
        << text;
  }
}

TEST(CpuCountTest, PartsCountAsWholeProcessorsAndThereIsAlwaysOne) {
  EXPECT_EQ((CpuLimits{.allowed = 8, .quota = 0}).usable(), 8);
  EXPECT_EQ((CpuLimits{.allowed = 8, .quota = 2.5}).usable(), 3);
  EXPECT_EQ((CpuLimits{.allowed = 8, .quota = 64}).usable(), 8);
  EXPECT_EQ((CpuLimits{.allowed = 8, .quota = 0.1}).usable(), 1);
  EXPECT_EQ((CpuLimits{.allowed = 2, .quota = 1e300}).usable(), 2);
  EXPECT_EQ((CpuLimits{.allowed = 0, .quota = 0}).usable(), 1);
}

TEST(CpuCountTest, AffinityCounts) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &before) && CPU_COUNT(&one) == 0) CPU_SET(cpu, &one);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(UsableCpus(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
  EXPECT_EQ(ReadCpuLimits().allowed, CPU_COUNT(&before));
}

// A control group of this machine with a quota, where one may be made.
class GroupWithQuota {
 public:
  // In microseconds of every 100,000.
  explicit GroupWithQuota(int quota) {
    for (const char* top : {"/sys/fs/cgroup", "/sys/fs/cgroup/cpu"}) {
      path_ = absl::StrCat(top, "/cohort-cpu-count-test-", getpid());
      if (mkdir(path_.c_str(), 0755) != 0) continue;
      made_ =
          Write("cpu.max", absl::StrCat(quota, " 100000")) ||
          (Write("cpu.cfs_period_us", "100000") && Write("cpu.cfs_quota_us", absl::StrCat(quota)));
      if (made_) return;
      rmdir(path_.c_str());
    }
  }
  ~GroupWithQuota() {
    if (made_) rmdir(path_.c_str());
  }
  bool made() const { return made_; }
  bool Join() const { return Write("cgroup.procs", "0"); }

 private:
  bool Write(const std::string& file, const std::string& text) const {
    FILE* out = std::fopen(absl::StrCat(path_, "/", file).c_str(), "r+");
    if (out == nullptr) return false;
    const bool written = std::fputs(text.c_str(), out) >= 0;
    return (std::fclose(out) == 0) && written;
  }

  std::string path_;
  bool made_ = false;
};

TEST(CpuCountTest, AQuotaOfThisKernelIsFound) {
  const GroupWithQuota group(50000);
  if (!group.made()) GTEST_SKIP() << "needs the right to make a control group with a CPU quota";
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (!group.Join()) _exit(2);
    const CpuLimits limits = ReadCpuLimits();
    _exit(limits.quota == 0.5 && limits.usable() == 1 && UsableCpus() == 1 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 2) GTEST_SKIP() << "needs the right to enter a control group";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace cohort
