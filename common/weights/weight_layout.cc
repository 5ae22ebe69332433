#include "common/weights/weight_layout.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/tensor/safetensors_dtype.h"

namespace cohort {
namespace {

absl::Status DescribeTensor(const PublishedTensor& published, v1::TensorEntry* entry) {
  entry->set_name(published.name);
  entry->set_dtype(SafetensorsDtypeName(published.tensor.scalar_type()));
  if (entry->dtype().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", published.name, ": its number format cannot be published"));
  }
  for (int64_t size : published.tensor.sizes()) entry->add_shape(size);
  return absl::OkStatus();
}

void CutIntoBlocks(int tensor, int64_t bytes, int64_t block_bytes, v1::Manifest* manifest) {
  for (int64_t offset = 0; offset < bytes; offset += block_bytes) {
    v1::BlockEntry* block = manifest->add_blocks();
    block->set_tensor(static_cast<uint32_t>(tensor));
    block->set_offset(static_cast<uint64_t>(offset));
    block->set_size(static_cast<uint64_t>(std::min(block_bytes, bytes - offset)));
  }
}

}  // namespace

std::vector<at::Tensor> OnCpu(const std::vector<PublishedTensor>& tensors) {
  std::vector<at::Tensor> cpu;
  for (const PublishedTensor& published : tensors) {
    cpu.push_back(published.tensor.detach().to(at::kCPU).contiguous());
  }
  return cpu;
}

absl::StatusOr<v1::Manifest> LayoutOf(const std::vector<PublishedTensor>& tensors,
                                      int64_t block_bytes) {
  v1::Manifest manifest;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (i > 0 && tensors[i - 1].name >= tensors[i].name) {
      return absl::InvalidArgumentError(absl::StrCat("expected tensors in name order, found ",
                                                     tensors[i].name, " after ",
                                                     tensors[i - 1].name));
    }
    if (absl::Status status = DescribeTensor(tensors[i], manifest.add_tensors()); !status.ok()) {
      return status;
    }
    CutIntoBlocks(static_cast<int>(i), static_cast<int64_t>(tensors[i].tensor.nbytes()),
                  block_bytes, &manifest);
  }
  return manifest;
}

bool SameLayout(const v1::Manifest& a, const v1::Manifest& b) {
  const auto same_tensor = [](const v1::TensorEntry& x, const v1::TensorEntry& y) {
    return x.name() == y.name() && x.dtype() == y.dtype() &&
           std::equal(x.shape().begin(), x.shape().end(), y.shape().begin(), y.shape().end());
  };
  const auto same_block = [](const v1::BlockEntry& x, const v1::BlockEntry& y) {
    return x.tensor() == y.tensor() && x.offset() == y.offset() && x.size() == y.size();
  };
  return std::equal(a.tensors().begin(), a.tensors().end(), b.tensors().begin(), b.tensors().end(),
                    same_tensor) &&
         std::equal(a.blocks().begin(), a.blocks().end(), b.blocks().begin(), b.blocks().end(),
                    same_block);
}

const char* BlockData(const std::vector<at::Tensor>& cpu, const v1::BlockEntry& block) {
  return static_cast<const char*>(cpu[block.tensor()].data_ptr()) + block.offset();
}

std::string HashOfTensors(const std::vector<at::Tensor>& cpu) {
  Sha256 hash;
  for (const at::Tensor& tensor : cpu) hash.Update(tensor.data_ptr(), tensor.nbytes());
  return hash.HexDigest();
}

}  // namespace cohort
