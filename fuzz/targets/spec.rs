//! A specification: its plan, its place in a pod, its limits and its seccomp profile.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    loment_shim::fuzzing::spec(bytes);
    loment_sandbox::fuzzing::spec(bytes);
});
