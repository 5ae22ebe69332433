// A tensor's values on the host.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace cohort {

std::vector<double> ToHost(const at::Tensor& values);  // detached, fp64; empty when undefined

}  // namespace cohort
