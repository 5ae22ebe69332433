// The `cohort` command. Parses the command line; the subcommands do the rest.
//
// Nothing here or before RunTrain touches gRPC or LibTorch: `train` forks its children first.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/exit_code.h"
#include "common/base/process.h"
#include "services/cli/commands.h"
#include "services/cli/vectors.h"

namespace cohort {
namespace {

// What the parsed subcommand will run.
using Action = std::function<int()>;

void AddConfigOptions(CLI::App* command, std::string* config, std::vector<std::string>* overrides) {
  command->add_option("-c,--config", *config, "Configuration file (YAML), or the name of a recipe")
      ->required()
      ->type_name("FILE");
  command->add_option("--set", *overrides, "Override one value, as in optimizer.lr=1e-6")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void AddResume(CLI::App* command, std::string* resume) {
  command->add_flag("--resume", *resume,
                    "Continue the run that is in the folder; --resume=auto: or start one there");
}

void AddCompute(CLI::App* command, std::string* dtype, std::string* device, int* threads) {
  command->add_option("--dtype", *dtype, "auto, fp32 or bf16")->capture_default_str();
  command->add_option("--device", *device, "auto, cpu or cuda")->capture_default_str();
  command->add_option("--threads", *threads, "Compute threads; 0: all cores")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
}

void AddTrain(CLI::App* app, const std::string& self, Action* action) {
  auto args = std::make_shared<TrainArgs>();
  args->self = self;
  CLI::App* command = app->add_subcommand(
      "train", "Start the learner and rollout workers on this machine and follow the run");
  AddConfigOptions(command, &args->config, &args->overrides);
  command->add_option("--workers", args->workers, "Rollout workers (rollout.workers)");
  command->add_option("--out", args->out, "The run's folder (run.out)")->type_name("DIR");
  AddResume(command, &args->resume);
  command->callback([=] { *action = [args] { return RunTrain(*args); }; });
}

void AddConfigCheck(CLI::App* app, Action* action) {
  auto args = std::make_shared<ConfigCheckArgs>();
  CLI::App* config = app->add_subcommand("config", "Look at configurations")->require_subcommand(1);
  CLI::App* check = config->add_subcommand(
      "check", "Resolve, validate and print every value and every batch size");
  AddConfigOptions(check, &args->config, &args->overrides);
  check->callback([=] { *action = [args] { return RunConfigCheck(*args); }; });
}

void AddRecipes(CLI::App* app, Action* action) {
  CLI::App* recipes = app->add_subcommand("recipes", "List the methods that come with Cohort");
  recipes->require_subcommand(0, 1);
  auto name = std::make_shared<std::string>();
  CLI::App* show =
      recipes->add_subcommand("show", "Every field of one, and what differs from grpo");
  show->add_option("name", *name, "Recipe")->required()->type_name("NAME");
  recipes->callback(
      [=] { *action = [=] { return show->parsed() ? RunRecipesShow(*name) : RunRecipes(); }; });
}

void AddMetrics(CLI::App* app, Action* action) {
  CLI::App* command = app->add_subcommand(
      "metrics", "List every metric and every key of metrics.jsonl, as Markdown");
  command->callback([=] { *action = RunMetrics; });
}

void AddStatus(CLI::App* app, Action* action) {
  auto args = std::make_shared<StatusArgs>();
  CLI::App* command = app->add_subcommand("status", "One screen from a running learner");
  command->add_option("--learner", args->learner, "Address; default: the newest runs/*/address")
      ->envname("COHORT_LEARNER")
      ->type_name("HOST:PORT");
  AddSecurityFlags(command, &args->security);
  command->add_flag("--json", args->json, "Print JSON");
  command->callback([=] { *action = [args] { return RunStatus(*args); }; });
}

void AddExport(CLI::App* app, Action* action) {
  auto args = std::make_shared<ExportArgs>();
  CLI::App* command = app->add_subcommand("export", "Write a checkpoint of a run as a tar");
  command->add_option("--run", args->run, "The run's folder")
      ->envname("COHORT_RUN")
      ->type_name("DIR");
  command->add_option("--step", args->step, "newest, best, or the step's number")
      ->capture_default_str();
  command->add_option("--out", args->out, "Output; -: standard output")
      ->capture_default_str()
      ->type_name("FILE");
  command->add_flag("--all", args->all, "Also what only a resumed run needs: optimizer and state");
  command->callback([=] { *action = [args] { return RunExport(*args); }; });
}

void AddFinishWatch(CLI::App* app, Action* action) {
  auto args = std::make_shared<FinishWatchArgs>();
  CLI::App* command = app->add_subcommand(
      "finish-watch", "In Kubernetes: scale the workers to 0 when the learner's Job has ended");
  command->add_option("--job", args->job, "The learner's Job")->required()->type_name("NAME");
  command->add_option("--deployment", args->deployment, "The workers' Deployment")
      ->required()
      ->type_name("NAME");
  command->add_option("--namespace", args->name_space, "Of both; default: this pod's")
      ->type_name("NAME");
  command->add_option("--api", args->api, "The API's address; default: as in a pod")
      ->type_name("https://HOST:PORT");
  command->add_option("--token-file", args->token_file, "Default: the pod's service account's")
      ->type_name("FILE");
  command->add_option("--ca-file", args->ca_file, "Default: the pod's service account's")
      ->type_name("FILE");
  command->callback([=] { *action = [args] { return RunFinishWatch(*args); }; });
}

void AddTokenize(CLI::App* app, Action* action) {
  auto args = std::make_shared<TokenizeArgs>();
  CLI::App* command =
      app->add_subcommand("tokenize", "JSONL {\"text\"} or {\"messages\"} in, {\"tokens\"} out");
  command->add_option("--model", args->model, "Model folder")->required()->type_name("DIR");
  command->add_option("--input", args->input, "Input; -: standard input")
      ->required()
      ->type_name("FILE.jsonl");
  command->callback([=] { *action = [args] { return RunTokenize(*args); }; });
}

void AddVectors(CLI::App* app, Action* action) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = app->add_subcommand("vectors", "Run numeric test vectors");
  command->add_option("file", *path, "Vectors")->required()->type_name("FILE.json");
  command->callback([=] { *action = [path] { return RunVectors(*path); }; });
}

// EM-INF (algorithms.md 7.7): the logits are optimised, not the weights.
void AddEmInf(CLI::App* command, std::optional<EmInfOptions>* out) {
  auto options = std::make_shared<EmInfOptions>();
  const std::vector<CLI::Option*> parts = {
      command->add_option("--em-inf-steps", options->steps, "Adam steps per token, at most")
          ->capture_default_str()
          ->check(CLI::NonNegativeNumber),
      command->add_option("--em-inf-threshold", options->threshold, "Stop below this entropy, nats")
          ->capture_default_str(),
      command->add_option("--em-inf-lr", options->lr, "Adam's learning rate")
          ->capture_default_str(),
      command->add_option("--em-inf-kl", options->kl_weight, "Weight of the distance to the model")
          ->capture_default_str()};
  // Last: options are taken in the order in which they are declared, wherever they stand.
  CLI::Option* flag = command->add_flag_callback(
      "--em-inf", [=] { *out = *options; }, "Sharpen every token's distribution before sampling");
  for (CLI::Option* part : parts) part->needs(flag);
}

void AddGenerate(CLI::App* app, Action* action) {
  auto args = std::make_shared<GenerateArgs>();
  CLI::App* command = app->add_subcommand("generate", "Sample completions, printed as JSONL");
  command->add_option("--model", args->model, "Model folder")->required()->type_name("DIR");
  CLI::Option* prompt = command->add_option("--prompt", args->prompt, "One prompt");
  CLI::Option* input = command->add_option("--input", args->input, "Prompts")
                           ->type_name("FILE.jsonl")
                           ->excludes(prompt);
  command->add_option("--n", args->n, "Completions per prompt")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--temperature", args->temperature, "0: greedy")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_option("--max-new-tokens", args->max_new_tokens, "Tokens per completion")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--seed", args->seed, "Seed")->capture_default_str();
  command->add_flag("--raw", args->raw, "Without the chat template");
  AddEmInf(command, &args->em_inf);
  AddCompute(command, &args->dtype, &args->device, &args->threads);
  command->callback([=] {
    if (prompt->empty() && input->empty()) {
      throw CLI::RequiredError("--prompt TEXT or --input FILE.jsonl");
    }
    *action = [args] { return RunGenerate(*args); };
  });
}

void AddLogprobs(CLI::App* app, Action* action) {
  auto args = std::make_shared<LogprobsArgs>();
  CLI::App* command = app->add_subcommand("logprobs", "JSONL {\"tokens\"} in, {\"logprobs\"} out");
  command->add_option("--model", args->model, "Model folder")->required()->type_name("DIR");
  command->add_option("--input", args->input, "Input")->required()->type_name("FILE.jsonl");
  AddCompute(command, &args->dtype, &args->device, &args->threads);
  command->callback([=] { *action = [args] { return RunLogprobs(*args); }; });
}

void AddSft(CLI::App* app, const std::string& self, Action* action) {
  auto args = std::make_shared<SftArgs>();
  args->self = self;
  CLI::App* command = app->add_subcommand("sft", "Supervised fine-tuning on written-out responses");
  AddConfigOptions(command, &args->config, &args->overrides);
  command->add_option("--out", args->out, "The run's folder (run.out)")->type_name("DIR");
  AddResume(command, &args->resume);
  command->add_option("--rank", args->rank, "Used by rank 0 to start the others")->group("");
  command->add_option("--store", args->store, "Where ranks meet")->group("");
  command->callback([=] { *action = [args] { return RunSft(*args); }; });
}

// What `cohort eval` has beyond one number.
void AddEvalDetails(CLI::App* command, EvalArgs* args) {
  command->add_option("--top-p", args->top_p, "Nucleus sampling; 1: off")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  command
      ->add_option("--k", args->ks, "k of pass@k, avg@k and maj@k; default 1,2,4,... and --samples")
      ->delimiter(',')
      ->check(CLI::PositiveNumber)
      ->type_name("K,K,...");
  command->add_option("--reward", args->reward,
                      "Who judges, such as rule_last_integer; default: the task's own, or by the "
                      "file's format");
  command
      ->add_option("--results", args->results, "Every problem's samples; default: --out as .jsonl")
      ->type_name("FILE.jsonl");
  command->add_flag("--resume", args->resume, "Keep the problems that --results holds");
  command->add_option("--workers", args->workers, "Rollout workers that share the problems")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  command->add_option("--keep", args->keep, "Completions per problem kept with their text")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  AddEmInf(command, &args->em_inf);
}

void AddEval(CLI::App* app, const std::string& self, Action* action) {
  auto args = std::make_shared<EvalArgs>();
  args->self = self;
  CLI::App* command =
      app->add_subcommand("eval", "Accuracy, pass@k, avg@k and maj@k with 95 % intervals");
  command->add_option("--model", args->model, "Model folder")->required()->type_name("DIR");
  CLI::Option* task = command->add_option("--task", args->task, "A procedural task");
  CLI::Option* data = command->add_option("--data", args->data, "Problems")
                          ->type_name("FILE.jsonl")
                          ->excludes(task);
  command->add_option("--split", args->split, "train or heldout")
      ->capture_default_str()
      ->check(CLI::IsMember({"train", "heldout"}));
  command->add_option("--samples", args->samples, "Completions per prompt")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--temperature", args->temperature, "0: greedy")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_option("--max-new-tokens", args->max_new_tokens, "Tokens per completion")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--prompts", args->prompts, "Prompts; 0: all, or 64 of an endless task")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_option("--seed", args->seed, "Seed")->capture_default_str();
  command->add_option("--out", args->out, "Result file")->type_name("FILE.json");
  AddCompute(command, &args->dtype, &args->device, &args->threads);
  AddEvalDetails(command, args.get());
  command->callback([=] {
    if (task->empty() && data->empty())
      throw CLI::RequiredError("--task NAME or --data FILE.jsonl");
    *action = [args] { return RunEval(*args); };
  });
}

