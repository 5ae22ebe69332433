#include "tests/fuzz/wire_fuzz.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "cohort/v1/weights.pb.h"
#include "common/base/log.h"
#include "common/rpc/byte_message.h"
#include "common/wire/chunking.h"
#include "common/wire/group_codec.h"

namespace cohort {

int FuzzGroupDecode(const uint8_t* data, size_t size) {
  const auto group = DecodeGroup(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (!group.ok()) return 0;
  // What is accepted is consistent: it can be encoded, and the result says the same.
  const std::string bytes = EncodeGroup(*group);
  const auto again = DecodeGroup(bytes);
  COHORT_CHECK(again.ok() && EncodeGroup(*again) == bytes);
  return 0;
}

int FuzzGroupAssembly(const uint8_t* data, size_t size) {
  GroupAssembler assembler;
  size_t received = 0;
  while (size >= 2) {
    const size_t length = std::min<size_t>(static_cast<size_t>(data[0] | data[1] << 8), size - 2);
    v1::GroupChunk chunk;
    if (chunk.ParseFromArray(data + 2, static_cast<int>(length))) {
      received += chunk.payload().size();
      (void)assembler.Add(std::move(chunk));
      COHORT_CHECK(assembler.pending_bytes() <= received);
    }
    data += 2 + length;
    size -= 2 + length;
  }
  return 0;
}

int FuzzBlockReply(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t length = size_t{1} + data[0];
  std::vector<grpc::Slice> slices;
  for (size_t i = 1; i < size; i += length) {
    slices.emplace_back(data + i, std::min(length, size - i));
  }
  const grpc::ByteBuffer bytes(slices.data(), slices.size());
  v1::Block header;
  const std::optional<ReceivedPayload> payload = DecodeWithPayload(
      bytes, v1::WeightReply::kBlockFieldNumber, &header, v1::Block::kPayloadFieldNumber);
  if (!payload.has_value()) return 0;
  v1::WeightReply reply;
  COHORT_CHECK(DecodeMessage(bytes, &reply).ok() && reply.has_block());
  header.set_payload(absl::StrJoin(payload->pieces, ""));
  COHORT_CHECK(header.SerializeAsString() == reply.block().SerializeAsString());
  return 0;
}

}  // namespace cohort

#ifdef COHORT_FUZZ_TARGET
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return cohort::COHORT_FUZZ_TARGET(data, size);
}
#endif
