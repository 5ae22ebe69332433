// What a step leaves for those who report it. Plain data.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/dispatch/dispatcher.h"
#include "common/train/step_report.h"
#include "services/learner/evaluation.h"
#include "services/learner/session_service.h"

namespace cohort {

// Everything that one line of metrics.jsonl is made of.
struct StepLine {
  int64_t step = 0;                    // batches done, this one included; 0: before the first
  const StepReport* report = nullptr;  // null: no training (evaluation before the first)
  const DispatchBatch* batch = nullptr;
  double sampled_tokens = 0;                    // since the run began
  std::map<std::string, double> phase_seconds;  // they add up to time/step
  double train_rest = 0;  // seconds of kPhaseTrain beyond the report's; part of kPhaseOther
  FleetSample fleet;
  int64_t version = 0;
  std::string weights_hash;
  std::vector<EvalResult> evaluation;
  // The answer that the prompt of a group asks for; "": not known here. May be empty.
  std::function<std::string(const Group& group)> gold_of;
};

}  // namespace cohort
