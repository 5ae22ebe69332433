// The ranks' store under calls from outside, in the form that libFuzzer calls. Returns 0 for any
// bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cohort {

// The bytes are a sequence of (kind: 1 byte, length: 2 bytes little-endian, that many bytes of the
// request of that kind). A generation of 1, 2 or 3 stands for that of a rank that joined.
int FuzzRankStore(const uint8_t* data, size_t size);

}  // namespace cohort
