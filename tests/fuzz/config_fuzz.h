// Entry point in the form that libFuzzer calls. Returns 0 for any bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cohort {

int FuzzConfig(const uint8_t* data, size_t size);

}  // namespace cohort
