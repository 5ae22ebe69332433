// A worker's folder of files by content: FOLDER/SHA256. What is in it is verified before it is
// used, so that neither a crash, a full disk nor another program's write is ever loaded.
//
// Any number of processes may use one folder at once: a file appears whole, by rename. Files that
// no worker used for kKeep are removed when a worker starts.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cohort/v1/files.pb.h"
#include "common/base/file.h"
#include "common/run_files/fetch_plan.h"
#include "common/run_files/file_handle.h"

namespace cohort {

// Where a program keeps its cache unless told otherwise: $XDG_CACHE_HOME or ~/.cache, with
// cohort/files in it. Empty where the environment names neither.
std::string DefaultCacheFolder();

// Not thread-safe.
class FileCache {
 public:
  static constexpr absl::Duration kKeep = absl::Hours(24 * 14);  // after the last use

  // Makes the folder, and removes what is old. One that is empty or cannot be written to is
  // replaced by a temporary folder, with a warning: everything is fetched again at the next start.
  explicit FileCache(const std::string& folder);
  FileCache(const FileCache&) = delete;
  FileCache& operator=(const FileCache&) = delete;

  // The folder cannot take files (the disk is full, it became read-only, something is in the way):
  // from now on they go to a temporary one, with a warning that says `why`. It is empty: bring them
  // again. An error where this is the temporary folder already: there is nowhere else.
  absl::Status FallBack(const absl::Status& why);

  const std::string& folder() const { return folder_; }
  std::string PathOf(const v1::RunFile& file) const { return folder_ + "/" + file.sha256(); }
  // The file is here with its size and hash, which takes a pass over it. A damaged one is removed.
  bool Has(const v1::RunFile& file) const;

  // A file that is being fetched: in the cache once it is committed, gone otherwise.
  class Entry {
   public:
    Entry(Entry&&) = default;
    ~Entry();
    absl::Status Add(absl::string_view piece);  // as FileAssembler, or what the disk says
    absl::Status Commit();                      // once

   private:
    friend class FileCache;
    Entry(FileHandle handle, std::string path, const v1::RunFile& file);
    FileHandle handle_;
    std::string path_;
    std::unique_ptr<FileAssembler> assembler_;
  };
  absl::StatusOr<Entry> NewEntry(const v1::RunFile& file) const;

 private:
  void UseTemporary(const absl::Status& why);
  void RemoveOld() const;
  std::string folder_;
  std::optional<TemporaryFolder> temporary_;
};

// Models as the rest of the program knows them: folders with links into a cache. Removed on
// destruction.
class ModelFolders {
 public:
  static absl::StatusOr<std::unique_ptr<ModelFolders>> Make(const FileCache& cache,
                                                            const std::vector<v1::RunFile>& files);
  ~ModelFolders();
  ModelFolders(const ModelFolders&) = delete;
  ModelFolders& operator=(const ModelFolders&) = delete;

  std::string PathOf(const std::string& folder) const;  // of a RunFile.folder

 private:
  explicit ModelFolders(std::string root) : root_(std::move(root)) {}
  const std::string root_;
};

}  // namespace cohort
