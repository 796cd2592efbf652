//! Templates, selectors and logs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    loment_fuzzed_cli::fuzzing::text(bytes);
});
