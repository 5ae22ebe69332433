// The subcommands of `cohort`, one file each. main.cc parses the command line into these
// structures.
//
// Every function prints what it has to say and returns the exit status: 0 done, 1 failed (one line
// on standard error says why), 128 + n stopped by signal n. Those of `train` and `sft` are those of
// every program that trains (common/base/exit_code.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/rl/em_inf.h"
#include "common/rpc/security_flags.h"

namespace cohort {

struct TrainArgs {
  std::string config;                  // -c FILE, or a recipe's name
  std::vector<std::string> overrides;  // --set key=value
  std::optional<int> workers;          // --workers N: rollout.workers
  std::string out;                     // --out DIR: run.out; empty: as configured
  std::string resume;  // --resume[=auto], as common/run_folder/run_folder.h reads it
  std::string self;    // this program's path: the other programs lie beside it
};
int RunTrain(const TrainArgs& args);

struct ConfigCheckArgs {
  std::string config;
  std::vector<std::string> overrides;
};
int RunConfigCheck(const ConfigCheckArgs& args);

int RunMetrics();                             // prints docs/metrics.md
int RunRecipes();                             // lists them, one line each
int RunRecipesShow(const std::string& name);  // its fields and what differs from grpo

struct ExportArgs {
  std::string run;              // --run DIR, or COHORT_RUN
  std::string step = "newest";  // --step N|newest|best
  std::string out = "-";        // --out FILE; -: standard output
  bool all = false;             // --all: also what only a resumed run needs
};
int RunExport(const ExportArgs& args);

struct StatusArgs {
  std::string learner;  // HOST:PORT; empty: the newest runs/*/address
  bool json = false;
  SecurityFlags security;
};
int RunStatus(const StatusArgs& args);

// In a cluster: waits until the learner's Job has ended and scales the workers' Deployment to 0.
struct FinishWatchArgs {
  std::string job, deployment;
  std::string name_space;  // empty: this pod's
  // Empty: as a pod finds them.
  std::string api, token_file, ca_file;
};
int RunFinishWatch(const FinishWatchArgs& args);

struct TokenizeArgs {
  std::string model;  // Hugging Face folder
  std::string input;  // JSONL: {"text":...} or {"messages":[...]}; "-": standard input
};
int RunTokenize(const TokenizeArgs& args);

struct GenerateArgs {
  std::string model;
  std::optional<std::string> prompt;  // either this
  std::string input;                  // or a JSONL file ("prompt" or "messages")
  int n = 1;                          // completions per prompt
  double temperature = 1.0;           // 0: greedy
  int max_new_tokens = 256;
  uint64_t seed = 0;
  bool raw = false;                    // without the chat template
  std::optional<EmInfOptions> em_inf;  // sharpens the logits of every token; unset: no
  std::string dtype = "auto";
  std::string device = "auto";
  int threads = 0;  // 0: all cores
};
int RunGenerate(const GenerateArgs& args);

struct LogprobsArgs {
  std::string model;
  std::string input;  // JSONL {"tokens":[...]}
  std::string dtype = "fp32";
  std::string device = "auto";
  int threads = 0;
};
int RunLogprobs(const LogprobsArgs& args);

struct EvalArgs {
  std::string model;
  std::string task;  // either this
  std::string data;  // or a JSONL file
  std::string split = "heldout";
  int samples = 1;  // per prompt
  double temperature = 1.0;
  int max_new_tokens = 256;
  int prompts = 0;  // 0: all of the split, or 64 of an endless task
  uint64_t seed = 0;
  std::string out;  // JSON file; empty: none
  std::string dtype = "auto";
  std::string device = "auto";
  int threads = 0;
  double top_p = 1.0;
  std::vector<int64_t> ks;  // of pass@k, avg@k and maj@k; empty: 1, 2, 4, ... and `samples`
  std::string results;      // JSONL per problem; empty: `out` with .jsonl, or none
  bool resume = false;      // keep the problems that are in `results` already
  int workers = 1;          // rollout workers that share the problems; 1: this process samples
  int keep = 4;             // completions per problem kept with text and tokens
  std::string reward;       // a rule-based verifier; empty: the task's own, or the file format's
  std::optional<EmInfOptions> em_inf;  // sharpens the logits of every token; unset: no
  std::string self;                    // this program's path
};
int RunEval(const EvalArgs& args);

struct SftArgs {
  std::string config;
  std::vector<std::string> overrides;
  std::string out;
  std::string resume;  // --resume[=auto]
  int rank = 0;        // above 0: started by rank 0
  std::string store;   // HOST:PORT where ranks meet
  std::string self;
};
int RunSft(const SftArgs& args);

struct ReportArgs {
  std::vector<std::string> runs;            // NAME=PATH, a run's folder or an evaluation's results
  std::string out;                          // HTML file
  std::string json;                         // the same numbers; empty: not written
  std::string base;                         // name of the run to compare with; empty: the first
  std::string base_model;                   // folder; empty: the base run's evaluated model
  bool models = true;                       // analyses that need forward passes
  std::optional<std::string> early_answer;  // text that asks for an answer
  uint64_t seed = 0;                        // of the bootstrap
  std::string dtype = "auto";
  std::string device = "auto";
  int threads = 0;
};
int RunReport(const ReportArgs& args);

struct SelectArgs {
  std::string method;           // variance or lim
  std::string run;              // folder of a run that trained on `data`
  std::string data;             // JSONL file of prompts
  std::string out;              // JSONL file: the chosen lines of `data`, best first
  std::optional<int> k;         // at most so many; default 1 for variance, all for lim
  std::optional<double> theta;  // lim: the lowest score that is kept; default 0.6
};
int RunSelect(const SelectArgs& args);

struct LabelArgs {
  std::string eval;         // eval.jsonl of `cohort eval`
  std::string data;         // the file that was evaluated; empty: lines are made of the evaluation
  std::string out;          // JSONL file: majority_answer, majority_ratio, incorrect_answer
  bool only_wrong = false;  // only problems whose majority is wrong
  bool right = false;  // instead: prompt, answer and response of each right sample that was kept
};
int RunLabel(const LabelArgs& args);

// Verdicts on responses that somebody wrote: one of `input` (with `reward`, `config` or both) and
// `cases`.
struct ScoreArgs {
  std::string input;   // JSONL {"completion","answer", further columns, "options"}; "-": stdin
  std::string reward;  // a verifier; with `config`: what `task` stands for
  std::string config;  // a run's reward section; empty: `reward` alone
  std::vector<std::string> overrides;
  std::string out;  // JSONL of verdicts; empty: standard output
  std::string cases;
  std::string interpreter = "/usr/bin/python3 -I";  // of code_tests, without a configuration
  SecurityFlags security;                           // of reward services
};
int RunScore(const ScoreArgs& args);

struct StudyArgs {
  std::string name;  // of a study, or its file; empty: lists the studies
  std::string out = "runs/studies";
  int seeds = 0;                       // 1, 2, ...; 0: as many as the study says
  std::vector<int> only_seeds;         // just these
  std::vector<std::string> claims;     // only what these need
  std::vector<std::string> overrides;  // of every arm's training
  bool plan = false;                   // print the commands and run nothing
  std::string self;
};
int RunStudyCommand(const StudyArgs& args);

// One line on standard error, "cohort COMMAND: message"; returns 1.
int Fail(const char* command, const absl::Status& status);

}  // namespace cohort
