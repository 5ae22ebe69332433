// What rank 0 tells the other ranks, over the collective: train on this batch, or stop.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/collective/collective.h"
#include "common/rl/group.h"
#include "common/train/trainer.h"

namespace cohort {

struct RankCommand {
  enum class Kind : uint8_t { kTrain = 1, kStop = 2, kWait = 3 };  // kWait: for the next one
  Kind kind = Kind::kStop;
  int64_t version = 0;        // kTrain: of the weights in the model; kStop: rank 0's exit code
  std::vector<Group> groups;  // kTrain
};

std::string EncodeCommand(RankCommand::Kind kind, int64_t version, absl::Span<const Group> groups);
// InvalidArgument: not what EncodeCommand wrote.
absl::StatusOr<RankCommand> DecodeCommand(absl::string_view bytes);

// Rank 0: sends a command to every other rank; nothing to do in a world of one. Returns the signal
// that one of them was told to stop by, 0 as a rule: then none of them does what it was told, and
// kStop is to follow. kStop itself gets no answer.
absl::StatusOr<int> SendCommand(Collective& collective, RankCommand::Kind kind, int64_t version,
                                absl::Span<const Group> groups);

// How a rank above 0 ends when rank 0 ends with this code.
absl::Status EndAsRankZero(int64_t exit_code);

// Ranks above 0: obeys commands until told to stop or until something fails; then the collective is
// aborted, so that the other ranks do not wait. Told to stop it ends as rank 0 does (exit_code.h):
// OK only when the run is complete and saved. `stop_signal` gives the signal that this rank was
// told to stop by, 0: none.
absl::Status FollowRankZero(Collective& collective, Trainer& trainer,
                            const std::function<int()>& stop_signal);

}  // namespace cohort
