#include "common/objective/token_scores.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "common/objective/softmax_rows.h"

namespace cohort {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

LogitType LogitTypeOf(at::ScalarType type) {
  if (type == at::kDouble) return LogitType::kFp64;
  return type == at::kBFloat16 ? LogitType::kBf16 : LogitType::kFp32;
}

// Types that the row kernels read; anything else, and every device but the CPU, takes ATen's path.
bool HasRowKernel(const at::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16 ||
                        x.scalar_type() == at::kDouble);
}

at::ScalarType ScoreType(const at::Tensor& hidden) {
  return hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// Calls visit(begin, end) over even pieces of at most `limit` rows.
template <typename Visit>
void ForEachChunk(int64_t rows, int64_t limit, Visit visit) {
  if (rows == 0) return;
  const int64_t chunks = (rows + limit - 1) / limit;
  const int64_t size = (rows + chunks - 1) / chunks;
  for (int64_t begin = 0; begin < rows; begin += size) visit(begin, std::min(rows, begin + size));
}

// The saved outcome of the forward pass, [n] each.
struct Saved {
  at::Tensor logprob;
  at::Tensor logsumexp;
  at::Tensor entropy;
};

// Per row of a chunk, with fp32 or fp64 statistics.
template <typename Scalar>
void ScoreChunk(const at::Tensor& logits, const int64_t* targets, double inverse_temperature,
                int64_t begin, Saved* out) {
  const int64_t vocab = logits.size(1);
  const LogitType type = LogitTypeOf(logits.scalar_type());
  const char* base = static_cast<const char*>(logits.const_data_ptr());
  const int64_t stride = vocab * static_cast<int64_t>(logits.element_size());
  Scalar* logprob = out->logprob.mutable_data_ptr<Scalar>() + begin;
  Scalar* logsumexp = out->logsumexp.mutable_data_ptr<Scalar>() + begin;
  Scalar* entropy = out->entropy.mutable_data_ptr<Scalar>() + begin;
  at::parallel_for(0, logits.size(0), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const RowScore score =
          ScoreRow(type, base + i * stride, vocab, targets[begin + i], inverse_temperature);
      logprob[i] = static_cast<Scalar>(score.logprob);
      logsumexp[i] = static_cast<Scalar>(score.logsumexp);
      entropy[i] = static_cast<Scalar>(score.entropy);
    }
  });
}

void ScoreChunkAten(const at::Tensor& logits, const at::Tensor& targets, double inverse_temperature,
                    int64_t begin, Saved* out) {
  const int64_t rows = logits.size(0);
  const at::Tensor z = logits.to(out->logprob.scalar_type()).mul(inverse_temperature);
  const at::Tensor lse = at::logsumexp(z, 1);
  const at::Tensor chosen = z.gather(1, targets.narrow(0, begin, rows).unsqueeze(1)).squeeze(1);
  out->logsumexp.narrow(0, begin, rows).copy_(lse);
  out->logprob.narrow(0, begin, rows).copy_(chosen - lse);
  const at::Tensor p = (z - lse.unsqueeze(1)).exp_();
  out->entropy.narrow(0, begin, rows).copy_(lse - p.mul_(z).sum(1));
}

// What the backward pass of one chunk needs, [rows] each, in the score type.
struct RowGradients {
  at::Tensor logsumexp, entropy, logprob_gradient, entropy_gradient;

  RowGradients Narrow(int64_t begin, int64_t rows) const {
    return {logsumexp.narrow(0, begin, rows), entropy.narrow(0, begin, rows),
            logprob_gradient.narrow(0, begin, rows), entropy_gradient.narrow(0, begin, rows)};
  }
};

// Logits of a chunk become their gradient, in place.
template <typename Scalar>
void BackwardChunk(at::Tensor& logits, const int64_t* targets, double inverse_temperature,
                   const RowGradients& g) {
  const int64_t vocab = logits.size(1);
  const LogitType type = LogitTypeOf(logits.scalar_type());
  char* base = static_cast<char*>(logits.mutable_data_ptr());
  const int64_t stride = vocab * static_cast<int64_t>(logits.element_size());
  const Scalar* logsumexp = g.logsumexp.const_data_ptr<Scalar>();
  const Scalar* entropy = g.entropy.const_data_ptr<Scalar>();
  const Scalar* logprob_gradient = g.logprob_gradient.const_data_ptr<Scalar>();
  const Scalar* entropy_gradient = g.entropy_gradient.const_data_ptr<Scalar>();
  at::parallel_for(0, logits.size(0), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const RowScore score{0, static_cast<double>(logsumexp[i]), static_cast<double>(entropy[i])};
      RowBackward(type, base + i * stride, vocab, targets[i], inverse_temperature, score,
                  static_cast<double>(logprob_gradient[i]),
                  static_cast<double>(entropy_gradient[i]));
    }
  });
}

