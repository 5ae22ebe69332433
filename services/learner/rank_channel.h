// What rank 0 tells the other ranks, over the collective: train on this batch, or stop.
#pragma once

#include <cstdint>
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
  int64_t version = 0;        // kTrain: of the weights in the model
  std::vector<Group> groups;  // kTrain
};

std::string EncodeCommand(RankCommand::Kind kind, int64_t version, absl::Span<const Group> groups);
// InvalidArgument: not what EncodeCommand wrote.
absl::StatusOr<RankCommand> DecodeCommand(absl::string_view bytes);

// Rank 0: sends a command to every other rank. Nothing to do in a world of one.
absl::Status SendCommand(Collective& collective, RankCommand::Kind kind, int64_t version,
                         absl::Span<const Group> groups);

// Ranks above 0: obeys commands until told to stop or until something fails; then the collective is
// aborted, so that the other ranks do not wait.
absl::Status FollowRankZero(Collective& collective, Trainer& trainer);

}  // namespace cohort
