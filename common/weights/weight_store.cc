#include "common/weights/weight_store.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rpc/channel.h"
#include "common/weights/block_codec.h"
#include "common/weights/weight_layout.h"
#include "common/wire/chunking.h"

namespace cohort {

// How a superseded block differs from the same block of the next version.
struct BlockChange {
  enum class Kind { kUnchanged, kXorZstd, kKept };
  Kind kind = Kind::kUnchanged;
  std::shared_ptr<const std::string> compressed;  // kXorZstd: zstd of (this XOR next)
  std::shared_ptr<const char[]> kept;             // kKept: this block's own bytes
  size_t bytes = 0;                               // held by it
};

namespace {

using Bytes = std::shared_ptr<const char[]>;

// Runs `work(i)` for all i below `count`, `extra` at the same time, on `threads` threads.
void InParallel(int threads, size_t count, const std::function<void(size_t)>& work,
                const std::function<void()>& extra) {
  std::atomic<size_t> next{0};
  const auto run = [&] {
    for (size_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(run);
  extra();
  run();
  for (std::thread& other : others) other.join();
}

Bytes CopyBytes(const char* data, size_t size) {
  auto copy = std::make_shared_for_overwrite<char[]>(size);
  std::memcpy(copy.get(), data, size);
  return copy;
}

absl::StatusOr<std::vector<at::Tensor>> CopyToHost(const std::vector<PublishedTensor>& tensors) {
  try {
    return OnCpu(tensors);
  } catch (const c10::Error& error) {
    return absl::InternalError(
        absl::StrCat("weights cannot be copied to host memory: ", error.what_without_backtrace()));
  }
}

}  // namespace

struct WeightStore::Version {
  v1::Manifest manifest;
  int64_t total_bytes = 0;
  std::vector<Bytes> blocks;         // of the newest version
  std::vector<BlockChange> changes;  // of an older one
  int64_t change_bytes = 0;
};

WeightStore::WeightStore(Options options) : options_(std::move(options)) {
  COHORT_CHECK(options_.block_bytes > 0 &&
               options_.block_bytes <= static_cast<int64_t>(kMaxChunkBytes));
}
WeightStore::~WeightStore() = default;

// ---- publishing ----

namespace {

// One block of a new version against the version before. Fills the slots that belong to it.
struct BlockPublisher {
  const v1::Manifest* before = nullptr;  // null: nothing to compare with
  const std::vector<Bytes>* before_blocks = nullptr;
  bool allow_delta = true;
  bool give_up_early = true;
  v1::Manifest* manifest = nullptr;
  std::vector<Bytes>* blocks = nullptr;
  std::vector<BlockChange>* changes = nullptr;

  void Run(size_t index, const char* data) const {
    v1::BlockEntry* entry = manifest->mutable_blocks(static_cast<int>(index));
    const size_t size = entry->size();
    entry->set_xxh3(HashBytes(Xxh3(data, size)));
    if (before != nullptr && before->blocks(static_cast<int>(index)).xxh3() == entry->xxh3()) {
      (*blocks)[index] = (*before_blocks)[index];
      return;
    }
    (*blocks)[index] = CopyBytes(data, size);
    if (before != nullptr) (*changes)[index] = Change((*before_blocks)[index], data, size);
  }

  BlockChange Change(const Bytes& old, const char* data, size_t size) const {
    if (allow_delta) {
      thread_local std::string difference;
      difference.resize(size);
      XorBytes(old.get(), data, size, difference.data());
      auto compressed = CompressBlock(difference.data(), size, give_up_early);
      if (compressed.has_value() && compressed->size() < size) {
        const size_t held = compressed->size();
        return {BlockChange::Kind::kXorZstd,
                std::make_shared<const std::string>(*std::move(compressed)), nullptr, held};
      }
    }
    return {BlockChange::Kind::kKept, nullptr, old, size};
  }
};

}  // namespace

// Hashes, copies and compares every block of `fresh`, and computes its weights hash beside that.
std::vector<BlockChange> WeightStore::FillBlocks(const std::vector<at::Tensor>& cpu,
                                                 const Version* before, Version* fresh) const {
  const size_t count = static_cast<size_t>(fresh->manifest.blocks_size());
  std::vector<BlockChange> changes(count);
  fresh->blocks.resize(count);
  const BlockPublisher publisher{.before = before != nullptr ? &before->manifest : nullptr,
                                 .before_blocks = before != nullptr ? &before->blocks : nullptr,
                                 .allow_delta = options_.codec != "raw",
                                 .give_up_early = options_.codec == "auto",
                                 .manifest = &fresh->manifest,
                                 .blocks = &fresh->blocks,
                                 .changes = &changes};
  std::string hash;
  InParallel(
      options_.threads, count,
      [&](size_t i) {
        publisher.Run(i, BlockData(cpu, fresh->manifest.blocks(static_cast<int>(i))));
      },
      [&] { hash = HashOfTensors(cpu); });
  fresh->manifest.set_weights_hash(hash);
  return changes;
}

// What is kept of a version when the next one has been published.
std::shared_ptr<const WeightStore::Version> WeightStore::Superseded(
    const Version& version, std::vector<BlockChange> changes) {
  auto superseded = std::make_shared<Version>();
  superseded->manifest = version.manifest;
  superseded->total_bytes = version.total_bytes;
  superseded->changes = std::move(changes);
  for (const BlockChange& change : superseded->changes) {
    superseded->change_bytes += static_cast<int64_t>(change.bytes);
  }
  return superseded;
}

absl::Status WeightStore::Publish(int64_t version, const std::vector<PublishedTensor>& tensors) {
  std::shared_ptr<const Version> before;
  {
    absl::MutexLock lock(&mu_);
    if (!versions_.empty()) before = versions_.rbegin()->second;
  }
  if (version < 0 || (before != nullptr && version <= before->manifest.version())) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a version above ", newest(), ", found ", version));
  }
  auto fresh = std::make_shared<Version>();
  COHORT_ASSIGN_OR_RETURN(fresh->manifest, LayoutOf(tensors, options_.block_bytes));
  fresh->manifest.set_version(version);
  COHORT_ASSIGN_OR_RETURN(const std::vector<at::Tensor> cpu, CopyToHost(tensors));
  for (const at::Tensor& tensor : cpu) fresh->total_bytes += static_cast<int64_t>(tensor.nbytes());
  if (before != nullptr && !SameLayout(before->manifest, fresh->manifest)) before = nullptr;
  std::vector<BlockChange> changes = FillBlocks(cpu, before.get(), fresh.get());
  Install(std::move(fresh), before != nullptr ? Superseded(*before, std::move(changes)) : nullptr);
  return absl::OkStatus();
}

void WeightStore::Install(std::shared_ptr<const Version> fresh,
                          std::shared_ptr<const Version> superseded) {
  std::vector<std::shared_ptr<const Version>> dropped;  // freed without the lock
  absl::MutexLock lock(&mu_);
  if (!versions_.empty()) dropped.push_back(versions_.rbegin()->second);
  if (superseded == nullptr) {
    for (auto& [number, version] : versions_) dropped.push_back(std::move(version));
    versions_.clear();
  } else {
    versions_.rbegin()->second = std::move(superseded);
  }
  const int64_t budget = fresh->total_bytes;
  versions_[fresh->manifest.version()] = std::move(fresh);
  int64_t held = 0;
  for (const auto& [number, version] : versions_) held += version->change_bytes;
  while (versions_.size() > 1 &&
         (held > budget || versions_.size() > static_cast<size_t>(options_.keep_versions))) {
    held -= versions_.begin()->second->change_bytes;
    dropped.push_back(std::move(versions_.begin()->second));
    versions_.erase(versions_.begin());
  }
}

// ---- looking up ----

int64_t WeightStore::newest() const {
  absl::MutexLock lock(&mu_);
  return versions_.empty() ? -1 : versions_.rbegin()->first;
}

v1::Announcement WeightStore::Announce() const {
  absl::MutexLock lock(&mu_);
  v1::Announcement announcement;
  announcement.set_version(-1);
  for (const auto& [number, version] : versions_) {
    if (number != versions_.rbegin()->first) {
      announcement.add_delta_bases(number);
    } else {
      announcement.set_version(number);
      announcement.set_weights_hash(version->manifest.weights_hash());
    }
  }
  return announcement;
}

absl::StatusOr<WeightStore::Chain> WeightStore::FindChain(int64_t version) const {
  Chain chain = ChainFrom(version);
  if (chain.empty()) {
    return absl::NotFoundError(absl::StrCat("version ", version, " is not kept; the newest is ",
                                            newest(), ": take that one"));
  }
  return chain;
}

WeightStore::Chain WeightStore::ChainFrom(int64_t version) const {
  absl::MutexLock lock(&mu_);
  Chain chain;
  for (auto it = versions_.find(version); it != versions_.end(); ++it) chain.push_back(it->second);
  return chain;
}

absl::StatusOr<v1::Manifest> WeightStore::Manifest(int64_t version) const {
  COHORT_ASSIGN_OR_RETURN(const Chain chain, FindChain(version));
  return chain.front()->manifest;
}

std::string WeightStore::weights_hash(int64_t version) const {
  const Chain chain = ChainFrom(version);
  return chain.empty() ? "" : chain.front()->manifest.weights_hash();
}

int64_t WeightStore::bytes_of_newest() const {
  absl::MutexLock lock(&mu_);
  return versions_.empty() ? 0 : versions_.rbegin()->second->total_bytes;
}

int64_t WeightStore::bytes_of_older() const {
  absl::MutexLock lock(&mu_);
  int64_t held = 0;
  for (const auto& [number, version] : versions_) held += version->change_bytes;
  return held;
}

// ---- blocks ----

namespace {

// XORs what the changes [begin, end) of one block differ by into `out`. False: one of them is not a
// difference.
bool XorChanges(const std::vector<const BlockChange*>& changes, char* out, size_t size) {
  std::string plain(size, '\0');
  for (const auto* change : changes) {
    if (change->kind == BlockChange::Kind::kUnchanged) continue;
    if (change->kind == BlockChange::Kind::kKept) return false;
    const absl::Status status =
        DecompressBlock(change->compressed->data(), change->compressed->size(), plain.data(), size);
    COHORT_CHECK(status.ok()) << status;
    XorBytes(out, plain.data(), size, out);
  }
  return true;
}

EncodedBlock Encoded(v1::Codec codec, int64_t base_version, SharedBytes payload) {
  EncodedBlock block;
  block.header.set_codec(codec);
  block.header.set_base_version(base_version);
  block.payload = std::move(payload);
  return block;
}

EncodedBlock Raw(const Bytes& bytes, size_t size) {
  return Encoded(v1::CODEC_RAW, -1, SharedBytes{bytes, bytes.get(), size});
}

// The delta over several versions: one change is sent as it is stored, several are composed.
std::optional<EncodedBlock> Delta(const std::vector<const BlockChange*>& changes,
                                  int64_t base_version, size_t size) {
  std::vector<const BlockChange*> real;
  for (const auto* change : changes) {
    if (change->kind != BlockChange::Kind::kUnchanged) real.push_back(change);
  }
  if (real.size() == 1 && real[0]->kind == BlockChange::Kind::kXorZstd) {
    return Encoded(v1::CODEC_XOR_ZSTD, base_version, ShareString(real[0]->compressed));
  }
  std::string difference(size, '\0');
  if (!XorChanges(real, difference.data(), size)) return std::nullopt;
  auto compressed = CompressBlock(difference.data(), size, /*give_up=*/false);
  if (compressed->size() >= size) return std::nullopt;
  return Encoded(v1::CODEC_XOR_ZSTD, base_version,
                 ShareString(std::make_shared<const std::string>(*std::move(compressed))));
}

}  // namespace

std::vector<const BlockChange*> WeightStore::ChangesOf(const Chain& chain, size_t count,
                                                       uint32_t block) {
  std::vector<const BlockChange*> changes;
  for (size_t i = 0; i < count; ++i) changes.push_back(&chain[i]->changes[block]);
  return changes;
}

// Nullopt: the base is not kept, or a delta would not be smaller.
std::optional<EncodedBlock> WeightStore::EncodeDelta(const Version& target, uint32_t block,
                                                     int64_t base_version) const {
  const int64_t version = target.manifest.version();
  const Chain chain = base_version <= version ? ChainFrom(base_version) : Chain();
  if (chain.empty()) return std::nullopt;
  const v1::BlockEntry& entry = target.manifest.blocks(static_cast<int>(block));
  if (chain.front()->manifest.blocks(static_cast<int>(block)).xxh3() == entry.xxh3()) {
    return Encoded(v1::CODEC_UNCHANGED, base_version, SharedBytes{});
  }
  const size_t steps = static_cast<size_t>(
      std::find_if(chain.begin(), chain.end(),
                   [&](const auto& kept) { return kept->manifest.version() == version; }) -
      chain.begin());
  if (steps == chain.size() || options_.codec == "raw") return std::nullopt;
  return Delta(ChangesOf(chain, steps, block), base_version, entry.size());
}

// The bytes themselves: from the nearest later version that has them, back through the changes.
EncodedBlock WeightStore::EncodeRaw(const Chain& chain, uint32_t block) {
  const size_t size = chain.front()->manifest.blocks(static_cast<int>(block)).size();
  size_t whole = 0;
  while (whole + 1 < chain.size() &&
         chain[whole]->changes[block].kind != BlockChange::Kind::kKept) {
    ++whole;
  }
  const Bytes& bytes =
      whole + 1 == chain.size() ? chain[whole]->blocks[block] : chain[whole]->changes[block].kept;
  if (whole == 0) return Raw(bytes, size);
  auto copy = std::make_shared_for_overwrite<char[]>(size);
  std::memcpy(copy.get(), bytes.get(), size);
  const bool restored = XorChanges(ChangesOf(chain, whole, block), copy.get(), size);
  COHORT_CHECK(restored);
  return Raw(copy, size);
}

absl::StatusOr<EncodedBlock> WeightStore::EncodeBlock(int64_t version, uint32_t block,
                                                      int64_t base_version) const {
  COHORT_ASSIGN_OR_RETURN(const Chain chain, FindChain(version));
  const Version& target = *chain.front();
  if (block >= static_cast<uint32_t>(target.manifest.blocks_size())) {
    return absl::InvalidArgumentError(absl::StrCat("version ", version, " has ",
                                                   target.manifest.blocks_size(),
                                                   " blocks, asked for number ", block));
  }
  std::optional<EncodedBlock> delta = EncodeDelta(target, block, base_version);
  EncodedBlock encoded = delta.has_value() ? *std::move(delta) : EncodeRaw(chain, block);
  encoded.header.set_version(version);
  encoded.header.set_block(block);
  return encoded;
}

}  // namespace cohort
