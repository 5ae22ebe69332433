// Attention for training: many sequences packed into one row of tokens, prompts shared by their
// samples.
//
// The packed tokens form segments. A segment sees itself causally and the first `parent_tokens`
// tokens of its parent, which sees its own parent in turn. A group is one prompt segment and G
// children; the naive layout is segments without parents. Gradients are exact: the parts of a
// softmax are merged by their log-sum-exp in the forward pass, and the merged output and
// log-sum-exp drive the backward pass of every part. Memory is linear in tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/model/attention.h"

namespace cohort {

struct Segment {
  int64_t begin = 0;          // index of its first token in the packed row
  int64_t length = 0;         // tokens
  int parent = -1;            // index of an earlier segment; -1: none
  int64_t parent_tokens = 0;  // how many of the parent's tokens it continues
};

struct PackedAttentionPlan;

// Stateless after construction; may be called from several threads. The autograd graph keeps what
// it needs: the object itself may go before the backward pass (unless layers are recomputed there).
class PackedAttention final : public Attention {
 public:
  // Segments tile [0, num_tokens) in order; parents come before children.
  explicit PackedAttention(std::vector<Segment> segments);
  ~PackedAttention() override;
  at::Tensor Attend(int layer, const at::Tensor& q, const at::Tensor& k,
                    const at::Tensor& v) override;

 private:
  std::shared_ptr<const PackedAttentionPlan> plan_;
};

}  // namespace cohort
