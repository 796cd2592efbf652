//! A request of any of the shim's services.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    loment_shim::fuzzing::rpc(bytes);
});
