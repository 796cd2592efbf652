//! What is kept on the disk of containers, pods and checkpoints.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    loment_sandbox::fuzzing::records(bytes);
    loment_shim::fuzzing::records(bytes);
});
