// A reward component that is a service (proto/cohort/v1/reward.proto, docs/rewards.md).
//
// A group's rows go out in calls of at most `batch` items, at the same time. A call that ends with
// UNAVAILABLE is repeated with backoff while there is time. Whatever else goes wrong costs only the
// call's own rows, which are unscorable with a cause. A service that fails group after group is
// left alone for a pause (Circuit), so that training goes on, without its samples, at full speed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/concurrency/stop_token.h"
#include "common/reward_service/circuit.h"
#include "common/reward_service/service_process.h"
#include "common/rewards/reward_set.h"
#include "common/rpc/backoff.h"
#include "common/rpc/security.h"

namespace cohort {

struct ServiceScorerOptions {
  std::string address;                         // HOST:PORT
  std::string run;                             // told to the service
  std::vector<std::string> parts;              // components of its score that are logged
  absl::Duration timeout = absl::Seconds(30);  // of Score, retries included
  int batch = 64;                              // items of one call, at most
  Circuit::Options circuit;
  Backoff::Options backoff;
  uint64_t seed = 0;  // of the backoff's jitter
  // Which lets this process dial `address`. A loopback address is spoken to in plaintext: a service
  // beside its worker needs no certificate. Elsewhere the service must have the role reward.
  std::shared_ptr<const Security> security = nullptr;
  std::shared_ptr<ServiceProcess> process = nullptr;  // what answers there, where we started it
};

// Thread-safe.
class ServiceScorer final : public BatchScorer {
 public:
  explicit ServiceScorer(ServiceScorerOptions options);
  ~ServiceScorer() override;
  ServiceScorer(const ServiceScorer&) = delete;
  ServiceScorer& operator=(const ServiceScorer&) = delete;

  std::vector<RewardVerdict> Score(absl::Span<const RewardInput> inputs) override;
  const std::vector<std::string>& PartNames() const override { return options_.parts; }
  absl::Status Alive() override;

 private:
  class Channel;
  struct Call;
  std::vector<RewardVerdict> CallAll(absl::Span<const RewardInput> inputs, bool once);
  std::vector<std::unique_ptr<Call>> MakeCalls(absl::Span<const RewardInput> inputs,
                                               std::vector<RewardVerdict>* verdicts) const;
  void Finish(const std::vector<std::unique_ptr<Call>>& calls,
              std::vector<RewardVerdict>* verdicts) const;
  void Judge(const std::vector<RewardVerdict>& verdicts);

  const ServiceScorerOptions options_;
  const std::unique_ptr<Channel> channel_;
  StopToken stop_;  // ends waiting for the next attempt

  absl::Mutex mu_;
  Circuit circuit_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort
