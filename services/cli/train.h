// `cohort train` with another patience with workers than the command has: for tests.
#pragma once

#include "common/supervise/supervisor.h"
#include "services/cli/commands.h"

namespace cohort {

int RunTrain(const TrainArgs& args, const RestartPolicy::Options& restarts);

}  // namespace cohort
