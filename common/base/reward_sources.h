// The reward sources by name: the one table that the configuration, common/rl, common/rewards,
// `cohort score` and docs/rewards.md read. A new verifier is a row here and a function in
// common/rewards/verifier.cc.
#pragma once

#include <array>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace cohort {

enum class RewardKind : uint8_t {
  kTask,     // the data source's own verifier
  kRule,     // judges a reply against what the prompt's columns hold: right or wrong
  kForm,     // the form of a response, right or not
  kChance,   // a coin
  kLabel,    // agreement with a label of the prompt that need not be true
  kVote,     // agreement with the group's own majority
  kGraded,   // some number that the group or the sampler gives: neither right nor wrong
  kService,  // a service of one's own
  kModel,    // a reward model
  kProcess,  // the learner's own process reward model
};

struct RewardSourceRow {
  const char* name;
  RewardKind kind;
  const char* columns;  // of the prompt, that it reads; "" none
  const char* options;  // fields of a component besides name, weight, label and inverse; "" none
  const char* needs;    // besides: what the run must bring; "" nothing
};

inline constexpr std::array<RewardSourceRow, 26> kRewardSources = {{
    {"task", RewardKind::kTask, "those of the data source's verifier", "after_thinking, compat",
     ""},
    {"rule_math", RewardKind::kRule, "answer", "after_thinking, compat", ""},
    {"rule_gsm8k", RewardKind::kRule, "answer", "after_thinking, compat", ""},
    {"rule_dapo", RewardKind::kRule, "answer", "after_thinking, compat", ""},
    {"rule_last_integer", RewardKind::kRule, "answer", "after_thinking", ""},
    {"rule_sorting", RewardKind::kRule, "answer", "after_thinking", ""},
    {"rule_countdown", RewardKind::kRule, "answer, numbers", "after_thinking", ""},
    {"rule_number", RewardKind::kRule, "answer", "after_thinking", ""},
    {"rule_units", RewardKind::kRule, "answer", "after_thinking", ""},
    {"rule_choice", RewardKind::kRule, "answer, choices", "after_thinking", ""},
    {"rule_exact", RewardKind::kRule, "answer", "after_thinking", ""},
    {"rule_regex", RewardKind::kRule, "answer", "after_thinking, pattern", ""},
    {"code_tests", RewardKind::kRule, "tests, entry_point", "after_thinking",
     "reward.code.interpreter"},
    {"format_boxed", RewardKind::kForm, "", "after_thinking", ""},
    {"contains", RewardKind::kForm, "", "after_thinking, text", ""},
    {"random", RewardKind::kChance, "", "p", "run.spurious"},
    {"majority_offline", RewardKind::kLabel, "majority_answer", "column", "run.spurious"},
    {"incorrect_label", RewardKind::kLabel, "incorrect_answer", "column", "run.spurious"},
    {"majority_online", RewardKind::kVote, "", "n_votes, merge, tie", "run.spurious"},
    {"semantic_frequency", RewardKind::kGraded, "", "", ""},
    {"neg_entropy_mean", RewardKind::kGraded, "", "span", "rollout.temperature 1"},
    {"neg_entropy_sum", RewardKind::kGraded, "", "span", "rollout.temperature 1"},
    {"seq_logprob", RewardKind::kGraded, "", "", ""},
    {"service", RewardKind::kService, "any", "address or command, timeout_seconds, components",
     "a service that answers"},
    {"reward_model", RewardKind::kModel, "", "path, timeout_seconds", "a sequence classifier"},
    {"implicit_prm", RewardKind::kProcess, "", "", "a process reward model and its optimizer"},
}};

// nullptr: there is no such source.
inline constexpr const RewardSourceRow* FindRewardSource(absl::string_view name) {
  for (const RewardSourceRow& row : kRewardSources) {
    if (name == row.name) return &row;
  }
  return nullptr;
}

// Whether it can stand by itself in data.sources[].reward: a function of one response.
inline constexpr bool IsVerifier(const RewardSourceRow& row) {
  return row.kind == RewardKind::kRule || row.kind == RewardKind::kForm ||
         row.kind == RewardKind::kChance;
}

// Whether a component of the reward judges an answer by a rule: the task's own and the verifiers
// that are one, by their own name or with a label behind it ("rule_math:strict").
inline bool IsRuleReward(absl::string_view name) {
  const RewardSourceRow* row = FindRewardSource(name.substr(0, name.find(':')));
  return row != nullptr && (row->kind == RewardKind::kTask || row->kind == RewardKind::kRule);
}

}  // namespace cohort
