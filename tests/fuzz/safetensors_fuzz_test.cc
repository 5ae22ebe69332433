// Runs the fuzz target over a small corpus and seeded mutations of it.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/base/log.h"
#include "common/base/rng.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace cohort {
namespace {

constexpr int kMutations = 20000;

std::vector<std::string> Corpus() {
  const std::string header = R"({"__metadata__":{"format":"pt"},)"
                             R"("a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                             R"("b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}})";
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size());
  file += header + std::string(10, '\1');
  const std::string config =
      R"({"model_type":"qwen3","vocab_size":9,"hidden_size":8,"intermediate_size":4,)"
      R"("num_hidden_layers":1,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":4,)"
      R"("eos_token_id":[1,2],"rope_parameters":{"rope_type":"llama3","factor":8.0,)"
      R"("original_max_position_embeddings":64}})";
  return {file, config, "", "{}", std::string(8, '\xff')};
}

// Flips, drops, inserts and repeats a few bytes.
void Mutate(CounterRng& rng, std::string& bytes) {
  for (uint64_t edits = rng.Below(4) + 1; edits > 0; --edits) {
    const size_t place = rng.Below(bytes.size() + 1);
    const auto byte = static_cast<char>(rng.Below(256));
    switch (rng.Below(4)) {
      case 0:
        bytes.insert(place, 1, byte);
        break;
      case 1:
        bytes.erase(place, rng.Below(8));
        break;
      case 2:
        bytes.insert(place, bytes.substr(place, rng.Below(32)));
        break;
      default:
        if (place < bytes.size()) bytes[place] = byte;
    }
  }
}

TEST(SafetensorsFuzzTest, MutatedFilesNeverCrashTheParsers) {
  SetMinLogLevel(LogLevel::kError);
  CounterRng rng(2024);
  const std::vector<std::string> corpus = Corpus();
  for (int i = 0; i < kMutations; ++i) {
    std::string bytes = corpus[static_cast<size_t>(i) % corpus.size()];
    if (i >= static_cast<int>(corpus.size())) Mutate(rng, bytes);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  }
}

}  // namespace
}  // namespace cohort
