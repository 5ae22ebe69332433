// Where a program stands.
#pragma once

#include <optional>
#include <string>

namespace cohort {

// The file that a shell runs as `name`: `name` itself where it has a slash, else the first one in a
// folder of PATH. nullopt: none that this process may run.
std::optional<std::string> FindProgram(const std::string& name);

}  // namespace cohort
