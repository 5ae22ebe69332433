#include "services/cli/export.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/telemetry/metric_names.h"
#include "services/cli/commands.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;

constexpr char kPrefix[] = "step-";
constexpr char kBestFile[] = "best.json";
// What a program that loads the model has no use for; common/train/checkpoint.h has the layout.
constexpr const char* kForResuming[] = {"optimizer.safetensors", "masters.safetensors",
                                        "state.json"};
constexpr char kStandardOutput[] = "-";

// ---- which checkpoint ----

std::vector<CheckpointChoice> CheckpointsOf(const std::string& folder) {
  std::vector<CheckpointChoice> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    CheckpointChoice choice;
    choice.name = entry.path().filename().string();
    choice.folder = entry.path().string();
    absl::string_view number = choice.name;
    if (absl::ConsumePrefix(&number, kPrefix) && absl::SimpleAtoi(number, &choice.step)) {
      found.push_back(std::move(choice));
    }
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

absl::StatusOr<int64_t> BestStep(const std::string& folder) {
  const std::string file = absl::StrCat(folder, "/", kBestFile);
  const auto text = ReadFile(file);
  const auto json = nlohmann::json::parse(text.ok() ? *text : "", nullptr, false);
  if (json.is_object() && json.contains("step") && json["step"].is_number_integer()) {
    return json["step"].get<int64_t>();
  }
  return absl::NotFoundError(
      absl::StrCat("no best checkpoint is known yet (expected ", file,
                   ", which checkpoint.keep_best writes after an evaluation); take --step newest"));
}

// ---- the tar ----

class OpenFile {
 public:
  explicit OpenFile(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  OpenFile(OpenFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OpenFile& operator=(OpenFile&&) = delete;
  ~OpenFile() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

struct Member {
  std::string name;  // in the tar
  OpenFile file;
  struct stat about{};
};

bool Wanted(const std::string& name, bool all) {
  return all || (!absl::StrContains(name, '/') && !absl::c_linear_search(kForResuming, name));
}

// All are open before the first is read: a checkpoint may be pruned at any time, and what is open
// stays.
absl::StatusOr<std::vector<Member>> OpenMembers(const CheckpointChoice& checkpoint, bool all) {
  std::vector<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry :
       fs::recursive_directory_iterator(checkpoint.folder, error)) {
    if (!entry.is_regular_file(error)) continue;
    const std::string name = fs::relative(entry.path(), checkpoint.folder, error).string();
    if (Wanted(name, all)) names.push_back(name);
  }
  absl::c_sort(names);
  std::vector<Member> members;
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(checkpoint.folder, "/", name);
    Member member{absl::StrCat(checkpoint.name, "/", name), OpenFile(path)};
    if (member.file.fd() < 0 || fstat(member.file.fd(), &member.about) != 0) {
      return ErrnoStatus(errno, absl::StrCat("cannot read ", path));
    }
    members.push_back(std::move(member));
  }
  if (members.empty()) {
    return absl::NotFoundError(absl::StrCat(
        "no files in ", checkpoint.folder,
        " (a learner may just have removed it: checkpoint.keep_last); choose a newer step"));
  }
  return members;
}

using Archive = std::unique_ptr<archive, decltype(&archive_write_free)>;

absl::Status ArchiveError(archive* tar, const std::string& what) {
  const char* why = archive_error_string(tar);
  return absl::UnavailableError(absl::StrCat(what, ": ", why != nullptr ? why : "unknown error"));
}

absl::Status WriteHeader(archive* tar, const Member& member) {
  const std::unique_ptr<archive_entry, decltype(&archive_entry_free)> entry(archive_entry_new(),
                                                                            &archive_entry_free);
  archive_entry_set_pathname(entry.get(), member.name.c_str());
  archive_entry_set_size(entry.get(), member.about.st_size);
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0644);
  archive_entry_set_mtime(entry.get(), member.about.st_mtim.tv_sec, 0);
  if (archive_write_header(tar, entry.get()) == ARCHIVE_OK) return absl::OkStatus();
  return ArchiveError(tar, absl::StrCat("cannot write ", member.name));
}

absl::Status WriteContent(archive* tar, const Member& member) {
  std::vector<char> buffer(1 << 20);
  for (int64_t left = member.about.st_size; left > 0;) {
    const size_t want = static_cast<size_t>(std::min<int64_t>(left, int64_t(buffer.size())));
    const ssize_t count = read(member.file.fd(), buffer.data(), want);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(errno, absl::StrCat("cannot read ", member.name));
    if (count == 0) {
      return absl::DataLossError(absl::StrCat(member.name, ": expected ", left,
                                              " more bytes, found its end: it was changed"));
    }
    if (archive_write_data(tar, buffer.data(), static_cast<size_t>(count)) != count) {
      return ArchiveError(tar, absl::StrCat("cannot write ", member.name));
    }
    left -= count;
  }
  return absl::OkStatus();
}

// ---- the command ----

// A device, a pipe or a link is written to; renaming a file over it would take its place.
bool IsWrittenInPlace(const std::string& path) {
  struct stat status;
  return lstat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
}

absl::StatusOr<ExportTotals> WriteTarInPlace(const CheckpointChoice& checkpoint, bool all,
                                             const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("cannot write ", path));
  absl::StatusOr<ExportTotals> totals = WriteTar(checkpoint, all, fd);
  if (close(fd) != 0 && totals.ok()) {
    totals = ErrnoStatus(errno, absl::StrCat("cannot write ", path));
  }
  return totals;
}

