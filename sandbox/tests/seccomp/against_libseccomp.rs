//! Verdict by verdict: the compiled profile and libseccomp's program for it, with runc's `ENOSYS` in front.

use loment_sandbox::seccomp::{Filter, Machine};
use oci_spec::runtime::LinuxSeccomp;

use super::kernel::{self, Call};
use super::oracle;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

pub(crate) fn default_profile() -> LinuxSeccomp {
    serde_json::from_str(include_str!("default.json")).unwrap()
}

#[test]
fn the_default_profile_has_libseccomps_verdicts() {
    let profile = default_profile();
    let filter = Filter::compile_for(&profile, Machine::X86_64).unwrap().unwrap();
    kernel::check(filter.program());
    let theirs = oracle::compile(&profile, Machine::X86_64).unwrap();
    println!("{} instructions, libseccomp {}", filter.len(), theirs.len());
    for architecture in [X86_64, I386, 0xc000_00b7] {
        for number in (0..600).chain(0x4000_0000..0x4000_0258) {
            for argument in [0, 1, 8, 40, 0x20000, 0x20008, 0xffff_ffff, 0x1_0000_0008, 0x1000_0000, 0x0200_0000] {
                let call = Call { number, architecture, arguments: [argument; 6] };
                let ours = kernel::run(filter.program(), &call);
                if ours != 0x0005_0026 {
                    assert_eq!(ours, kernel::run(&theirs, &call), "{call:x?}");
                }
            }
        }
    }
}
