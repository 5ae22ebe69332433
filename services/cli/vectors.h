// `cohort vectors FILE.json`: runs test vectors (algorithms.md section 15) through the functions
// that training uses, prints every failure with what was got and expected, and ends with
// "N passed, M failed, K skipped" (skipped: methods that do not exist here).
#pragma once

#include <string>

namespace cohort {

// The exit status: 0 when nothing failed, 1 on failures or an unreadable file.
int RunVectors(const std::string& path);

}  // namespace cohort
