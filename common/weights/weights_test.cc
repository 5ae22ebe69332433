#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "common/base/hash.h"
#include "common/base/rng.h"
#include "common/base/status_matchers.h"
#include "common/weights/block_codec.h"
#include "common/weights/weight_store.h"

namespace cohort {
namespace {

using testing::HasSubstr;

constexpr int64_t kBlock = 1024;  // small, so that tensors have several

std::vector<PublishedTensor> Zeros(at::ScalarType dtype = at::kBFloat16) {
  std::vector<PublishedTensor> tensors;
  for (const char* name : {"a", "b", "c"}) {
    tensors.push_back({name, at::zeros({33, 47}, at::TensorOptions().dtype(dtype))});
  }
  return tensors;
}

void FillRandom(std::vector<PublishedTensor>& tensors, uint64_t seed) {
  CounterRng rng(seed);
  for (PublishedTensor& entry : tensors) {
    auto* bytes = static_cast<unsigned char*>(entry.tensor.data_ptr());
    for (size_t i = 0; i < entry.tensor.nbytes(); ++i) {
      bytes[i] = static_cast<unsigned char>(rng.Below(256));
    }
  }
}

// Changes a few bytes of the first tensor only.
void Nudge(std::vector<PublishedTensor>& tensors, uint64_t seed) {
  CounterRng rng(seed);
  auto* bytes = static_cast<unsigned char*>(tensors[0].tensor.data_ptr());
  for (int i = 0; i < 20; ++i) bytes[rng.Below(tensors[0].tensor.nbytes())] ^= 1;
}

std::string BytesOf(const std::vector<PublishedTensor>& tensors) {
  std::string bytes;
  for (const PublishedTensor& entry : tensors) {
    bytes.append(static_cast<const char*>(entry.tensor.data_ptr()), entry.tensor.nbytes());
  }
  return bytes;
}

// Compared instead of the bytes, which nobody wants to read.
std::string HashOf(const std::vector<PublishedTensor>& tensors) {
  return Sha256Hex(BytesOf(tensors));
}

v1::Block Sent(const EncodedBlock& encoded) {
  v1::Block block = encoded.header;
  block.set_payload(std::string(encoded.payload.data, encoded.payload.size));
  return block;
}

// Brings `staging` to the version, asking for deltas to what it holds.
void Take(const WeightStore& store, int64_t version, WeightStaging& staging) {
  COHORT_ASSERT_OK_AND_ASSIGN(const v1::Manifest manifest, store.Manifest(version));
  COHORT_ASSERT_OK(staging.Begin(manifest));
  for (uint32_t block : staging.MissingBlocks()) {
    COHORT_ASSERT_OK_AND_ASSIGN(const EncodedBlock encoded,
                                store.EncodeBlock(version, block, staging.held_version()));
    COHORT_ASSERT_OK(staging.Add(Sent(encoded)));
  }
  ASSERT_TRUE(staging.Complete());
  COHORT_ASSERT_OK(staging.Apply(/*verify_hash=*/true));
}

WeightStore::Options Small(const std::string& codec = "auto", int keep = 4) {
  return {.block_bytes = kBlock, .keep_versions = keep, .codec = codec};
}

class CodecTest : public testing::TestWithParam<std::string> {};

TEST_P(CodecTest, AWorkerFollowsStepByStepAndOverGaps) {
  WeightStore store(Small(GetParam()));
  auto source = Zeros();
  FillRandom(source, 1);
  COHORT_ASSERT_OK(store.Publish(0, source));
  auto near = Zeros(), far = Zeros();
  WeightStaging near_staging(near, -1), far_staging(far, -1);
  Take(store, 0, near_staging);
  Take(store, 0, far_staging);
  for (int64_t version = 1; version <= 3; ++version) {
    Nudge(source, static_cast<uint64_t>(version));
    COHORT_ASSERT_OK(store.Publish(version, source));
    Take(store, version, near_staging);
    EXPECT_EQ(HashOf(near), HashOf(source));
  }
  Take(store, 3, far_staging);
  EXPECT_EQ(HashOf(far), HashOf(source));
  EXPECT_EQ(far_staging.held_version(), 3);
  EXPECT_EQ(far_staging.held_hash(), HashOf(source));
}

INSTANTIATE_TEST_SUITE_P(Codecs, CodecTest, testing::Values("auto", "raw", "xor_zstd"));

TEST(WeightStoreTest, SendsEachBlockInItsCheapestForm) {
  WeightStore store(Small());
  auto source = Zeros();
  FillRandom(source, 1);
  COHORT_ASSERT_OK(store.Publish(0, source));
  Nudge(source, 2);
  static_cast<char*>(source[2].tensor.data_ptr())[0] ^= 1;
  COHORT_ASSERT_OK(store.Publish(1, source));
  EXPECT_EQ(store.EncodeBlock(1, 0, -1)->header.codec(), v1::CODEC_RAW);
  EXPECT_EQ(store.EncodeBlock(1, 0, 0)->header.codec(), v1::CODEC_XOR_ZSTD);
  EXPECT_LT(store.EncodeBlock(1, 0, 0)->payload.size, 200u);
  EXPECT_EQ(store.EncodeBlock(1, 5, 0)->header.codec(), v1::CODEC_UNCHANGED);
  EXPECT_EQ(store.EncodeBlock(1, 0, 77)->header.codec(), v1::CODEC_RAW) << "unknown base";

  FillRandom(source, 3);  // nothing in common: a delta would be as large as the bytes
  COHORT_ASSERT_OK(store.Publish(2, source));
  EXPECT_EQ(store.EncodeBlock(2, 0, 1)->header.codec(), v1::CODEC_RAW);
}

TEST(WeightStoreTest, StillServesAnOlderVersionWhole) {
  WeightStore store(Small());
  auto source = Zeros();
  FillRandom(source, 1);
  COHORT_ASSERT_OK(store.Publish(0, source));
  const std::string first = HashOf(source);
  for (int64_t version = 1; version <= 3; ++version) {
    Nudge(source, static_cast<uint64_t>(version));
    COHORT_ASSERT_OK(store.Publish(version, source));
  }
  auto late = Zeros();
  WeightStaging staging(late, -1);
  Take(store, 0, staging);
  EXPECT_EQ(HashOf(late), first);
  Take(store, 2, staging);
  Take(store, 3, staging);
  EXPECT_EQ(HashOf(late), HashOf(source));
}

TEST(WeightStoreTest, ForgetsTheOldestAndStaysWithinItsMemory) {
  WeightStore store(Small("auto", /*keep=*/2));
  auto source = Zeros();
  for (int64_t version = 0; version <= 4; ++version) {
    FillRandom(source, static_cast<uint64_t>(version));
    COHORT_ASSERT_OK(store.Publish(version, source));
    EXPECT_LE(store.bytes_of_older(), store.bytes_of_newest());
  }
  EXPECT_THAT(store.Manifest(1), StatusIs(absl::StatusCode::kNotFound, HasSubstr("newest is 4")));
  EXPECT_THAT(store.EncodeBlock(1, 0, 0), StatusIs(absl::StatusCode::kNotFound, testing::_));
  EXPECT_EQ(store.weights_hash(1), "");
  const v1::Announcement announcement = store.Announce();
  EXPECT_EQ(announcement.version(), 4);
  ASSERT_EQ(announcement.delta_bases_size(), 1);
  EXPECT_EQ(announcement.delta_bases(0), 3);
  EXPECT_EQ(announcement.weights_hash(), HashOf(source));
}

TEST(WeightStoreTest, RefusesAVersionThatDoesNotGrowAndTensorsOutOfOrder) {
  WeightStore store(Small());
  auto source = Zeros();
  COHORT_ASSERT_OK(store.Publish(5, source));
  EXPECT_THAT(store.Publish(5, source),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("above 5")));
  std::swap(source[0], source[1]);
  EXPECT_THAT(store.Publish(6, source),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name order")));
  EXPECT_THAT(store.EncodeBlock(5, 99999, -1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("99999")));
}

TEST(WeightStagingTest, NeedsNothingWhenItAlreadyHasTheBytes) {
  WeightStore store(Small());
  auto source = Zeros();
  FillRandom(source, 1);
  COHORT_ASSERT_OK(store.Publish(0, source));
  auto live = Zeros();
  FillRandom(live, 1);
  WeightStaging staging(live, -1);
  COHORT_ASSERT_OK(staging.Begin(*store.Manifest(0)));
  EXPECT_TRUE(staging.MissingBlocks().empty());
  EXPECT_TRUE(staging.Complete());
  COHORT_ASSERT_OK(staging.Apply(true));
  EXPECT_EQ(staging.held_version(), 0);
}

TEST(WeightStagingTest, TheFirstVersionIsNeverHeldTwice) {
  WeightStore store(Small());
  auto source = Zeros();
  FillRandom(source, 1);
  COHORT_ASSERT_OK(store.Publish(0, source));
  auto live = Zeros();
  WeightStaging staging(live, -1);
  COHORT_ASSERT_OK(staging.Begin(*store.Manifest(0)));
  for (uint32_t block : staging.MissingBlocks()) {
    COHORT_ASSERT_OK(staging.Add(Sent(*store.EncodeBlock(0, block, -1))));
  }
  EXPECT_EQ(HashOf(live), HashOf(source)) << "collected beside the live weights";
  COHORT_ASSERT_OK(staging.Apply(true));
}

TEST(WeightStagingTest, APayloadInPiecesIsTheSameBlock) {
  WeightStore store(Small());
  auto source = Zeros();
  FillRandom(source, 1);
  COHORT_ASSERT_OK(store.Publish(0, source));
  auto live = Zeros();
  WeightStaging staging(live, -1, /*blank=*/true);
  for (int64_t version : {0, 1}) {  // straight into the live tensors, and beside them
    COHORT_ASSERT_OK(staging.Begin(*store.Manifest(version)));
    for (uint32_t block : staging.MissingBlocks()) {
      const EncodedBlock sent = *store.EncodeBlock(version, block, /*base_version=*/-1);
      const absl::string_view whole(sent.payload.data, sent.payload.size);
      std::string damaged(whole);
      damaged.front() ^= 1;
      EXPECT_THAT(staging.Add(sent.header, {absl::string_view(damaged)}),
                  StatusIs(absl::StatusCode::kDataLoss, testing::_));
      EXPECT_THAT(staging.Add(sent.header, {whole.substr(1)}),
                  StatusIs(absl::StatusCode::kInvalidArgument, testing::_));
      COHORT_ASSERT_OK(
          staging.Add(sent.header, {whole.substr(0, 5), whole.substr(5, 0), whole.substr(5)}));
    }
    COHORT_ASSERT_OK(staging.Apply(/*verify_hash=*/true));
    EXPECT_EQ(HashOf(live), HashOf(source));
    Nudge(source, 9);
    COHORT_ASSERT_OK(store.Publish(version + 1, source));
  }
}

TEST(WeightStagingTest, ABlankModelIsComparedWithNothing) {
  WeightStore store(Small());
  COHORT_ASSERT_OK(store.Publish(0, Zeros()));
  const v1::Manifest manifest = *store.Manifest(0);
  WeightStaging staging(Zeros(), -1, /*blank=*/true);
  COHORT_ASSERT_OK(staging.Begin(manifest));
  EXPECT_EQ(staging.MissingBlocks().size(), static_cast<size_t>(manifest.blocks_size()));
}

TEST(WeightStagingTest, AFirstVersionThatWasInterruptedGoesOnWhereItWas) {
  WeightStore store(Small());
  auto source = Zeros();
  FillRandom(source, 1);
  COHORT_ASSERT_OK(store.Publish(0, source));
  auto live = Zeros();
  WeightStaging staging(live, -1);
  COHORT_ASSERT_OK(staging.Begin(*store.Manifest(0)));
  const std::vector<uint32_t> all = staging.MissingBlocks();
  COHORT_ASSERT_OK(staging.Add(Sent(*store.EncodeBlock(0, all.at(0), -1))));
  Nudge(source, 9);
  COHORT_ASSERT_OK(store.Publish(1, source));
  COHORT_ASSERT_OK(staging.Begin(*store.Manifest(1)));
  EXPECT_LE(staging.MissingBlocks().size(), all.size());
  for (uint32_t block : staging.MissingBlocks()) {
    COHORT_ASSERT_OK(staging.Add(Sent(*store.EncodeBlock(1, block, -1))));
  }
  COHORT_ASSERT_OK(staging.Apply(true));
  EXPECT_EQ(HashOf(live), HashOf(source));
}

TEST(WeightStagingTest, LeavesTheLiveWeightsAloneUntilApplied) {
  WeightStore store(Small());
  auto source = Zeros();
  COHORT_ASSERT_OK(store.Publish(0, source));
  auto live = Zeros();
  WeightStaging staging(live, -1);
  Take(store, 0, staging);
  FillRandom(source, 1);
  COHORT_ASSERT_OK(store.Publish(1, source));
  const std::string before = HashOf(live);
  COHORT_ASSERT_OK(staging.Begin(*store.Manifest(1)));
  for (uint32_t block : staging.MissingBlocks()) {
    COHORT_ASSERT_OK(staging.Add(Sent(*store.EncodeBlock(1, block, 0))));
    EXPECT_EQ(HashOf(live), before);
  }
  void* address = live[0].tensor.data_ptr();
  COHORT_ASSERT_OK(staging.Apply(true));
  EXPECT_EQ(HashOf(live), HashOf(source));
  EXPECT_EQ(live[0].tensor.data_ptr(), address) << "weights must be swapped in place";
}

TEST(WeightStagingTest, RefusesAnotherModelAndSaysWhatDiffers) {
  WeightStore store(Small());
  COHORT_ASSERT_OK(store.Publish(0, Zeros(at::kFloat)));
  WeightStaging staging(Zeros(at::kBFloat16), -1);
  EXPECT_THAT(staging.Begin(*store.Manifest(0)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       testing::AllOf(HasSubstr("a BF16 [33, 47]"), HasSubstr("a F32 [33, 47]"))));
  v1::Manifest manifest = *store.Manifest(0);
  manifest.mutable_tensors()->RemoveLast();
  EXPECT_THAT(staging.Begin(manifest),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3 tensors")));
}

TEST(WeightStagingTest, RefusesBlocksThatDoNotTile) {
  WeightStore store(Small());
  COHORT_ASSERT_OK(store.Publish(0, Zeros()));
  WeightStaging staging(Zeros(), -1);
  const auto with = [&](const std::function<void(v1::Manifest&)>& defect) {
    v1::Manifest manifest = *store.Manifest(0);
    defect(manifest);
    return staging.Begin(manifest);
  };
  const auto bad = StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("do not tile"));
  EXPECT_THAT(with([](auto& m) { m.mutable_blocks(1)->set_offset(5); }), bad);
  EXPECT_THAT(with([](auto& m) { m.mutable_blocks(1)->set_size(1 << 30); }), bad);
  EXPECT_THAT(with([](auto& m) { m.mutable_blocks(1)->set_size(0); }), bad);
  EXPECT_THAT(with([](auto& m) { m.mutable_blocks(1)->set_tensor(9); }), bad);
  EXPECT_THAT(with([](auto& m) { m.mutable_blocks(1)->set_xxh3("short"); }), bad);
  EXPECT_THAT(with([](auto& m) { m.mutable_blocks()->RemoveLast(); }), bad);
  EXPECT_THAT(with([](auto& m) { m.clear_blocks(); }), bad);
}

TEST(WeightStagingTest, RefusesDamagedBlocksAndTakesThemRawAfterwards) {
  WeightStore store(Small());
  auto source = Zeros();
  FillRandom(source, 1);
  COHORT_ASSERT_OK(store.Publish(0, source));
  auto live = Zeros();
  WeightStaging staging(live, -1);
  Take(store, 0, staging);
  Nudge(source, 9);
  COHORT_ASSERT_OK(store.Publish(1, source));
  COHORT_ASSERT_OK(staging.Begin(*store.Manifest(1)));
  const uint32_t index = staging.MissingBlocks().at(0);
  const v1::Block good = Sent(*store.EncodeBlock(1, index, 0));
  const auto with = [&](const std::function<void(v1::Block&)>& defect) {
    v1::Block block = good;
    defect(block);
    return staging.Add(block);
  };
  const auto invalid = StatusIs(absl::StatusCode::kInvalidArgument, testing::_);
  EXPECT_THAT(with([](auto& b) { b.set_payload("not zstd"); }), invalid);
  EXPECT_THAT(with([](auto& b) { b.set_base_version(7); }), invalid);
  EXPECT_THAT(with([](auto& b) { b.set_version(7); }), invalid);
  EXPECT_THAT(with([](auto& b) { b.set_block(1 << 30); }), invalid);
  EXPECT_THAT(with([](auto& b) { b.set_codec(v1::CODEC_UNSPECIFIED); }), invalid);
  EXPECT_THAT(with([](auto& b) { b.set_codec(static_cast<v1::Codec>(77)); }), invalid);
  EXPECT_THAT(with([](auto& b) {
                b.set_codec(v1::CODEC_RAW);
                b.set_payload("short");
              }),
              invalid);
  const auto lost = StatusIs(absl::StatusCode::kDataLoss, testing::_);
  EXPECT_THAT(with([](auto& b) { b.set_codec(v1::CODEC_UNCHANGED); }), lost);
  EXPECT_THAT(with([](auto& b) {
                const std::string zeros(kBlock, '\0');
                b.set_payload(*CompressBlock(zeros.data(), zeros.size(), false));
              }),
              lost);
  EXPECT_FALSE(staging.Complete());
  for (uint32_t block : staging.MissingBlocks()) {
    COHORT_ASSERT_OK(staging.Add(Sent(*store.EncodeBlock(1, block, -1))));
  }
  COHORT_ASSERT_OK(staging.Apply(true));
  EXPECT_EQ(HashOf(live), HashOf(source));
}

TEST(BlockCodecTest, RefusesAFrameThatClaimsMoreThanTheBlock) {
  const std::string large(4096, 'x');
  const std::string frame = *CompressBlock(large.data(), large.size(), false);
  std::string out(1024, '\0');
  EXPECT_THAT(DecompressBlock(frame.data(), frame.size(), out.data(), out.size()),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::_));
  EXPECT_THAT(DecompressBlock("", 0, out.data(), out.size()),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::_));
}

}  // namespace
}  // namespace cohort
