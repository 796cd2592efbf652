//! A mount of a root and of a specification: kind, source, target and options, a line each.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    loment_sandbox::fuzzing::mounts(bytes);
});
