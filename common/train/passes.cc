#include "common/train/passes.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/train/flat_tokens.h"

namespace cohort {

absl::Status CheckCancelled(const PassOptions& options) {
  if (!options.cancelled || !options.cancelled()) return absl::OkStatus();
  return absl::CancelledError("the step was abandoned before its first update");
}

absl::Status AgreeOn(Collective& collective, const absl::Status& status, absl::string_view what) {
  if (collective.world_size() == 1) return status;
  at::Tensor failed = at::full({1}, status.ok() ? 0 : 1, at::kLong);
  const absl::Status reduced = collective.AllReduceSum(failed, absl::StrCat("status of ", what));
  if (!status.ok()) return status;
  COHORT_RETURN_IF_ERROR(reduced);
  if (failed.item<int64_t>() == 0) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("another rank failed in the ", what));
}

absl::StatusOr<std::vector<double>> ScoreEntries(const TrainBatch& batch,
                                                 const PassOptions& options, Collective& collective,
                                                 NonFinite kind, absl::string_view what,
                                                 const EntryScorer& score) {
  const c10::NoGradGuard no_grad;
  const auto plan = PlanAllRows(batch, 0, 1, options.packing);
  at::Tensor flat = at::zeros({batch.tokens()}, at::kDouble);
  absl::Status status;
  for (const MicroBatch& micro : plan[static_cast<size_t>(collective.rank())]) {
    const PackedMicroBatch packed = PackMicroBatch(batch, micro, options.packing);
    const std::vector<double> entries = ScatterEntries(packed, score(packed), &flat);
    status.Update(CheckFinite(batch, packed, entries, kind));
  }
  COHORT_RETURN_IF_ERROR(AgreeOn(collective, status, absl::StrCat("scoring of ", what)));
  COHORT_RETURN_IF_ERROR(collective.AllReduceSum(flat, what));
  const double* data = flat.const_data_ptr<double>();
  return std::vector<double>(data, data + flat.numel());
}

std::vector<std::vector<MicroBatch>> PlanAllRows(const TrainBatch& batch, int64_t part,
                                                 int64_t parts, const PackingOptions& packing) {
  const std::vector<bool> all(batch.rows.size(), true);
  return PlanMicroBatches(batch, batch.num_groups() * part / parts,
                          batch.num_groups() * (part + 1) / parts, all, packing);
}

}  // namespace cohort
