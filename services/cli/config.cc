#include "common/config/config.h"

#include <iostream>

#include "services/cli/commands.h"

namespace cohort {

int RunConfigCheck(const ConfigCheckArgs& args) {
  const absl::StatusOr<v1::RunConfig> config = LoadResolvedConfig(args.config, args.overrides);
  if (!config.ok()) return Fail("config check", config.status());
  // The comments keep the whole output a valid configuration file.
  std::cout << PrintConfig(*config) << "\n";
  std::string table = PrintBatchTerms(*config);
  for (size_t at = 0; at < table.size();) {
    const size_t end = table.find('\n', at);
    std::cout << "# " << table.substr(at, end - at) << "\n";
    at = end + 1;
  }
  for (const std::string& warning : ConfigWarnings(*config)) {
    std::cerr << "warning: " << warning << "\n";
  }
  return 0;
}

}  // namespace cohort
