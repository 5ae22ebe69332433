// Rotary position embedding: angles by position, stretched as the checkpoint asks.
#pragma once

#include <ATen/core/Tensor.h>

#include "common/model/layer_ops.h"
#include "common/model/model_config.h"

namespace cohort {

// Angle per position of each pair of elements: [head_dim / 2], fp32, on the CPU. Computed with the
// operations and the precision of `transformers`, so that long positions agree too.
at::Tensor RopeFrequencies(const ModelConfig& config);

// positions: [num_tokens] int64, frequencies: [head_dim / 2] on the same device. The table is fp64
// for an fp64 model, else fp32.
RopeTable MakeRopeTable(const at::Tensor& positions, const at::Tensor& frequencies,
                        at::ScalarType model_dtype);

}  // namespace cohort
