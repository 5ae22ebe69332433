// Which tensors a model stores and which parts of them carry a checkpoint's names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/model/model_config.h"

namespace cohort {

// The head of a sequence classifier.
inline constexpr char kScoreWeight[] = "score.weight";

struct StorageSpec {
  std::string name;
  std::vector<int64_t> shape;
};

// Rows [row, row + rows) of one storage tensor.
struct ViewSpec {
  std::string name;  // in a Hugging Face checkpoint
  size_t storage = 0;
  int64_t row = 0;
  int64_t rows = 0;
};

struct ParameterLayout {
  std::vector<StorageSpec> storage;  // in the order of the forward pass
  std::vector<ViewSpec> views;       // sorted by name; together they tile the storage
};

ParameterLayout LayoutOf(const ModelConfig& config);

// Shape of a view within its storage.
std::vector<int64_t> ViewShape(const ParameterLayout& layout, const ViewSpec& view);

}  // namespace cohort
