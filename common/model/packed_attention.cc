#include "common/model/packed_attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "common/model/attention_parts.h"
#include "common/model/packed_attention_plan.h"

namespace cohort {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

at::ScalarType WideType(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// [num_tokens, heads, d] -> [batch, heads, length, d] of a causal part, padding zero.
at::Tensor ToBatch(const CausalPart& part, const at::Tensor& x) {
  at::Tensor rows = part.rows.Take(x);
  if (part.slots != nullptr) {
    const at::Tensor padded =
        at::zeros({part.batch * part.length, x.size(1), x.size(2)}, x.options());
    rows = padded.index_copy(0, part.slots->On(x.device()), rows);
  }
  return rows.view({part.batch, part.length, x.size(1), x.size(2)}).transpose(1, 2);
}

// The inverse, without the padding: [batch, heads, length, ...] -> [tokens of the part, heads, ...]
at::Tensor FromBatch(const CausalPart& part, const at::Tensor& x) {
  const at::Tensor rows = x.transpose(1, 2).flatten(0, 1);
  return part.slots == nullptr ? rows : rows.index_select(0, part.slots->On(x.device()));
}

// Key or value heads repeated for the query heads that share them: [batch, kv, l, d] ->
// [batch, heads, l, d], and the sum over the copies back.
at::Tensor RepeatHeads(const at::Tensor& x, int64_t heads) {
  const int64_t kv = x.size(1), group = heads / kv;
  if (group == 1) return x;
  return x.unsqueeze(2).expand({x.size(0), kv, group, x.size(2), x.size(3)}).flatten(1, 2);
}
at::Tensor SumHeads(const at::Tensor& x, int64_t kv_heads) {
  if (x.size(1) == kv_heads) return x;
  return x.unflatten(1, {kv_heads, x.size(1) / kv_heads}).sum(2);
}

// For a prefix part the batch is the key/value head, so that its query heads share it as a view.
at::Tensor QueriesByKvHead(const TokenRows& rows, const at::Tensor& x, int64_t kv_heads) {
  return rows.Take(x).unflatten(1, {kv_heads, x.size(1) / kv_heads}).permute({1, 2, 0, 3});
}
at::Tensor FromQueriesByKvHead(
    const at::Tensor& x) {  // [kv, group, rows, ...] -> [rows, heads, ..]
  return x.movedim(2, 0).flatten(1, 2);
}
at::Tensor KeysByKvHead(const PrefixPart& part, const at::Tensor& x, int64_t group) {
  const at::Tensor keys = x.narrow(0, part.key_begin, part.keys).transpose(0, 1);
  return keys.unsqueeze(1).expand({x.size(1), group, part.keys, x.size(2)});
}

struct Merged {
  at::Tensor out;  // [num_tokens, heads, d], dtype of q
  at::Tensor lse;  // [num_tokens, heads], wide
};

class PackedForward {
 public:
  PackedForward(const PackedAttentionPlan& plan, const at::Tensor& q, const at::Tensor& k,
                const at::Tensor& v)
      : plan_(plan), q_(q), k_(k), v_(v) {}

  Merged Run() {
    const auto wide = WideType(q_);
    out_ = at::empty(q_.sizes(), plan_.prefix.empty() ? q_.options() : q_.options().dtype(wide));
    lse_ = at::empty({q_.size(0), q_.size(1)}, q_.options().dtype(wide));
    for (const CausalPart& part : plan_.causal) AddCausal(part);
    for (const PrefixPart& part : plan_.prefix) MergePrefix(part);
    return {out_.to(q_.scalar_type()), lse_};
  }

 private:
  void AddCausal(const CausalPart& part) {
    const AttentionPart own =
        AttentionForward(ToBatch(part, q_), RepeatHeads(ToBatch(part, k_), q_.size(1)),
                         RepeatHeads(ToBatch(part, v_), q_.size(1)), /*causal=*/true);
    part.rows.Put(out_, FromBatch(part, own.out));
    part.rows.Put(lse_, FromBatch(part, own.lse));
  }

  void MergePrefix(const PrefixPart& part) {
    const int64_t kv_heads = k_.size(1), group = q_.size(1) / kv_heads;
    const AttentionPart seen =
        AttentionForward(QueriesByKvHead(part.queries, q_, kv_heads), KeysByKvHead(part, k_, group),
                         KeysByKvHead(part, v_, group), /*causal=*/false);
    const at::Tensor lse_seen = FromQueriesByKvHead(seen.lse);
    const at::Tensor lse_own = part.queries.Take(lse_);
    const at::Tensor lse = at::logaddexp(lse_own, lse_seen);
    const at::Tensor share_own = (lse_own - lse).exp_().unsqueeze(-1);
    const at::Tensor share_seen = (lse_seen - lse).exp_().unsqueeze(-1);
    at::Tensor out = part.queries.Take(out_) * share_own;
    out.addcmul_(FromQueriesByKvHead(seen.out).to(out.scalar_type()), share_seen);
    part.queries.Put(out_, out);
    part.queries.Put(lse_, lse);
  }

  const PackedAttentionPlan& plan_;
  const at::Tensor &q_, &k_, &v_;
  at::Tensor out_, lse_;
};

class PackedBackward {
 public:
  PackedBackward(const PackedAttentionPlan& plan, const at::Tensor& q, const at::Tensor& k,
                 const at::Tensor& v, const Merged& merged, const at::Tensor& grad)
      : plan_(plan), q_(q), k_(k), v_(v), merged_(merged), grad_(grad) {}

  AttentionGrads Run() {
    // Sums over parts are kept wide; a single part needs none.
    const auto dtype = plan_.prefix.empty() ? q_.scalar_type() : WideType(q_);
    for (auto [sum, like] : {std::pair(&sums_.q, &q_), {&sums_.k, &k_}, {&sums_.v, &v_}}) {
      *sum = at::empty(like->sizes(), like->options().dtype(dtype));
    }
    for (const CausalPart& part : plan_.causal) PutCausal(part);
    for (const PrefixPart& part : plan_.prefix) AddPrefix(part);
    const auto out = q_.scalar_type();
    return {sums_.q.to(out), sums_.k.to(out), sums_.v.to(out)};
  }

 private:
  void PutCausal(const CausalPart& part) {
    const int64_t heads = q_.size(1), kv_heads = k_.size(1);
    const AttentionPart merged{ToBatch(part, merged_.out),
                               ToBatch(part, merged_.lse.unsqueeze(-1)).squeeze(-1)};
    const AttentionGrads grads = AttentionBackward(
        ToBatch(part, grad_), ToBatch(part, q_), RepeatHeads(ToBatch(part, k_), heads),
        RepeatHeads(ToBatch(part, v_), heads), merged, /*causal=*/true);
    part.rows.Put(sums_.q, FromBatch(part, grads.q));
    part.rows.Put(sums_.k, FromBatch(part, SumHeads(grads.k, kv_heads)));
    part.rows.Put(sums_.v, FromBatch(part, SumHeads(grads.v, kv_heads)));
  }

  void AddPrefix(const PrefixPart& part) {
    const int64_t kv_heads = k_.size(1), group = q_.size(1) / kv_heads;
    const AttentionPart merged{
        QueriesByKvHead(part.queries, merged_.out, kv_heads),
        QueriesByKvHead(part.queries, merged_.lse.unsqueeze(-1), kv_heads).squeeze(-1)};
    const AttentionGrads grads = AttentionBackward(
        QueriesByKvHead(part.queries, grad_, kv_heads), QueriesByKvHead(part.queries, q_, kv_heads),
        KeysByKvHead(part, k_, group), KeysByKvHead(part, v_, group), merged, /*causal=*/false);
    part.queries.Add(sums_.q, FromQueriesByKvHead(grads.q));
    const auto add_keys = [&](const at::Tensor& sum, const at::Tensor& grad) {
      sum.narrow(0, part.key_begin, part.keys).add_(grad.sum(1).transpose(0, 1));
    };
    add_keys(sums_.k, grads.k);
    add_keys(sums_.v, grads.v);
  }

  const PackedAttentionPlan& plan_;
  const at::Tensor &q_, &k_, &v_;
  const Merged& merged_;
  const at::Tensor& grad_;
  AttentionGrads sums_;
};

// Keeps the plan alive as long as the graph.
struct PlanHolder : torch::CustomClassHolder {
  explicit PlanHolder(std::shared_ptr<const PackedAttentionPlan> p) : plan(std::move(p)) {}
  std::shared_ptr<const PackedAttentionPlan> plan;
};

struct PackedAttentionFunction : Function<PackedAttentionFunction> {
  static at::Tensor forward(AutogradContext* ctx, const c10::intrusive_ptr<PlanHolder>& holder,
                            const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    const Merged merged = PackedForward(*holder->plan, q, k, v).Run();
    ctx->saved_data["plan"] = at::IValue::make_capsule(holder);
    ctx->save_for_backward({q, k, v, merged.out, merged.lse});
    return merged.out;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto holder =
        c10::static_intrusive_pointer_cast<PlanHolder>(ctx->saved_data["plan"].toCapsule());
    const auto saved = ctx->get_saved_variables();
    const Merged merged{saved[3], saved[4]};
    const at::Tensor grad = grads[0].contiguous();
    AttentionGrads result =
        PackedBackward(*holder->plan, saved[0], saved[1], saved[2], merged, grad).Run();
    return {{}, result.q, result.k, result.v};
  }
};

}  // namespace

PackedAttention::PackedAttention(std::vector<Segment> segments)
    : plan_(std::make_shared<const PackedAttentionPlan>(segments)) {}

PackedAttention::~PackedAttention() = default;

at::Tensor PackedAttention::Attend(int /*layer*/, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v) {
  TORCH_CHECK(q.size(0) == plan_->num_tokens && k.size(0) == q.size(0) && v.size(0) == q.size(0),
              "attention: the segments hold ", plan_->num_tokens, " tokens, found ", q.size(0));
  const bool graph =
      at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  if (!graph) return PackedForward(*plan_, q, k, v).Run().out;
  return PackedAttentionFunction::apply(c10::make_intrusive<PlanHolder>(plan_), q, k, v);
}

}  // namespace cohort
