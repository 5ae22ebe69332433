#include "common/run_folder/run_folder.h"

#include <unistd.h>

#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/telemetry/metric_names.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;

// What a start leaves that failed before anything was trained.
bool IsLeftover(const fs::directory_entry& entry) {
  static const std::set<std::string> kHarmless = {metric::kConfigFile,  metric::kLogFolder,
                                                  metric::kAddressFile, metric::kTensorBoardFolder,
                                                  metric::kSecretFile,  ".lock"};
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

// An empty one is what an interrupted copy leaves: it says nothing.
bool HasConfig(const std::string& folder) {
  std::error_code error;
  const auto size = fs::file_size(absl::StrCat(folder, "/", metric::kConfigFile), error);
  return !error && size > 0;
}

absl::Status CheckThere(const std::string& folder) {
  if (HasConfig(folder)) return absl::OkStatus();  // it may have stopped before its first step
  COHORT_ASSIGN_OR_RETURN(const bool present, HoldsARun(folder));
  if (present) return absl::OkStatus();
  return BadSetup(absl::NotFoundError(absl::StrCat(
      "--resume: no run in ", folder,
      "; leave out --resume to start one there, or use --resume=auto, which starts or continues")));
}

absl::Status AlreadyThere(const std::string& folder) {
  return BadSetup(absl::AlreadyExistsError(
      absl::StrCat(folder,
                   " already holds a run; continue it with --resume, choose another folder "
                   "with --out DIR, or remove it")));
}

absl::Status CheckPresence(const std::string& folder, ResumeMode mode) {
  if (mode == ResumeMode::kContinue) return CheckThere(folder);
  if (mode == ResumeMode::kAuto) return absl::OkStatus();
  COHORT_ASSIGN_OR_RETURN(const bool present, HoldsARun(folder));
  return present ? AlreadyThere(folder) : absl::OkStatus();
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
    return BadSetup(absl::FailedPreconditionError(absl::StrCat(
        "--resume: ", name, " is ", value, " now and was not when the run in ", before.run().out(),
        " began; set it as in the run's config.yaml or start a new run with --out")));
  }
  if (old_fields.empty()) return absl::OkStatus();
  return BadSetup(absl::FailedPreconditionError(
      absl::StrCat("--resume: the run in ", before.run().out(), " began with ",
                   old_fields.begin()->first, " = ", old_fields.begin()->second,
                   "; set it as in the run's config.yaml or start a new run with --out")));
}

// Compares a run that is continued with what it was, and keeps what it decided.
absl::Status TakeOver(const std::string& folder, v1::RunConfig* run) {
  const std::string path = absl::StrCat(folder, "/", metric::kConfigFile);
  if (!HasConfig(folder)) {
    COHORT_LOG(WARNING) << path << " is " << (access(path.c_str(), F_OK) == 0 ? "empty" : "missing")
                        << ": what the run trains is compared with its newest checkpoint alone";
    return absl::OkStatus();
  }
  const absl::StatusOr<v1::RunConfig> before = LoadConfig(path);
  if (!before.ok()) {
    return BadInput(WithText(
        before.status(),
        absl::StrCat(std::string(before.status().message()),
                     ". The run wrote this file: restore it, ",
                     "or remove it to have its checkpoint's own record compared instead")));
  }
  // The learner wrote down what `auto` became: a resumed run keeps it.
  if (run->model().dtype() == "auto") run->mutable_model()->set_dtype(before->model().dtype());
  return CheckSameTraining(*before, *run);
}

}  // namespace

absl::StatusOr<ResumeMode> ParseResume(absl::string_view flag) {
  if (flag.empty()) return ResumeMode::kNew;
  if (flag == "true") return ResumeMode::kContinue;
  if (flag == "auto") return ResumeMode::kAuto;
  return absl::InvalidArgumentError(
      absl::StrCat("--resume: expected --resume (continue) or --resume=auto (start or continue), "
                   "found --resume=",
                   flag));
}

std::string ResumeFlag(ResumeMode mode) {
  switch (mode) {
    case ResumeMode::kContinue:
      return "--resume";
    case ResumeMode::kAuto:
      return "--resume=auto";
    case ResumeMode::kNew:
      break;
  }
  return "";
}

// As CheckpointStore (common/train) makes them; that one needs LibTorch.
bool HasCheckpoint(const std::string& folder) {
  std::error_code error;
  for (const auto& entry :
       fs::directory_iterator(absl::StrCat(folder, "/", metric::kCheckpointFolder), error)) {
    const bool named = absl::StartsWith(entry.path().filename().string(), "step-");
    if (named && fs::exists(entry.path() / "state.json", error)) return true;
  }
  return false;
}

absl::StatusOr<RunLock> OpenRunFolder(const std::string& folder, ResumeMode mode,
                                      absl::string_view program) {
  COHORT_RETURN_IF_ERROR(RunLock::CheckFree(folder));
  if (mode == ResumeMode::kContinue && !HasCheckpoint(folder)) {
    COHORT_RETURN_IF_ERROR(CheckThere(folder));
  }
  if (mode == ResumeMode::kNew && HasCheckpoint(folder)) return AlreadyThere(folder);
  COHORT_RETURN_IF_ERROR(MakeFolders(folder));
  return RunLock::Take(folder, program);
}

absl::StatusOr<RunLock> PrepareRunFolder(const v1::RunConfig& config, ResumeMode mode,
                                         absl::string_view program) {
  const std::string& folder = config.run().out();
  const std::string config_path = absl::StrCat(folder, "/", metric::kConfigFile);
  COHORT_RETURN_IF_ERROR(RunLock::CheckFree(folder));
  COHORT_RETURN_IF_ERROR(CheckPresence(folder, mode));
  v1::RunConfig run = config;
  if (mode == ResumeMode::kContinue || (mode == ResumeMode::kAuto && HasCheckpoint(folder))) {
    COHORT_RETURN_IF_ERROR(TakeOver(folder, &run));
  }
  COHORT_RETURN_IF_ERROR(MakeFolders(absl::StrCat(folder, "/", metric::kLogFolder)));
  COHORT_ASSIGN_OR_RETURN(RunLock lock, RunLock::Take(folder, program));
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
