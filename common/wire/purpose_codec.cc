#include "common/wire/purpose_codec.h"

#include "absl/strings/str_cat.h"

namespace cohort {

v1::Purpose EncodePurpose(Purpose purpose) { return static_cast<v1::Purpose>(purpose); }

absl::StatusOr<Purpose> DecodePurpose(v1::Purpose purpose) {
  if (purpose == v1::PURPOSE_UNSPECIFIED || !v1::Purpose_IsValid(purpose)) {
    return absl::InvalidArgumentError(
        absl::StrCat("purpose: expected 1..4, found ", static_cast<int>(purpose)));
  }
  return static_cast<Purpose>(purpose);
}

}  // namespace cohort
