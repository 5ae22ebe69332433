// What the passes over one batch share, whatever model they run: time, agreement between ranks, and
// a number per token from a pass without gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/collective/collective.h"
#include "common/train/non_finite.h"
#include "common/train/packing.h"

namespace cohort {

// Adds the time of a scope to a counter.
class ScopedSeconds {
 public:
  explicit ScopedSeconds(double* seconds) : seconds_(seconds), start_(absl::Now()) {}
  ~ScopedSeconds() { *seconds_ += absl::ToDoubleSeconds(absl::Now() - start_); }
  ScopedSeconds(const ScopedSeconds&) = delete;
  ScopedSeconds& operator=(const ScopedSeconds&) = delete;

 private:
  double* const seconds_;
  const absl::Time start_;
};

struct PassOptions {
  PackingOptions packing;
  bool checkpoint_activations = false;
  // Asked between micro-batches as long as the batch has changed no weight. Empty: never.
  std::function<bool()> cancelled = nullptr;
};

// Cancelled when `options` say so.
absl::Status CheckCancelled(const PassOptions& options);

// A rank that failed must not leave the others waiting in the next all-reduce: every rank learns
// whether one did. Aborted: another one.
absl::Status AgreeOn(Collective& collective, const absl::Status& status, absl::string_view what);

// `score` gives the numbers of a micro-batch's entries; the ranks divide the rows. Returns them in
// the layout of the batch's token arrays, 0 where nothing was scored. `what` is named in errors,
// `kind` in those that say that an entry is not finite.
using EntryScorer = std::function<at::Tensor(const PackedMicroBatch& packed)>;
absl::StatusOr<std::vector<double>> ScoreEntries(const TrainBatch& batch,
                                                 const PassOptions& options, Collective& collective,
                                                 NonFinite kind, absl::string_view what,
                                                 const EntryScorer& score);

// Micro-batches of a model whose every row is trained, for one of `parts` equal mini-batches.
std::vector<std::vector<MicroBatch>> PlanAllRows(const TrainBatch& batch, int64_t part,
                                                 int64_t parts, const PackingOptions& packing);

}  // namespace cohort
