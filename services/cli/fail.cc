#include <iostream>

#include "services/cli/commands.h"

namespace cohort {

int Fail(const char* command, const absl::Status& status) {
  std::cerr << "cohort " << command << ": " << std::string(status.message()) << std::endl;
  return 1;
}

}  // namespace cohort
