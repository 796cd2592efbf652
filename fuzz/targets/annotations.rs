//! Annotations of a specification, as JSON: groups, and pods that the shim runs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    loment_shim::fuzzing::annotations(bytes);
});
