#include "common/weights/block_codec.h"

#include <zstd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace cohort {
namespace {

constexpr int kLevel = 1;
constexpr size_t kSampleBytes = size_t{64} << 10;
constexpr double kWorthwhile = 0.6;

struct FreeCompressor {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
struct FreeDecompressor {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// Contexts hold tables that are costly to allocate for every block.
ZSTD_CCtx* Compressor() {
  thread_local std::unique_ptr<ZSTD_CCtx, FreeCompressor> context(ZSTD_createCCtx());
  return context.get();
}
ZSTD_DCtx* Decompressor() {
  thread_local std::unique_ptr<ZSTD_DCtx, FreeDecompressor> context(ZSTD_createDCtx());
  return context.get();
}

size_t CompressInto(const char* data, size_t size, std::string* out) {
  const size_t bound = ZSTD_compressBound(size);
  if (out->size() < bound) out->resize(bound);  // never shrunk: growing would fill it again
  const size_t written =
      ZSTD_compressCCtx(Compressor(), out->data(), out->size(), data, size, kLevel);
  COHORT_CHECK(!ZSTD_isError(written)) << ZSTD_getErrorName(written);
  return written;
}

bool SampleShrinks(const char* data, size_t size, std::string* scratch) {
  const size_t sample = std::min(size, kSampleBytes);
  // From the middle: the ends of a tensor are less typical.
  const size_t written = CompressInto(data + (size - sample) / 2, sample, scratch);
  return static_cast<double>(written) < kWorthwhile * static_cast<double>(sample);
}

}  // namespace

void XorBytes(const char* a, const char* b, size_t size, char* out) {
  size_t i = 0;
  for (; i + sizeof(uint64_t) <= size; i += sizeof(uint64_t)) {
    uint64_t x = 0, y = 0;
    std::memcpy(&x, a + i, sizeof(x));
    std::memcpy(&y, b + i, sizeof(y));
    x ^= y;
    std::memcpy(out + i, &x, sizeof(x));
  }
  for (; i < size; ++i) out[i] = static_cast<char>(a[i] ^ b[i]);
}

std::optional<std::string> CompressBlock(const char* data, size_t size, bool give_up) {
  thread_local std::string scratch;
  if (give_up && !SampleShrinks(data, size, &scratch)) return std::nullopt;
  const size_t written = CompressInto(data, size, &scratch);
  return std::string(scratch.data(), written);
}

absl::Status DecompressBlock(const char* data, size_t compressed_size, char* out, size_t size) {
  const size_t written = ZSTD_decompressDCtx(Decompressor(), out, size, data, compressed_size);
  if (ZSTD_isError(written) || written != size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "expected a zstd frame of ", size, " plain bytes, found ",
        ZSTD_isError(written) ? ZSTD_getErrorName(written) : absl::StrCat(written, " bytes")));
  }
  return absl::OkStatus();
}

}  // namespace cohort
