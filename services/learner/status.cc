#include "services/learner/status.h"

#include <map>
#include <utility>

#include "absl/time/clock.h"
#include "common/rl/staleness.h"

namespace cohort {

void FillLedgers(const LedgerCounts& counts, v1::StatusReply* reply) {
  auto& ordinals = *reply->mutable_ordinals();
  ordinals["dispatched"] = static_cast<int64_t>(counts.dispatched);
  ordinals["in_flight"] = static_cast<int64_t>(counts.in_flight);
  ordinals["buffered"] = static_cast<int64_t>(counts.buffered);
  ordinals["training"] = static_cast<int64_t>(counts.training);
  ordinals["imbalance"] = counts.Imbalance();
  for (size_t i = 0; i < counts.ended.size(); ++i) {
    ordinals[std::string(OrdinalEndName(static_cast<OrdinalEnd>(i)))] =
        static_cast<int64_t>(counts.ended[i]);
  }
  for (size_t i = 0; i < counts.deliveries.size(); ++i) {
    (*reply->mutable_deliveries())[std::string(DeliveryName(static_cast<Delivery>(i)))] =
        static_cast<int64_t>(counts.deliveries[i]);
  }
}

StatusBuilder::StatusBuilder(const StatusSources& sources)
    : from_(sources), started_(absl::Now()) {}

void StatusBuilder::Progress(int64_t step, double seconds_per_step) {
  absl::MutexLock lock(&mu_);
  step_ = step;
  seconds_per_step_ = seconds_per_step;
}

void StatusBuilder::SetAddresses(const std::string& http, const std::string& page) {
  absl::MutexLock lock(&mu_);
  http_address_ = http;
  page_address_ = page;
}

std::vector<v1::WorkerStatus> StatusBuilder::Workers() const {
  std::map<std::string, int64_t> held;
  for (const FollowerStatus& follower : from_.weights->Followers()) {
    held[follower.worker_id] = follower.version;
  }
  const absl::Duration heartbeat = absl::Seconds(from_.config->rollout().heartbeat_seconds());
  const int64_t oldest = from_.store->newest() - from_.config->rollout().max_staleness();
  std::vector<v1::WorkerStatus> workers = from_.session->Workers();
  for (v1::WorkerStatus& worker : workers) {
    const auto follower = held.find(worker.worker_id());
    if (follower != held.end()) worker.set_held_version(follower->second);
    worker.set_state(WorkerState(worker, heartbeat, oldest));
  }
  return workers;
}

void StatusBuilder::FillProgress(v1::StatusReply* reply) const {
  const int64_t steps = from_.config->run().steps();
  absl::MutexLock lock(&mu_);
  reply->set_step(step_);
  reply->set_seconds_left(
      seconds_per_step_ < 0 ? -1 : seconds_per_step_ * static_cast<double>(steps - step_));
  reply->set_http_address(http_address_);
  reply->set_page_address(page_address_);
}

void StatusBuilder::Fill(v1::StatusReply* reply) const {
  const v1::RunConfig& config = *from_.config;
  reply->set_run(config.run().name());
  reply->set_steps(config.run().steps());
  reply->set_weight_version(from_.store->newest());
  reply->set_phase(from_.timer->phase());
  reply->set_seconds_in_phase(from_.timer->seconds_in_phase());
  reply->set_seconds_running(absl::ToDoubleSeconds(absl::Now() - started_));
  reply->set_max_staleness(config.rollout().max_staleness());
  reply->set_queue_capacity(
      AdmissionWindow(config.rollout().max_staleness(), config.learner().prompts_per_step()));
  FillProgress(reply);
  FillLedgers(from_.dispatcher->Counts(), reply);
  from_.reporter->view().Fill(reply);
  for (v1::Alert& alert : from_.reporter->alerts()) *reply->add_alerts() = std::move(alert);
  for (v1::WorkerStatus& worker : Workers()) *reply->add_workers() = std::move(worker);
}

}  // namespace cohort
