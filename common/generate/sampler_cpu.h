// The CPU side of sampler.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "absl/types/span.h"
#include "common/generate/sampler.h"

namespace cohort {

// logits on the CPU. Uses the threads of at::parallel_for, one row per thread.
std::vector<SampledToken> SampleTokensCpu(const at::Tensor& logits,
                                          absl::Span<const SampleSpec> specs);

}  // namespace cohort
