#include <ATen/core/Tensor.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/tensor/safetensors.h"
#include "common/tensor/safetensors_dtype.h"

namespace cohort {
namespace {

// A file being written; removed unless Commit() succeeded.
class OutputFile {
 public:
  explicit OutputFile(std::string path) : path_(std::move(path)) {
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    error_ = fd_ < 0 ? errno : 0;
  }
  ~OutputFile() {
    if (fd_ < 0) return;
    ::close(fd_);
    ::unlink(path_.c_str());
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  absl::Status Write(const char* data, size_t size) {
    while (error_ == 0 && size > 0) {
      const ssize_t written = ::write(fd_, data, size);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) {
        error_ = errno;
        break;
      }
      data += written;
      size -= static_cast<size_t>(written);
    }
    return status();
  }

  absl::Status Commit() {
    if (error_ == 0 && ::fsync(fd_) != 0) error_ = errno;
    COHORT_RETURN_IF_ERROR(status());
    const int fd = fd_;
    fd_ = -1;
    if (::close(fd) != 0) error_ = errno;
    return status();
  }

 private:
  absl::Status status() const {
    return error_ == 0 ? absl::OkStatus()
                       : ErrnoStatus(error_, absl::StrCat("cannot write weights ", path_));
  }

  std::string path_;
  int fd_ = -1;
  int error_ = 0;
};

// Wide elements first, so that every tensor is aligned to its element size.
std::vector<const NamedTensor*> AlignedOrder(absl::Span<const NamedTensor> tensors) {
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return a->tensor.element_size() > b->tensor.element_size();
  });
  return order;
}

absl::StatusOr<std::string> HeaderText(const std::vector<const NamedTensor*>& order) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  uint64_t offset = 0;
  for (const NamedTensor* named : order) {
    const at::Tensor& tensor = named->tensor;
    const std::string dtype = SafetensorsDtypeName(tensor.scalar_type());
    if (dtype.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", named->name, ": ", c10::toString(tensor.scalar_type()),
                       " cannot be saved; expected one of ", SafetensorsDtypeNames()));
    }
    const auto bytes = static_cast<uint64_t>(tensor.numel() * tensor.element_size());
    header[named->name] = {{"dtype", dtype},
                           {"shape", tensor.sizes().vec()},
                           {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

std::string LengthBytes(uint64_t length) {
  std::string bytes(8, '\0');
  for (char& byte : bytes) {
    byte = static_cast<char>(length & 0xFF);
    length >>= 8;
  }
  return bytes;
}

std::vector<std::vector<NamedTensor>> SplitIntoShards(absl::Span<const NamedTensor> tensors,
                                                      int64_t max_shard_bytes) {
  std::vector<std::vector<NamedTensor>> shards(1);
  int64_t bytes = 0;
  for (const NamedTensor& tensor : tensors) {
    const auto size = static_cast<int64_t>(tensor.tensor.nbytes());
    if (!shards.back().empty() && bytes + size > max_shard_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(tensor);
    bytes += size;
  }
  return shards;
}

}  // namespace

absl::Status WriteSafetensors(const std::string& path, absl::Span<const NamedTensor> tensors) {
  const auto order = AlignedOrder(tensors);
  COHORT_ASSIGN_OR_RETURN(std::string header, HeaderText(order));
  OutputFile file(path);
  const std::string length = LengthBytes(header.size());
  COHORT_RETURN_IF_ERROR(file.Write(length.data(), length.size()));
  COHORT_RETURN_IF_ERROR(file.Write(header.data(), header.size()));
  for (const NamedTensor* named : order) {
    const at::Tensor local = named->tensor.detach().to(at::kCPU).contiguous();
    COHORT_RETURN_IF_ERROR(
        file.Write(static_cast<const char*>(local.const_data_ptr()), local.nbytes()));
  }
  return file.Commit();
}

absl::Status WriteWeightsFolder(const std::string& folder, absl::Span<const NamedTensor> tensors,
                                int64_t max_shard_bytes) {
  const auto shards = SplitIntoShards(tensors, max_shard_bytes);
  if (shards.size() == 1) {
    COHORT_RETURN_IF_ERROR(WriteSafetensors(absl::StrCat(folder, "/model.safetensors"), tensors));
    return SyncFile(folder);
  }
  nlohmann::ordered_json weight_map;
  uint64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name =
        absl::StrFormat("model-%05d-of-%05d.safetensors", i + 1, shards.size());
    COHORT_RETURN_IF_ERROR(WriteSafetensors(absl::StrCat(folder, "/", name), shards[i]));
    for (const NamedTensor& tensor : shards[i]) {
      weight_map[tensor.name] = name;
      total += tensor.tensor.nbytes();
    }
  }
  const nlohmann::ordered_json index = {{"metadata", {{"total_size", total}}},
                                        {"weight_map", weight_map}};
  return WriteFileAtomic(absl::StrCat(folder, "/model.safetensors.index.json"), index.dump(2));
}

}  // namespace cohort
