// Purpose of a prompt, on the wire and in memory.
#pragma once

#include "absl/status/statusor.h"
#include "cohort/v1/session.pb.h"
#include "common/base/ids.h"

namespace cohort {

v1::Purpose EncodePurpose(Purpose purpose);
absl::StatusOr<Purpose> DecodePurpose(v1::Purpose purpose);

}  // namespace cohort
