// Arrays of numbers as little-endian bytes, the way session.proto carries them.
#pragma once

#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace cohort {

static_assert(std::endian::native == std::endian::little, "the wire format is little-endian");

template <typename T>
std::string PackArray(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

// InvalidArgument names `field` when the bytes are no whole number of elements.
template <typename T>
absl::Status UnpackArray(const std::string& bytes, const std::string& field,
                         std::vector<T>* values) {
  if (bytes.size() % sizeof(T) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": expected a multiple of ", sizeof(T),
                                                   " bytes, found ", bytes.size()));
  }
  values->resize(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values->data(), bytes.data(), bytes.size());
  return absl::OkStatus();
}

}  // namespace cohort
