// The commands of `cohort` that others call by their exit codes and their JSON, as real processes
// on a tiny model: generate, logprobs, tokenize, config check, status and the errors of train.
#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "tests/integration/learner_process.h"

namespace cohort {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

using Arguments = std::vector<std::string>;

constexpr double kTolerance = 1e-4;  // nats, fp32

struct Outcome {
  int exit = -1;
  std::string out, err;
};

std::vector<std::string> Lines(const std::string& text) {
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

class CliProcess : public LearnerProcess {
 protected:
  Outcome Cohort(const Arguments& arguments) const {
    std::string command = absl::StrCat("timeout 120 ", bin_, "/cohort");
    // No argument of these tests holds a quote.
    for (const std::string& argument : arguments) absl::StrAppend(&command, " '", argument, "'");
    absl::StrAppend(&command, " < /dev/null > ", Path("stdout"), " 2> ", Path("stderr"));
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadFile(Path("stdout")).value_or(""),
            ReadFile(Path("stderr")).value_or("")};
  }

  // The lines that a command prints, which must succeed.
  std::vector<json> Json(const Arguments& arguments) const {
    const Outcome outcome = Cohort(arguments);
    EXPECT_EQ(outcome.exit, 0) << absl::StrJoin(arguments, " ") << ": " << outcome.err;
    std::vector<json> lines;
    for (const std::string& line : Lines(outcome.out)) {
      lines.push_back(json::parse(line, nullptr, false));
      EXPECT_FALSE(lines.back().is_discarded()) << line;
    }
    return lines;
  }

  std::vector<json> Generate(const Arguments& more) const {
    Arguments arguments = {"generate", "--model",          Path("model"), "--dtype",
                           "fp32",     "--device",         "cpu",         "--threads",
                           "1",        "--max-new-tokens", "12"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Json(arguments);
  }

  // What `logprobs` says of each sequence of tokens.
  std::vector<json> Logprobs(const std::vector<json>& sequences,
                             const std::string& model = "model") const {
    std::vector<json> input;
    for (const json& tokens : sequences) input.push_back({{"tokens", tokens}});
    Write("sequences.jsonl", input);
    std::vector<json> scores;
    for (const json& line : Json({"logprobs", "--model", Path(model), "--input",
                                  Path("sequences.jsonl"), "--dtype", "fp32", "--device", "cpu"})) {
      EXPECT_EQ(line.size(), 1U) << line;
      scores.push_back(line["logprobs"]);
    }
    return scores;
  }

  std::vector<json> Tokenize(const std::vector<json>& input) const {
    Write("texts.jsonl", input);
    std::vector<json> tokens;
    for (const json& line :
         Json({"tokenize", "--model", Path("model"), "--input", Path("texts.jsonl")})) {
      EXPECT_EQ(line.size(), 1U) << line;
      tokens.push_back(line["tokens"]);
    }
    return tokens;
  }

  void Write(const std::string& name, const std::vector<json>& lines) const {
    std::string text;
    for (const json& line : lines) absl::StrAppend(&text, line.dump(), "\n");
    COHORT_EXPECT_OK(WriteFileAtomic(Path(name), text));
  }
  json Golden(const std::string& name) const {
    const auto text = ReadFile(absl::StrCat(source_, "/tests/golden/data/", name, ".json"));
    EXPECT_THAT(text, IsOk());
    return json::parse(text.value_or(""), nullptr, false);
  }

  // What fails, fails with this exit code, prints no result and says one line.
  void ExpectOneErrorLine(const Arguments& arguments, const std::string& expected,
                          int exit = kExitFailed) const {
    const Outcome outcome = Cohort(arguments);
    EXPECT_EQ(outcome.exit, exit) << absl::StrJoin(arguments, " ");
    EXPECT_EQ(outcome.out, "") << absl::StrJoin(arguments, " ");
    EXPECT_THAT(Lines(outcome.err), ElementsAre(AllOf(StartsWith("cohort "), HasSubstr(expected))));
  }
};

// The first is null; every other one lies within the tolerance.
void ExpectClose(const json& found, const json& expected) {
  ASSERT_EQ(found.size(), expected.size());
  EXPECT_TRUE(found[0].is_null());
  for (size_t i = 1; i < found.size(); ++i) {
    EXPECT_NEAR(found[i].get<double>(), expected[i].get<double>(), kTolerance) << i;
  }
}

// ---- generate ----

TEST_F(CliProcess, GenerateGivesTheSameForASeedAndAnotherForAnother) {
  const Arguments sampled = {"--prompt", "What is 3 + 4?", "--n", "3", "--seed"};
  const auto with_seed = [&](const std::string& seed) {
    Arguments arguments = sampled;
    arguments.push_back(seed);
    return Generate(arguments);
  };
  const std::vector<json> lines = with_seed("5");
  ASSERT_EQ(lines.size(), 3U);
  for (const json& line : lines) {
    std::set<std::string> keys;
    for (const auto& [key, value] : line.items()) keys.insert(key);
    EXPECT_THAT(keys, ElementsAre("completion", "finish_reason", "logprobs", "prompt", "tokens"));
    EXPECT_EQ(line["prompt"], "What is 3 + 4?");
    EXPECT_TRUE(line["completion"].is_string());
    ASSERT_EQ(line["tokens"].size(), line["logprobs"].size());
    EXPECT_LE(line["tokens"].size(), 12U);
    for (const json& logprob : line["logprobs"]) EXPECT_LE(logprob.get<double>(), 0);
    const bool full = line["tokens"].size() == 12U;
    EXPECT_TRUE(line["finish_reason"] == "stop" || (full && line["finish_reason"] == "length"));
  }
  EXPECT_NE(lines[0]["tokens"], lines[1]["tokens"]) << "completions of one prompt differ";
  EXPECT_EQ(with_seed("5"), lines);
  EXPECT_NE(with_seed("6"), lines);
}

TEST_F(CliProcess, GreedyCompletionsAreTheSameWhateverTheSeed) {
  std::vector<json> tokens;
  for (const std::string seed : {"1", "2"}) {
    for (const json& line : Generate(
             {"--prompt", "What is 3 + 4?", "--temperature", "0", "--n", "2", "--seed", seed})) {
      tokens.push_back(line["tokens"]);
    }
  }
  ASSERT_EQ(tokens.size(), 4U);
  EXPECT_THAT(tokens, Each(tokens[0]));
}

TEST_F(CliProcess, LogprobsOfWhatWasGeneratedAreThoseThatGenerateGave) {
  const std::string question = "What is 3 + 4?";
  const std::vector<json> prompts =
      Tokenize({{{"text", question}}, {{"messages", {{{"role", "user"}, {"content", question}}}}}});
  ASSERT_EQ(prompts.size(), 2U);
  ASSERT_NE(prompts[0], prompts[1]);
  for (const bool raw : {true, false}) {  // without and with the chat template
    Arguments arguments = {"--prompt", question, "--n", "2", "--seed", "9"};
    if (raw) arguments.push_back("--raw");
    const std::vector<json> lines = Generate(arguments);
    ASSERT_EQ(lines.size(), 2U);
    const json& prompt = prompts[raw ? 0 : 1];
    std::vector<json> sequences, expected;
    for (const json& line : lines) {
      json sequence = prompt;
      sequence.insert(sequence.end(), line["tokens"].begin(), line["tokens"].end());
      sequences.push_back(std::move(sequence));
      expected.push_back(line["logprobs"]);
    }
    const std::vector<json> scores = Logprobs(sequences);
    ASSERT_EQ(scores.size(), 2U);
    for (size_t row = 0; row < scores.size(); ++row) {
      ASSERT_EQ(scores[row].size(), prompt.size() + expected[row].size());
      for (size_t i = 0; i < expected[row].size(); ++i) {
        EXPECT_NEAR(scores[row][prompt.size() + i].get<double>(), expected[row][i].get<double>(),
                    kTolerance)
            << (raw ? "raw" : "chat") << " row " << row << " token " << i;
      }
    }
  }
}

TEST_F(CliProcess, GenerateAnswersTheLinesOfAFileInTheirOrder) {
  const json messages = {{{"role", "system"}, {"content", "You are terse."}},
                         {{"role", "user"}, {"content", "What is 1 + 1?"}}};
  Write("prompts.jsonl", {{{"prompt", "What is 3 + 4?"}},
                          {{"messages", messages}},
                          {{"prompt", "And 5 + 6?"}, {"answer", "11"}}});
  const std::vector<json> lines = Generate({"--input", Path("prompts.jsonl"), "--n", "2"});
  std::vector<json> prompts;
  for (const json& line : lines) prompts.push_back(line["prompt"]);
  EXPECT_THAT(prompts, ElementsAre("What is 3 + 4?", "What is 3 + 4?", messages, messages,
                                   "And 5 + 6?", "And 5 + 6?"));
}

// ---- logprobs and tokenize ----

TEST_F(CliProcess, LogprobsAreThoseOfTransformersAndNullWhereNothingPrecedes) {
  const json golden = Golden("tiny_qwen3");
  std::vector<std::string> arguments = golden["make_tiny_model"];
  const std::string make = MakeModelCommand("golden", absl::StrJoin(arguments, " "));
  ASSERT_EQ(std::system(make.c_str()), 0) << make;
  std::vector<json> sequences = {{7}};
  for (const json& sample : golden["cases"]) sequences.push_back(sample["tokens"]);
  const std::vector<json> scores = Logprobs(sequences, "golden");
  ASSERT_EQ(scores.size(), sequences.size());
  EXPECT_EQ(scores[0], json::array({nullptr}));
  for (size_t i = 1; i < scores.size(); ++i) {
    ExpectClose(scores[i], golden["cases"][i - 1]["logprobs"]);
  }
}

TEST_F(CliProcess, TokenizeGivesTheTokensOfTransformersForTextsAndMessages) {
  const json golden = Golden("tiny_tokens");
  std::vector<json> input, expected;
  for (const json& sample : golden["texts"]) {
    input.push_back({{"text", sample["text"]}});
    expected.push_back(sample["tokens"]);
  }
  for (const json& sample : golden["chat"]) {
    if (!sample["add_generation_prompt"]) continue;  // `tokenize` asks for the next turn
    input.push_back({{"messages", sample["messages"]}});
    expected.push_back(sample["tokens"]);
  }
  ASSERT_GT(expected.size(), 20U);
  EXPECT_EQ(Tokenize(input), expected);
}

// ---- config check ----

TEST_F(CliProcess, ConfigCheckPrintsEveryBatchSizeAndAConfigurationThatSaysTheSame) {
  WriteConfig(5);
  const Outcome outcome = Cohort({"config", "check", "-c", Path("run.yaml")});
  ASSERT_EQ(outcome.exit, 0) << outcome.err;
  // 5 steps of 4 prompts with 4 rows of at most 8 tokens.
  const std::vector<std::string> lines = Lines(outcome.out);
  const auto term = [&](const std::string& name) {
    const auto found = std::find_if(lines.begin(), lines.end(), [&](const std::string& line) {
      return absl::StartsWith(line, "# " + name + " ");
    });
    if (found == lines.end()) return std::vector<std::string>();
    const std::string numbers = found->substr(name.size() + 2);
    std::vector<std::string> words = absl::StrSplit(numbers, ' ', absl::SkipEmpty());
    words.resize(3);  // prompts, rows, tokens; then where they come from
    return words;
  };
  EXPECT_THAT(term("one group"), ElementsAre("1", "4", "32"));
  EXPECT_THAT(term("step (batch), all ranks"), ElementsAre("4", "16", "128"));
  EXPECT_THAT(term("step, per rank"), ElementsAre("4", "16", "128"));
  EXPECT_THAT(term("mini-batch (one update), all ranks"), ElementsAre("4", "16", "128"));
  EXPECT_THAT(term("mini-batch, per rank"), ElementsAre("4", "16", "128"));
  EXPECT_THAT(term("whole run"), ElementsAre("20", "80", "640"));

  COHORT_ASSERT_OK(WriteFileAtomic(Path("run.yaml"), outcome.out));
  EXPECT_EQ(Cohort({"config", "check", "-c", Path("run.yaml")}).out, outcome.out);
}

TEST_F(CliProcess, AMistypedKeyIsSaidInOneLineWithItsPlaceAndTheNearestKey) {
  WriteConfig(5, "optimizer: {lr: 1e-4,\n  weight_decai: 0}\n");
  const std::string config = ReadFile(Path("run.yaml")).value_or("");
  const auto line = std::count(config.begin(), config.end(), '\n');
  ExpectOneErrorLine({"config", "check", "-c", Path("run.yaml")},
                     absl::StrCat(Path("run.yaml"), ":", line, ": unknown key ",
                                  "'optimizer.weight_decai'; did you mean "
                                  "'optimizer.weight_decay'?"));
  ExpectOneErrorLine({"train", "-c", Path("run.yaml"), "--out", Path("out")},
                     "did you mean 'optimizer.weight_decay'?", kExitBadSetup);
  EXPECT_FALSE(std::filesystem::exists(Path("out")));
}

// ---- status ----

TEST_F(CliProcess, StatusShowsARunningLearnerAndItsWorkers) {
  WriteConfig(100000);
  const auto learner = Learner();
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << learner->Log();
  const std::vector<json> replies =
      Json({"status", "--learner", Address(), "--json", "--secret-file", Path("out/secret")});
  ASSERT_EQ(replies.size(), 1U);
  const json& status = replies[0];
  EXPECT_EQ(status["run"], "test");
  EXPECT_EQ(status["steps"], "100000");  // 64-bit numbers are strings in the JSON of Protobuf
  EXPECT_TRUE(status["metrics"].contains("loss")) << status;
  ASSERT_EQ(status["workers"].size(), 1U) << status;
  EXPECT_EQ(status["workers"][0]["connected"], true);

  const Outcome screen =
      Cohort({"status", "--learner", Address(), "--secret-file", Path("out/secret")});
  EXPECT_EQ(screen.exit, 0) << screen.err;
  EXPECT_THAT(screen.out, HasSubstr(status["workers"][0]["worker_id"].get<std::string>()));
  learner->Signal(SIGTERM);
  EXPECT_EQ(learner->Wait(absl::Seconds(30)), ExitOfSignal(SIGTERM)) << learner->Log();
  ExpectOneErrorLine({"status", "--learner", Address()},
                     absl::StrCat("no learner answers at ", Address()));
}

// ---- what is wrong ----

TEST_F(CliProcess, WhatIsWrongWithTheInputIsSaidInOneLine) {
  const auto generate = [&](const std::string& name) {
    return Arguments{"generate", "--model", Path("model"), "--input", Path(name)};
  };
  ExpectOneErrorLine({"generate", "--model", Path("none"), "--prompt", "x"}, Path("none"));
  ExpectOneErrorLine(generate("none.jsonl"), "cannot read " + Path("none.jsonl"));
  COHORT_ASSERT_OK(WriteFileAtomic(Path("half.jsonl"), "\n{\"prompt\": "));
  ExpectOneErrorLine(generate("half.jsonl"),
                     Path("half.jsonl") + " line 2: not valid JSON at byte ");
  Write("other.jsonl", {{{"question", "x"}}});
  ExpectOneErrorLine(
      generate("other.jsonl"),
      Path("other.jsonl") + " line 1: expected {\"prompt\": \"...\"} or {\"messages\": [...]}");
  ExpectOneErrorLine(
      {"tokenize", "--model", Path("model"), "--input", Path("other.jsonl")},
      Path("other.jsonl") + " line 1: expected {\"text\": \"...\"} or {\"messages\": [...]}");
  ExpectOneErrorLine({"tokenize", "--model", Path("model"), "--input", Path("none.jsonl")},
                     "cannot read " + Path("none.jsonl"));
  Write("ids.jsonl", {{{"tokens", {1, 99999}}}});
  ExpectOneErrorLine({"logprobs", "--model", Path("model"), "--input", Path("ids.jsonl")},
                     Path("ids.jsonl") + " line 1: token 1 is 99999; the model has ids 0 to ");
  ExpectOneErrorLine(
      {"logprobs", "--model", Path("model"), "--input", Path("ids.jsonl"), "--dtype", "fp8"},
      "fp8");
  ExpectOneErrorLine({"config", "check", "-c", Path("none.yaml")}, Path("none.yaml"));
}

TEST_F(CliProcess, ACommandLineThatMeansNothingEndsWithCodeTwo) {
  for (const Arguments& wrong : std::vector<Arguments>{
           {},
           {"trian"},
           {"generate", "--model", Path("model")},
           {"generate", "--model", Path("model"), "--prompt", "x", "--n", "0"},
           {"generate", "--model", Path("model"), "--prompt", "x", "--temperature", "-1"},
           {"logprobs", "--model", Path("model")},
           {"config", "check"},
           {"status", "--jsno"}}) {
    const Outcome outcome = Cohort(wrong);
    EXPECT_EQ(outcome.exit, 2) << absl::StrJoin(wrong, " ");
    EXPECT_NE(outcome.err, "") << absl::StrJoin(wrong, " ");
  }
  EXPECT_EQ(Cohort({"--version"}).exit, 0);
  EXPECT_THAT(Cohort({"generate", "--help"}).out, HasSubstr("--max-new-tokens"));
}

// ---- export ----

TEST_F(CliProcess, AnExportedCheckpointIsAModelThatGeneratesTheSame) {
  const std::string step = Path("out/checkpoints/step-00000003");
  COHORT_ASSERT_OK(MakeFolders(Path("out/checkpoints")));
  std::filesystem::copy(Path("model"), step, std::filesystem::copy_options::recursive);
  COHORT_ASSERT_OK(WriteFileAtomic(step + "/optimizer.safetensors", "moments"));
  COHORT_ASSERT_OK(WriteFileAtomic(step + "/state.json", "{}"));
  const std::string command =
      absl::StrCat("cd ", folder_.path(), " && COHORT_RUN=", Path("out"), " ", bin_,
                   "/cohort export 2> ", Path("said"), " | tar -x");
  ASSERT_EQ(std::system(command.c_str()), 0) << ReadFile(Path("said")).value_or("");
  EXPECT_THAT(ReadFile(Path("said")).value_or(""),
              AllOf(HasSubstr("step 3 of " + Path("out")), HasSubstr("step-00000003")));
  EXPECT_FALSE(std::filesystem::exists(Path("step-00000003/optimizer.safetensors")));
  const auto sample = [&](const std::string& model) {
    return Json({"generate", "--model", Path(model), "--prompt", "1+1=", "--dtype", "fp32",
                 "--device", "cpu", "--threads", "1", "--max-new-tokens", "8"});
  };
  EXPECT_EQ(sample("step-00000003"), sample("model"));
  ExpectOneErrorLine({"export", "--run", Path("none")}, Path("none/checkpoints"));
  ExpectOneErrorLine({"export", "--run", Path("out"), "--step", "4"}, "there are those of 3");
  ExpectOneErrorLine({"export"}, "COHORT_RUN");
}

// ---- train ----

TEST_F(CliProcess, TrainShowsWhatItsLearnerSaysIsWrongInOneLine) {
  WriteConfig(3);
  std::filesystem::resize_file(Path("model/model.safetensors"), 1000);
  const Outcome outcome = Cohort({"train", "-c", Path("run.yaml"), "--out", Path("out")});
  EXPECT_EQ(outcome.exit, kExitBadSetup);
  EXPECT_THAT(
      Lines(outcome.err),
      ElementsAre(AllOf(StartsWith("cohort train: "), HasSubstr("cohort-learner: "),
                        HasSubstr(Path("model/model.safetensors")), HasSubstr("the file has 1000;"),
                        HasSubstr(Path("out/logs/learner-0.log")))));
}

TEST_F(CliProcess, TrainStartsContinuesAndEndsAtOnceWhereTheRunIsComplete) {
  WriteConfig(2);
  const Arguments train = {"train",         "-c",    Path("run.yaml"), "--workers", "1",
                           "--resume=auto", "--out", Path("out")};
  const Outcome first = Cohort(train);
  EXPECT_EQ(first.exit, kExitDone) << first.err;
  EXPECT_THAT(first.out, Not(HasSubstr("complete already")));
  const std::string metrics = ReadFile(Path("out/metrics.jsonl")).value_or("");
  EXPECT_EQ(Metrics().size(), 3U);

  const Outcome again = Cohort(train);
  EXPECT_EQ(again.exit, kExitDone) << again.err;
  EXPECT_THAT(again.out, HasSubstr("the run was complete already"));
  EXPECT_EQ(ReadFile(Path("out/metrics.jsonl")).value_or(""), metrics);

  WriteConfig(3);
  EXPECT_EQ(Cohort(train).exit, kExitDone);
  EXPECT_EQ(Metrics().size(), 4U);
  ExpectOneErrorLine({"train", "-c", Path("run.yaml"), "--out", Path("out"), "--resume=yes"},
                     "found --resume=yes", kExitBadSetup);
}

TEST_F(CliProcess, AReaderThatGoesAwayEndsNoRun) {
  WriteConfig(3);
  const std::string command = absl::StrCat(
      "bash -c 'timeout 120 ", bin_, "/cohort train -c ", Path("run.yaml"), " --workers 1 --out ",
      Path("out"), " 2>&1 | head -n 1; exit ${PIPESTATUS[0]}' > ", Path("stdout"));
  const int status = std::system(command.c_str());
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == kExitDone) << status;
  EXPECT_EQ(Metrics().size(), 4U);
  EXPECT_EQ(Checkpoints().size(), 1U);
}

TEST_F(CliProcess, TrainLeavesAFolderAloneInWhichALearnerRuns) {
  WriteConfig(100000);
  const auto learner = Learner();
  const std::string address = Address();
  const std::string config = ReadFile(Path("out/config.yaml")).value_or("");
  WriteConfig(7);
  for (const std::string resume : {"--resume=auto", "--resume"}) {
    ExpectOneErrorLine({"train", "-c", Path("run.yaml"), "--out", Path("out"), resume},
                       absl::StrCat(", process ", learner->pid(), ", since "));
  }
  EXPECT_EQ(ReadFile(Path("out/config.yaml")).value_or(""), config);
  EXPECT_EQ(Address(), address);
  learner->Signal(SIGKILL);
  EXPECT_EQ(learner->Wait(absl::Seconds(10)), ExitOfSignal(SIGKILL));
  EXPECT_EQ(Cohort({"train", "-c", Path("run.yaml"), "--workers", "1", "--out", Path("out"),
                    "--set", "run.steps=1", "--resume"})
                .exit,
            kExitDone);
}

}  // namespace
}  // namespace cohort
