// Reading and writing safetensors: an 8-byte little-endian header length, a JSON header
// {name: {dtype, shape, data_offsets}}, then the bytes of all tensors without holes.
//
// Files come from outside, so every length and offset is checked before it is used; errors are
// InvalidArgument and name the file, the tensor, what was expected and what was found.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/tensor/named_tensor.h"

namespace cohort {

struct SafetensorsEntry {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // bytes from the start of the file
  uint64_t end = 0;
};

// Parses and checks the header. `prefix` holds the file's first bytes (more than the header is
// fine), `file_size` its whole length in bytes; `where` is named in errors. Entries by name.
absl::StatusOr<std::map<std::string, SafetensorsEntry>> ParseSafetensorsHeader(
    absl::string_view prefix, uint64_t file_size, const std::string& where);

// One file, mapped read-only. Thread-safe. Tensors share the mapping and keep it alive; they must
// not be written to.
class SafetensorsFile {
 public:
  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }
  // NotFound names the file.
  absl::StatusOr<at::Tensor> Tensor(const std::string& name) const;

 private:
  struct Mapping;
  SafetensorsFile() = default;

  std::string path_;
  std::map<std::string, SafetensorsEntry> entries_;
  std::shared_ptr<const Mapping> mapping_;
};

// The weights of a Hugging Face folder: model.safetensors, or the shards that
// model.safetensors.index.json lists. Thread-safe.
class WeightsFolder {
 public:
  static absl::StatusOr<WeightsFolder> Open(const std::string& folder);

  std::vector<std::string> names() const;
  bool Contains(const std::string& name) const { return files_.count(name) != 0; }
  // NotFound names the folder and the tensor.
  absl::StatusOr<at::Tensor> Tensor(const std::string& name) const;
  // The file that holds `name`, for error messages; the folder when there is none.
  std::string FileOf(const std::string& name) const;

 private:
  std::string folder_;
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> files_;  // by tensor name
};

// Writes one file and syncs it. Tensors may live on any device and need not be contiguous; one is
// copied at a time. ResourceExhausted when the disk is full. A failed write leaves no file behind.
absl::Status WriteSafetensors(const std::string& path, absl::Span<const NamedTensor> tensors);

// Writes FOLDER/model.safetensors, or shards of at most `max_shard_bytes` (a larger tensor gets a
// shard of its own) and their index. The folder must exist.
absl::Status WriteWeightsFolder(const std::string& folder, absl::Span<const NamedTensor> tensors,
                                int64_t max_shard_bytes);

}  // namespace cohort
