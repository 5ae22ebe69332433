// Serialised groups in pieces of at most 1 MiB, and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "cohort/v1/session.pb.h"
#include "common/base/hash.h"
#include "common/base/ids.h"
#include "common/rpc/byte_message.h"
#include "common/rpc/channel.h"

namespace cohort {

// A piece as it is sent: `header` is a GroupChunk without payload.
struct OutgoingChunk {
  v1::GroupChunk header;
  SharedBytes payload;
};

// 16 bytes, big-endian: the form of `GroupChunk.xxh3` and `BlockEntry.xxh3`.
std::string HashBytes(const Hash128& hash);

// Cuts one serialised group. Not thread-safe.
class GroupSplitter {
 public:
  GroupSplitter(GroupId group_id, std::shared_ptr<const std::string> bytes,
                size_t max_chunk = kMaxChunkBytes);
  bool done() const { return offset_ == bytes_->size(); }
  // At most min(max_chunk, limit) bytes; `limit` > 0, not done.
  OutgoingChunk Next(uint64_t lease_id, size_t limit);
  void Rewind() { offset_ = 0; }  // to send it again
  GroupId group_id() const { return group_id_; }
  size_t size() const { return bytes_->size(); }

 private:
  GroupId group_id_;
  std::shared_ptr<const std::string> bytes_;
  size_t max_chunk_;
  std::string hash_;
  size_t offset_ = 0;
};

// Puts groups together from one worker's chunks. Memory is taken as bytes arrive, never on the
// word of `total`. Not thread-safe.
class GroupAssembler {
 public:
  struct Assembled {
    GroupId group_id = 0;
    uint64_t lease_id = 0;
    std::string bytes;
  };
  // The group when this was its last chunk. Errors forget the group; its remaining chunks are
  // errors, too, except one at offset 0, which starts it anew.
  //   InvalidArgument: a gap, an overlap, bytes beyond the total, a group or chunk too big
  //   DataLoss: the hash of the whole differs
  absl::StatusOr<std::optional<Assembled>> Add(v1::GroupChunk chunk);
  size_t pending_bytes() const { return pending_bytes_; }

 private:
  struct Partial {
    uint64_t total = 0;
    std::string bytes;
  };
  absl::Status Check(const v1::GroupChunk& chunk, const Partial* partial) const;
  void Forget(GroupId id);

  absl::flat_hash_map<GroupId, Partial> partial_;
  size_t pending_bytes_ = 0;
};

}  // namespace cohort
