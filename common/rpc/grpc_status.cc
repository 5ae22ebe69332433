#include "common/rpc/grpc_status.h"

#include <string>

#include "absl/strings/match.h"

namespace cohort {
namespace {

bool IsBrokenConnection(const grpc::Status& status) {
  const std::string message = status.error_message();
  return (status.error_code() == grpc::StatusCode::UNKNOWN ||
          status.error_code() == grpc::StatusCode::INTERNAL) &&
         (absl::StrContains(message, "Stream removed") || absl::StrContains(message, "RST_STREAM"));
}

}  // namespace

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  if (IsBrokenConnection(status)) return absl::UnavailableError(status.error_message());
  // The numeric values of the two enumerations are the same by design.
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

}  // namespace cohort
