// Checkpoints: FOLDER/step-00000010/ holds a Hugging Face folder (the weights in the compute dtype,
// loadable as it is), `masters.safetensors` (fp32 masters, where the weights are bf16),
// `optimizer.safetensors` (both moments) and `state.json`. Models trained beside the policy lie in
// folders of their own in it (`critic/`, `process_model/`), each like the policy's.
//
// A checkpoint is written beside its place, synced file by file and folder by folder, and renamed:
// it is there as a whole or not at all. Rank 0 writes, every rank reads. A failed write leaves
// nothing behind and training goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/model/causal_lm.h"
#include "common/train/adamw.h"

namespace cohort {

struct CheckpointState {
  int64_t step = 0;     // optimizer batches done
  int64_t version = 0;  // of the weights
  int64_t optimizer_steps = 0;
  double kl_coef = 0;
  std::string config_hash;        // of the training-semantic fields
  std::string extra_json = "{}";  // the caller's own: data cursor, counters; one JSON object
};

// A model that is trained beside the policy; both outlive whoever gets it.
struct CheckpointPart {
  std::string name;  // of its folder
  CausalLm* model = nullptr;
  AdamW* optimizer = nullptr;
};

struct LoadedCheckpoint {
  std::string path;
  CheckpointState state;
};

// One thread at a time.
class CheckpointStore {
 public:
  // `keep_last`: how many of the newest stay, at least 1.
  CheckpointStore(std::string folder, int keep_last);

  // Makes the folder and removes what an interrupted write left.
  absl::Status Open();
  // Writes the checkpoint of state.step (an existing one is kept as it is), then removes those
  // beyond keep_last, except the best. ResourceExhausted when the disk is full.
  absl::Status Save(const CausalLm& model, const AdamW& optimizer, const CheckpointState& state,
                    absl::Span<const CheckpointPart> beside = {});

  // Remembers that this step's checkpoint, which must be there, is the best so far.
  absl::Status MarkBest(int64_t step, double score);
  struct Best {
    int64_t step = -1;  // -1: none
    double score = 0;
  };
  Best best() const { return best_; }

  std::vector<int64_t> Steps() const;  // ascending, complete ones
  std::string PathOf(int64_t step) const;
  // NotFound when there is none.
  absl::StatusOr<std::string> Newest() const;

  // LoadCheckpoint of the newest one that is whole. `check` looks at a state before anything else
  // of it is read; its error is returned. One that is damaged is named in the log, and so is the
  // one that is taken instead, whose later steps are made anew; the damaged one is kept as
  // FOLDER/damaged-step-.... NotFound: there is no checkpoint. InvalidArgument: none is whole, with
  // what is wrong with the newest.
  absl::StatusOr<LoadedCheckpoint> LoadNewest(
      CausalLm* model, AdamW* optimizer, absl::Span<const CheckpointPart> beside,
      const std::function<absl::Status(const LoadedCheckpoint&)>& check) const;

 private:
  void SetAside(int64_t step) const;
  absl::Status Prune();

  const std::string folder_;
  const int keep_last_;
  Best best_;
};

// Fills the models and the optimizers from a checkpoint's folder and returns its state. The compute
// dtype may differ from the one that wrote it. InvalidArgument names the file and what is wrong.
absl::StatusOr<CheckpointState> LoadCheckpoint(const std::string& path, CausalLm* model,
                                               AdamW* optimizer,
                                               absl::Span<const CheckpointPart> beside = {});

}  // namespace cohort
