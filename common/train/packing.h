// Which rank computes which rows in which forward pass, and how those rows become one packed row of
// tokens.
//
// A piece is a prompt with rows of its group; the prompt is trained once per piece. A group whose
// tokens exceed the budget is cut by rows, repeating its prompt. Pieces are divided over ranks by
// cost, largest first, and packed into micro-batches of at most `token_budget` packed tokens (one
// piece at least). The plan is a pure function: every rank computes all of it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "common/model/packed_attention.h"
#include "common/train/batch.h"

namespace cohort {

struct Piece {
  int64_t group = 0;
  std::vector<int64_t> rows;  // indices into TrainBatch::rows
  int64_t tokens = 0;         // packed, prompt included
  double cost = 0;            // in units of one token's matrix products
};

struct MicroBatch {
  std::vector<Piece> pieces;
  int64_t tokens = 0;
  bool with_gradient = true;  // false: every loss gradient in it is exactly zero; only scored
};

struct PackingOptions {
  int64_t token_budget = 4096;  // packed tokens of a micro-batch
  int ranks = 1;
  bool share_prompts = true;  // false: every row repeats its prompt (the layout to compare with)
  // An entry takes the hidden state of its own token, which predicts the next one, instead of the
  // state that predicts it (objective.entropy_direct, align reference).
  bool own_states = false;
  // Cost of one query-key pair against one token's matrix products: about 1 / (6 * hidden size).
  double pair_cost = 1.0 / 4096;
};

// Micro-batches by rank for the groups [first_group, last_group). `needs_gradient` has one entry
// per row of the batch; a piece without a row that needs it is scored only.
std::vector<std::vector<MicroBatch>> PlanMicroBatches(const TrainBatch& batch, int64_t first_group,
                                                      int64_t last_group,
                                                      const std::vector<bool>& needs_gradient,
                                                      const PackingOptions& options);

// A micro-batch laid out for CausalLm::Forward. n packed tokens, m entries (response tokens that
// carry loss) in whole rows.
struct PackedMicroBatch {
  at::Tensor tokens;     // [n] int64
  at::Tensor positions;  // [n] int64
  std::vector<Segment> segments;
  at::Tensor predict;  // [m] int64: the packed index whose hidden state predicts the entry; the
                       // last prompt token predicts the first token of every row. With own_states
                       // the entry's own packed index
  at::Tensor targets;  // [m] int64
  std::vector<int64_t> flat;         // [m] index into the batch's token arrays
  std::vector<int64_t> rows;         // indices into TrainBatch::rows, of rows with an entry
  std::vector<int64_t> row_offsets;  // entries of rows[i]: [row_offsets[i], row_offsets[i + 1])

  int64_t entries() const { return static_cast<int64_t>(flat.size()); }
};

PackedMicroBatch PackMicroBatch(const TrainBatch& batch, const MicroBatch& micro,
                                bool share_prompts, bool own_states = false);
inline PackedMicroBatch PackMicroBatch(const TrainBatch& batch, const MicroBatch& micro,
                                       const PackingOptions& options) {
  return PackMicroBatch(batch, micro, options.share_prompts, options.own_states);
}

}  // namespace cohort
