// A small study and a program in the place of `cohort`, for the tests of studies.
#pragma once

#include <sys/stat.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "services/cli/study.h"

namespace cohort {

inline constexpr char kSmallStudy[] = R"(
title: Does it help?
about: [One paragraph.]
seeds: 2
minutes_per_seed: 3
set: [run.steps=2]
bases:
  - {name: m1, tiny_model: [--hidden, "32"], sft: arithmetic}
files:
  - {name: labels, run: [label, --eval, "${eval:base/main}", --out, "${out}"]}
evals:
  - {name: main, task: column-addition-3, samples: 4, prompts: 2, compare: true,
     args: [--keep, "2"]}
arms:
  - {name: base}
  - {name: grpo, recipe: grpo, set: ["data.path=${file:labels}"]}
  - {name: more, from: grpo, sft: arithmetic}
claims:
  - name: training helps
    literature: everybody
    expected: grpo is above its base
    terms:
      - {arm: grpo, metric: "eval:main:pass@1"}
      - {arm: base, metric: "eval:main:pass@1", weight: -1}
    above: 0
  - {name: it is sure, terms: [{arm: grpo, metric: "logits:main:top_probability"}], above: 0.7}
  - {name: it learns, terms: [{arm: more, metric: "train:reward/mean:last"}], above: 0.5}
)";

inline NamedStudy SmallStudy() {
  absl::StatusOr<v1::Study> study = ParseStudy(kSmallStudy, "small.yaml");
  EXPECT_THAT(study, IsOk());
  EXPECT_THAT(CheckStudy(*study), IsOk());
  return {"small", *std::move(study)};
}

// A script that writes what `cohort` and make_tiny_model would, and a line into $CALLS for each
// call. The command that contains $BREAK fails; the one that contains $HANG waits for a signal
// after its first checkpoint.
inline constexpr char kFakeProgram[] = R"sh(#!/bin/sh
all="$0 $*"
echo "$*" >> "$CALLS"
out=""; model=""; previous=""
for word in "$@"; do
  [ "$previous" = --out ] && out="$word"
  [ "$previous" = --model ] && model="$word"
  previous="$word"
done
[ -n "$BREAK" ] && case "$all" in *"$BREAK"*) echo "broken on purpose"; exit 3;; esac
case "$1" in
  train|sft)
    mkdir -p "$out/checkpoints/step-00000002"
    touch "$out/checkpoints/step-00000002/config.json"
    {
      echo '{"step":1,"reward/mean":0.25,"groups/sampled_tokens":10,"eval/held/accuracy":0.875}'
      echo '{"step":2,"reward/mean":0.75,"groups/sampled_tokens":20,"eval/held/accuracy":0.375}'
    } > "$out/metrics.jsonl"
    case " $* " in *" --resume "*) exit 0;; esac
    [ -n "$HANG" ] && case "$all" in *"$HANG"*) kill -TERM $PPID; sleep 60;; esac
    ;;
  eval)
    right=1; case "$model" in *grpo*) right=3;; esac
    {
      echo '{"kind":"eval","reward":"rule_last_integer","source":"column-addition-3"}'
      for i in 0 1; do
        a=1; b=$([ $right -gt 1 ] && echo 1 || echo 0); c=$b
        echo "{\"index\":$i,\"prompt\":\"p\",\"answer\":\"1\",\"correct\":[$a,$b,$c,0],\"tokens\":[4,4,4,8],\"truncated\":[0,0,0,1],\"unscorable\":[0,0,0,0],\"entropy\":[0.5,0.5,0.5,0.5],\"logprob\":[-1,-1,-1,-1],\"answers\":[\"1\",\"1\",\"1\",\"2\"],\"texts\":[],\"ids\":[]}"
      done
    } > "${out%.json}.jsonl"
    echo '{}' > "$out"
    ;;
  label) echo '{}' > "$out";;
  report)
    touch "$out"
    echo '{"logits":[{"raw":{"skew":0.25},"margin":2,"top_probability":0.75}],
      "crossings":[{"a":"base","b":"grpo","k":2.5},{"a":"grpo","b":"more","k":null}],
      "paired":[{"a":"base","b":"grpo","solved":
        {"only_a":1,"only_b":0,"problems_a":[{"prompt":"7+5"}],"problems_b":[]}}],
      "only_solved":[{"run":"base","count":1,"problems":[{"prompt":"7+5"}]},
        {"run":"grpo","count":0,"problems":[]}]}' > "${out%.html}.json"
    ;;
  *) mkdir -p "$out"; touch "$out/config.json";;
esac
exit 0
)sh";

inline std::string WriteFakeProgram(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/fake");
  EXPECT_THAT(WriteFileAtomic(path, kFakeProgram), IsOk());
  EXPECT_EQ(chmod(path.c_str(), 0755), 0);
  return path;
}

}  // namespace cohort
