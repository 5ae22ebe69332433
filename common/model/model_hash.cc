#include "common/model/model_hash.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/cpu_count.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;

constexpr size_t kChunkBytes = size_t{8} << 20;
constexpr size_t kMaxThreads = 4;

bool Counts(const std::string& name) {
  static const char* const kNames[] = {
      "config.json",           "generation_config.json",  "tokenizer.json",
      "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"};
  // Of a checkpoint's folder only the weights count, not the optimizer's state.
  if (absl::EndsWith(name, ".safetensors")) {
    return name != "optimizer.safetensors" && name != "masters.safetensors";
  }
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

absl::StatusOr<std::vector<std::string>> FilesThatCount(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("model.path: cannot read ", folder));
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (Counts(name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  const auto is_weights = [](const std::string& name) {
    return absl::EndsWith(name, ".safetensors");
  };
  if (std::find(names.begin(), names.end(), "config.json") == names.end() ||
      std::none_of(names.begin(), names.end(), is_weights)) {
    return absl::NotFoundError(absl::StrCat(
        "model.path: expected a Hugging Face folder with config.json and *.safetensors in ", folder,
        "; set it to such a folder"));
  }
  return names;
}

class File {
 public:
  explicit File(const std::string& path)
      : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  absl::StatusOr<size_t> Size() const {
    struct stat info{};
    if (fd_ < 0 || fstat(fd_, &info) != 0) return Error(errno);
    return static_cast<size_t>(info.st_size);
  }

  absl::StatusOr<std::string> HashOfChunk(size_t begin, size_t end) const {
    Sha256 sha;
    std::vector<char> buffer(size_t{256} << 10);
    while (begin < end) {
      const ssize_t got = pread(fd_, buffer.data(), std::min(buffer.size(), end - begin),
                                static_cast<off_t>(begin));
      if (got < 0) return Error(errno);
      if (got == 0) return absl::DataLossError(absl::StrCat(path_, " became shorter while read"));
      sha.Update(buffer.data(), static_cast<size_t>(got));
      begin += static_cast<size_t>(got);
    }
    return sha.HexDigest();
  }

 private:
  absl::Status Error(int error) const {
    return ErrnoStatus(error, absl::StrCat("cannot read ", path_));
  }
  const std::string path_;
  const int fd_;
};

// "SIZE CHUNK..." of one file.
absl::StatusOr<std::string> DescribeFile(const std::string& path) {
  const File file(path);
  COHORT_ASSIGN_OR_RETURN(const size_t size, file.Size());
  std::vector<absl::StatusOr<std::string>> chunks((size + kChunkBytes - 1) / kChunkBytes);
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < chunks.size(); i = next++) {
      chunks[i] = file.HashOfChunk(i * kChunkBytes, std::min(size, (i + 1) * kChunkBytes));
    }
  };
  std::vector<std::thread> helpers;
  const size_t cores = std::min(static_cast<size_t>(UsableCpus()), kMaxThreads);
  for (size_t i = 1; i < std::min(cores, chunks.size()); ++i) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
  std::string line = absl::StrCat(size);
  for (const absl::StatusOr<std::string>& chunk : chunks) {
    if (!chunk.ok()) return chunk.status();
    absl::StrAppend(&line, " ", *chunk);
  }
  return line;
}

}  // namespace

absl::StatusOr<std::string> ModelContentHash(const std::string& folder) {
  COHORT_ASSIGN_OR_RETURN(const std::vector<std::string> names, FilesThatCount(folder));
  Sha256 sha;
  for (const std::string& name : names) {
    COHORT_ASSIGN_OR_RETURN(const std::string line, DescribeFile(absl::StrCat(folder, "/", name)));
    sha.Update(absl::StrCat(name, " ", line, "\n"));
  }
  return sha.HexDigest();
}

}  // namespace cohort
