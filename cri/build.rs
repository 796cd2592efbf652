//! Turns the interface definitions into Rust. `protox` compiles them, so that no `protoc` has to be installed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let definition =
        protox::compile(["proto/runtime.proto", "proto/snapshots.proto", "proto/inventory.proto"], ["proto"])?;
    tonic_prost_build::configure().build_server(false).build_transport(false).compile_fds(definition)?;
    Ok(())
}
