// Names of number formats in safetensors headers.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace cohort {

std::optional<at::ScalarType> SafetensorsDtype(absl::string_view name);
// Empty for formats that safetensors files of Cohort do not use.
std::string SafetensorsDtypeName(at::ScalarType dtype);
std::string SafetensorsDtypeNames();  // "F32, BF16, ...", for error messages

}  // namespace cohort
