// Rank 0's side towards workers and watchers: dispatcher, weight store, gRPC and HTTP ports.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "common/concurrency/watchdog.h"
#include "common/dispatch/dispatcher.h"
#include "common/rpc/server_host.h"
#include "common/run_files/run_files_service.h"
#include "common/telemetry/phase_timer.h"
#include "common/weights/weight_store.h"
#include "services/learner/prompt_feed.h"
#include "services/learner/readiness.h"
#include "services/learner/reporting.h"
#include "services/learner/session_service.h"
#include "services/learner/startup.h"
#include "services/learner/status.h"
#include "services/learner/weight_service.h"

namespace cohort {

// What workers are told at a learner's end.
enum class LearnerEnd {
  kRunOver,    // complete or given up: they end, too
  kMayReturn,  // a learner that continues the run may follow: they wait for it
};

// Publish, PublishStep and Progress by the main thread; the rest as its parts say.
class LearnerServing {
 public:
  // All that is pointed to outlives this object; `log` takes every group that is accepted and every
  // step.
  LearnerServing(const LearnerArgs& args, LearnerParts* parts, const PromptMaker* prompts,
                 RunReporter* reporter, PhaseTimer* timer, GroupLog* log);
  ~LearnerServing();

  // The weights of the model become `version`; workers hear of it once Start was called.
  absl::Status Publish(int64_t version);
  // The same after a step, whose record gets the weights' hash and is in the log before any worker
  // hears of the version. An error of the log: nobody does.
  absl::Status PublishStep(StepRecord record);
  // Before Start. /readyz asks this too; it must not block.
  void CheckRanksWith(std::function<absl::Status()> ranks) { ranks_ = std::move(ranks); }
  // Opens the port for workers, shows the run on the HTTP port (which it opens where the parts have
  // none) and writes the address file.
  absl::Status Start();
  // What Status shows.
  void Progress(int64_t step, double seconds_per_step) {
    status_->Progress(step, seconds_per_step);
  }
  // Where the run is over, workers have `limit` to finish and say goodbye; then both ports close.
  // Idempotent.
  void Stop(LearnerEnd end, const std::string& reason, absl::Duration limit);

  Dispatcher& dispatcher() { return *dispatcher_; }
  SessionService& session() { return *session_; }
  std::string weights_hash() const { return store_->weights_hash(store_->newest()); }

 private:
  absl::Status Stage(int64_t version);
  void Announce();
  std::string SecretFlag() const;
  LearnerShown Shown();
  absl::Status Ready();
  int64_t WeightBytes() const;
  void CountRefusals();
  void Tick();

  const LearnerArgs args_;
  LearnerParts* const parts_;
  RunReporter* const reporter_;
  PhaseTimer* const timer_;
  GroupLog* const log_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<WeightStore> store_;
  std::unique_ptr<SessionService> session_;
  std::unique_ptr<WeightService> weights_;
  std::unique_ptr<RunFilesService> files_;
  std::unique_ptr<StatusBuilder> status_;
  std::unique_ptr<ServerHost> server_;
  std::function<absl::Status()> ranks_;
  std::unique_ptr<CachedCheck> dials_itself_, can_write_;
  Watchdog housekeeping_{"the learner's housekeeping"};
  bool stopped_ = false;
  absl::Notification ended_;
  std::thread ticker_;
};

}  // namespace cohort
