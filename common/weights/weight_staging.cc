#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/tensor/safetensors_dtype.h"
#include "common/weights/block_codec.h"
#include "common/weights/weight_layout.h"
#include "common/weights/weight_store.h"
#include "common/wire/chunking.h"

namespace cohort {

struct WeightStaging::Impl {
  std::vector<PublishedTensor> live;
  std::vector<at::Tensor> cpu;  // the live tensors themselves, or (on a device) their host copy
  int64_t held = -1;
  bool blank = false;
  std::string held_hash;
  std::optional<v1::Manifest> hashed;  // layout that `hashes` belongs to
  std::vector<std::string> hashes;     // of the live blocks
  std::optional<v1::Manifest> target;
  std::set<uint32_t> missing;
  std::map<uint32_t, v1::Block> staged;
  std::set<uint32_t> written;  // tensors of `cpu` that are ahead of the device's
  std::string scratch;

  const v1::BlockEntry& Entry(uint32_t block) const {
    return target->blocks(static_cast<int>(block));
  }
  char* LiveData(uint32_t block) const { return const_cast<char*>(BlockData(cpu, Entry(block))); }
  absl::Status CheckTensors(const v1::Manifest& manifest) const;
  absl::Status CheckBlocks(const v1::Manifest& manifest) const;
  void HashLive();
  absl::Status Decode(const v1::Block& block, char* out) const;
  void Written(uint32_t block);
  absl::Status CheckHash(const v1::Block& block, const Hash128& hash) const;
  absl::Status Stage(v1::Block block);
  absl::Status TakeWhole(const v1::Block& header, absl::Span<const absl::string_view> payload);
  absl::Status CopyToDevice();
};

namespace {

std::string Describe(const v1::TensorEntry& tensor) {
  return absl::StrCat(tensor.name(), " ", tensor.dtype(), " [", absl::StrJoin(tensor.shape(), ", "),
                      "]");
}

}  // namespace

absl::Status WeightStaging::Impl::CheckTensors(const v1::Manifest& manifest) const {
  COHORT_ASSIGN_OR_RETURN(const v1::Manifest own, LayoutOf(live, /*block_bytes=*/int64_t{1} << 40));
  if (manifest.tensors_size() != own.tensors_size()) {
    return absl::InvalidArgumentError(absl::StrCat("weights of version ", manifest.version(),
                                                   ": expected ", own.tensors_size(),
                                                   " tensors, found ", manifest.tensors_size()));
  }
  for (int i = 0; i < own.tensors_size(); ++i) {
    const std::string expected = Describe(own.tensors(i)), found = Describe(manifest.tensors(i));
    if (expected != found) {
      return absl::InvalidArgumentError(absl::StrCat(
          "weights of version ", manifest.version(), ": this worker's model has ", expected,
          ", the learner sends ", found, "; both must run the same model.path and model.dtype"));
    }
  }
  return absl::OkStatus();
}

absl::Status WeightStaging::Impl::CheckBlocks(const v1::Manifest& manifest) const {
  size_t tensor = 0;
  uint64_t offset = 0;
  const auto skip_complete = [&] {
    while (tensor < cpu.size() && offset == cpu[tensor].nbytes()) {
      ++tensor;
      offset = 0;
    }
  };
  skip_complete();
  for (const v1::BlockEntry& block : manifest.blocks()) {
    const bool fits = tensor < cpu.size() && block.tensor() == tensor && block.offset() == offset &&
                      block.size() > 0 && block.size() <= cpu[tensor].nbytes() - offset &&
                      block.xxh3().size() == 16;
    if (!fits) break;
    offset += block.size();
    skip_complete();
  }
  if (tensor == cpu.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "weights of version ", manifest.version(), ": the blocks do not tile tensor ",
      live[tensor].name, ": expected one at byte ", offset, " of ", cpu[tensor].nbytes()));
}

