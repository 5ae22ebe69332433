#include "common/train/packing.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "common/base/log.h"

namespace cohort {
namespace {

// Rows of one group, and which of them others continue.
struct GroupShape {
  std::vector<int64_t> rows;  // to compute: those with a token that carries loss, and their parents
  std::vector<bool> has_child;  // by index in the group
  bool tree = false;            // some row continues another one
};

const Group& GroupOf(const TrainBatch& batch, int64_t group) {
  return batch.groups[static_cast<size_t>(group)];
}

bool ContinuesRow(const Row& row) { return row.parent >= 0 && row.parent_tokens > 0; }

GroupShape ShapeOf(const TrainBatch& batch, int64_t group) {
  const int64_t begin = batch.group_rows[static_cast<size_t>(group)];
  const int64_t end = batch.group_rows[static_cast<size_t>(group) + 1];
  const size_t count = GroupOf(batch, group).rows.size();
  GroupShape shape;
  shape.has_child.assign(count, false);
  std::vector<bool> needed(count, false);
  for (size_t i = static_cast<size_t>(end - begin); i-- > 0;) {  // parents come before children
    const TrainRow& row = batch.rows[static_cast<size_t>(begin) + i];
    const size_t index = static_cast<size_t>(row.index);
    needed[index] = needed[index] || batch.ValidTokens(row) > 0;
    const Row& source = batch.SourceRow(row);
    if (!needed[index] || !ContinuesRow(source)) continue;
    needed[static_cast<size_t>(source.parent)] = true;
    shape.has_child[static_cast<size_t>(source.parent)] = true;
    shape.tree = true;
  }
  for (int64_t row = begin; row < end; ++row) {
    if (needed[static_cast<size_t>(batch.rows[static_cast<size_t>(row)].index)]) {
      shape.rows.push_back(row);
    }
  }
  return shape;
}

// Tokens that enter the model: the last one predicts nothing, unless another row continues it or
// its own state is asked for.
int64_t InputTokens(const TrainRow& row, bool with_last) {
  return row.length - row.inherited - (with_last ? 0 : 1);
}

class PieceMaker {
 public:
  PieceMaker(const TrainBatch& batch, const PackingOptions& options)
      : batch_(batch), options_(options) {}

  void AddGroup(int64_t group, std::vector<Piece>* pieces) const {
    const GroupShape shape = ShapeOf(batch_, group);
    Piece piece = Empty(group);
    for (int64_t row : shape.rows) {
      const int64_t tokens = TokensOf(row, shape);
      const bool full = !piece.rows.empty() && piece.tokens + tokens > options_.token_budget;
      if (full && !shape.tree) {
        pieces->push_back(std::move(piece));
        piece = Empty(group);
      }
      Add(row, tokens, &piece);
    }
    if (!piece.rows.empty()) pieces->push_back(std::move(piece));
  }

 private:
  int64_t PromptTokens(int64_t group) const {
    return static_cast<int64_t>(GroupOf(batch_, group).prompt.size());
  }

  Piece Empty(int64_t group) const {
    Piece piece;
    piece.group = group;
    if (!options_.share_prompts) return piece;
    const double prompt = static_cast<double>(PromptTokens(group));
    piece.tokens = PromptTokens(group);
    piece.cost = prompt + options_.pair_cost * prompt * prompt / 2;
    return piece;
  }

  int64_t TokensOf(int64_t row_index, const GroupShape& shape) const {
    const TrainRow& row = batch_.rows[static_cast<size_t>(row_index)];
    const bool with_last = options_.own_states || shape.has_child[static_cast<size_t>(row.index)];
    const int64_t own = InputTokens(row, with_last);
    if (options_.share_prompts) return own;
    int64_t tokens = own + PromptTokens(row.group);
    for (const Row* source = &batch_.SourceRow(row); ContinuesRow(*source);) {
      tokens += source->parent_tokens;
      source = &GroupOf(batch_, row.group).rows[static_cast<size_t>(source->parent)];
    }
    return tokens;
  }

  void Add(int64_t row, int64_t tokens, Piece* piece) const {
    const double length = static_cast<double>(tokens);
    const double prompt =
        options_.share_prompts ? static_cast<double>(PromptTokens(piece->group)) : 0;
    piece->rows.push_back(row);
    piece->tokens += tokens;
    piece->cost += length + options_.pair_cost * length * (prompt + length / 2);
  }

