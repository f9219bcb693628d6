//! The `fednode` binary: the allocator and the way into `cli`.

use std::process::ExitCode;

/// glibc returns large buffers to the system and faults them in again; this one doubles the throughput of transfers
/// (DESIGN 16).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fednode::cli::main()
}