void WeightStaging::Impl::HashLive() {
  hashes.clear();
  for (const v1::BlockEntry& block : target->blocks()) {
    if (blank) {
      hashes.emplace_back();  // no block's
      continue;
    }
    hashes.push_back(HashBytes(Xxh3(BlockData(cpu, block), block.size())));
  }
  hashed = *target;
}

WeightStaging::WeightStaging(std::vector<PublishedTensor> live, int64_t held_version, bool blank)
    : impl_(std::make_unique<Impl>()) {
  impl_->blank = blank;
  impl_->live = std::move(live);
  impl_->cpu = OnCpu(impl_->live);
  impl_->held = held_version;
  for (size_t i = 0; i < impl_->live.size(); ++i) {
    COHORT_CHECK(!impl_->live[i].tensor.is_cpu() ||
                 impl_->cpu[i].data_ptr() == impl_->live[i].tensor.data_ptr())
        << impl_->live[i].name << " is not contiguous";
  }
}
WeightStaging::~WeightStaging() = default;

absl::Status WeightStaging::Begin(const v1::Manifest& manifest) {
  Impl& s = *impl_;
  s.target.reset();
  s.staged.clear();
  s.missing.clear();
  COHORT_RETURN_IF_ERROR(s.CheckTensors(manifest));
  COHORT_RETURN_IF_ERROR(s.CheckBlocks(manifest));
  s.target = manifest;
  if (!s.hashed.has_value() || !SameLayout(*s.hashed, manifest)) s.HashLive();
  for (int i = 0; i < manifest.blocks_size(); ++i) {
    if (s.hashes[static_cast<size_t>(i)] != manifest.blocks(i).xxh3()) {
      s.missing.insert(static_cast<uint32_t>(i));
    }
  }
  return absl::OkStatus();
}

std::vector<uint32_t> WeightStaging::MissingBlocks() const {
  return {impl_->missing.begin(), impl_->missing.end()};
}

absl::Status WeightStaging::Impl::Decode(const v1::Block& block, char* out) const {
  const size_t size = Entry(block.block()).size();
  const std::string name = absl::StrCat("block ", block.block(), " of version ", block.version());
  switch (block.codec()) {
    case v1::CODEC_UNCHANGED:
      std::memmove(out, LiveData(block.block()), size);
      return absl::OkStatus();
    case v1::CODEC_RAW:
      if (block.payload().size() != size) {
        return absl::InvalidArgumentError(
            absl::StrCat(name, ": expected ", size, " bytes, found ", block.payload().size()));
      }
      std::memcpy(out, block.payload().data(), size);
      return absl::OkStatus();
    case v1::CODEC_XOR_ZSTD: {
      if (block.base_version() != held) {
        return absl::InvalidArgumentError(absl::StrCat(name, ": expected a delta to version ", held,
                                                       ", found one to ", block.base_version()));
      }
      thread_local std::string difference;
      difference.resize(size);
      COHORT_RETURN_IF_ERROR(
          DecompressBlock(block.payload().data(), block.payload().size(), difference.data(), size));
      XorBytes(LiveData(block.block()), difference.data(), size, out);
      return absl::OkStatus();
    }
    default:
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": unknown codec ", static_cast<int>(block.codec())));
  }
}

absl::Status WeightStaging::Impl::CheckHash(const v1::Block& block, const Hash128& hash) const {
  if (HashBytes(hash) == Entry(block.block()).xxh3()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("block ", block.block(), " of version ", block.version(),
                                          ": XXH3-128 differs from the manifest's"));
}

void WeightStaging::Impl::Written(uint32_t block) {
  hashes[block] = Entry(block).xxh3();
  written.insert(Entry(block).tensor());
}

