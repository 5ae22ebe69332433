// Where tensors live and in which number format the model computes.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cohort {

// "auto" (CUDA when a GPU is visible, else CPU), "cpu", "cuda" or "cuda:N". Without N, process
// `local_rank` of a host takes the visible GPU of that number, counted round. InvalidArgument for
// other text; FailedPrecondition when the GPU asked for is not there.
absl::StatusOr<at::Device> ResolveDevice(absl::string_view name, int local_rank = 0);

// "fp32", "bf16", "fp64" or "auto": bf16 where the processor multiplies it natively (AVX512-BF16 or
// AMX-BF16; every CUDA device), else fp32.
absl::StatusOr<at::ScalarType> ResolveDtype(absl::string_view name, at::Device device);

// "fp32", "bf16", ... as configuration and logs spell it.
std::string DtypeName(at::ScalarType dtype);

// Number of threads of tensor operations of this process. 0: all cores, which is LibTorch's default
// (its threads, OpenMP's and MKL's; OMP_NUM_THREADS counts) but no more than UsableCpus(). Call
// once, early.
absl::Status SetComputeThreads(int threads);

}  // namespace cohort
