#include "common/run_files/listing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "common/run_files/file_handle.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBufferBytes = size_t{1} << 20;

// What the tokenizer and the model's configuration are read from.
constexpr const char* kNecessary[] = {"config.json", "tokenizer.json"};
constexpr const char* kOptional[] = {"generation_config.json", "tokenizer_config.json",
                                     "special_tokens_map.json", "chat_template.jinja"};

bool IsWeights(const std::string& name) {
  return absl::EndsWith(name, ".safetensors") || name == "model.safetensors.index.json";
}

absl::StatusOr<ListedFile> HashFile(const std::string& folder, const std::string& path,
                                    const StopToken& stop) {
  ListedFile listed;
  listed.path = path;
  listed.file.set_folder(folder);
  listed.file.set_name(fs::path(path).filename().string());
  COHORT_ASSIGN_OR_RETURN(const FileHandle handle, FileHandle::OpenToRead(path));
  COHORT_ASSIGN_OR_RETURN(listed.stamp, StampOf(handle.fd(), path));
  Sha256 sha;
  std::string buffer(kBufferBytes, '\0');
  for (uint64_t offset = 0; offset < listed.stamp.size;) {
    if (stop.stopped()) return absl::CancelledError("stopped");
    COHORT_ASSIGN_OR_RETURN(const size_t got, handle.ReadAt(offset, buffer.data(), buffer.size()));
    if (got == 0) return absl::DataLossError(absl::StrCat(path, " became shorter while read"));
    sha.Update(buffer.data(), got);
    offset += got;
  }
  listed.file.set_size(listed.stamp.size);
  listed.file.set_sha256(sha.HexDigest());
  return listed;
}

absl::StatusOr<std::vector<std::string>> WeightFiles(const std::string& path) {
  std::error_code error;
  fs::directory_iterator entries(path, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot read ", path));
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (IsWeights(name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status AddModel(const std::string& folder, const std::string& path, bool with_weights,
                      const StopToken& stop, std::vector<ListedFile>* out) {
  std::vector<std::string> names(std::begin(kNecessary), std::end(kNecessary));
  for (const char* name : kOptional) {
    if (std::error_code error; fs::exists(absl::StrCat(path, "/", name), error)) {
      names.emplace_back(name);
    }
  }
  if (with_weights) {
    COHORT_ASSIGN_OR_RETURN(const std::vector<std::string> weights, WeightFiles(path));
    names.insert(names.end(), weights.begin(), weights.end());
  }
  for (const std::string& name : names) {
    COHORT_ASSIGN_OR_RETURN(ListedFile listed,
                            HashFile(folder, absl::StrCat(path, "/", name), stop));
    out->push_back(std::move(listed));
  }
  return absl::OkStatus();
}

// A reward model need not be on the learner's host unless workers take it from there.
absl::Status NamingField(const absl::Status& status, const std::string& field) {
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      absl::StrCat(field, ": ", std::string(status.message()),
                                   "; workers that are started without --config take it from the "
                                   "learner's host"));
}

}  // namespace

std::string RewardModelFolder(int source) {
  return absl::StrCat("algorithm.reward.sources[", source, "].path");
}

absl::StatusOr<FileStamp> StampOf(int fd, const std::string& path) {
  struct stat info{};
  if (fstat(fd, &info) != 0) return ErrnoStatus(errno, absl::StrCat("cannot read ", path));
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected a regular file"));
  }
  FileStamp stamp;
  stamp.size = static_cast<uint64_t>(info.st_size);
  stamp.inode = info.st_ino;
  stamp.modified = int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
  return stamp;
}

absl::StatusOr<std::vector<ListedFile>> ListRunFiles(const v1::RunConfig& config,
                                                     const StopToken& stop) {
  std::vector<ListedFile> files;
  COHORT_RETURN_IF_ERROR(NamingField(
      AddModel(kPolicyFolder, config.model().path(), /*with_weights=*/false, stop, &files),
      "model.path"));
  const auto& sources = config.algorithm().reward().sources();
  for (int i = 0; i < sources.size(); ++i) {
    if (sources[i].name() != "reward_model") continue;
    const std::string field = RewardModelFolder(i);
    COHORT_RETURN_IF_ERROR(NamingField(
        AddModel(field, sources[i].path(), /*with_weights=*/true, stop, &files), field));
  }
  return files;
}

}  // namespace cohort
