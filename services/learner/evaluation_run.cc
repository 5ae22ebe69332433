#include "services/learner/evaluation_run.h"

#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/supervise/stop_watcher.h"
#include "common/telemetry/metric_names.h"
#include "common/wire/group_file.h"
#include "services/learner/serving.h"
#include "services/learner/waiting.h"

namespace cohort {
namespace {

constexpr absl::Duration kDrain = absl::Seconds(15);

// Groups as they arrive, into a file.
class FileGroupLog final : public GroupLog {
 public:
  explicit FileGroupLog(GroupFileWriter file) : file_(std::move(file)) {}

  absl::Status Append(const Group& group) override {
    COHORT_RETURN_IF_ERROR(ids_.Append(group));
    absl::MutexLock lock(&mu_);
    return file_.Append(group);
  }
  bool Contains(GroupId id) const override { return ids_.Contains(id); }
  absl::Status AppendStep(const StepRecord&) override {
    return absl::FailedPreconditionError("an evaluation makes no steps");
  }

 private:
  MemoryGroupLog ids_;
  absl::Mutex mu_;
  GroupFileWriter file_ ABSL_GUARDED_BY(mu_);
};

absl::StatusOr<std::set<uint64_t>> ReadOrdinals(const std::string& path) {
  std::set<uint64_t> ordinals;
  if (path.empty()) return ordinals;
  COHORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
    uint64_t ordinal = 0;
    if (!absl::SimpleAtoi(line, &ordinal)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--evaluated ", path, ": expected an ordinal a line, found ", line));
    }
    ordinals.insert(ordinal);
  }
  return ordinals;
}

std::vector<PromptItem> Wanted(const PromptMaker& prompts, const std::set<uint64_t>& done) {
  std::vector<PromptItem> items;
  for (const PromptMaker::EvalSet& set : prompts.evaluation()) {
    for (const PromptItem& item : set.items) {
      if (done.count(item.ordinal) == 0) items.push_back(item);
    }
  }
  return items;
}

// What a signal closes, as soon as it is there.
class Closing {
 public:
  void Set(Dispatcher* dispatcher) {
    absl::MutexLock lock(&mu_);
    dispatcher_ = dispatcher;
    if (closed_ && dispatcher_ != nullptr) dispatcher_->Close();
  }
  void Close() {
    absl::MutexLock lock(&mu_);
    closed_ = true;
    if (dispatcher_ != nullptr) dispatcher_->Close();
  }

 private:
  absl::Mutex mu_;
  Dispatcher* dispatcher_ ABSL_GUARDED_BY(mu_) = nullptr;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace

absl::Status RunEvaluation(const LearnerArgs& args, StopSignal* stop) {
  Closing closing;
  StopWatcher watcher(stop, [&](int) { closing.Close(); });
  COHORT_ASSIGN_OR_RETURN(const auto parts, StartEvaluation(args));
  const auto prompts = PromptMaker::Create(parts->config, parts->tokenizer.get(),
                                           parts->model->config().max_position_embeddings);
  if (!prompts.ok()) return BadInput(prompts.status());
  const absl::StatusOr<std::set<uint64_t>> done = ReadOrdinals(args.evaluated);
  if (!done.ok()) return BadInput(done.status());
  std::vector<PromptItem> items = Wanted(**prompts, *done);
  COHORT_ASSIGN_OR_RETURN(GroupFileWriter file, GroupFileWriter::Open(args.evaluate));
  FileGroupLog log(std::move(file));
  COHORT_ASSIGN_OR_RETURN(
      const auto reporter,
      RunReporter::Open(parts->config, parts->out, parts->tokenizer.get(), /*resumed_step=*/-1));
  PhaseTimer timer(metric::kPhaseEval);
  LearnerServing serving(args, parts.get(), prompts->get(), reporter.get(), &timer, &log);
  COHORT_RETURN_IF_ERROR(serving.Publish(0));
  COHORT_LOG(INFO) << "evaluation: " << items.size() << " prompts to sample, " << done->size()
                   << " left out";
  if (items.empty()) return absl::OkStatus();
  serving.dispatcher().BeginEval(std::move(items));
  COHORT_RETURN_IF_ERROR(serving.Start());
  closing.Set(&serving.dispatcher());
  const auto groups = WaitWhileGroupsArrive(
      serving.dispatcher(), absl::Seconds(parts->config.learner().step_timeout_seconds()),
      [&](absl::Time deadline) { return serving.dispatcher().WaitEval(deadline); });
  closing.Set(nullptr);
  if (groups.ok()) {
    serving.Stop(LearnerEnd::kRunOver, "the evaluation is complete", kDrain);
  } else {
    serving.Stop(LearnerEnd::kMayReturn, "the learner stops", absl::ZeroDuration());
  }
  if (!watcher.stopping() || !absl::IsCancelled(groups.status())) return groups.status();
  return StoppedBySignal(watcher.signal(), "the evaluation was stopped");
}

}  // namespace cohort
