#include <filesystem>
#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "cohort/v1/config.pb.h"
#include "cohort/v1/session.grpc.pb.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/rpc/channel.h"
#include "common/rpc/grpc_status.h"
#include "common/rpc/json.h"
#include "common/rpc/refusals.h"
#include "common/rpc/security.h"
#include "common/rpc/security_flags.h"
#include "common/telemetry/metric_names.h"
#include "services/cli/commands.h"
#include "services/cli/progress.h"
#include "services/cli/status_text.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;

struct Found {
  std::string address;  // empty: no such run
  std::string secret;   // file, which may not be there
};

// Learners on this machine write where they listen into their run's folder. The newest one at
// `address`; empty: at any.
Found NewestRun(const std::string& address) {
  std::error_code error;
  Found newest;
  fs::file_time_type newest_time = fs::file_time_type::min();
  for (const fs::directory_entry& run : fs::directory_iterator("runs", error)) {
    const fs::path file = run.path() / metric::kAddressFile;
    const fs::file_time_type time = fs::last_write_time(file, error);
    const absl::StatusOr<std::string> content = ReadFile(file.string());
    if (error || !content.ok() || (!newest.address.empty() && time <= newest_time)) continue;
    const std::string where(absl::StripAsciiWhitespace(*content));
    if (!address.empty() && where != address) continue;
    newest = {where, (run.path() / metric::kSecretFile).string()};
    newest_time = time;
  }
  return newest;
}

absl::StatusOr<v1::StatusReply> Ask(const std::string& address, const Security& security) {
  COHORT_ASSIGN_OR_RETURN(const auto channel, MakeChannel(address, &security, Role::kLearner));
  const absl::Time start = absl::Now();
  const auto stub = v1::Session::NewStub(channel);
  grpc::ClientContext context;
  security.Prepare(&context);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  v1::StatusReply reply;
  const absl::Status status = FromGrpc(stub->Status(&context, {}, &reply));
  if (!status.ok()) {
    return absl::UnavailableError(absl::StrCat("no learner answers at ", address, ": ",
                                               std::string(status.message()),
                                               LastRefusalSince(start)));
  }
  return reply;
}

absl::Status ShowStatus(const StatusArgs& args) {
  const Found run = NewestRun(args.learner);
  const std::string address = args.learner.empty() ? run.address : args.learner;
  if (address.empty()) {
    return absl::NotFoundError(
        "no runs/*/address in this folder; name the learner with --learner HOST:PORT");
  }
  COHORT_ASSIGN_OR_RETURN(
      const auto security,
      MakeClientSecurity(args.security, v1::TlsSection(),
                         {Role::kCli, Role::kLearner, Role::kRollout}, {run.secret}));
  COHORT_ASSIGN_OR_RETURN(const v1::StatusReply reply, Ask(address, *security));
  std::cout << (args.json ? MessageToJson(reply) + "\n" : StatusText(reply)) << std::flush;
  return absl::OkStatus();
}

}  // namespace

int RunStatus(const StatusArgs& args) {
  const absl::Status status = ShowStatus(args);
  return status.ok() ? 0 : Fail("status", status);
}

}  // namespace cohort
