// Runs the fuzz targets over a small seeded corpus with mutations; a longer campaign links them
// with libFuzzer.
#include "tests/fuzz/wire_fuzz.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "cohort/v1/weights.pb.h"
#include "common/base/rng.h"
#include "common/rpc/channel.h"
#include "common/wire/chunking.h"
#include "common/wire/group_codec.h"
#include "common/wire/test_groups.h"

namespace cohort {
namespace {

using Target = int (*)(const uint8_t*, size_t);

void Feed(Target target, const std::string& bytes) {
  EXPECT_EQ(target(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()), 0);
}

std::string Mutate(std::string bytes, CounterRng& rng) {
  const uint64_t edits = 1 + rng.Below(4);
  for (uint64_t i = 0; i < edits && !bytes.empty(); ++i) {
    const size_t at = rng.Below(bytes.size());
    switch (rng.Below(4)) {
      case 0:
        bytes[at] = static_cast<char>(rng.Below(256));
        break;
      case 1:
        bytes.erase(at, rng.Below(16));
        break;
      case 2:
        bytes.insert(at, std::string(rng.Below(16), static_cast<char>(rng.Below(256))));
        break;
      default:
        bytes.resize(at);
    }
  }
  return bytes;
}

void Campaign(Target target, const std::string& seed_input, int rounds) {
  QuietRpcLogs();
  Feed(target, "");
  Feed(target, seed_input);
  CounterRng rng(11);
  for (int i = 0; i < rounds; ++i) Feed(target, Mutate(seed_input, rng));
}

TEST(WireFuzzTest, NoBytesCrashTheGroupDecoder) {
  Campaign(&FuzzGroupDecode, EncodeGroup(RandomGroup(1, 3, 12)), 20000);
}

TEST(WireFuzzTest, NoBytesCrashTheAssembler) {
  std::string input;
  GroupSplitter splitter(1, std::make_shared<std::string>(900, 'g'), /*max_chunk=*/100);
  while (!splitter.done()) {
    OutgoingChunk next = splitter.Next(/*lease_id=*/1, /*limit=*/100);
    next.header.set_payload(std::string(next.payload.data, next.payload.size));
    const std::string chunk = next.header.SerializeAsString();
    input.push_back(static_cast<char>(chunk.size() & 0xff));
    input.push_back(static_cast<char>(chunk.size() >> 8));
    input += chunk;
  }
  Campaign(&FuzzGroupAssembly, input, 20000);
}

TEST(WireFuzzTest, NoBytesAreTakenApartInAnotherWayThanProtobufs) {
  v1::WeightReply reply;
  reply.mutable_block()->set_version(7);
  reply.mutable_block()->set_block(300);
  reply.mutable_block()->set_codec(v1::CODEC_RAW);
  reply.mutable_block()->set_payload(std::string(40, 'p'));
  Campaign(&FuzzBlockReply, absl::StrCat("\x0c", reply.SerializeAsString()), 50000);
}

}  // namespace
}  // namespace cohort