void AddReport(CLI::App* app, Action* action) {
  auto args = std::make_shared<ReportArgs>();
  auto no_models = std::make_shared<bool>(false);
  CLI::App* command =
      app->add_subcommand("report", "Compare runs and evaluations on one self-contained page");
  command->add_option("--run", args->runs, "A run's folder, or the results of cohort eval")
      ->required()
      ->type_name("NAME=PATH")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--out", args->out, "The page")->required()->type_name("FILE.html");
  command->add_option("--json", args->json, "The same numbers")->type_name("FILE.json");
  command->add_option("--base", args->base, "The run to compare with; default: the first")
      ->type_name("NAME");
  command->add_option("--base-model", args->base_model, "Its model; default: the evaluated one")
      ->type_name("DIR");
  command->add_flag("--no-models", *no_models, "Leave out what needs forward passes");
  command->add_option("--early-answer", args->early_answer,
                      "Text that asks for an answer when thinking is cut short");
  command->add_option("--seed", args->seed, "Seed of the bootstrap")->capture_default_str();
  AddCompute(command, &args->dtype, &args->device, &args->threads);
  command->callback([=] {
    args->models = !*no_models;
    *action = [args] { return RunReport(*args); };
  });
}

void AddSelect(CLI::App* app, Action* action) {
  auto args = std::make_shared<SelectArgs>();
  CLI::App* command =
      app->add_subcommand("select", "Choose the prompts of a file that taught most in a run");
  command->add_option("method", args->method, "variance or lim")
      ->required()
      ->check(CLI::IsMember({"variance", "lim"}));
  command->add_option("--run", args->run, "Folder of a run that trained on the file")
      ->required()
      ->type_name("DIR");
  command->add_option("--data", args->data, "Prompts")->required()->type_name("FILE.jsonl");
  command->add_option("--out", args->out, "Chosen lines, best first")
      ->required()
      ->type_name("FILE.jsonl");
  command->add_option("-k", args->k, "How many at most; default 1 for variance, all for lim")
      ->check(CLI::PositiveNumber);
  command->add_option("--theta", args->theta, "lim: lowest score; default 0.6");
  command->callback([=] { *action = [args] { return RunSelect(*args); }; });
}

