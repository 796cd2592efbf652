//! The process of an exec.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    loment_sandbox::fuzzing::process(bytes);
});
