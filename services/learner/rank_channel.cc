#include "services/learner/rank_channel.h"

#include <ATen/ATen.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/exit_code.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/wire/group_codec.h"

namespace cohort {
namespace {

// kind (1 byte), version, number of groups, then length and bytes of each group; integers of 8
// bytes in the machine's order: all ranks of a run are of one kind.
void PutInteger(int64_t value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

class Cursor {
 public:
  explicit Cursor(absl::string_view bytes) : bytes_(bytes) {}

  absl::StatusOr<absl::string_view> Bytes(uint64_t size) {
    if (size > bytes_.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("rank command: expected ", size, " more bytes, found ", bytes_.size()));
    }
    const absl::string_view out = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return out;
  }

  absl::StatusOr<int64_t> Integer() {
    COHORT_ASSIGN_OR_RETURN(const absl::string_view raw, Bytes(sizeof(int64_t)));
    int64_t value = 0;
    std::memcpy(&value, raw.data(), sizeof(value));
    return value;
  }

  bool empty() const { return bytes_.empty(); }

 private:
  absl::string_view bytes_;
};

// Every rank says whether it was told to stop; each learns the first signal, 0: none.
absl::StatusOr<int> AskForStops(Collective& collective, int own) {
  at::Tensor signals = at::zeros({collective.world_size()}, at::kLong);
  signals.data_ptr<int64_t>()[collective.rank()] = own;
  COHORT_RETURN_IF_ERROR(collective.AllReduceSum(signals, "stops of the ranks"));
  for (int rank = 0; rank < collective.world_size(); ++rank) {
    const auto signal = static_cast<int>(signals.data_ptr<int64_t>()[rank]);
    if (signal == 0) continue;
    COHORT_LOG(INFO) << "rank " << rank << " was told to stop by signal " << signal;
    return signal;
  }
  return 0;
}

absl::Status Obey(const RankCommand& command, Trainer& trainer) {
  const absl::StatusOr<StepReport> report = trainer.Step(command.groups, command.version);
  if (absl::IsCancelled(report.status()) || absl::IsAborted(report.status())) {
    COHORT_LOG(INFO) << "step abandoned: " << report.status().message();
    return absl::OkStatus();  // rank 0 decides what comes next
  }
  return report.status();
}

}  // namespace

std::string EncodeCommand(RankCommand::Kind kind, int64_t version, absl::Span<const Group> groups) {
  std::string out(1, static_cast<char>(kind));
  PutInteger(version, &out);
  PutInteger(static_cast<int64_t>(groups.size()), &out);
  for (const Group& group : groups) {
    const std::string bytes = EncodeGroup(group);
    PutInteger(static_cast<int64_t>(bytes.size()), &out);
    out += bytes;
  }
  return out;
}

absl::StatusOr<RankCommand> DecodeCommand(absl::string_view bytes) {
  Cursor cursor(bytes);
  RankCommand command;
  COHORT_ASSIGN_OR_RETURN(const absl::string_view kind, cursor.Bytes(1));
  if (kind[0] < static_cast<char>(RankCommand::Kind::kTrain) ||
      kind[0] > static_cast<char>(RankCommand::Kind::kWait)) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank command: unknown kind ", static_cast<int>(kind[0])));
  }
  command.kind = static_cast<RankCommand::Kind>(kind[0]);
  COHORT_ASSIGN_OR_RETURN(command.version, cursor.Integer());
  COHORT_ASSIGN_OR_RETURN(const int64_t count, cursor.Integer());
  for (int64_t i = 0; i < count; ++i) {
    COHORT_ASSIGN_OR_RETURN(const int64_t size, cursor.Integer());
    COHORT_ASSIGN_OR_RETURN(const absl::string_view raw, cursor.Bytes(static_cast<uint64_t>(size)));
    COHORT_ASSIGN_OR_RETURN(Group group, DecodeGroup(raw));
    command.groups.push_back(std::move(group));
  }
  if (!cursor.empty()) return absl::InvalidArgumentError("rank command: bytes follow its end");
  return command;
}

absl::StatusOr<int> SendCommand(Collective& collective, RankCommand::Kind kind, int64_t version,
                                absl::Span<const Group> groups) {
  if (collective.world_size() == 1) return 0;
  std::string bytes = EncodeCommand(kind, version, groups);
  COHORT_RETURN_IF_ERROR(collective.BroadcastBytes(bytes, 0, "command of rank 0"));
  return kind == RankCommand::Kind::kStop ? 0 : AskForStops(collective, 0);
}

absl::Status EndAsRankZero(int64_t exit_code) {
  if (exit_code == kExitDone) return absl::OkStatus();
  const int signal = SignalOfExit(static_cast<int>(exit_code));
  if (signal != 0) {
    return StoppedBySignal(signal, absl::StrCat("rank 0 stopped by signal ", signal));
  }
  const absl::Status ended =
      absl::AbortedError("rank 0 ended the run before its last step; its log says why");
  return exit_code == kExitBadSetup ? BadSetup(ended) : ended;
}

absl::Status FollowRankZero(Collective& collective, Trainer& trainer,
                            const std::function<int()>& stop_signal) {
  const auto follow = [&]() -> absl::StatusOr<int64_t> {
    while (true) {
      std::string bytes;
      COHORT_RETURN_IF_ERROR(collective.BroadcastBytes(bytes, 0, "command of rank 0"));
      COHORT_ASSIGN_OR_RETURN(const RankCommand command, DecodeCommand(bytes));
      if (command.kind == RankCommand::Kind::kStop) return command.version;
      COHORT_ASSIGN_OR_RETURN(const int stop, AskForStops(collective, stop_signal()));
      if (stop != 0 || command.kind == RankCommand::Kind::kWait) continue;
      COHORT_RETURN_IF_ERROR(Obey(command, trainer));
    }
  };
  const absl::StatusOr<int64_t> exit_code = follow();
  if (exit_code.ok()) return EndAsRankZero(*exit_code);
  collective.Abort();
  return exit_code.status();
}

}  // namespace cohort
