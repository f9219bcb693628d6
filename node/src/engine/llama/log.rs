//! Starting llama.cpp once, and its log: to `tracing`, with the last errors kept, because llama.cpp explains failures
//! nowhere else.

use std::ffi::{c_char, c_void};
use std::sync::{Mutex, Once, PoisonError};

use llama_cpp_sys_2 as sys;

use super::owned_text;

/// Enough for the chain of messages of one failure; a damaged file could make very many.
const LAST_ERROR_BYTES_MAX: usize = 1024;

static LAST_ERROR: Mutex<String> = Mutex::new(String::new());

pub(super) fn forget_error() {
    LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

pub(super) fn last_error() -> String {
    let reason = LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if reason.is_empty() { "llama.cpp gave no reason".to_owned() } else { reason }
}

fn remember(line: &str) {
    let mut last = LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    if last.len() + line.len() > LAST_ERROR_BYTES_MAX {
        return;
    }
    if !last.is_empty() {
        last.push_str("; ");
    }
    last.push_str(line);
}

pub(super) fn init_once() {
    static ONCE: Once = Once::new();
    // SAFETY: called once, before any other use of llama.cpp; the callback is a plain function.
    ONCE.call_once(|| unsafe {
        sys::llama_log_set(Some(log), std::ptr::null_mut());
        sys::llama_backend_init();
    });
}

unsafe extern "C" fn log(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    // SAFETY: llama.cpp passes a terminated string that lives through the call.
    let Some(text) = (unsafe { owned_text(text) }) else { return };
    let line = text.trim();
    match level {
        sys::GGML_LOG_LEVEL_ERROR => {
            tracing::warn!(target: "llama", line);
            remember(line);
        }
        sys::GGML_LOG_LEVEL_WARN => tracing::info!(target: "llama", line),
        // Progress dots and continued lines say nothing on their own.
        sys::GGML_LOG_LEVEL_CONT => {}
        _ => tracing::trace!(target: "llama", line),
    }
}
