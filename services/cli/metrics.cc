// `cohort metrics`: what a run exports, as Markdown.
#include <iostream>

#include "common/base/exit_code.h"
#include "common/telemetry/metrics_page.h"
#include "services/cli/commands.h"

namespace cohort {

int RunMetrics() {
  std::cout << MetricsPage() << std::flush;
  return kExitDone;
}

}  // namespace cohort
