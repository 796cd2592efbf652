//! Makes the Pod service, and the messages of CRI that containerd hands on, from their definitions.

use ttrpc_codegen::{Codegen, Customize, ProtobufCustomize};

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=proto");
    let out = std::env::var_os("OUT_DIR").unwrap_or_default();
    Codegen::new()
        .out_dir(&out)
        .inputs(["proto/pod.proto", "proto/cri.proto"])
        .include("proto")
        .rust_protobuf()
        .rust_protobuf_customize(ProtobufCustomize::default().gen_mod_rs(true))
        .customize(Customize { async_all: true, ..Customize::default() })
        .run()?;
    // The generator lists the messages only.
    let modules = std::path::Path::new(&out).join("mod.rs");
    std::fs::write(modules, "pub mod cri;\npub mod pod;\npub mod pod_ttrpc;\n")
}
