#include "services/cli/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/telemetry/metric_names.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;

// What a start leaves that failed before anything was trained.
bool IsLeftover(const fs::directory_entry& entry) {
  static const std::set<std::string> kHarmless = {metric::kConfigFile, metric::kLogFolder,
                                                  metric::kAddressFile, metric::kTensorBoardFolder,
                                                  ".lock"};
  std::error_code error;
  if (kHarmless.count(entry.path().filename().string()) > 0) return true;
  return fs::is_empty(entry.path(), error) && !error;
}

absl::StatusOr<bool> HoldsARun(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator it(folder, error);
  if (error == std::errc::no_such_file_or_directory) return false;
  if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot read the folder ", folder));
  for (const fs::directory_entry& entry : it) {
    if (!IsLeftover(entry)) return true;
  }
  return false;
}

absl::Status CheckPresence(const std::string& folder, bool resume) {
  COHORT_ASSIGN_OR_RETURN(const bool present, HoldsARun(folder));
  if (present && !resume) {
    return absl::AlreadyExistsError(
        absl::StrCat(folder,
                     " already holds a run; continue it with --resume, choose another folder "
                     "with --out DIR, or remove it"));
  }
  if (!present && resume) {
    return absl::NotFoundError(
        absl::StrCat("--resume: no run in ", folder, "; leave out --resume to start one there"));
  }
  return absl::OkStatus();
}

// A resumed run trains what it trained before.
absl::Status CheckSameTraining(const v1::RunConfig& before, const v1::RunConfig& now) {
  FieldMap old_fields = SemanticFields(before, "");
  for (const auto& [name, value] : SemanticFields(now, "")) {
    const auto old = old_fields.find(name);
    if (old != old_fields.end() && old->second == value) {
      old_fields.erase(old);
      continue;
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "--resume: ", name, " is ", value, " now and was not when the run in ", before.run().out(),
        " began; set it as in the run's config.yaml or start a new run with --out"));
  }
  if (old_fields.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("--resume: the run in ", before.run().out(), " began with ",
                   old_fields.begin()->first, " = ", old_fields.begin()->second,
                   "; set it as in the run's config.yaml or start a new run with --out"));
}

absl::StatusOr<RunFolderLock> Lock(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/.lock");
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("cannot write into ", folder));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    close(fd);
    return absl::FailedPreconditionError(absl::StrCat(
        folder,
        " is in use by another cohort train; stop it or choose another folder with --out DIR"));
  }
  return RunFolderLock(fd);
}

}  // namespace

RunFolderLock::RunFolderLock(RunFolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
RunFolderLock::~RunFolderLock() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<RunFolderLock> PrepareRunFolder(const v1::RunConfig& config, bool resume) {
  const std::string& folder = config.run().out();
  const std::string config_path = absl::StrCat(folder, "/", metric::kConfigFile);
  COHORT_RETURN_IF_ERROR(CheckPresence(folder, resume));
  v1::RunConfig run = config;
  if (resume) {
    COHORT_ASSIGN_OR_RETURN(const v1::RunConfig before, LoadConfig(config_path));
    // The learner wrote down what `auto` became: a resumed run keeps it.
    if (run.model().dtype() == "auto") run.mutable_model()->set_dtype(before.model().dtype());
    COHORT_RETURN_IF_ERROR(CheckSameTraining(before, run));
  }
  COHORT_RETURN_IF_ERROR(MakeFolders(absl::StrCat(folder, "/", metric::kLogFolder)));
  COHORT_ASSIGN_OR_RETURN(RunFolderLock lock, Lock(folder));
  COHORT_RETURN_IF_ERROR(WriteFileAtomic(config_path, PrintConfig(run)));
  unlink(absl::StrCat(folder, "/", metric::kAddressFile).c_str());  // of an earlier learner
  return lock;
}

std::string LastLines(const std::string& path, int lines) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return "";
  size_t at = text->size();
  if (at > 0 && (*text)[at - 1] == '\n') --at;
  for (; lines > 0 && at != std::string::npos; --lines)
    at = at == 0 ? std::string::npos : text->rfind('\n', at - 1);
  return at == std::string::npos ? *text : text->substr(at + 1);
}

}  // namespace cohort
