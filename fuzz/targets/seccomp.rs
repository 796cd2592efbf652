//! A seccomp profile: what it is compiled to says the same of a call as a plain reading of its rules.
#![no_main]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../sandbox/tests/seccomp/kernel.rs"]
mod kernel;
#[path = "../../sandbox/tests/seccomp/reference.rs"]
mod reference;

use kernel::Call;
use libseccomp::{ScmpArch, ScmpSyscall};
use loment_sandbox::seccomp::{Filter, Machine};
use oci_spec::runtime::LinuxSeccomp;

/// Machines, with the ABIs of each: libseccomp's name, the kernel's, and what is added to a number.
const MACHINES: [(Machine, &[(ScmpArch, u32, u32)]); 2] = [
    (Machine::X86_64, &[(ScmpArch::X8664, kernel::X86_64, 0), (ScmpArch::X86, kernel::I386, 0)]),
    (Machine::Aarch64, &[(ScmpArch::Aarch64, kernel::AARCH64, 0), (ScmpArch::Arm, kernel::ARM, 0)]),
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(profile) = serde_json::from_slice::<LinuxSeccomp>(bytes) else { return };
    for (machine, abis) in MACHINES {
        let Ok(Some(filter)) = Filter::compile_for(&profile, machine) else { continue };
        kernel::check(filter.program());
        assert_eq!(Filter::from_bytes(&filter.to_bytes()).as_ref(), Some(&filter));
        // The reference is slow, and knows no more names than the library of this machine.
        if rules(&profile) > 64 || !names(&profile).all(is_known) {
            continue;
        }
        for call in calls(&profile, abis).take(256) {
            let (is, should) = (kernel::run(filter.program(), &call), reference::verdict(&profile, machine, &call));
            assert_eq!(is, should, "{machine:?} {call:x?}");
        }
    }
});

fn rules(profile: &LinuxSeccomp) -> usize {
    let rules = profile.syscalls().iter().flatten();
    rules.map(|rule| rule.names().len() * (1 + rule.args().iter().flatten().count())).sum()
}

fn names(profile: &LinuxSeccomp) -> impl Iterator<Item = &str> {
    profile.syscalls().iter().flatten().flat_map(|rule| rule.names()).map(String::as_str)
}

/// A call of the kernel for which this was written, by its name on some architecture; nonsense is known to nobody.
fn is_known(name: &str) -> bool {
    !name.contains('\0') && ScmpSyscall::from_name(name).is_ok()
}

/// Calls with the numbers of the profile's names and those beside them, and arguments beside its values.
fn calls<'p>(profile: &'p LinuxSeccomp, abis: &'p [(ScmpArch, u32, u32)]) -> impl Iterator<Item = Call> + 'p {
    let conditions = profile.syscalls().iter().flatten().flat_map(|rule| rule.args().iter().flatten());
    let values = conditions.flat_map(|one| [one.value(), one.value_two().unwrap_or(0)]);
    let values: Vec<u64> = [0, u64::MAX].into_iter().chain(values).take(4).collect();
    names(profile).flat_map(move |name| {
        let values = values.clone();
        abis.iter().flat_map(move |(abi, architecture, add)| {
            let number = ScmpSyscall::from_name_by_arch(name, *abi).ok().map(ScmpSyscall::as_raw_syscall);
            let number = number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0) + add;
            let values = values.clone();
            [number, number.wrapping_sub(1), number + 1].into_iter().flat_map(move |number| {
                let call = move |value: &u64| Call { number, architecture: *architecture, arguments: [*value; 6] };
                values.iter().map(call).collect::<Vec<_>>()
            })
        })
    })
}
