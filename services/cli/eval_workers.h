// Sampling the problems of an evaluation as training does: a learner process that leases prompts
// and serves the weights, and rollout workers that sample and score.
//
// For one thread, before LibTorch is touched: it forks (supervisor.h).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/cli/commands.h"

namespace cohort {

struct EvalFleet {
  std::string folder;                            // its own: configuration, address, logs
  std::string groups;                            // file that groups are appended to
  bool chat_template = true;                     // of the tokenizer
  std::vector<uint64_t> done;                    // problems that are not asked for
  std::function<void(int64_t groups)> progress;  // groups in the file, every now and then
};

// Until every problem's group is in the file. Workers that die are started again; their problems
// go to others. Cancelled: a signal. Unavailable: a process failed for good; the message has the
// end of its log. What arrived is in the file in any case.
absl::Status SampleByWorkers(const EvalArgs& args, const EvalFleet& fleet);

}  // namespace cohort