absl::Status WeightStaging::Impl::Stage(v1::Block block) {
  const uint32_t index = block.block();
  const size_t size = Entry(index).size();
  scratch.resize(size);
  COHORT_RETURN_IF_ERROR(Decode(block, scratch.data()));
  COHORT_RETURN_IF_ERROR(CheckHash(block, Xxh3(scratch.data(), size)));
  missing.erase(index);
  if (held < 0) {
    std::memcpy(LiveData(index), scratch.data(), size);
    Written(index);
  } else {
    staged.emplace(index, std::move(block));
  }
  return absl::OkStatus();
}

// A whole block of the first version goes from where it was received to where it belongs.
absl::Status WeightStaging::Impl::TakeWhole(const v1::Block& header,
                                            absl::Span<const absl::string_view> payload) {
  COHORT_RETURN_IF_ERROR(CheckHash(header, Xxh3(payload)));
  char* out = LiveData(header.block());
  for (absl::string_view piece : payload) {
    std::memcpy(out, piece.data(), piece.size());
    out += piece.size();
  }
  missing.erase(header.block());
  Written(header.block());
  return absl::OkStatus();
}

absl::Status WeightStaging::Add(v1::Block header, absl::Span<const absl::string_view> payload) {
  Impl& s = *impl_;
  if (!s.target.has_value() || header.version() != s.target->version() ||
      header.block() >= static_cast<uint32_t>(s.target->blocks_size())) {
    return absl::InvalidArgumentError(absl::StrCat("block ", header.block(), " of version ",
                                                   header.version(), ": expected one of version ",
                                                   target_version()));
  }
  if (!s.missing.contains(header.block())) return absl::OkStatus();
  size_t size = 0;
  for (absl::string_view piece : payload) size += piece.size();
  if (s.held < 0 && header.codec() == v1::CODEC_RAW && size == s.Entry(header.block()).size()) {
    return s.TakeWhole(header, payload);
  }
  std::string* bytes = header.mutable_payload();
  bytes->clear();
  bytes->reserve(size);
  for (absl::string_view piece : payload) bytes->append(piece.data(), piece.size());
  return s.Stage(std::move(header));
}

absl::Status WeightStaging::Add(v1::Block block) {
  const std::string payload = std::move(*block.mutable_payload());
  return Add(std::move(block), {absl::string_view(payload)});
}

bool WeightStaging::Complete() const { return impl_->target.has_value() && impl_->missing.empty(); }

absl::Status WeightStaging::Impl::CopyToDevice() {
  try {
    c10::AutoGradMode no_grad(false);
    for (uint32_t tensor : written) {
      if (!live[tensor].tensor.is_cpu()) live[tensor].tensor.copy_(cpu[tensor]);
    }
    written.clear();
  } catch (const c10::Error& error) {
    return absl::InternalError(
        absl::StrCat("weights cannot be copied to the device: ", error.what_without_backtrace()));
  }
  return absl::OkStatus();
}

absl::Status WeightStaging::Apply(bool verify_hash) {
  Impl& s = *impl_;
  COHORT_CHECK(Complete()) << "Apply before every block is here";
  for (const auto& [index, block] : s.staged) {
    // Verified by Add against the same live bytes.
    const absl::Status decoded = s.Decode(block, s.LiveData(index));
    COHORT_CHECK(decoded.ok()) << decoded;
    s.hashes[index] = s.Entry(index).xxh3();
    s.written.insert(s.Entry(index).tensor());
  }
  COHORT_RETURN_IF_ERROR(s.CopyToDevice());
  s.held = s.target->version();
  s.held_hash = s.target->weights_hash();
  s.staged.clear();
  s.target.reset();
  if (verify_hash && HashOfTensors(s.cpu) != s.held_hash) {
    return absl::DataLossError(absl::StrCat("weights of version ", s.held,
                                            ": SHA-256 differs from the learner's ", s.held_hash));
  }
  return absl::OkStatus();
}

int64_t WeightStaging::held_version() const { return impl_->held; }
std::string WeightStaging::held_hash() const { return impl_->held_hash; }
int64_t WeightStaging::target_version() const {
  return impl_->target.has_value() ? impl_->target->version() : -1;
}
}  // namespace cohort
