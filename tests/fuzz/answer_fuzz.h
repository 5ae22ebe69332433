// Entry points in libFuzzer's form for the comparison of answers. They must return 0 for any bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace cohort {

// Two answers, parted by a zero byte: the laws of equality.
int FuzzAnswerPair(const uint8_t* data, size_t size);
// An answer as every verifier that compares values meets it, for gold answers of every form.
int FuzzAnswerForms(const uint8_t* data, size_t size);
// A well-formed answer that the bytes describe (DescribedAnswer), through both.
int FuzzFormula(const uint8_t* data, size_t size);

// Each byte is an operation on a stack of formulas: any bytes give LaTeX of balanced brackets.
std::string DescribedAnswer(const uint8_t* data, size_t size);

}  // namespace cohort
