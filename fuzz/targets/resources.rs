//! Limits, to the files of either layout of cgroups.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    loment_cgroups::fuzzing::resources(bytes);
});
