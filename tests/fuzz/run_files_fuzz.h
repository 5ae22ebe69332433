// Entry points in the form that libFuzzer calls. They must return 0 for any bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cohort {

// A DescribeReply.
int FuzzDescription(const uint8_t* data, size_t size);
// A RunFile (length: 2 bytes little-endian, that many bytes), then pieces in the same form.
int FuzzFileAssembly(const uint8_t* data, size_t size);

}  // namespace cohort
