// The subcommands of `cohort`, one file each. main.cc parses the command line into these
// structures.
//
// Every function prints what it has to say and returns the exit status: 0 done, 1 failed (one line
// on standard error says why), 130 and 143 stopped by Ctrl-C and SIGTERM.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace cohort {

struct TrainArgs {
  std::string config;                  // -c FILE, or a recipe's name
  std::vector<std::string> overrides;  // --set key=value
  std::optional<int> workers;          // --workers N: rollout.workers
  std::string out;                     // --out DIR: run.out; empty: as configured
  bool resume = false;
  std::string self;  // this program's path: the other programs lie beside it
};
int RunTrain(const TrainArgs& args);

struct ConfigCheckArgs {
  std::string config;
  std::vector<std::string> overrides;
};
int RunConfigCheck(const ConfigCheckArgs& args);

int RunRecipes();                             // lists them, one line each
int RunRecipesShow(const std::string& name);  // its fields and what differs from grpo

struct StatusArgs {
  std::string learner;  // HOST:PORT; empty: the newest runs/*/address
  bool json = false;
};
int RunStatus(const StatusArgs& args);

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
  bool raw = false;  // without the chat template
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
};
int RunEval(const EvalArgs& args);

// One line on standard error, "cohort COMMAND: message"; returns 1.
int Fail(const char* command, const absl::Status& status);

}  // namespace cohort
