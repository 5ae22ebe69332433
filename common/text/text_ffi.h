// C ABI of the Rust crate in common/text/rust. Only tokenizer.cc includes it;
// everything else uses tokenizer.h.
//
// A function that returns int32_t gives 0 on success. `out` then holds the result, otherwise a
// one-line message; either way the caller frees it with cohort_text_buffer_free. Panics never
// cross. Handles may be used from several threads at once, except by the function that frees them.
#pragma once

#include <stddef.h>
#include <stdint.h>

extern "C" {

struct CohortTextBuffer {
  uint8_t* data;
  size_t size;  // bytes
};
struct CohortTokenizer;
struct CohortTemplate;

void cohort_text_buffer_free(CohortTextBuffer* buffer);

// `json`: the bytes of a tokenizer.json.
int32_t cohort_tokenizer_new(const uint8_t* json, size_t size, CohortTokenizer** out,
                             CohortTextBuffer* error);
void cohort_tokenizer_free(CohortTokenizer* tokenizer);
// Result: uint32_t token ids in the machine's byte order.
int32_t cohort_tokenizer_encode(const CohortTokenizer* tokenizer, const uint8_t* text, size_t size,
                                bool add_special, CohortTextBuffer* out);
// Result: UTF-8. An incomplete sequence becomes U+FFFD; ids without a token are left out.
int32_t cohort_tokenizer_decode(const CohortTokenizer* tokenizer, const uint32_t* ids, size_t count,
                                bool skip_special, CohortTextBuffer* out);
// The largest token id + 1, added tokens included.
uint32_t cohort_tokenizer_vocab_size(const CohortTokenizer* tokenizer);
// -1 when there is no such token.
int64_t cohort_tokenizer_token_to_id(const CohortTokenizer* tokenizer, const uint8_t* text,
                                     size_t size);

// `source`: Jinja, UTF-8, at most 1 MiB.
int32_t cohort_template_new(const uint8_t* source, size_t size, CohortTemplate** out,
                            CohortTextBuffer* error);
void cohort_template_free(CohortTemplate* chat_template);
// `context_json`: an object with the template's variables. `now_unix_seconds` is what strftime_now
// sees (UTC).
int32_t cohort_template_render(const CohortTemplate* chat_template, const uint8_t* context_json,
                               size_t size, int64_t now_unix_seconds, CohortTextBuffer* out);

}  // extern "C"
