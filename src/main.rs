//! The program: the library's `run`, with a different allocator if linked statically.

use std::process::ExitCode;

/// musl's own allocator asks the system for memory at nearly every new block size, which took `token` longer than parsing
/// the record.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    codex_auth::run()
}
