// Runs the fuzz targets over a small seeded corpus with mutations; a longer campaign links them
// with libFuzzer.
#include "tests/fuzz/run_files_fuzz.h"

#include <gtest/gtest.h>

#include <string>

#include "cohort/v1/files.pb.h"
#include "common/base/hash.h"
#include "common/rpc/channel.h"
#include "tests/fuzz/campaign.h"

namespace cohort {
namespace {

constexpr uint64_t kSeed = 13;

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
  SetUpRpc();
  v1::DescribeReply reply;
  reply.set_resolved_config(
      R"({"model":{"path":"m"},"algorithm":{"reward":{"sources":[{"name":"reward_model"}]}}})");
  reply.set_model_sha256(Sha256Hex("model"));
  for (const char* folder : {"policy", "algorithm.reward.sources[0].path"}) {
    for (const char* name : {"config.json", "tokenizer.json"}) {
      *reply.add_files() = File(folder, name, name);
    }
  }
  Campaign(&FuzzDescription, reply.SerializeAsString(), 20000, kSeed);
}

TEST(RunFilesFuzzTest, NoBytesCrashTheAssemblerOfFiles) {
  SetUpRpc();
  std::string input;
  AppendBlock(File("policy", "f", "one two three").SerializeAsString(), &input);
  for (const char* piece : {"one ", "two ", "three"}) AppendBlock(piece, &input);
  Campaign(&FuzzFileAssembly, input, 20000, kSeed);
}

}  // namespace
}  // namespace cohort
