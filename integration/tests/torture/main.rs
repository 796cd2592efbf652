//! Kills, refused system calls and load, in the short form: what `scripts/torture` does for an hour. With what they are drawn
//! from, so that a failure comes again.

use std::process::ExitCode;

#[cfg(target_arch = "x86_64")]
mod short;

#[cfg(target_arch = "x86_64")]
fn main() -> ExitCode {
    short::main()
}

/// System calls are told by x86_64's registers and numbers.
#[cfg(not(target_arch = "x86_64"))]
fn main() -> ExitCode {
    use std::io::Write as _;

    let arguments = libtest_mimic::Arguments::from_args();
    if !arguments.list {
        let _closed = writeln!(std::io::stderr(), "SKIPPED: pods are tormented on x86_64 only");
    }
    libtest_mimic::run(&arguments, Vec::new()).exit_code()
}
