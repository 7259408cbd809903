//! The `vouchsafe` binary: everything happens in the library.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    vouchsafe::cli::main()
}
