//! A manifest file: read, validated, lowered; and the shim's reading of one.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    loment_fuzzed_cli::fuzzing::manifest(bytes);
    loment_sandbox::fuzzing::manifest(bytes);
});
