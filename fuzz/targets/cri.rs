//! CRI's configuration of a pod.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    loment_shim::fuzzing::sandbox_config(bytes);
});