  const TrainBatch& batch_;
  const PackingOptions& options_;
};

// The rank of each piece: largest first, each to the least loaded rank.
std::vector<int> AssignRanks(const std::vector<Piece>& pieces, int ranks) {
  std::vector<size_t> order(pieces.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return pieces[a].cost > pieces[b].cost; });
  std::vector<double> load(static_cast<size_t>(ranks), 0);
  std::vector<int> rank_of(pieces.size(), 0);
  for (size_t i : order) {
    const auto least = std::min_element(load.begin(), load.end());
    rank_of[i] = static_cast<int>(least - load.begin());
    *least += pieces[i].cost;
  }
  return rank_of;
}

void Pack(std::vector<Piece> pieces, bool with_gradient, int64_t budget,
          std::vector<MicroBatch>* out) {
  MicroBatch micro;
  micro.with_gradient = with_gradient;
  for (Piece& piece : pieces) {
    if (!micro.pieces.empty() && micro.tokens + piece.tokens > budget) {
      out->push_back(std::move(micro));
      micro = MicroBatch();
      micro.with_gradient = with_gradient;
    }
    micro.tokens += piece.tokens;
    micro.pieces.push_back(std::move(piece));
  }
  if (!micro.pieces.empty()) out->push_back(std::move(micro));
}

// Lays one micro-batch out, segment by segment.
class Packer {
 public:
  Packer(const TrainBatch& batch, bool share_prompts, bool own_states)
      : batch_(batch), share_prompts_(share_prompts), own_states_(own_states) {
    out_.row_offsets.push_back(0);
  }

  void AddPiece(const Piece& piece) {
    const Group& group = GroupOf(batch_, piece.group);
    segment_of_.assign(group.rows.size(), -1);
    shape_ = ShapeOf(batch_, piece.group);
    if (share_prompts_) {
      prompt_segment_ = AddSegment(-1, 0);
      for (size_t i = 0; i < group.prompt.size(); ++i) Push(group.prompt[i]);
      CloseSegment();
    }
    for (int64_t row : piece.rows) AddRow(batch_.rows[static_cast<size_t>(row)], row);
  }

  PackedMicroBatch Finish() {
    out_.tokens = ToTensor(tokens_);
    out_.positions = ToTensor(positions_);
    out_.predict = ToTensor(predict_);
    out_.targets = ToTensor(targets_);
    return std::move(out_);
  }

 private:
  static at::Tensor ToTensor(const std::vector<int64_t>& values) {
    const at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
    std::copy(values.begin(), values.end(), tensor.data_ptr<int64_t>());
    return tensor;
  }

  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }

  // Opens a segment that continues the first `parent_tokens` tokens of `parent`.
  int AddSegment(int parent, int64_t parent_tokens) {
    next_position_ = 0;
    if (parent >= 0) {
      const Segment& above = out_.segments[static_cast<size_t>(parent)];
      next_position_ = positions_[static_cast<size_t>(above.begin)] + parent_tokens;
    }
    out_.segments.push_back({size(), 0, parent, parent_tokens});
    return static_cast<int>(out_.segments.size()) - 1;
  }

  void Push(int32_t token) {
    tokens_.push_back(token);
    positions_.push_back(next_position_++);
  }

  void CloseSegment() {
    Segment& segment = out_.segments.back();
    segment.length = size() - segment.begin;
    if (segment.length == 0) out_.segments.pop_back();
  }

  void AddRow(const TrainRow& row, int64_t row_index) {
    const Row& source = batch_.SourceRow(row);
    const Group& group = GroupOf(batch_, row.group);
    const bool with_last = own_states_ || shape_.has_child[static_cast<size_t>(row.index)];
    const int64_t inputs = InputTokens(row, with_last);
    // Where the tokens before the row's own ones are: the prompt's last, then the inherited ones.
    std::vector<int64_t> before;
    if (share_prompts_) {
      const Segment& prompt = out_.segments[static_cast<size_t>(prompt_segment_)];
      before.push_back(prompt.begin + prompt.length - 1);
      AppendInherited(group, source, &before);
      OpenChild(row, source);
    } else {
      AddSegment(-1, 0);
      PushPrefix(group, source);
      const auto inherited = static_cast<int64_t>(group.ResponseOf(source).size()) -
                             static_cast<int64_t>(source.tokens.size());
      for (int64_t t = inherited; t >= 0; --t) before.push_back(size() - 1 - t);
    }
    const int64_t begin = size();
    for (int64_t t = 0; t < inputs; ++t) Push(source.tokens[static_cast<size_t>(t)]);
    CloseSegment();
    AddEntries(row, row_index, before, begin);
  }

  // The packed indices of the tokens that the row inherits from its parents.
  void AppendInherited(const Group& group, const Row& source, std::vector<int64_t>* out) const {
    if (!ContinuesRow(source)) return;
    AppendInherited(group, group.rows[static_cast<size_t>(source.parent)], out);
    const int segment = segment_of_[static_cast<size_t>(source.parent)];
    COHORT_CHECK(segment >= 0) << "a row comes before its parent";
    const int64_t begin = out_.segments[static_cast<size_t>(segment)].begin;
    for (int64_t t = 0; t < source.parent_tokens; ++t) out->push_back(begin + t);
  }

