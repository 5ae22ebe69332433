// Tensors as bytes and as blocks: what a manifest says about their shape.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cohort/v1/weights.pb.h"
#include "common/base/hash.h"
#include "common/weights/weight_store.h"

namespace cohort {

// Contiguous CPU tensors with the same bytes; the tensors themselves where they already are.
std::vector<at::Tensor> OnCpu(const std::vector<PublishedTensor>& tensors);

// The manifest of `tensors` without version and hashes. InvalidArgument: not in name order, or a
// dtype that is not published.
absl::StatusOr<v1::Manifest> LayoutOf(const std::vector<PublishedTensor>& tensors,
                                      int64_t block_bytes);

// Same tensors, same blocks: deltas between two versions make sense.
bool SameLayout(const v1::Manifest& a, const v1::Manifest& b);

// First byte of a block of the manifest that `cpu` was checked against.
const char* BlockData(const std::vector<at::Tensor>& cpu, const v1::BlockEntry& block);

// SHA-256 (hex) over the bytes of all tensors.
std::string HashOfTensors(const std::vector<at::Tensor>& cpu);

}  // namespace cohort
