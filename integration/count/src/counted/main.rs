//! The shim as it is counted: its own code, all of it, on a kernel that is pretended where the real one would be in the
//! way. It is never shipped.
//!
//! What the shim calls of the C library is replaced by what is defined here under the same name; nothing of the shim is
//! changed for it. [`kernel`] has what callgrind does not know or what differs from machine to machine, [`rest`] decides
//! when an operation is over.

// The calls of a C library are replaced here: there is no safe way to do that, and nothing of it is part of the product.
#![allow(unsafe_code)]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod kernel;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod raw;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod rest;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match loment_shim::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _closed =
                std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("loment-counted-shim: {failure}\n"));
            ExitCode::FAILURE
        }
    }
}