// A file that is there as a whole or not at all.
absl::StatusOr<ExportTotals> WriteTarFile(const CheckpointChoice& checkpoint, bool all,
                                          const std::string& path) {
  if (IsWrittenInPlace(path)) return WriteTarInPlace(checkpoint, all, path);
  const std::string partial = path + ".partial";
  const int fd = open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("cannot write ", partial));
  absl::StatusOr<ExportTotals> totals = WriteTar(checkpoint, all, fd);
  if (close(fd) != 0 && totals.ok()) {
    totals = ErrnoStatus(errno, absl::StrCat("cannot write ", partial));
  }
  if (totals.ok() && rename(partial.c_str(), path.c_str()) != 0) {
    totals = ErrnoStatus(errno, absl::StrCat("cannot rename ", partial, " to ", path));
  }
  if (!totals.ok()) unlink(partial.c_str());
  return totals;
}

absl::Status Export(const ExportArgs& args) {
  if (args.run.empty()) {
    return absl::InvalidArgumentError(
        "which run? Name its folder with --run DIR or in the environment variable COHORT_RUN");
  }
  const bool to_stdout = args.out == kStandardOutput;
  if (to_stdout && isatty(STDOUT_FILENO) != 0) {
    return absl::InvalidArgumentError(
        "standard output is a terminal and a tar is binary: redirect it (> model.tar) or name a "
        "file with --out FILE");
  }
  COHORT_ASSIGN_OR_RETURN(const CheckpointChoice checkpoint, ChooseCheckpoint(args.run, args.step));
  std::signal(SIGPIPE, SIG_IGN);  // a reader that has gone is an error with a message
  COHORT_ASSIGN_OR_RETURN(const ExportTotals totals,
                          to_stdout ? WriteTar(checkpoint, args.all, STDOUT_FILENO)
                                    : WriteTarFile(checkpoint, args.all, args.out));
  std::cerr << absl::StrFormat(
                   "cohort export: step %d of %s, %d files, %.1f MB, in the folder %s of the tar",
                   checkpoint.step, args.run, totals.files, double(totals.bytes) * 1e-6,
                   checkpoint.name)
            << std::endl;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CheckpointChoice> ChooseCheckpoint(const std::string& run, const std::string& step) {
  const std::string folder = absl::StrCat(run, "/", metric::kCheckpointFolder);
  const std::vector<CheckpointChoice> all = CheckpointsOf(folder);
  if (all.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no checkpoint in ", folder,
                     " (the first comes after checkpoint.every_steps, or at the end)"));
  }
  if (step == "newest") return all.back();
  int64_t wanted = 0;
  if (step == "best") {
    COHORT_ASSIGN_OR_RETURN(wanted, BestStep(folder));
  } else if (!absl::SimpleAtoi(step, &wanted)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--step: expected newest, best or a number, found '", step, "'"));
  }
  const auto choice =
      absl::c_find_if(all, [wanted](const CheckpointChoice& c) { return c.step == wanted; });
  if (choice != all.end()) return *choice;
  return absl::NotFoundError(
      absl::StrCat("no checkpoint of step ", wanted, " in ", folder, "; there are those of ",
                   absl::StrJoin(all, ", ", [](std::string* out, const CheckpointChoice& c) {
                     absl::StrAppend(out, c.step);
                   })));
}

absl::StatusOr<ExportTotals> WriteTar(const CheckpointChoice& checkpoint, bool all, int fd) {
  COHORT_ASSIGN_OR_RETURN(const std::vector<Member> members, OpenMembers(checkpoint, all));
  const Archive tar(archive_write_new(), &archive_write_free);
  // Plain ustar where it suffices; pax headers for files of 8 GiB and more.
  archive_write_set_format_pax_restricted(tar.get());
  archive_write_set_bytes_per_block(tar.get(), 1 << 20);
  archive_write_set_bytes_in_last_block(tar.get(), 10240);
  if (archive_write_open_fd(tar.get(), fd) != ARCHIVE_OK) {
    return ArchiveError(tar.get(), "cannot write the tar");
  }
  ExportTotals totals;
  for (const Member& member : members) {
    COHORT_RETURN_IF_ERROR(WriteHeader(tar.get(), member));
    COHORT_RETURN_IF_ERROR(WriteContent(tar.get(), member));
    totals.files += 1;
    totals.bytes += member.about.st_size;
  }
  if (archive_write_close(tar.get()) != ARCHIVE_OK) {
    return ArchiveError(tar.get(), "cannot write the end of the tar");
  }
  return totals;
}

int RunExport(const ExportArgs& args) {
  const absl::Status status = Export(args);
  return status.ok() ? 0 : Fail("export", status);
}

}  // namespace cohort