  void OpenChild(const TrainRow& row, const Row& source) {
    const bool continues = ContinuesRow(source);
    const int parent =
        continues ? segment_of_[static_cast<size_t>(source.parent)] : prompt_segment_;
    COHORT_CHECK(parent >= 0) << batch_.Describe(row) << " comes before its parent";
    const Segment above = out_.segments[static_cast<size_t>(parent)];
    const int64_t parent_tokens = continues ? source.parent_tokens : above.length;
    segment_of_[static_cast<size_t>(row.index)] = AddSegment(parent, parent_tokens);
  }

  void PushPrefix(const Group& group, const Row& source) {
    if (!ContinuesRow(source)) {
      for (int32_t token : group.prompt) Push(token);
      return;
    }
    const Row& parent = group.rows[static_cast<size_t>(source.parent)];
    PushPrefix(group, parent);
    for (int32_t t = 0; t < source.parent_tokens; ++t) Push(parent.tokens[static_cast<size_t>(t)]);
  }

  // Packed index of the `t`-th of the row's states, counted from the prompt's last token (0), which
  // predicts the first response token.
  static int64_t StateOf(int64_t t, int64_t inherited, int64_t begin,
                         const std::vector<int64_t>& before) {
    return t <= inherited ? before[static_cast<size_t>(t)] : begin + t - inherited - 1;
  }

  void AddEntries(const TrainRow& row, int64_t row_index, const std::vector<int64_t>& before,
                  int64_t begin) {
    const size_t entries = out_.flat.size();
    const std::vector<int32_t> ids = batch_.TokensOf(row);
    for (int64_t t = 0; t < row.length; ++t) {
      const int64_t flat = row.begin + t;
      if (batch_.mask[static_cast<size_t>(flat)] == 0) continue;
      predict_.push_back(StateOf(own_states_ ? t + 1 : t, row.inherited, begin, before));
      targets_.push_back(ids[static_cast<size_t>(t)]);
      out_.flat.push_back(flat);
    }
    if (out_.flat.size() == entries) return;
    out_.rows.push_back(row_index);
    out_.row_offsets.push_back(out_.entries());
  }

  const TrainBatch& batch_;
  const bool share_prompts_;
  const bool own_states_;
  PackedMicroBatch out_;
  GroupShape shape_;
  std::vector<int> segment_of_;  // of the current group's rows
  int prompt_segment_ = -1;
  int64_t next_position_ = 0;
  std::vector<int64_t> tokens_, positions_, predict_, targets_;
};

}  // namespace

std::vector<std::vector<MicroBatch>> PlanMicroBatches(const TrainBatch& batch, int64_t first_group,
                                                      int64_t last_group,
                                                      const std::vector<bool>& needs_gradient,
                                                      const PackingOptions& options) {
  std::vector<Piece> pieces;
  const PieceMaker maker(batch, options);
  for (int64_t g = first_group; g < last_group; ++g) maker.AddGroup(g, &pieces);

  // Both kinds are divided on their own: scoring costs a third of training.
  std::vector<Piece> by_kind[2];
  for (Piece& piece : pieces) {
    const bool trained = std::any_of(piece.rows.begin(), piece.rows.end(), [&](int64_t row) {
      return needs_gradient[static_cast<size_t>(row)];
    });
    by_kind[trained ? 0 : 1].push_back(std::move(piece));
  }
  std::vector<std::vector<MicroBatch>> plan(static_cast<size_t>(options.ranks));
  for (int kind = 0; kind < 2; ++kind) {
    const std::vector<int> rank_of = AssignRanks(by_kind[kind], options.ranks);
    std::vector<std::vector<Piece>> share(static_cast<size_t>(options.ranks));
    for (size_t i = 0; i < rank_of.size(); ++i) {
      share[static_cast<size_t>(rank_of[i])].push_back(std::move(by_kind[kind][i]));
    }
    for (size_t r = 0; r < share.size(); ++r) {
      Pack(std::move(share[r]), kind == 0, options.token_budget, &plan[r]);
    }
  }
  return plan;
}

PackedMicroBatch PackMicroBatch(const TrainBatch& batch, const MicroBatch& micro,
                                bool share_prompts, bool own_states) {
  Packer packer(batch, share_prompts, own_states);
  for (const Piece& piece : micro.pieces) packer.AddPiece(piece);
  return packer.Finish();
}

}  // namespace cohort