at::Tensor BackwardChunkAten(const at::Tensor& logits, const at::Tensor& targets,
                             double inverse_temperature, const RowGradients& g) {
  const at::Tensor logp =
      logits.to(g.logsumexp.scalar_type()).mul(inverse_temperature).sub_(g.logsumexp.unsqueeze(1));
  at::Tensor d = at::exp(logp).neg_();
  d.mul_((logp + g.entropy.unsqueeze(1))
             .mul_(g.entropy_gradient.unsqueeze(1))
             .add_(g.logprob_gradient.unsqueeze(1)));
  d.scatter_add_(1, targets.unsqueeze(1), g.logprob_gradient.unsqueeze(1));
  return d.mul_(inverse_temperature).to(logits.scalar_type());
}

// Scores of all rows. hidden: [n, hidden], head: [vocab, hidden].
Saved Forward(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets,
              const TokenScoreOptions& options) {
  const int64_t rows = hidden.size(0);
  const auto type = hidden.options().dtype(ScoreType(hidden));
  Saved out{at::empty({rows}, type), at::empty({rows}, type), at::empty({rows}, type)};
  const double inverse = 1 / options.temperature;
  ForEachChunk(rows, options.chunk_rows, [&](int64_t begin, int64_t end) {
    const at::Tensor logits = at::mm(hidden.narrow(0, begin, end - begin), head.t());
    if (!HasRowKernel(logits)) {
      ScoreChunkAten(logits, targets, inverse, begin, &out);
    } else if (type.dtype() == at::kDouble) {
      ScoreChunk<double>(logits, targets.const_data_ptr<int64_t>(), inverse, begin, &out);
    } else {
      ScoreChunk<float>(logits, targets.const_data_ptr<int64_t>(), inverse, begin, &out);
    }
  });
  return out;
}

// Sums [vocab, hidden] contributions of chunks in at least fp32.
class HeadGradient {
 public:
  explicit HeadGradient(const at::Tensor& head) : head_(head) {}

  void Add(const at::Tensor& d_logits, const at::Tensor& hidden) {
    if (!sum_.defined()) {
      sum_ = at::mm(d_logits.t(), hidden);
    } else if (head_.scalar_type() == at::kBFloat16 || head_.scalar_type() == at::kHalf) {
      if (sum_.scalar_type() != at::kFloat) sum_ = sum_.to(at::kFloat);
      sum_.add_(at::mm(d_logits.t(), hidden));
    } else {
      sum_.addmm_(d_logits.t(), hidden);
    }
  }

  at::Tensor Take() {
    return sum_.defined() ? sum_.to(head_.scalar_type()) : at::zeros_like(head_);
  }

 private:
  const at::Tensor& head_;
  at::Tensor sum_;
};

struct HeadBackward {
  at::Tensor hidden;  // undefined when not asked for
  at::Tensor head;    // likewise
};

HeadBackward Backward(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets,
                      const RowGradients& gradients, double inverse, int64_t chunk_rows,
                      bool need_hidden, bool need_head) {
  HeadBackward out;
  if (need_hidden) out.hidden = at::empty_like(hidden);
  HeadGradient d_head(head);
  ForEachChunk(hidden.size(0), chunk_rows, [&](int64_t begin, int64_t end) {
    const int64_t rows = end - begin;
    const at::Tensor x = hidden.narrow(0, begin, rows);
    const at::Tensor y = targets.narrow(0, begin, rows);
    const RowGradients g = gradients.Narrow(begin, rows);
    at::Tensor d_logits = at::mm(x, head.t());
    if (!HasRowKernel(d_logits)) {
      d_logits = BackwardChunkAten(d_logits, y, inverse, g);
    } else if (g.logsumexp.scalar_type() == at::kDouble) {
      BackwardChunk<double>(d_logits, y.const_data_ptr<int64_t>(), inverse, g);
    } else {
      BackwardChunk<float>(d_logits, y.const_data_ptr<int64_t>(), inverse, g);
    }
    if (need_hidden) {
      at::Tensor target = out.hidden.narrow(0, begin, rows);
      at::mm_out(target, d_logits, head);
    }
    if (need_head) d_head.Add(d_logits, x);
  });
  if (need_head) out.head = d_head.Take();
  return out;
}