void AddLabel(CLI::App* app, Action* action) {
  auto args = std::make_shared<LabelArgs>();
  CLI::App* command = app->add_subcommand(
      "label", "Labels of a model's own: the majority of its samples, and a wrong answer");
  command->add_option("--eval", args->eval, "Results of cohort eval")
      ->required()
      ->type_name("FILE.jsonl");
  command->add_option("--data", args->data, "The file that was evaluated; its columns are kept")
      ->type_name("FILE.jsonl");
  command->add_option("--out", args->out, "Prompts with majority_answer and incorrect_answer")
      ->required()
      ->type_name("FILE.jsonl");
  CLI::Option* only_wrong =
      command->add_flag("--only-wrong", args->only_wrong, "Only problems whose majority is wrong");
  command
      ->add_flag("--right", args->right,
                 "Instead: a line with `response` for each right sample that was kept")
      ->excludes(only_wrong);
  command->callback([=] { *action = [args] { return RunLabel(*args); }; });
}

void AddScore(CLI::App* app, Action* action) {
  auto args = std::make_shared<ScoreArgs>();
  CLI::App* command = app->add_subcommand(
      "score", "Try a reward: verdicts on responses in a file, without a model");
  CLI::Option* input = command
                           ->add_option("--input", args->input,
                                        "Lines {\"completion\", \"answer\", further columns, "
                                        "\"options\"}; -: standard input")
                           ->type_name("FILE.jsonl");
  CLI::Option* reward = command->add_option(
      "--reward", args->reward, "A verifier, such as rule_math; with -c: what `task` stands for");
  CLI::Option* config =
      command->add_option("-c,--config", args->config, "A configuration's reward, or a recipe's")
          ->type_name("FILE");
  command->add_option("--set", args->overrides, "Override one value of the configuration")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->needs(config);
  command->add_option("--out", args->out, "Verdicts; default: standard output")
      ->type_name("FILE.jsonl")
      ->needs(input);
  CLI::Option* cases =
      command
          ->add_option("--cases", args->cases,
                       "Instead: lines with `id`, `verifier`, `expected`; prints what differs")
          ->type_name("FILE.jsonl")
          ->excludes(input)
          ->excludes(reward)
          ->excludes(config);
  command->add_option("--interpreter", args->interpreter, "Of code_tests, without -c")
      ->capture_default_str()
      ->excludes(config);
  AddSecurityFlags(command, &args->security);
  command->callback([=] {
    if (input->empty() && cases->empty()) throw CLI::RequiredError("--input or --cases");
    if (!input->empty() && reward->empty() && config->empty()) {
      throw CLI::RequiredError("--reward NAME or -c FILE");
    }
    *action = [args] { return RunScore(*args); };
  });
}

