// `cohort train` with another patience with workers than the command has: for tests.
#pragma once

#include "services/cli/commands.h"
#include "services/cli/supervisor.h"

namespace cohort {

int RunTrain(const TrainArgs& args, const RestartPolicy::Options& restarts);

}  // namespace cohort
