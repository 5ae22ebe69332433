#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/host_port.h"
#include "common/config/algorithm.h"
#include "common/config/availability.h"
#include "common/config/config.h"
#include "common/config/schema.h"
#include "common/config/values.h"

namespace cohort {
namespace {

// More cores than a host has: what is beyond is a slip that would take the host down.
constexpr double kMostThreads = 1024;

// Collects every mistake, so that one run of `config check` shows them all.
class Mistakes {
 public:
  template <typename... Args>
  void Add(const Args&... args) {
    lines_.push_back(absl::StrCat(args...));
  }
  void AtLeast(absl::string_view field, int64_t value, int64_t least) {
    if (value < least) Add(field, ": expected at least ", least, ", found ", value);
  }
  void Between(absl::string_view field, double value, double low, double high) {
    if (!(value >= low && value <= high)) {
      Add(field, ": expected a number in [", NumberText(low), ", ", NumberText(high), "], found ",
          NumberText(value));
    }
  }
  void Above(absl::string_view field, double value, double bound) {
    if (!(value > bound)) {
      Add(field, ": expected a number above ", NumberText(bound), ", found ", NumberText(value));
    }
  }
  void OneOf(absl::string_view field, const std::string& value,
             const std::vector<std::string>& valid) {
    for (const std::string& candidate : valid) {
      if (value == candidate) return;
    }
    Add(field, ": unknown value '", value, "'; ", Suggest(value, valid));
  }
  absl::Status ToStatus() const {
    if (lines_.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrJoin(lines_, "; "));
  }
  bool empty() const { return lines_.empty(); }

