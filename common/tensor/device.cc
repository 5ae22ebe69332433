#include "common/tensor/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/cpu_count.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

int CudaDevices() {
  try {
    return at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0;
  } catch (const std::exception&) {
    return 0;  // a driver that does not answer is a GPU that is not there
  }
}

absl::StatusOr<at::Device> CudaDevice(int index) {
  const int devices = CudaDevices();
  if (index >= devices) {
    return absl::FailedPreconditionError(
        absl::StrCat("model.device (or learner.device, rollout.device) asks for cuda:", index,
                     " but this process sees ", devices,
                     " CUDA devices; use cpu or auto, or a build and a machine with CUDA"));
  }
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}

// CPUID leaf 7: AVX512-BF16 is bit 5 of EAX in subleaf 1, AMX-BF16 bit 22 of EDX in subleaf 0.
bool CpuMultipliesBf16() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && ((a >> 5) & 1U) != 0) return true;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && ((d >> 22) & 1U) != 0;
#else
  return false;
#endif
}

}  // namespace

absl::StatusOr<at::Device> ResolveDevice(absl::string_view name, int local_rank) {
  if (name == "cpu") return at::Device(at::kCPU);
  if (name == "auto" || name == "cuda") {
    const int devices = CudaDevices();
    if (devices == 0 && name == "auto") return at::Device(at::kCPU);
    return CudaDevice(devices == 0 ? 0 : local_rank % devices);
  }
  int index = -1;
  if (absl::ConsumePrefix(&name, "cuda:") && absl::SimpleAtoi(name, &index) && index >= 0 &&
      index < 128) {
    return CudaDevice(index);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("model.device: expected auto, cpu, cuda or cuda:N, found \"", name, "\""));
}

absl::StatusOr<at::ScalarType> ResolveDtype(absl::string_view name, at::Device device) {
  if (name == "fp32") return at::kFloat;
  if (name == "bf16") return at::kBFloat16;
  if (name == "fp64") return at::kDouble;
  if (name == "auto") {
    return device.is_cuda() || CpuMultipliesBf16() ? at::kBFloat16 : at::kFloat;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("model.dtype: expected auto, fp32, bf16 or fp64, found \"", name, "\""));
}

std::string DtypeName(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return "fp32";
    case at::kBFloat16:
      return "bf16";
    case at::kHalf:
      return "fp16";
    case at::kDouble:
      return "fp64";
    default:
      return c10::toString(dtype);
  }
}

absl::Status SetComputeThreads(int threads) {
  if (threads < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads: expected 0 (all cores) or more, found ", threads));
  }
  // LibTorch's default knows of the affinity, but of no quota.
  at::set_num_threads(threads > 0 ? threads : std::min(at::get_num_threads(), UsableCpus()));
  return absl::OkStatus();
}

}  // namespace cohort
