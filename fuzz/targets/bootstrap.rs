//! What `start` is told: its command line, and its standard input.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    loment_shim::fuzzing::bootstrap(bytes);
    loment_sandbox::fuzzing::id(bytes);
});
