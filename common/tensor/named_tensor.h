// A tensor and the name a checkpoint gives it.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace cohort {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

}  // namespace cohort
