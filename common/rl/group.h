// A group: the samples of one prompt, with everything a learner needs to train on them.
//
// Life of a group (docs/life_of_a_group.md): leased -> generated -> scored -> received -> journaled
// -> buffered -> trained | filtered | stale | infra_failed | unscorable | prompt_too_long
// | abandoned. Plain data; whoever holds it owns it.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "common/base/ids.h"

namespace cohort {

enum class FinishReason : uint8_t {
  kStop = 1,     // the model's end-of-sequence token or a stop string
  kLength = 2,   // the length limit: "truncated" in algorithms.md 2.3
  kAborted = 3,  // the worker gave up on this row; it carries no reward
};

// What a row is for. Rows that are not for training carry no loss and are outside the group's
// statistics, except where the method says so.
enum class RowRole : uint8_t {
  kTrain = 0,
  kVote = 1,      // one more answer for a majority vote
  kBaseline = 2,  // the greedy answer whose reward is the baseline
};

// How one row of a group is to be sampled. Filled by the learner, obeyed by the worker.
struct SamplePlan {
  float temperature = 1.0f;  // 0: greedy
  float top_p = 1.0f;        // 1: off
  int32_t top_k = 0;         // 0: off
  int32_t max_new_tokens = 0;
  int32_t parent = -1;  // row whose first `parent_tokens` tokens this row continues; -1: the prompt
  int32_t parent_tokens = 0;  // tokens
  std::vector<int32_t>
      forced;  // tokens put after the parent segment, not sampled, masked in training
  RowRole role = RowRole::kTrain;
  // In (0, 1]: `parent_tokens` becomes this share of the parent's tokens, at least 1, once they
  // are known; its end-of-sequence token does not count. 0: `parent_tokens` as it is.
  double parent_fraction = 0;
  std::string parent_until = {};  // the share is of the tokens before this text, where it occurs
};

// One sampled response. The arrays have one entry per response token, the end-of-sequence token
// included.
struct Row {
  int32_t parent = -1;        // as in SamplePlan
  int32_t parent_tokens = 0;  // tokens
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;  // log-softmax(z / T), untruncated, nats (algorithms.md 2.1)
  std::vector<float> truncated_logprobs;  // under top-k/top-p; empty when neither is on
  std::vector<uint8_t> mask;              // 1: carries loss; 0: forced or environment tokens
  std::vector<int64_t> versions;          // weight version that sampled the token
  std::vector<float> entropy;             // nats; empty when not asked for
  FinishReason finish = FinishReason::kStop;
  std::vector<float> rewards;  // one per Group::reward_names, unweighted
  double reward = 0;           // weighted sum
  bool unscorable = false;     // no verdict was possible: left out of statistics and of the loss
  std::string note;            // why it is unscorable; empty otherwise
  RowRole role = RowRole::kTrain;
  // In [0, 1]: how right it is, whatever the reward says; NaN: unknown. For metrics alone.
  float truth = std::numeric_limits<float>::quiet_NaN();
  bool no_answer = false;  // no answer could be read from it
};

// Seconds spent, as measured by the worker.
struct GroupTimings {
  double queue_seconds = 0;  // lease received -> prefill started
  double prefill_seconds = 0;
  double decode_seconds = 0;  // first token -> last token of the last row
  double reward_seconds = 0;
};

struct Group {
  GroupId id = 0;
  uint64_t ordinal = 0;  // of the prompt in the run, per purpose
  Purpose purpose = Purpose::kTrain;
  std::string source;  // name of the data source the prompt came from
  std::string worker;
  std::vector<int32_t> prompt;  // token ids, chat template applied
  std::vector<std::string> reward_names;
  std::vector<Row> rows;
  int64_t start_version = 0;  // weight version at prefill
  int64_t end_version = 0;    // weight version at the last token
  float temperature =
      1.0f;  // the rollout temperature that log-probs were divided by (1 when greedy)
  GroupTimings timings;
  // What its rewards came upon besides: majority_ratio, semantic_entropy, target_tokens, ...
  std::map<std::string, double> signals;  // common/rl/signals.h has the names

  // All tokens of a row's response: those it inherits from its parents, then its own.
  std::vector<int32_t> ResponseOf(const Row& row) const {
    std::vector<int32_t> tokens;
    if (row.parent >= 0) {
      tokens = ResponseOf(rows[static_cast<size_t>(row.parent)]);
      const size_t own = rows[static_cast<size_t>(row.parent)].tokens.size();
      tokens.resize(tokens.size() - own + static_cast<size_t>(row.parent_tokens));
    }
    tokens.insert(tokens.end(), row.tokens.begin(), row.tokens.end());
    return tokens;
  }
  int64_t ResponseTokens() const {
    int64_t total = 0;
    for (const Row& row : rows) total += static_cast<int64_t>(row.tokens.size());
    return total;
  }
  // The oldest version that sampled one of its tokens: staleness counts from here.
  int64_t OldestVersion() const {
    int64_t oldest = start_version;
    for (const Row& row : rows) {
      for (int64_t version : row.versions) oldest = version < oldest ? version : oldest;
    }
    return oldest;
  }
};

}  // namespace cohort