class ScoreFunction : public torch::autograd::Function<ScoreFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden,
                               const at::Tensor& head, const at::Tensor& targets,
                               double temperature, int64_t chunk_rows, bool entropy_gradient) {
    const Saved saved = Forward(hidden, head, targets, {temperature, chunk_rows});
    ctx->save_for_backward({hidden, head, targets, saved.logsumexp, saved.entropy});
    ctx->saved_data["temperature"] = temperature;
    ctx->saved_data["chunk_rows"] = chunk_rows;
    ctx->saved_data["need_hidden"] = hidden.requires_grad();
    ctx->saved_data["need_head"] = head.requires_grad();
    if (!entropy_gradient) ctx->mark_non_differentiable({saved.entropy});
    return {saved.logprob, saved.entropy};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &hidden = saved[0], &head = saved[1], &targets = saved[2];
    RowGradients g{saved[3], saved[4], Dense(grads[0], saved[3]), Dense(grads[1], saved[3])};
    const double inverse = 1 / ctx->saved_data["temperature"].toDouble();
    const int64_t chunk_rows = ctx->saved_data["chunk_rows"].toInt();
    const bool need_hidden = ctx->saved_data["need_hidden"].toBool();
    const bool need_head = ctx->saved_data["need_head"].toBool();
    const at::Tensor live = LiveRows(g);
    HeadBackward d;
    if (live.defined()) {
      const RowGradients part{g.logsumexp.index_select(0, live), g.entropy.index_select(0, live),
                              g.logprob_gradient.index_select(0, live),
                              g.entropy_gradient.index_select(0, live)};
      d = Backward(hidden.index_select(0, live), head, targets.index_select(0, live), part, inverse,
                   chunk_rows, need_hidden, need_head);
      if (need_hidden) d.hidden = at::zeros_like(hidden).index_copy_(0, live, d.hidden);
    } else {
      d = Backward(hidden, head, targets, g, inverse, chunk_rows, need_hidden, need_head);
    }
    return {d.hidden, d.head, {}, {}, {}, {}};
  }

 private:
  static at::Tensor Dense(const at::Tensor& gradient, const at::Tensor& like) {
    return gradient.defined() ? gradient.to(like.scalar_type()).contiguous() : at::zeros_like(like);
  }

  // Rows with a gradient, when enough have none (degenerate groups, clipped tokens) to be worth
  // leaving out; undefined otherwise. Not on devices, where the count would be a synchronisation.
  static at::Tensor LiveRows(const RowGradients& g) {
    if (!g.logsumexp.is_cpu()) return {};
    const at::Tensor live =
        g.logprob_gradient.ne(0).logical_or_(g.entropy_gradient.ne(0)).nonzero().squeeze(1);
    return live.size(0) < g.logsumexp.size(0) ? live : at::Tensor();
  }
};

}  // namespace

TokenScores ScoreTokens(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets,
                        const TokenScoreOptions& options) {
  TORCH_CHECK(hidden.dim() == 2 && head.dim() == 2 && hidden.size(1) == head.size(1),
              "ScoreTokens: expected hidden [n, h] and head [vocab, h]; found ", hidden.sizes(),
              " and ", head.sizes());
  TORCH_CHECK(
      targets.dim() == 1 && targets.size(0) == hidden.size(0) && targets.scalar_type() == at::kLong,
      "ScoreTokens: expected targets [", hidden.size(0), "] of int64; found ", targets.sizes(),
      " of ", targets.scalar_type());
  TORCH_CHECK(hidden.scalar_type() == head.scalar_type(), "ScoreTokens: hidden is ",
              hidden.scalar_type(), ", head ", head.scalar_type());
  TORCH_CHECK(options.temperature > 0 && options.chunk_rows > 0,
              "ScoreTokens: temperature and chunk_rows must be positive; found ",
              options.temperature, " and ", options.chunk_rows);
  if (targets.is_cpu() && targets.numel() > 0) {
    const int64_t low = targets.min().item<int64_t>(), high = targets.max().item<int64_t>();
    TORCH_CHECK(low >= 0 && high < head.size(0), "ScoreTokens: targets must lie in [0, ",
                head.size(0), "); found ", low, " to ", high);
  }
  const variable_list out =
      ScoreFunction::apply(hidden.contiguous(), head.contiguous(), targets.contiguous(),
                           options.temperature, options.chunk_rows, options.entropy_gradient);
  return {out[0], options.with_entropy ? out[1] : at::Tensor()};
}

}  // namespace cohort
