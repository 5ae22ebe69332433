#include "common/base/find_program.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace cohort {
namespace {

bool MayRun(const std::string& path) { return access(path.c_str(), X_OK) == 0; }

}  // namespace

std::optional<std::string> FindProgram(const std::string& name) {
  if (absl::StrContains(name, '/')) return MayRun(name) ? std::optional(name) : std::nullopt;
  const char* const path = std::getenv("PATH");
  for (const absl::string_view folder : absl::StrSplit(path == nullptr ? "" : path, ':')) {
    std::string candidate = absl::StrCat(folder, "/", name);
    if (!folder.empty() && MayRun(candidate)) return candidate;
  }
  return std::nullopt;
}

}  // namespace cohort