 private:
  std::vector<std::string> lines_;
};

// Whether cuda:N exists, its process knows.
void CheckDevice(absl::string_view field, const std::string& name, Mistakes* out) {
  if (name == "auto" || name == "cpu" || name == "cuda") return;
  absl::string_view index = name;
  if (absl::ConsumePrefix(&index, "cuda:") && !index.empty() &&
      absl::c_all_of(index, absl::ascii_isdigit)) {
    return;
  }
  out->Add(field, ": expected auto, cpu, cuda or cuda:N, found '", name, "'");
}

void CheckRun(const v1::RunConfig& config, Mistakes* out) {
  out->AtLeast("run.steps", config.run().steps(), 1);
  out->AtLeast("run.sampled_tokens", config.run().sampled_tokens(), 0);
  if (config.run().out().empty()) out->Add("run.out: expected a folder, found nothing");
  const v1::ModelSection& model = config.model();
  if (model.path().empty()) {
    out->Add("model.path: expected a Hugging Face model folder, found nothing; set model.path");
  }
  out->OneOf("model.dtype", model.dtype(), {"auto", "fp32", "bf16"});
  CheckDevice("model.device", model.device(), out);
  out->AtLeast("model.max_context", model.max_context(), 0);
}

template <typename Source>
void CheckSource(const std::string& field, const Source& source, std::set<std::string>* names,
                 Mistakes* out) {
  if (source.has_task() == source.has_path()) {
    out->Add(field, ": expected either a task or a path, found ",
             source.has_task() ? "both" : "neither");
  }
  out->AtLeast(absl::StrCat(field, ".heldout_rows"), source.heldout_rows(), 0);
  if (source.has_task() && source.heldout_rows() > 0) {
    out->Add(field, ".heldout_rows: a task has held-out prompts of its own; set it for a path");
  }
  if (source.reward() == "contains") {
    out->Add(field, ".reward: contains needs a text, which a data source has not; use ",
             "algorithm.reward.sources: [{name: contains, text: ...}]");
  } else if (source.has_reward()) {
    out->OneOf(absl::StrCat(field, ".reward"), source.reward(), VerifierChoices());
  }
  if (!names->insert(source.name()).second) {
    out->Add(field, ".name: '", source.name(), "' is used twice; give each source its own name");
  }
}

void CheckData(const v1::RunConfig& config, Mistakes* out) {
  const v1::DataSection& data = config.data();
  if (data.has_task() || data.has_path()) {
    out->Add("data: task, path and sources are three spellings of one choice; keep one of them");
  } else if (data.sources().empty()) {
    out->Add("data: expected prompts, found none; set data.task, data.path or data.sources");
  }
  std::set<std::string> names;
  for (int i = 0; i < data.sources_size(); ++i) {
    const std::string field = absl::StrCat("data.sources[", i, "]");
    CheckSource(field, data.sources(i), &names, out);
    out->Above(absl::StrCat(field, ".weight"), data.sources(i).weight(), 0);
    if (data.sources(i).reward() == "random" && !config.run().spurious()) {
      out->Add(field, ".reward: random does not see the truth; set run.spurious: true so that the ",
               "report says so");
    }
    out->OneOf(absl::StrCat(field, ".split"), data.sources(i).split(), {"train", "heldout"});
    if (data.sources(i).split() == "heldout" && !data.sealed_labels()) {
      out->Add(field,
               ".split: heldout trains on evaluation prompts; set data.sealed_labels: true "
               "so that no answer is seen");
    }
  }
  out->AtLeast("data.max_prompt_tokens", data.max_prompt_tokens(), 0);
}

void CheckSchedule(const v1::RolloutSection& rollout, Mistakes* out) {
  int64_t before = 0;
  for (int i = 0; i < rollout.length_schedule_size(); ++i) {
    const std::string field = absl::StrCat("rollout.length_schedule[", i, "]");
    const v1::LengthLimit& entry = rollout.length_schedule(i);
    out->AtLeast(absl::StrCat(field, ".from_step"), entry.from_step(), before + 1);
    out->AtLeast(absl::StrCat(field, ".max_new_tokens"), entry.max_new_tokens(), 1);
    if (entry.max_new_tokens() > rollout.max_new_tokens()) {
      out->Add(field, ".max_new_tokens: expected at most rollout.max_new_tokens ",
               rollout.max_new_tokens(), ", found ", entry.max_new_tokens());
    }
    before = entry.from_step();
  }
}

void CheckRollout(const v1::RolloutSection& rollout, Mistakes* out) {
  out->AtLeast("rollout.workers", rollout.workers(), 0);
  out->AtLeast("rollout.group_size", rollout.group_size(), 1);
  out->Between("rollout.temperature", rollout.temperature(), 0, 100);
  out->Above("rollout.top_p", rollout.top_p(), 0);
  out->Between("rollout.top_p", rollout.top_p(), 0, 1);
  out->AtLeast("rollout.top_k", rollout.top_k(), 0);
  out->AtLeast("rollout.max_new_tokens", rollout.max_new_tokens(), 1);
  out->AtLeast("rollout.max_staleness", rollout.max_staleness(), 0);
  out->AtLeast("rollout.max_batch_rows", rollout.max_batch_rows(), 1);
  out->Between("rollout.threads", rollout.threads(), 0, kMostThreads);
  out->AtLeast("rollout.credit_megabytes", rollout.credit_megabytes(), 1);
  out->Above("rollout.lease_seconds", rollout.lease_seconds(), 0);
  out->Above("rollout.heartbeat_seconds", rollout.heartbeat_seconds(), 0);
  out->Above("rollout.connect_seconds", rollout.connect_seconds(), 0);
  out->Between("rollout.drain_seconds", rollout.drain_seconds(), 0, 1e6);
  if (rollout.has_device()) CheckDevice("rollout.device", rollout.device(), out);
  CheckSchedule(rollout, out);
  if (rollout.has_serial()) {
    out->AtLeast("rollout.serial.answer_tokens", rollout.serial().answer_tokens(), 0);
    if (rollout.serial().text().empty()) {
      out->Add("rollout.serial.text: expected what makes the model answer, found nothing");
    }
  }
  for (const std::string& stop : rollout.stop()) {
    if (stop.empty()) out->Add("rollout.stop: expected text, found an empty stop string");
  }
}

// "learner.mini_batches" must divide `whole`; says which sizes would.
void CheckDivides(absl::string_view whole_field, int64_t whole, absl::string_view part_field,
                  int64_t parts, Mistakes* out) {
  if (whole < 1 || parts < 1 || whole % parts == 0) return;
  out->Add(whole_field, " (", whole, ") does not divide by ", part_field, " (", parts, "); set ",
           whole_field, " to ", (whole / parts + 1) * parts,
           whole / parts > 0 ? absl::StrCat(" or ", whole / parts * parts) : "", ", or ",
           part_field, " to a divisor of ", whole);
}

void CheckListen(absl::string_view field, const std::string& address, Mistakes* out) {
  const absl::StatusOr<HostPort> parsed = ParseHostPort(address);
  if (!parsed.ok()) out->Add(field, ": ", std::string(parsed.status().message()));
}

void CheckLearner(const v1::LearnerSection& learner, Mistakes* out) {
  out->AtLeast("learner.ranks", learner.ranks(), 1);
  out->AtLeast("learner.prompts_per_step", learner.prompts_per_step(), 1);
  out->AtLeast("learner.mini_batches", learner.mini_batches(), 1);
  out->AtLeast("learner.epochs", learner.epochs(), 1);
  out->AtLeast("learner.tokens_per_micro_batch", learner.tokens_per_micro_batch(), 1);
  out->Between("learner.threads", learner.threads(), 0, kMostThreads);
  out->Above("learner.step_timeout_seconds", learner.step_timeout_seconds(), 0);
  if (learner.has_device()) CheckDevice("learner.device", learner.device(), out);
  CheckListen("learner.listen", learner.listen(), out);
  CheckListen("learner.http_listen", learner.http_listen(), out);
  if (learner.has_page_listen()) CheckListen("learner.page_listen", learner.page_listen(), out);
  CheckDivides("learner.prompts_per_step", learner.prompts_per_step(), "learner.mini_batches",
               learner.mini_batches(), out);
  CheckDivides("learner.prompts_per_step", learner.prompts_per_step(), "learner.ranks",
               learner.ranks(), out);
  const int64_t both = int64_t{learner.mini_batches()} * learner.ranks();
  if (learner.mini_batches() > 1 && learner.ranks() > 1) {
    CheckDivides("learner.prompts_per_step", learner.prompts_per_step(),
                 "learner.mini_batches x learner.ranks", both, out);
  }
}

void CheckOptimizer(const v1::OptimizerSection& optimizer, Mistakes* out) {
  out->Between("optimizer.lr", optimizer.lr(), 0, 1);
  out->Between("optimizer.beta1", optimizer.beta1(), 0, 0.999999999);
  out->Between("optimizer.beta2", optimizer.beta2(), 0, 0.999999999);
  out->Above("optimizer.eps", optimizer.eps(), 0);
  out->Between("optimizer.weight_decay", optimizer.weight_decay(), 0, 1e6);
  out->Between("optimizer.max_grad_norm", optimizer.max_grad_norm(), 0, 1e30);
  out->AtLeast("optimizer.warmup_steps", optimizer.warmup_steps(), 0);
  out->Between("optimizer.min_lr_ratio", optimizer.min_lr_ratio(), 0, 1);
}

void CheckBeside(const v1::RunConfig& config, Mistakes* out) {
  const v1::CriticSection& critic = config.critic();
  out->Between("critic.lr", critic.lr(), 0, 1);
  out->Between("critic.max_grad_norm", critic.max_grad_norm(), 0, 1e30);
  out->Between("critic.value_clip", critic.value_clip(), 0, 1e30);
  out->AtLeast("critic.warmup_batches", critic.warmup_batches(), 0);
  out->AtLeast("critic.mini_batches", critic.mini_batches(), 1);
  out->AtLeast("critic.epochs", critic.epochs(), 1);
  CheckDivides("learner.prompts_per_step", config.learner().prompts_per_step(),
               "critic.mini_batches", critic.mini_batches(), out);
  const v1::ProcessModelSection& process = config.process_model();
  out->Between("process_model.lr", process.lr(), 0, 1);
  out->Between("process_model.max_grad_norm", process.max_grad_norm(), 0, 1e30);
  out->Above("process_model.beta", process.beta(), 0);
}

void CheckSharpening(const v1::RunConfig& config, Mistakes* out) {
  if (!config.algorithm().objective().has_inference_entropy()) return;
  const v1::InferenceEntropy& section = config.algorithm().objective().inference_entropy();
  const std::string field = "algorithm.objective.inference_entropy";
  out->Above(absl::StrCat(field, ".lr"), section.lr(), 0);
  out->AtLeast(absl::StrCat(field, ".steps"), section.steps(), 0);
  out->Between(absl::StrCat(field, ".kl_weight"), section.kl_weight(), 0, 1e30);
  out->Between(absl::StrCat(field, ".threshold"), section.threshold(), 0, 1e30);
}

void CheckEval(const v1::EvalSection& eval, Mistakes* out) {
  out->AtLeast("eval.every_steps", eval.every_steps(), 0);
  out->AtLeast("eval.samples", eval.samples(), 0);
  out->Between("eval.temperature", eval.temperature(), 0, 100);
  out->AtLeast("eval.max_new_tokens", eval.max_new_tokens(), 1);
  out->Above("eval.top_p", eval.top_p(), 0);
  out->Between("eval.top_p", eval.top_p(), 0, 1);
  std::set<std::string> names;
  for (int i = 0; i < eval.sources_size(); ++i) {
    const std::string field = absl::StrCat("eval.sources[", i, "]");
    CheckSource(field, eval.sources(i), &names, out);
    out->AtLeast(absl::StrCat(field, ".prompts"), eval.sources(i).prompts(), 0);
    out->OneOf(absl::StrCat(field, ".split"), eval.sources(i).split(), {"train", "heldout"});
  }
}

bool RunsCode(const v1::RunConfig& config) {
  const auto is_code = [](const std::string& name) { return name == "code_tests"; };
  return absl::c_any_of(config.algorithm().reward().sources(),
                        [&](const auto& source) { return is_code(source.name()); }) ||
         absl::c_any_of(config.data().sources(),
                        [&](const auto& source) { return is_code(source.reward()); }) ||
         absl::c_any_of(config.eval().sources(),
                        [&](const auto& source) { return is_code(source.reward()); });
}

void CheckService(const std::string& field, const v1::RewardComponent& source, Mistakes* out) {
  const bool is_service = source.name() == "service";
  if (source.command_size() > 0 && (!is_service || source.has_address())) {
    out->Add(field, ".command: expected with service, and without `address` there, found it with ",
             is_service ? absl::StrCat("the address ", source.address()) : source.name());
  } else if (is_service && source.command_size() == 0) {
    CheckListen(absl::StrCat(field, ".address"), source.address(), out);
  } else if (is_service && source.command(0).empty()) {
    out->Add(field, ".command: expected a program, found an empty text");
  }
}

void CheckRewardSources(const v1::RunConfig& config, Mistakes* out) {
  std::set<std::pair<std::string, std::string>> names;
  const v1::RewardChoice& reward = config.algorithm().reward();
  for (int i = 0; i < reward.sources_size(); ++i) {
    const v1::RewardComponent& source = reward.sources(i);
    const std::string field = absl::StrCat("algorithm.reward.sources[", i, "]");
    if (!names.emplace(source.name(), source.label()).second) {
      out->Add(field, ": ", source.name(), " is there twice; give each a label of its own");
    }
    CheckService(field, source, out);
    if ((source.name() == "reward_model") != !source.path().empty()) {
      out->Add(field, ".path: expected the folder of a sequence classifier with reward_model and ",
               "nothing otherwise, found '", source.path(), "' with ", source.name());
    }
    if (source.name() == "contains" && source.text().empty()) {
      out->Add(field, ".text: expected what is looked for, found nothing");
    }
    if (source.has_compat() && source.compat() != "string") {
      out->OneOf(absl::StrCat(field, ".compat"), source.compat(), {"string"});
    }
    if (source.has_timeout_seconds()) {
      out->Above(absl::StrCat(field, ".timeout_seconds"), source.timeout_seconds(), 0);
    }
  }
}

void CheckReward(const v1::RunConfig& config, Mistakes* out) {
  const v1::RewardSection& reward = config.reward();
  CheckRewardSources(config, out);
  out->Above("reward.timeout_seconds", reward.timeout_seconds(), 0);
  out->Between("reward.threads", reward.threads(), 1, kMostThreads);
  if (RunsCode(config) && reward.code().interpreter().empty()) {
    out->Add(
        "reward.code.interpreter: code_tests runs programs and needs an interpreter, found "
        "none; set it, such as [python3, -I]");
  }
  out->Above("reward.code.seconds", reward.code().seconds(), 0);
  out->AtLeast("reward.code.memory_mib", reward.code().memory_mib(), 16);
  out->AtLeast("reward.code.output_kib", reward.code().output_kib(), 1);
  out->Above("reward.service.timeout_seconds", reward.service().timeout_seconds(), 0);
  out->AtLeast("reward.service.batch", reward.service().batch(), 1);
  out->Between("reward.service.concurrency", reward.service().concurrency(), 1, kMostThreads);
  out->Above("reward.service.start_seconds", reward.service().start_seconds(), 0);
  out->AtLeast("reward.service.failures", reward.service().failures(), 0);
  out->Above("reward.service.pause_seconds", reward.service().pause_seconds(), 0);
}

void CheckTls(const v1::TlsSection& tls, Mistakes* out) {
  const std::pair<const char*, bool> files[] = {{"tls.ca_file", tls.has_ca_file()},
                                                {"tls.cert_file", tls.has_cert_file()},
                                                {"tls.key_file", tls.has_key_file()}};
  if (!tls.insecure()) return;
  for (const auto& [field, given] : files) {
    if (given) out->Add(field, ": certificates and tls.insecure contradict each other; keep one");
  }
}

void CheckSft(const v1::RunConfig& config, Mistakes* out) {
  out->Between("sft.stop_accuracy", config.sft().stop_accuracy(), 0, 1);
  out->Between("sft.wrong_share", config.sft().wrong_share(), 0, 1);
  if (config.sft().wrong_share() == 0) return;
  for (int i = 0; i < config.data().sources_size(); ++i) {
    if (!config.data().sources(i).has_path()) continue;
    out->Add("sft.wrong_share: changes the solutions of built-in tasks only, found data.sources[",
             i, "].path \"", config.data().sources(i).path(),
             "\"; give a task, or write the wrong answers into the file");
  }
}

void CheckRest(const v1::RunConfig& config, Mistakes* out) {
  out->AtLeast("checkpoint.every_steps", config.checkpoint().every_steps(), 0);
  out->AtLeast("checkpoint.keep_last", config.checkpoint().keep_last(), 1);
  CheckReward(config, out);
  out->OneOf("weights.codec", config.weights().codec(), {"auto", "raw", "xor_zstd"});
  out->AtLeast("weights.keep_versions", config.weights().keep_versions(), 1);
  out->AtLeast("weights.block_kib", config.weights().block_kib(), 4);
  if (config.weights().block_kib() > 4096) {
    out->Add("weights.block_kib: expected at most 4096 (a message holds 8 MiB), found ",
             config.weights().block_kib());
  }
  out->AtLeast("log.samples_per_step", config.log().samples_per_step(), 0);
  CheckSft(config, out);
}

void CheckShaping(const v1::RunConfig& config, Mistakes* out) {
  for (int i = 0; i < config.algorithm().reward().shaping_size(); ++i) {
    const v1::Shaping& shaping = config.algorithm().reward().shaping(i);
    const std::string field = absl::StrCat("algorithm.reward.shaping[", i, "]");
    if (shaping.kind_case() == v1::Shaping::KIND_NOT_SET) {
      out->Add(field, ": expected one of ",
               absl::StrJoin(PartNames(*ChoiceOf(*v1::Shaping::descriptor())), ", "),
               ", found nothing");
    }
    for (const v1::L1* l1 : {shaping.has_l1_exact() ? &shaping.l1_exact() : nullptr,
                             shaping.has_l1_max() ? &shaping.l1_max() : nullptr}) {
      if (l1 == nullptr) continue;
      out->AtLeast(absl::StrCat(field, ".min_tokens"), l1->min_tokens(), 1);
      out->AtLeast(absl::StrCat(field, ".max_tokens"), l1->max_tokens(), l1->min_tokens());
    }
    if (shaping.has_overlong_soft()) {
      const v1::OverlongSoft& soft = shaping.overlong_soft();
      if (soft.cache() < 1 || soft.cache() > soft.max_len()) {
        out->Add(field, ".overlong_soft.cache: expected tokens in [1, max_len = ", soft.max_len(),
                 "], found ", soft.cache());
      }
    }
  }
}

void CheckVotesAndLabels(const v1::RunConfig& config, Mistakes* out) {
  for (int i = 0; i < config.algorithm().reward().sources_size(); ++i) {
    const v1::RewardComponent& source = config.algorithm().reward().sources(i);
    const std::string field = absl::StrCat("algorithm.reward.sources[", i, "]");
    out->AtLeast(absl::StrCat(field, ".n_votes"), source.n_votes(), 0);
    out->Between(absl::StrCat(field, ".p"), source.p(), 0, 1);
    const bool truth = source.column() == "answer" || source.column() == "solution" ||
                       source.column() == "incorrect_answer";
    if (truth && config.data().sealed_labels()) {
      out->Add(field, ".column: ", source.column(),
               " holds the answer that data.sealed_labels keeps from training");
    }
  }
}

void CheckFilterLimits(const v1::Filter& filter, Mistakes* out) {
  const v1::PromptFilter& prompts = filter.prompts();
  out->AtLeast("algorithm.filter.prompts.dynamic.max_rounds", prompts.dynamic().max_rounds(), 1);
  out->AtLeast("algorithm.filter.prompts.band.max_rounds", prompts.band().max_rounds(), 1);
  out->AtLeast("algorithm.filter.prompts.min_valid.max_tries", prompts.min_valid().max_tries(), 1);
  out->AtLeast("algorithm.filter.max_rounds", filter.max_rounds(), 1);
}

void CheckSelection(const v1::DataSelect& select, Mistakes* out) {
  out->AtLeast("algorithm.data.select.variance_topk.k", select.variance_topk().k(), 1);
  const auto needs_run = [&](bool chosen, const char* name, const std::string& run) {
    if (!chosen || !run.empty()) return;
    out->Add("algorithm.data.select.", name,
             ".run: expected the folder of an earlier run on this data, such as runs/grpo; it says "
             "how each prompt went");
  };
  needs_run(select.has_variance_topk(), "variance_topk", select.variance_topk().run());
  needs_run(select.has_lim(), "lim", select.lim().run());
}

void CheckAlgorithm(const v1::RunConfig& config, std::vector<std::string>* warnings,
                    Mistakes* out) {
  CheckShaping(config, out);
  for (const std::string& line : NotAvailable(config)) out->Add(line);
  CheckVotesAndLabels(config, out);
  CheckFilterLimits(config.algorithm().filter(), out);
  CheckSelection(config.algorithm().data().select(), out);
  const absl::StatusOr<AlgorithmSpec> spec = ToAlgorithmSpec(config);
  const absl::Status valid =
      spec.ok() ? ValidateAlgorithm(*spec, ToAlgorithmContext(config), warnings) : spec.status();
  if (!valid.ok()) out->Add(valid.message());
}

}  // namespace

absl::Status ValidateConfig(const v1::RunConfig& config) {
  Mistakes mistakes;
  CheckRun(config, &mistakes);
  CheckData(config, &mistakes);
  CheckRollout(config.rollout(), &mistakes);
  CheckLearner(config.learner(), &mistakes);
  CheckOptimizer(config.optimizer(), &mistakes);
  CheckBeside(config, &mistakes);
  CheckSharpening(config, &mistakes);
  CheckEval(config.eval(), &mistakes);
  CheckRest(config, &mistakes);
  CheckTls(config.tls(), &mistakes);
  CheckAlgorithm(config, nullptr, &mistakes);
  return mistakes.ToStatus();
}

std::vector<std::string> ConfigWarnings(const v1::RunConfig& config) {
  std::vector<std::string> warnings;
  Mistakes ignored;
  CheckAlgorithm(config, &warnings, &ignored);
  const v1::RolloutSection& rollout = config.rollout();
  if (rollout.top_p() < 1 || rollout.top_k() > 0) {
    warnings.push_back(
        "rollout.top_p, rollout.top_k: log-probabilities are of the untruncated distribution, so "
        "training is biased (algorithms.md 2.1); top_p 1 and top_k 0 avoid it");
  }
  if (rollout.max_staleness() > 0 && config.algorithm().offpolicy().has_none()) {
    warnings.push_back(
        "algorithm.offpolicy: none leaves the staleness of rollout.max_staleness uncorrected; tis "
        "or bypass correct for it");
  }
  return warnings;
}

}  // namespace cohort
