// A reward service that this process starts beside itself, and ends with itself.
//
// The command runs with
//   COHORT_REWARD_ADDRESS_FILE  a file into which it writes its address (HOST:PORT and a line end)
//                               once it answers; it takes any free port of the loopback interface.
// Its output is this process's own. examples/cohort_reward.py does its side in Python.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/file.h"
#include "common/supervise/supervisor.h"

namespace cohort {

// Thread-safe.
class ServiceProcess {
 public:
  // Waits until it answers, at most `limit`. Errors say how it ended, or that it gave no address;
  // `field` is the configuration's, which they begin with. The calling thread lives as long as the
  // process: it dies with the thread.
  static absl::StatusOr<std::unique_ptr<ServiceProcess>> Start(
      const std::string& field, const std::vector<std::string>& command, absl::Duration limit);
  ~ServiceProcess();  // ends it
  ServiceProcess(const ServiceProcess&) = delete;
  ServiceProcess& operator=(const ServiceProcess&) = delete;

  const std::string& address() const { return address_; }
  // An error: it has ended, and how.
  absl::Status Alive();

 private:
  ServiceProcess(const std::string& field, const std::vector<std::string>& command);
  absl::Status AwaitAddress(absl::Time deadline);

  const std::string field_;
  const std::string name_;  // the command as one text
  const TemporaryFolder folder_;
  std::string address_;  // constant after Start
  absl::Mutex mu_;
  Supervisor children_ ABSL_GUARDED_BY(mu_);
  absl::Status end_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort
