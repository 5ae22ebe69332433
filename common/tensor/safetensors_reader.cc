#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/tensor/safetensors.h"

namespace cohort {

struct SafetensorsFile::Mapping {
  const char* data = nullptr;
  size_t size = 0;
  ~Mapping() {
    if (size > 0) ::munmap(const_cast<char*>(data), size);
  }
};

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Open(
    const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("cannot open weights ", path));
  absl::Cleanup close_fd = [fd] { ::close(fd); };
  struct stat info{};
  if (::fstat(fd, &info) != 0) return ErrnoStatus(errno, absl::StrCat("cannot stat ", path));
  auto mapping = std::make_shared<Mapping>();
  if (S_ISREG(info.st_mode) && info.st_size > 0) {
    const auto size = static_cast<size_t>(info.st_size);
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) return ErrnoStatus(errno, absl::StrCat("cannot map ", path));
    mapping->data = static_cast<const char*>(data);
    mapping->size = size;
  }
  auto file = std::shared_ptr<SafetensorsFile>(new SafetensorsFile());
  file->path_ = path;
  COHORT_ASSIGN_OR_RETURN(
      file->entries_,
      ParseSafetensorsHeader(absl::string_view(mapping->data, mapping->size), mapping->size, path));
  file->mapping_ = std::move(mapping);
  return file;
}

absl::StatusOr<at::Tensor> SafetensorsFile::Tensor(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    return absl::NotFoundError(absl::StrCat(path_, ": tensor ", name, " is missing"));
  }
  const SafetensorsEntry& entry = found->second;
  const char* data = mapping_->data + entry.begin;
  const auto element = c10::elementSize(entry.dtype);
  if (reinterpret_cast<uintptr_t>(data) % element != 0) {  // headers of odd length exist
    at::Tensor copy = at::empty(entry.shape, at::TensorOptions().dtype(entry.dtype));
    std::memcpy(copy.mutable_data_ptr(), data, entry.end - entry.begin);
    return copy;
  }
  return at::from_blob(
      const_cast<char*>(data), entry.shape, [mapping = mapping_](void*) {},
      at::TensorOptions().dtype(entry.dtype));
}

namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

// {tensor: shard} of an index, every shard a plain file name.
absl::StatusOr<std::map<std::string, std::string>> ReadIndex(const std::string& path) {
  COHORT_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
  const auto index = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected a JSON object with weight_map {tensor: file}"));
  }
  std::map<std::string, std::string> shards;
  for (const auto& [name, file] : index["weight_map"].items()) {
    const std::string shard = file.is_string() ? file.get<std::string>() : "";
    if (shard.empty() || shard.find('/') != std::string::npos || shard == "..") {
      return absl::InvalidArgumentError(absl::StrCat(path, ": weight_map gives tensor ",
                                                     absl::CHexEscape(name),
                                                     " no file name in the same folder"));
    }
    shards.emplace(name, shard);
  }
  return shards;
}

}  // namespace

absl::StatusOr<WeightsFolder> WeightsFolder::Open(const std::string& folder) {
  WeightsFolder weights;
  weights.folder_ = folder;
  const std::string single = absl::StrCat(folder, "/", kSingleFile);
  const std::string index = absl::StrCat(folder, "/", kIndexFile);
  if (std::error_code ec; std::filesystem::exists(single, ec)) {
    COHORT_ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(single));
    for (const auto& [name, entry] : file->entries()) weights.files_.emplace(name, file);
    return weights;
  }
  if (std::error_code ec; !std::filesystem::exists(index, ec)) {
    return absl::NotFoundError(
        absl::StrCat("no weights in ", folder, ": expected ", kSingleFile, " or ", kIndexFile));
  }
  COHORT_ASSIGN_OR_RETURN(auto shards, ReadIndex(index));
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> open;
  for (const auto& [name, shard] : shards) {
    auto& file = open[shard];
    if (file == nullptr) {
      COHORT_ASSIGN_OR_RETURN(file, SafetensorsFile::Open(absl::StrCat(folder, "/", shard)));
    }
    if (file->entries().count(name) == 0) {
      return absl::NotFoundError(absl::StrCat(file->path(), ": tensor ", absl::CHexEscape(name),
                                              " is missing, though ", index, " lists it"));
    }
    weights.files_.emplace(name, file);
  }
  return weights;
}

std::vector<std::string> WeightsFolder::names() const {
  std::vector<std::string> names;
  names.reserve(files_.size());
  for (const auto& [name, file] : files_) names.push_back(name);
  return names;
}

absl::StatusOr<at::Tensor> WeightsFolder::Tensor(const std::string& name) const {
  const auto found = files_.find(name);
  if (found == files_.end()) {
    return absl::NotFoundError(
        absl::StrCat(folder_, ": tensor ", name, " is in none of the safetensors files"));
  }
  return found->second->Tensor(name);
}

std::string WeightsFolder::FileOf(const std::string& name) const {
  const auto found = files_.find(name);
  return found == files_.end() ? folder_ : found->second->path();
}

}  // namespace cohort
