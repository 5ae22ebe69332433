#include <filesystem>
#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cohort/v1/session.grpc.pb.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/rpc/channel.h"
#include "common/rpc/grpc_status.h"
#include "common/rpc/json.h"
#include "common/telemetry/metric_names.h"
#include "services/cli/commands.h"
#include "services/cli/progress.h"
#include "services/cli/status_text.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;

// Learners on this machine write where they listen into their run's folder.
absl::StatusOr<std::string> NewestAddress() {
  std::error_code error;
  std::string newest;
  fs::file_time_type newest_time = fs::file_time_type::min();
  for (const fs::directory_entry& run : fs::directory_iterator("runs", error)) {
    const fs::path file = run.path() / metric::kAddressFile;
    const fs::file_time_type time = fs::last_write_time(file, error);
    if (!error && (newest.empty() || time > newest_time)) {
      newest = file.string();
      newest_time = time;
    }
  }
  if (newest.empty()) {
    return absl::NotFoundError(
        "no runs/*/address in this folder; name the learner with --learner HOST:PORT");
  }
  COHORT_ASSIGN_OR_RETURN(std::string address, ReadFile(newest));
  return std::string(absl::StripAsciiWhitespace(address));
}

absl::StatusOr<v1::StatusReply> Ask(const std::string& address) {
  QuietRpcLogs();
  const auto stub = v1::Session::NewStub(MakeChannel(address));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  v1::StatusReply reply;
  const absl::Status status = FromGrpc(stub->Status(&context, {}, &reply));
  if (!status.ok()) {
    return absl::UnavailableError(
        absl::StrCat("no learner answers at ", address, ": ", std::string(status.message())));
  }
  return reply;
}

absl::Status ShowStatus(const StatusArgs& args) {
  std::string address = args.learner;
  if (address.empty()) {
    COHORT_ASSIGN_OR_RETURN(address, NewestAddress());
  }
  COHORT_ASSIGN_OR_RETURN(const v1::StatusReply reply, Ask(address));
  std::cout << (args.json ? MessageToJson(reply) + "\n" : StatusText(reply)) << std::flush;
  return absl::OkStatus();
}

}  // namespace

int RunStatus(const StatusArgs& args) {
  const absl::Status status = ShowStatus(args);
  return status.ok() ? 0 : Fail("status", status);
}

}  // namespace cohort
