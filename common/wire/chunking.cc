#include "common/wire/chunking.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/wire/group_codec.h"

namespace cohort {
namespace {

// Of one worker: groups are sent one after the other, so more than a few at once is no accident.
constexpr size_t kMaxPartialGroups = 64;

void AppendBigEndian(std::string* out, uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

std::string Name(GroupId id) { return absl::StrCat("group ", absl::Hex(id, absl::kZeroPad16)); }

}  // namespace

std::string HashBytes(const Hash128& hash) {
  std::string bytes;
  AppendBigEndian(&bytes, hash.high);
  AppendBigEndian(&bytes, hash.low);
  return bytes;
}

GroupSplitter::GroupSplitter(GroupId group_id, std::shared_ptr<const std::string> bytes,
                             size_t max_chunk)
    : group_id_(group_id),
      bytes_(std::move(bytes)),
      max_chunk_(max_chunk),
      hash_(HashBytes(Xxh3(bytes_->data(), bytes_->size()))) {}

OutgoingChunk GroupSplitter::Next(uint64_t lease_id, size_t limit) {
  COHORT_CHECK(limit > 0 && !done());
  const size_t size = std::min({max_chunk_, limit, bytes_->size() - offset_});
  OutgoingChunk chunk;
  chunk.header.set_group_id(group_id_);
  chunk.header.set_lease_id(lease_id);
  chunk.header.set_offset(offset_);
  chunk.header.set_total(bytes_->size());
  chunk.payload = ShareString(bytes_, offset_, size);
  offset_ += size;
  if (done()) chunk.header.set_xxh3(hash_);
  return chunk;
}

absl::Status GroupAssembler::Check(const v1::GroupChunk& chunk, const Partial* partial) const {
  const std::string name = Name(chunk.group_id());
  const uint64_t size = chunk.payload().size();
  const uint64_t expected = partial == nullptr ? 0 : partial->bytes.size();
  if (chunk.total() == 0 || chunk.total() > kMaxGroupBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, ": expected a total of 1..", kMaxGroupBytes, " bytes, found ", chunk.total()));
  }
  if (size == 0 || size > kMaxChunkBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": expected a chunk of 1..", kMaxChunkBytes, " bytes, found ", size));
  }
  if (chunk.offset() != expected) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": expected the chunk at offset ",
                                                   expected, ", found offset ", chunk.offset()));
  }
  if (partial != nullptr && partial->total != chunk.total()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": expected a total of ", partial->total,
                                                   " bytes, found ", chunk.total()));
  }
  if (size > chunk.total() - chunk.offset()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": chunk at offset ", chunk.offset(),
                                                   " of ", size, " bytes goes beyond the total of ",
                                                   chunk.total()));
  }
  if (partial == nullptr && partial_.size() >= kMaxPartialGroups) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", kMaxPartialGroups, " groups are incomplete already"));
  }
  return absl::OkStatus();
}

void GroupAssembler::Forget(GroupId id) {
  const auto found = partial_.find(id);
  if (found == partial_.end()) return;
  pending_bytes_ -= found->second.bytes.size();
  partial_.erase(found);
}

absl::StatusOr<std::optional<GroupAssembler::Assembled>> GroupAssembler::Add(v1::GroupChunk chunk) {
  const GroupId id = chunk.group_id();
  if (chunk.offset() == 0) Forget(id);  // sent again from the start
  const auto found = partial_.find(id);
  if (absl::Status status = Check(chunk, found == partial_.end() ? nullptr : &found->second);
      !status.ok()) {
    Forget(id);
    return status;
  }
  Partial& partial = partial_[id];
  partial.total = chunk.total();
  partial.bytes += chunk.payload();
  pending_bytes_ += chunk.payload().size();
  if (partial.bytes.size() < partial.total) return std::nullopt;

  Assembled whole{id, chunk.lease_id(), std::move(partial.bytes)};
  pending_bytes_ -= whole.bytes.size();
  partial_.erase(id);
  if (chunk.xxh3() != HashBytes(Xxh3(whole.bytes.data(), whole.bytes.size()))) {
    return absl::DataLossError(absl::StrCat(Name(id), ": the XXH3-128 of its ", whole.bytes.size(),
                                            " bytes is not the one that came with the last chunk"));
  }
  return whole;
}

}  // namespace cohort
