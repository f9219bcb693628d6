//! The `fednode` binary: the allocator and the way into `cli`.

use std::process::ExitCode;

/// glibc returns large buffers to the system and faults them in again; this one doubles the throughput of transfers
/// (DESIGN 16).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` in mimalloc.h: its bindings do not name it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Milliseconds until freed memory goes back to the system. With mimalloc's own 10 the frames of a transfer are given back and
/// faulted in again all the time: a tenth of the processor time of each side.
const PURGE_DELAY_MS: std::ffi::c_long = 500;

fn main() -> ExitCode {
    #[allow(unsafe_code)]
    // SAFETY: sets one number of the allocator, before any other thread is there.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
    }
    fednode::cli::main()
}