void AddStudy(CLI::App* app, const std::string& self, Action* action) {
  auto args = std::make_shared<StudyArgs>();
  args->self = self;
  CLI::App* command =
      app->add_subcommand("study", "Trainings and evaluations over several seeds, and verdicts");
  command->add_option("name", args->name, "A study or its file; none: list them")
      ->type_name("NAME");
  command->add_option("--out", args->out, "Folder of all studies")
      ->capture_default_str()
      ->type_name("DIR");
  CLI::Option* seeds =
      command->add_option("--seeds", args->seeds, "How many seeds; default: the study's own")
          ->check(CLI::PositiveNumber);
  command->add_option("--seed", args->only_seeds, "Just these seeds")
      ->delimiter(',')
      ->check(CLI::PositiveNumber)
      ->excludes(seeds);
  command->add_option("--claim", args->claims, "Only what this claim needs")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--set", args->overrides, "Override one value of every arm's training")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_flag("--plan", args->plan, "Print the commands and run nothing");
  command->callback([=] { *action = [args] { return RunStudyCommand(*args); }; });
}

int Main(int argc, char** argv) {
  CLI::App app("Cohort: reinforcement learning of language models from groups of samples",
               "cohort");
  app.require_subcommand(1);
  app.set_version_flag("--version", COHORT_VERSION);
  Action action;
  std::error_code ignored;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const std::string program = self.empty() ? argv[0] : self.string();
  AddTrain(&app, program, &action);
  AddSft(&app, program, &action);
  AddGenerate(&app, &action);
  AddEval(&app, program, &action);
  AddReport(&app, &action);
  AddSelect(&app, &action);
  AddLabel(&app, &action);
  AddScore(&app, &action);
  AddStudy(&app, program, &action);
  AddLogprobs(&app, &action);
  AddFinishWatch(&app, &action);
  AddTokenize(&app, &action);
  AddConfigCheck(&app, &action);
  AddRecipes(&app, &action);
  AddMetrics(&app, &action);
  AddStatus(&app, &action);
  AddExport(&app, &action);
  AddVectors(&app, &action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (app.exit(error) == 0) return 0;  // --help, --version
    WriteTerminationReason(absl::StrCat("cohort: ", error.what()));
    return 2;
  }
  return action ? action() : 1;
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  cohort::EnsurePassiveOpenMp(argv);
  return cohort::Main(argc, argv);
}
