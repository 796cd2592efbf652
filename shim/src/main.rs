//! `containerd-shim-loment-v2`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match loment_shim::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // containerd reads both streams and shows them with the failed start.
            let _closed = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("containerd-shim-loment-v2: {failure}\n"),
            );
            ExitCode::FAILURE
        }
    }
}
