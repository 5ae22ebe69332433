//! The C ABI of `common/text/text_ffi.h`. Every function catches panics: what a hostile
//! `tokenizer.json` or chat template does inside the libraries ends here as an error message.

mod template;
mod tokenizer;

use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

use template::ChatTemplate;
use tokenizer::TextTokenizer;

/// Bytes owned by Rust until `cohort_text_buffer_free`.
#[repr(C)]
pub struct Buffer {
    data: *mut u8,
    size: usize,
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panic messages for the error instead of printing them.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            LAST_PANIC.with(|slot| *slot.borrow_mut() = info.to_string().replace('\n', " "));
        }));
    });
}

fn guard<T>(body: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    install_panic_hook();
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        Err(format!("the library gave up: {}", LAST_PANIC.with(|slot| slot.borrow().clone())))
    })
}

/// # Safety
/// `data` points to `size` readable bytes (or `size` is 0).
unsafe fn bytes<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, size)
    }
}

/// # Safety
/// As `bytes`.
unsafe fn text<'a>(data: *const u8, size: usize) -> Result<&'a str, String> {
    std::str::from_utf8(bytes(data, size))
        .map_err(|e| format!("the text is not valid UTF-8 at byte {}", e.valid_up_to()))
}

unsafe fn put(out: *mut Buffer, content: Vec<u8>) {
    let boxed = content.into_boxed_slice();
    let size = boxed.len();
    *out = Buffer { data: Box::into_raw(boxed) as *mut u8, size };
}

/// Writes the result or the message; 0 on success, 1 on failure.
unsafe fn finish(out: *mut Buffer, result: Result<Vec<u8>, String>) -> i32 {
    let failed = result.is_err();
    put(out, result.unwrap_or_else(String::into_bytes));
    failed as i32
}

unsafe fn finish_new<T>(out: *mut *mut T, error: *mut Buffer, result: Result<T, String>) -> i32 {
    match result {
        Ok(value) => {
            *out = Box::into_raw(Box::new(value));
            0
        }
        Err(message) => {
            put(error, message.into_bytes());
            1
        }
    }
}

unsafe fn drop_box<T>(pointer: *mut T) {
    if !pointer.is_null() {
        let _ = guard(|| {
            drop(Box::from_raw(pointer));
            Ok(())
        });
    }
}

/// # Safety
/// `buffer` was filled by a function of this file and is not freed twice.
#[no_mangle]
pub unsafe extern "C" fn cohort_text_buffer_free(buffer: *mut Buffer) {
    let Buffer { data, size } = *buffer;
    if !data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, size)));
    }
    *buffer = Buffer { data: std::ptr::null_mut(), size: 0 };
}

/// # Safety
/// See text_ffi.h.
#[no_mangle]
pub unsafe extern "C" fn cohort_tokenizer_new(
    json: *const u8,
    size: usize,
    out: *mut *mut TextTokenizer,
    error: *mut Buffer,
) -> i32 {
    let result = guard(|| TextTokenizer::from_json(bytes(json, size)));
    finish_new(out, error, result)
}

/// # Safety
/// See text_ffi.h.
#[no_mangle]
pub unsafe extern "C" fn cohort_tokenizer_free(tokenizer: *mut TextTokenizer) {
    drop_box(tokenizer);
}

/// # Safety
/// See text_ffi.h.
#[no_mangle]
pub unsafe extern "C" fn cohort_tokenizer_encode(
    tokenizer: *const TextTokenizer,
    data: *const u8,
    size: usize,
    add_special: bool,
    out: *mut Buffer,
) -> i32 {
    let result = guard(|| (*tokenizer).encode(text(data, size)?, add_special));
    finish(out, result.map(|ids| ids.iter().flat_map(|id| id.to_ne_bytes()).collect()))
}

/// # Safety
/// See text_ffi.h.
#[no_mangle]
pub unsafe extern "C" fn cohort_tokenizer_decode(
    tokenizer: *const TextTokenizer,
    ids: *const u32,
    count: usize,
    skip_special: bool,
    out: *mut Buffer,
) -> i32 {
    let result = guard(|| (*tokenizer).decode(bytes(ids, count), skip_special));
    finish(out, result.map(String::into_bytes))
}

/// # Safety
/// See text_ffi.h.
#[no_mangle]
pub unsafe extern "C" fn cohort_tokenizer_vocab_size(tokenizer: *const TextTokenizer) -> u32 {
    (*tokenizer).vocab_size()
}

/// # Safety
/// See text_ffi.h.
#[no_mangle]
pub unsafe extern "C" fn cohort_tokenizer_token_to_id(
    tokenizer: *const TextTokenizer,
    data: *const u8,
    size: usize,
) -> i64 {
    guard(|| Ok((*tokenizer).token_to_id(text(data, size)?))).unwrap_or(-1)
}

/// # Safety
/// See text_ffi.h.
#[no_mangle]
pub unsafe extern "C" fn cohort_template_new(
    source: *const u8,
    size: usize,
    out: *mut *mut ChatTemplate,
    error: *mut Buffer,
) -> i32 {
    let result = guard(|| ChatTemplate::compile(text(source, size)?));
    finish_new(out, error, result)
}

/// # Safety
/// See text_ffi.h.
#[no_mangle]
pub unsafe extern "C" fn cohort_template_free(template: *mut ChatTemplate) {
    drop_box(template);
}

/// # Safety
/// See text_ffi.h.
#[no_mangle]
pub unsafe extern "C" fn cohort_template_render(
    template: *const ChatTemplate,
    context_json: *const u8,
    size: usize,
    now_unix_seconds: i64,
    out: *mut Buffer,
) -> i32 {
    let result = guard(|| (*template).render(bytes(context_json, size), now_unix_seconds));
    finish(out, result)
}
