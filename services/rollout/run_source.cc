#include "services/rollout/run_source.h"

#include <unistd.h>

#include <map>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/config/config.h"
#include "common/model/model_hash.h"
#include "common/run_files/listing.h"
#include "common/run_files/run_files_client.h"

namespace cohort {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(100);
constexpr int kMaxDescriptions = 5;  // of learners that were replaced while files were fetched

absl::StatusOr<RunSource> LocalRun(const RunSourceOptions& options) {
  RunSource run;
  COHORT_ASSIGN_OR_RETURN(run.config, LoadResolvedConfig(options.config_path, options.overrides));
  run.model_name = run.config.model().path();
  COHORT_ASSIGN_OR_RETURN(run.model_sha256, ModelContentHash(run.config.model().path()));
  return run;
}

// The paths that name models: by RunFile.folder.
std::map<std::string, std::string*> ModelPaths(v1::RunConfig* config) {
  std::map<std::string, std::string*> paths;
  paths[kPolicyFolder] = config->mutable_model()->mutable_path();
  auto& sources = *config->mutable_algorithm()->mutable_reward()->mutable_sources();
  for (int i = 0; i < sources.size(); ++i) {
    if (sources[i].name() == "reward_model") {
      paths[RewardModelFolder(i)] = sources[i].mutable_path();
    }
  }
  return paths;
}

// Brings what the learner describes; an override that names a model of this host keeps it.
class LearnersRun {
 public:
  LearnersRun(const RunSourceOptions& options, RunFilesClient* client)
      : options_(options), client_(client) {}

  absl::StatusOr<RunSource> Get() {
    const auto cache =
        std::make_shared<FileCache>(options_.cache.empty() ? DefaultCacheFolder() : options_.cache);
    for (int attempt = 1;; ++attempt) {
      COHORT_ASSIGN_OR_RETURN(FetchPlan plan, client_->Describe());
      absl::StatusOr<RunSource> run = Take(std::move(plan), cache);
      // Another learner has taken its place, with other files.
      if (!absl::IsAborted(run.status()) || attempt == kMaxDescriptions) return run;
    }
  }

 private:
  absl::StatusOr<std::unique_ptr<ModelFolders>> Bring(const std::vector<v1::RunFile>& files,
                                                      FileCache* cache) {
    while (true) {
      COHORT_RETURN_IF_ERROR(client_->Fetch(files, cache));
      absl::StatusOr<std::unique_ptr<ModelFolders>> folders = ModelFolders::Make(*cache, files);
      if (folders.ok()) return folders;
      COHORT_RETURN_IF_ERROR(cache->FallBack(folders.status()));
    }
  }

  absl::StatusOr<RunSource> Take(FetchPlan plan, std::shared_ptr<FileCache> cache) {
    RunSource run;
    run.cache = cache;
    COHORT_ASSIGN_OR_RETURN(run.config, OverrideLearnersConfig(plan.config, options_.overrides));
    const auto theirs = ModelPaths(&plan.config), ours = ModelPaths(&run.config);
    std::erase_if(plan.files, [&](const v1::RunFile& file) {
      return *ours.at(file.folder()) != *theirs.at(file.folder());
    });
    COHORT_ASSIGN_OR_RETURN(run.folders, Bring(plan.files, cache.get()));
    run.has_weights = *ours.at(kPolicyFolder) != *theirs.at(kPolicyFolder);
    run.model_name = *ours.at(kPolicyFolder);
    run.model_sha256 = plan.model_sha256;
    if (run.has_weights) {
      COHORT_ASSIGN_OR_RETURN(run.model_sha256, ModelContentHash(run.config.model().path()));
    } else {
      absl::StrAppend(&run.model_name, " of the learner");
    }
    for (const auto& [folder, path] : ours) {
      if (*path == *theirs.at(folder)) *path = run.folders->PathOf(folder);
    }
    return run;
  }

  const RunSourceOptions& options_;
  RunFilesClient* const client_;
};

// How long to look for a learner whose configuration is not known yet.
absl::StatusOr<absl::Duration> ConnectLimit(const std::vector<std::string>& overrides) {
  v1::RunConfig config;
  COHORT_RETURN_IF_ERROR(OverrideConfig(overrides, &config));
  return absl::Seconds(config.rollout().connect_seconds());
}

}  // namespace

absl::StatusOr<v1::RunConfig> OverrideLearnersConfig(const v1::RunConfig& learners,
                                                     const std::vector<std::string>& overrides) {
  v1::RunConfig config = learners;
  COHORT_RETURN_IF_ERROR(OverrideConfig(overrides, &config));
  ResolveConfig(config.run().name(), &config);
  const FieldMap theirs = SemanticFields(learners, ""), ours = SemanticFields(config, "");
  FieldMap all = theirs;
  all.insert(ours.begin(), ours.end());
  for (const auto& [name, value] : all) {
    const auto their = theirs.find(name), our = ours.find(name);
    if (their != theirs.end() && our != ours.end() && their->second == our->second) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--set changes ", name, ", which decides what is trained: the learner has ",
                     their == theirs.end() ? "nothing" : their->second, ", this worker would have ",
                     our == ours.end() ? "nothing" : our->second,
                     "; leave it out, or start the learner with it"));
  }
  COHORT_RETURN_IF_ERROR(ValidateConfig(config));
  return config;
}

absl::StatusOr<RunSource> FindRunSource(const RunSourceOptions& options, StopSignal* stop) {
  if (!options.config_path.empty()) return LocalRun(options);
  RunFilesClient::Options connect;
  connect.learner = options.learner;
  connect.worker_id = options.worker_id;
  connect.security = options.security;
  connect.seed = static_cast<uint64_t>(getpid());
  COHORT_ASSIGN_OR_RETURN(connect.connect_limit, ConnectLimit(options.overrides));
  RunFilesClient client(connect);
  absl::StatusOr<RunSource> run = absl::UnknownError("nothing was asked");
  absl::Notification done;
  std::thread thread([&] {
    run = LearnersRun(options, &client).Get();
    done.Notify();
  });
  bool stopped = false;
  while (!done.WaitForNotificationWithTimeout(kPoll)) {
    if (stop->Wait(absl::ZeroDuration()) == 0) continue;
    stopped = true;
    client.Stop();
  }
  thread.join();
  if (stopped) return absl::CancelledError("stopped before the learner answered");
  return run;
}

}  // namespace cohort
