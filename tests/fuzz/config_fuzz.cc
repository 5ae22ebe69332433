// Entry point in the form that libFuzzer calls: YAML of a configuration and, after a NUL byte, one
// override. What is read is resolved, printed, read again and validated.
#include "tests/fuzz/config_fuzz.h"

#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/config/config.h"

namespace cohort {

int FuzzConfig(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const size_t nul = bytes.find('\0');
  std::vector<std::string> overrides;
  if (nul != std::string::npos) overrides.push_back(bytes.substr(nul + 1));
  absl::StatusOr<v1::RunConfig> config = ParseConfig(bytes.substr(0, nul), "fuzz", overrides);
  if (!config.ok()) return 0;
  ResolveConfig("fuzz", &*config);
  if (ValidateConfig(*config).ok()) PrintBatchTerms(*config);
  const std::string printed = PrintConfig(*config);
  const absl::StatusOr<v1::RunConfig> again = ParseConfig(printed, "printed");
  COHORT_CHECK(again.ok()) << again.status().message() << "\n" << printed;
  COHORT_CHECK(PrintConfig(*again) == printed) << printed;
  COHORT_CHECK(HashOfFields(SemanticFields(*again, "")) ==
               HashOfFields(SemanticFields(*config, "")))
      << printed;
  return 0;
}

}  // namespace cohort
