// Entry points in the form that libFuzzer calls. They must return 0 for any bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cohort {

int FuzzExtraction(const uint8_t* data, size_t size);     // a completion
int FuzzAnswer(const uint8_t* data, size_t size);         // an answer to compare
int FuzzVerifiers(const uint8_t* data, size_t size);      // columns, a zero byte, a completion
int FuzzGroups(const uint8_t* data, size_t size);         // a group's completions, by zero bytes
int FuzzJsonlPrompts(const uint8_t* data, size_t size);   // a prompt file
int FuzzChatTemplate(const uint8_t* data, size_t size);   // chat_template.jinja
int FuzzTokenizerJson(const uint8_t* data, size_t size);  // tokenizer.json

}  // namespace cohort
