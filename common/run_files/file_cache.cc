#include "common/run_files/file_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/exit_code.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/run_files/listing.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kKeepUnfinished = absl::Hours(24);
constexpr char kPartPrefix[] = "part-";
constexpr char kRunPrefix[] = "run-";

// A folder that files can be made in.
absl::Status MakeUsable(const std::string& folder) {
  if (folder.empty()) return absl::NotFoundError("neither HOME nor XDG_CACHE_HOME is set");
  COHORT_RETURN_IF_ERROR(MakeFolders(folder));
  COHORT_ASSIGN_OR_RETURN(const FileHandle probe, FileHandle::MakeUnique(folder, kPartPrefix));
  unlink(probe.path().c_str());
  return absl::OkStatus();
}

absl::Time LastUse(const fs::path& path) {
  struct stat info{};
  if (lstat(path.c_str(), &info) != 0) return absl::InfiniteFuture();
  return absl::TimeFromTimespec(info.st_mtim);
}

absl::Status Verify(const FileHandle& handle, const v1::RunFile& file) {
  FileAssembler assembler(file);
  std::string buffer(size_t{1} << 20, '\0');
  for (;;) {
    COHORT_ASSIGN_OR_RETURN(const size_t got,
                            handle.ReadAt(assembler.size(), buffer.data(), buffer.size()));
    if (got == 0) return assembler.Finish();
    COHORT_RETURN_IF_ERROR(assembler.Add(absl::string_view(buffer.data(), got)));
  }
}

}  // namespace

std::string DefaultCacheFolder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache != '\0') return absl::StrCat(cache, "/cohort/files");
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') return absl::StrCat(home, "/.cache/cohort/files");
  return "";
}

FileCache::FileCache(const std::string& folder) : folder_(folder) {
  if (absl::Status usable = MakeUsable(folder_); !usable.ok()) UseTemporary(usable);
  folder_ = fs::absolute(folder_).string();
  RemoveOld();
}

void FileCache::UseTemporary(const absl::Status& why) {
  temporary_.emplace();
  folder_ = temporary_->path();
  COHORT_LOG(WARNING) << "no cache for the learner's files: " << why.message()
                      << "; they are kept in " << folder_
                      << " until this worker ends (--cache names another folder)";
}

absl::Status FileCache::FallBack(const absl::Status& why) {
  if (!temporary_.has_value()) {
    UseTemporary(why);
    return absl::OkStatus();
  }
  return WithText(why,
                  absl::StrCat(std::string(why.message()), "; there is no other folder for the ",
                               "learner's files: make room, or name one with --cache"));
}

void FileCache::RemoveOld() const {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    const bool unfinished =
        absl::StartsWith(name, kPartPrefix) || absl::StartsWith(name, kRunPrefix);
    if (absl::Now() - LastUse(entry.path()) < (unfinished ? kKeepUnfinished : kKeep)) continue;
    std::error_code ignored;  // another worker may remove it at the same time
    fs::remove_all(entry.path(), ignored);
  }
}

bool FileCache::Has(const v1::RunFile& file) const {
  const std::string path = PathOf(file);
  const absl::StatusOr<FileHandle> handle = FileHandle::OpenToRead(path);
  if (!handle.ok()) return false;
  if (absl::Status intact = Verify(*handle, file); !intact.ok()) {
    COHORT_LOG(WARNING) << path << " is damaged (" << intact.message() << "); fetched again";
    unlink(path.c_str());
    return false;
  }
  futimens(handle->fd(), nullptr);  // used now; where that is not allowed its time stays
  return true;
}

absl::StatusOr<FileCache::Entry> FileCache::NewEntry(const v1::RunFile& file) const {
  COHORT_ASSIGN_OR_RETURN(FileHandle handle, FileHandle::MakeUnique(folder_, kPartPrefix));
  return Entry(std::move(handle), PathOf(file), file);
}

FileCache::Entry::Entry(FileHandle handle, std::string path, const v1::RunFile& file)
    : handle_(std::move(handle)),
      path_(std::move(path)),
      assembler_(std::make_unique<FileAssembler>(file)) {}

FileCache::Entry::~Entry() {
  if (assembler_ != nullptr) unlink(handle_.path().c_str());
}

absl::Status FileCache::Entry::Add(absl::string_view piece) {
  COHORT_RETURN_IF_ERROR(assembler_->Add(piece));
  return handle_.Append(piece.data(), piece.size());
}

absl::Status FileCache::Entry::Commit() {
  COHORT_RETURN_IF_ERROR(assembler_->Finish());
  COHORT_RETURN_IF_ERROR(handle_.Sync());
  if (rename(handle_.path().c_str(), path_.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("cannot rename ", handle_.path(), " to ", path_));
  }
  assembler_.reset();
  return SyncFile(fs::path(path_).parent_path().string());
}

absl::StatusOr<std::unique_ptr<ModelFolders>> ModelFolders::Make(
    const FileCache& cache, const std::vector<v1::RunFile>& files) {
  std::string root = absl::StrCat(cache.folder(), "/", kRunPrefix, "XXXXXX");
  if (mkdtemp(root.data()) == nullptr) {
    return ErrnoStatus(errno, absl::StrCat("cannot make a folder in ", cache.folder()));
  }
  std::unique_ptr<ModelFolders> folders(new ModelFolders(root));
  for (const v1::RunFile& file : files) {
    const std::string folder = folders->PathOf(file.folder());
    COHORT_RETURN_IF_ERROR(MakeFolders(folder));
    const std::string link = absl::StrCat(folder, "/", file.name());
    if (symlink(cache.PathOf(file).c_str(), link.c_str()) != 0) {
      return ErrnoStatus(errno, absl::StrCat("cannot make the link ", link));
    }
  }
  return folders;
}

ModelFolders::~ModelFolders() {
  std::error_code ignored;
  fs::remove_all(root_, ignored);
}

std::string ModelFolders::PathOf(const std::string& folder) const {
  return absl::StrCat(root_, "/", folder);
}

}  // namespace cohort
