// What /proc knows of this process, as metrics. Internal to the registry.
#pragma once

#include <prometheus/metric_family.h>

#include <vector>

namespace cohort {

// CPU time, memory, descriptors and start; what cannot be read is left out.
std::vector<prometheus::MetricFamily> ProcessFamilies();

}  // namespace cohort
