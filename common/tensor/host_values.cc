#include "common/tensor/host_values.h"

namespace cohort {

std::vector<double> ToHost(const at::Tensor& values) {
  if (!values.defined()) return {};
  const at::Tensor host = values.detach().to(at::kCPU, at::kDouble).contiguous();
  const double* data = host.const_data_ptr<double>();
  return std::vector<double>(data, data + host.numel());
}

}  // namespace cohort
