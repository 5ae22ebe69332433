// Runs the fuzz targets over a small seeded corpus with mutations; a longer campaign links them
// with libFuzzer.
#include "tests/fuzz/run_files_fuzz.h"

#include <gtest/gtest.h>

#include <string>

#include "cohort/v1/files.pb.h"
#include "common/base/hash.h"
#include "common/base/rng.h"
#include "common/rpc/channel.h"

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
  CounterRng rng(13);
  for (int i = 0; i < rounds; ++i) Feed(target, Mutate(seed_input, rng));
}

v1::RunFile File(const std::string& folder, const std::string& name, const std::string& content) {
  v1::RunFile file;
  file.set_folder(folder);
  file.set_name(name);
  file.set_size(content.size());
  file.set_sha256(Sha256Hex(content));
  return file;
}

void AppendBlock(const std::string& bytes, std::string* out) {
  out->push_back(static_cast<char>(bytes.size() & 0xff));
  out->push_back(static_cast<char>(bytes.size() >> 8));
  *out += bytes;
}

TEST(RunFilesFuzzTest, NoBytesCrashTheReaderOfDescriptions) {
  v1::DescribeReply reply;
  reply.set_resolved_config(
      R"({"model":{"path":"m"},"algorithm":{"reward":{"sources":[{"name":"reward_model"}]}}})");
  reply.set_model_sha256(Sha256Hex("model"));
  for (const char* folder : {"policy", "algorithm.reward.sources[0].path"}) {
    for (const char* name : {"config.json", "tokenizer.json"}) {
      *reply.add_files() = File(folder, name, name);
    }
  }
  Campaign(&FuzzDescription, reply.SerializeAsString(), 20000);
}

TEST(RunFilesFuzzTest, NoBytesCrashTheAssemblerOfFiles) {
  std::string input;
  AppendBlock(File("policy", "f", "one two three").SerializeAsString(), &input);
  for (const char* piece : {"one ", "two ", "three"}) AppendBlock(piece, &input);
  Campaign(&FuzzFileAssembly, input, 20000);
}

}  // namespace
}  // namespace cohort
