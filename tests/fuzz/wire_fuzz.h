// Entry points in the form that libFuzzer calls. They must return 0 for any bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cohort {

int FuzzGroupDecode(const uint8_t* data, size_t size);
// The bytes are a sequence of (length: 2 bytes little-endian, that many bytes of a GroupChunk).
int FuzzGroupAssembly(const uint8_t* data, size_t size);

// A reply of the weight stream, cut into slices of the length in the first byte: what is taken
// apart without a copy is what Protobuf reads.
int FuzzBlockReply(const uint8_t* data, size_t size);

}  // namespace cohort
