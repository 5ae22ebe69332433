// Where a worker's run comes from: its own files (--config), or its learner, which hands out
// configuration, tokenizers and reward models; the policy's weights then come over the weight
// stream.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cohort/v1/config.pb.h"
#include "common/base/process.h"
#include "common/rpc/security.h"
#include "common/run_files/file_cache.h"

namespace cohort {

struct RunSourceOptions {
  std::string config_path;             // empty: the learner's
  std::vector<std::string> overrides;  // --set
  std::string learner;                 // HOST:PORT
  std::string worker_id;
  std::string cache;                                   // empty: DefaultCacheFolder()
  std::shared_ptr<const Security> security = nullptr;  // of the calls to the learner
};

struct RunSource {
  v1::RunConfig config;      // resolved and valid; paths of models are this host's
  std::string model_sha256;  // content hash of the policy's folder, here or at the learner
  std::string model_name;    // for people
  bool has_weights = true;   // the policy's folder has its weights
  // What `config` names, while they live.
  std::shared_ptr<const FileCache> cache = nullptr;
  std::shared_ptr<const ModelFolders> folders = nullptr;
};

// Without a configuration of its own: waits for the learner until rollout.connect_seconds (of the
// overrides, or the default). Overrides may change what is this host's own (devices, threads,
// model.path for a model that lies here) but nothing that decides what is trained: InvalidArgument.
// Cancelled: `stop` fired. Others as LoadResolvedConfig, ModelContentHash and RunFilesClient.
absl::StatusOr<RunSource> FindRunSource(const RunSourceOptions& options, StopSignal* stop);

// The learner's configuration under a worker's overrides. InvalidArgument: an override that changes
// a training-semantic field, named with both values, or that makes no sense.
absl::StatusOr<v1::RunConfig> OverrideLearnersConfig(const v1::RunConfig& learners,
                                                     const std::vector<std::string>& overrides);

}  // namespace cohort
