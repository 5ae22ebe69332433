// Runs the fuzz targets over a small seeded corpus with mutations; a longer campaign links them
// with libFuzzer.
#include "tests/fuzz/wire_fuzz.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "cohort/v1/weights.pb.h"
#include "common/rpc/channel.h"
#include "common/wire/chunking.h"
#include "common/wire/group_codec.h"
#include "common/wire/test_groups.h"
#include "tests/fuzz/campaign.h"

namespace cohort {
namespace {

constexpr uint64_t kSeed = 11;

TEST(WireFuzzTest, NoBytesCrashTheGroupDecoder) {
  SetUpRpc();
  Campaign(&FuzzGroupDecode, EncodeGroup(RandomGroup(1, 3, 12)), 20000, kSeed);
}

TEST(WireFuzzTest, NoBytesCrashTheAssembler) {
  SetUpRpc();
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
  Campaign(&FuzzGroupAssembly, input, 20000, kSeed);
}

TEST(WireFuzzTest, NoBytesAreTakenApartInAnotherWayThanProtobufs) {
  SetUpRpc();
  v1::WeightReply reply;
  reply.mutable_block()->set_version(7);
  reply.mutable_block()->set_block(300);
  reply.mutable_block()->set_codec(v1::CODEC_RAW);
  reply.mutable_block()->set_payload(std::string(40, 'p'));
  Campaign(&FuzzBlockReply, absl::StrCat("\x0c", reply.SerializeAsString()), 50000, kSeed);
}

}  // namespace
}  // namespace cohort
