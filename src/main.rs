//! The program: the library's `run`, with an allocator of its own where it is linked statically.

use std::process::ExitCode;

/// musl's own allocator asks the system anew for nearly every size of a block: that took `token` longer than its parsing.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    codex_auth::run()
}
