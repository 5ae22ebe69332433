// Bytes of a safetensors file and of a config.json, from anywhere: errors, never crashes.
#include <cstddef>
#include <cstdint>

#include "common/base/log.h"
#include "common/model/model_config.h"
#include "common/tensor/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto entries = cohort::ParseSafetensorsHeader(bytes, size, "input");
  if (entries.ok()) {
    for (const auto& [name, entry] : *entries) {
      COHORT_CHECK(entry.begin <= entry.end && entry.end <= size) << "tensor outside the file";
    }
  }
  const auto config = cohort::ParseModelConfig(bytes, "input");
  if (config.ok()) COHORT_CHECK(config->head_dim > 0) << "invalid configuration accepted";
  return 0;
}
