// Versions of the policy's weights, as the learner offers them and as a worker takes them over.
//
// A version is a list of tensors in name order, cut into blocks that never span tensors. Each block
// has an XXH3-128 of its plain bytes; the version has a SHA-256 over all bytes in name order
// (`weights_hash`). A block travels raw, as XOR + zstd against the bytes of an earlier version, or
// not at all when equal.
//
// Memory: only the newest version is kept whole. An older one is kept as the difference to its
// successor (compressed once, at Publish, and sent as it is to workers one version behind), from
// which its bytes can be had again. Where a difference does not compress, the older bytes stay.
// Older versions together never take more than one whole version: the oldest go first.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "cohort/v1/weights.pb.h"
#include "common/rpc/byte_message.h"

namespace cohort {

// A named tensor whose bytes are published: CPU or device.
struct PublishedTensor {
  std::string name;
  at::Tensor tensor;
};

// A block as it is sent: `header` is a v1::Block without payload. The payload is shared with the
// store and outlives the version.
struct EncodedBlock {
  v1::Block header;
  SharedBytes payload;
};

struct BlockChange;  // of the implementation

// The learner's side. Publish is called by one thread; Manifest, EncodeBlock and the rest by any.
class WeightStore {
 public:
  struct Options {
    int64_t block_bytes = int64_t{1} << 20;  // at most 1 MiB
    int keep_versions = 4;                   // the newest and those that deltas can start from
    std::string codec = "auto";              // auto: xor_zstd where it is smaller; raw; xor_zstd
    int threads = 2;                         // used by Publish, besides the caller
  };
  explicit WeightStore(Options options);
  ~WeightStore();

  // Copies the tensors' bytes (a snapshot) and makes them the newest version. Versions only grow,
  // and tensors come in name order (InvalidArgument otherwise). Blocks until done.
  absl::Status Publish(int64_t version, const std::vector<PublishedTensor>& tensors);

  int64_t newest() const;                                        // -1: none
  v1::Announcement Announce() const;                             // of the newest version
  absl::StatusOr<v1::Manifest> Manifest(int64_t version) const;  // NotFound: gone or never was
  // One block of `version` for a worker that holds `base_version`; -1 or no longer kept: raw.
  // NotFound: the version is gone; InvalidArgument: it has no such block.
  absl::StatusOr<EncodedBlock> EncodeBlock(int64_t version, uint32_t block,
                                           int64_t base_version) const;
  std::string weights_hash(int64_t version) const;  // empty: gone
  int64_t bytes_of_newest() const;                  // size of one version
  int64_t bytes_of_older() const;                   // held for all versions but the newest

 private:
  struct Version;
  using Chain = std::vector<std::shared_ptr<const Version>>;  // by version, up to the newest
  std::vector<BlockChange> FillBlocks(const std::vector<at::Tensor>& cpu, const Version* before,
                                      Version* fresh) const;
  static std::shared_ptr<const Version> Superseded(const Version& version,
                                                   std::vector<BlockChange> changes);
  static std::vector<const BlockChange*> ChangesOf(const Chain& chain, size_t count,
                                                   uint32_t block);
  std::optional<EncodedBlock> EncodeDelta(const Version& target, uint32_t block,
                                          int64_t base_version) const;
  static EncodedBlock EncodeRaw(const Chain& chain, uint32_t block);
  Chain ChainFrom(int64_t version) const;
  absl::StatusOr<Chain> FindChain(int64_t version) const;
  void Install(std::shared_ptr<const Version> fresh, std::shared_ptr<const Version> superseded);

  const Options options_;
  mutable absl::Mutex mu_;
  std::map<int64_t, std::shared_ptr<const Version>> versions_ ABSL_GUARDED_BY(mu_);
};

// The worker's side: collects and verifies a version's blocks beside the live weights, then applies
// them. What is collected stays compressed until it is applied. One owner thread, except that Apply
// must not run while the model is in use.
//
// Before the first version nobody may use the model, so its blocks go straight into the live
// tensors: a worker that starts without weights never holds them twice.
class WeightStaging {
 public:
  // `live`: the model's tensors in name order, whose bytes are those of `held_version` (-1:
  // unknown; `blank`: no version's, and not worth comparing with one). Nobody else writes to them.
  WeightStaging(std::vector<PublishedTensor> live, int64_t held_version, bool blank = false);
  ~WeightStaging();

  // Starts collecting a version; what was collected of another one is dropped. InvalidArgument: its
  // tensors are not the model's (name, dtype, shape), or its blocks do not tile them.
  absl::Status Begin(const v1::Manifest& manifest);
  // Blocks still needed (those whose hash the live bytes already have are not).
  std::vector<uint32_t> MissingBlocks() const;
  // Decodes against the live bytes and verifies; writes them when no version was applied yet.
  // DataLoss: the hash differs (fetch it raw); InvalidArgument: not a block of this version, or not
  // one that can be decoded.
  absl::Status Add(v1::Block block);
  // The same of a block whose payload is not in the message but in pieces; copied once at most.
  absl::Status Add(v1::Block header, absl::Span<const absl::string_view> payload);
  bool Complete() const;
  // Writes the collected blocks into the live tensors, in place. DataLoss: the weights hash, which
  // is verified when asked for, differs.
  absl::Status Apply(bool verify_hash);

  int64_t held_version() const;
  std::string held_hash() const;   // weights_hash of the version applied last; empty: none yet
  int64_t target_version() const;  // -1: none

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
