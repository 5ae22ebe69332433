#include "tests/fuzz/run_files_fuzz.h"

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "common/base/log.h"
#include "common/run_files/fetch_plan.h"

namespace cohort {
namespace {

// The next (length, bytes) of the input.
absl::string_view Take(const uint8_t*& data, size_t& size) {
  if (size < 2) return {};
  const size_t length = std::min<size_t>(static_cast<size_t>(data[0] | data[1] << 8), size - 2);
  const absl::string_view bytes(reinterpret_cast<const char*>(data + 2), length);
  data += 2 + length;
  size -= 2 + length;
  return bytes;
}

}  // namespace

int FuzzDescription(const uint8_t* data, size_t size) {
  v1::DescribeReply reply;
  if (!reply.ParseFromArray(data, static_cast<int>(size))) return 0;
  const auto plan = ParseDescription(reply);
  if (!plan.ok()) return 0;
  // What is accepted names plain files of a bounded size.
  uint64_t total = 0;
  for (const v1::RunFile& file : plan->files) {
    COHORT_CHECK(!absl::StrContains(file.name(), "/") && !absl::StartsWith(file.name(), "."));
    COHORT_CHECK(!absl::StrContains(file.folder(), "/") && !absl::StartsWith(file.folder(), "."));
    COHORT_CHECK(file.sha256().size() == 64 && file.size() <= kMaxRunFileBytes);
    total += file.size();
  }
  COHORT_CHECK(total <= kMaxRunBytes * kMaxRunFiles);
  return 0;
}

int FuzzFileAssembly(const uint8_t* data, size_t size) {
  const absl::string_view description = Take(data, size);
  v1::RunFile file;
  if (!file.ParseFromArray(description.data(), static_cast<int>(description.size()))) return 0;
  FileAssembler assembler(file);
  std::string accepted;
  while (size >= 2) {
    const absl::string_view piece = Take(data, size);
    if (assembler.Add(piece).ok()) accepted.append(piece.data(), piece.size());
    COHORT_CHECK(assembler.size() == accepted.size() && accepted.size() <= file.size());
  }
  if (assembler.Finish().ok()) COHORT_CHECK(Sha256Hex(accepted) == file.sha256());
  return 0;
}

}  // namespace cohort

#ifdef COHORT_FUZZ_TARGET
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return cohort::COHORT_FUZZ_TARGET(data, size);
}
#endif
