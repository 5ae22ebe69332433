#include "common/model/rope.h"

#include <ATen/ATen.h>

#include <numbers>

namespace cohort {
namespace {

// Llama 3: long wavelengths are divided by the factor, short ones kept, those between blended.
at::Tensor Llama3Frequencies(const at::Tensor& frequencies, const RopeScaling& scaling) {
  const auto context = static_cast<double>(scaling.original_max_position_embeddings);
  const double low_wavelength = context / scaling.low_freq_factor;
  const double high_wavelength = context / scaling.high_freq_factor;
  const at::Tensor wavelength = 2 * std::numbers::pi / frequencies;
  const at::Tensor stretched =
      at::where(wavelength > low_wavelength, frequencies / scaling.factor, frequencies);
  const at::Tensor smooth = (context / wavelength - scaling.low_freq_factor) /
                            (scaling.high_freq_factor - scaling.low_freq_factor);
  const at::Tensor blended = (1 - smooth) * stretched / scaling.factor + smooth * stretched;
  const at::Tensor between =
      (wavelength >= high_wavelength).logical_and(wavelength <= low_wavelength);
  return at::where(between, blended, stretched);
}

}  // namespace

at::Tensor RopeFrequencies(const ModelConfig& config) {
  const at::Tensor exponents = at::arange(0, config.head_dim, 2, at::kLong).to(at::kFloat) /
                               static_cast<double>(config.head_dim);
  at::Tensor frequencies = at::reciprocal(at::pow(config.rope_theta, exponents));
  switch (config.rope_scaling.kind) {
    case RopeScaling::Kind::kLinear:
      return frequencies / config.rope_scaling.factor;
    case RopeScaling::Kind::kLlama3:
      return Llama3Frequencies(frequencies, config.rope_scaling);
    case RopeScaling::Kind::kNone:
      break;
  }
  return frequencies;
}

RopeTable MakeRopeTable(const at::Tensor& positions, const at::Tensor& frequencies,
                        at::ScalarType model_dtype) {
  const auto dtype = model_dtype == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor angles = at::outer(positions.to(dtype), frequencies.to(dtype));
  return {angles.cos(), angles.sin()};
}

}  // namespace cohort
