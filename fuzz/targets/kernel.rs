//! What the kernel and systemd say: files of cgroups, tables of /proc, netlink; and the head of a program of an image.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    loment_cgroups::fuzzing::kernel(bytes);
    loment_cgroups::fuzzing::cgroups_path(bytes);
    loment_sandbox::fuzzing::netlink(bytes);
    loment_sandbox::fuzzing::program(bytes);
});
