// gRPC's status and ours, converted in this one place.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace cohort {

// A connection that broke is Unavailable, under whichever name gRPC reports it ("Stream removed"
// comes as Unknown).
absl::Status FromGrpc(const grpc::Status& status);
grpc::Status ToGrpc(const absl::Status& status);

}  // namespace cohort
