// Versions of the policy's weights, as the learner offers them and as a worker takes them over.
//
// A version is a list of tensors in name order, cut into blocks that never span tensors. Each block
// has an XXH3-128 of its plain bytes; the version has a SHA-256 over all bytes in name order
// (`weights_hash`). A block travels raw, as XOR + zstd against the bytes of an earlier version, or
// not at all when equal.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cohort/v1/weights.pb.h"

namespace cohort {

// A named tensor whose bytes are published: contiguous in memory, CPU or device.
struct PublishedTensor {
  std::string name;
  at::Tensor tensor;
};

// The learner's side. Publish is called by one thread; Manifest, EncodeBlock and the rest by any.
class WeightStore {
 public:
  struct Options {
    int64_t block_bytes = int64_t{1} << 20;
    int keep_versions = 4;       // versions whose bytes stay, as bases of deltas
    std::string codec = "auto";  // auto: xor_zstd where it is smaller; raw; xor_zstd
  };
  explicit WeightStore(Options options);
  ~WeightStore();

  // Copies the tensors' bytes (a snapshot) and makes them the newest version. Versions only grow.
  absl::Status Publish(int64_t version, const std::vector<PublishedTensor>& tensors);

  int64_t newest() const;                                        // -1: none
  v1::Announcement Announce() const;                             // of the newest version
  absl::StatusOr<v1::Manifest> Manifest(int64_t version) const;  // NotFound: gone or never was
  // Header fields and payload of one block. `base_version` -1 or no longer kept: raw.
  absl::StatusOr<v1::Block> EncodeBlock(int64_t version, uint32_t block,
                                        int64_t base_version) const;
  std::string weights_hash(int64_t version) const;

 private:
  struct Version;
  std::shared_ptr<const Version> Find(int64_t version) const;
  const Options options_;
  mutable absl::Mutex mu_;
  std::map<int64_t, std::shared_ptr<const Version>> versions_ ABSL_GUARDED_BY(mu_);
};

// The worker's side: collects and verifies a version's blocks beside the live weights, then applies
// them. One owner thread, except that Apply must not run while the model is in use.
class WeightStaging {
 public:
  // `live`: the model's tensors in name order, whose bytes are those of `held_version` (-1:
  // unknown).
  WeightStaging(std::vector<PublishedTensor> live, int64_t held_version);
  ~WeightStaging();

  // Starts collecting a version. InvalidArgument: its tensors are not the model's (name, dtype,
  // shape).
  absl::Status Begin(const v1::Manifest& manifest);
  // Blocks still needed (those whose hash the live bytes already have are not).
  std::vector<uint32_t> MissingBlocks() const;
  // Decodes against the live bytes and verifies. DataLoss: the hash differs (fetch it raw).
  absl::Status Add(const v1::Block& block);
  bool Complete() const;
  // Copies the staged bytes into the live tensors, in place. The weights hash is verified when
  // asked for.
  absl::Status Apply(bool verify_hash);

  int64_t held_version() const;
  int64_t target_version() const;  // -1: none

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
