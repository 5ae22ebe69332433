#include "common/tensor/safetensors_dtype.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cohort {
namespace {

constexpr std::array<std::pair<const char*, at::ScalarType>, 9> kDtypes = {{
    {"F64", at::kDouble},
    {"F32", at::kFloat},
    {"BF16", at::kBFloat16},
    {"F16", at::kHalf},
    {"I64", at::kLong},
    {"I32", at::kInt},
    {"I8", at::kChar},
    {"U8", at::kByte},
    {"BOOL", at::kBool},
}};

}  // namespace

std::optional<at::ScalarType> SafetensorsDtype(absl::string_view name) {
  for (const auto& [text, dtype] : kDtypes) {
    if (name == text) return dtype;
  }
  return std::nullopt;
}

std::string SafetensorsDtypeName(at::ScalarType wanted) {
  for (const auto& [text, dtype] : kDtypes) {
    if (dtype == wanted) return text;
  }
  return "";
}

std::string SafetensorsDtypeNames() {
  std::string names;
  for (const auto& [text, dtype] : kDtypes)
    absl::StrAppend(&names, names.empty() ? "" : ", ", text);
  return names;
}

}  // namespace cohort
