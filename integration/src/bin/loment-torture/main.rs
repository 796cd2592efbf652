//! `loment-torture`: kills, faults and load on a containerd of its own, and what is left after them.

use std::process::ExitCode;

#[cfg(target_arch = "x86_64")]
mod command;

#[cfg(target_arch = "x86_64")]
fn main() -> ExitCode {
    command::main()
}

/// System calls are told by x86_64's registers and numbers.
#[cfg(not(target_arch = "x86_64"))]
fn main() -> ExitCode {
    use std::io::Write as _;

    let _closed = writeln!(std::io::stderr(), "error: pods are tormented on x86_64 only");
    ExitCode::FAILURE
}
