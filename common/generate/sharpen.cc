#include "common/generate/sharpen.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>

namespace cohort {

at::Tensor SharpenLogits(const at::Tensor& logits, const EmInfOptions& options) {
  at::Tensor out = logits
                       .to(at::TensorOptions().device(at::kCPU).dtype(at::kDouble),
                           /*non_blocking=*/false, /*copy=*/true)
                       .contiguous();
  const int64_t vocab = out.size(1);
  double* const data = out.data_ptr<double>();
  at::parallel_for(0, out.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      double* const z = data + row * vocab;
      if (!std::all_of(z, z + vocab, [](double x) { return std::isfinite(x); })) continue;
      const EmInfResult sharp =
          MinimizeEntropy(absl::MakeConstSpan(z, static_cast<size_t>(vocab)), options);
      std::copy(sharp.logits.begin(), sharp.logits.end(), z);
    }
  });
  return out;
}

}  // namespace cohort
