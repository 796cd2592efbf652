//! Profiles and calls at random, near each other.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator as Op, LinuxSyscall,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::kernel::{AARCH64, ARM, Call, I386, X86_64};

/// Names with something about them: numbers at both ends, carried on i386, of one ABI only, of no ABI, neighbours.
const NAMES: [&str; 32] = [
    "read",
    "write",
    "open",
    "close",
    "stat",
    "socket",
    "socketcall",
    "bind",
    "accept",
    "accept4",
    "recvmmsg",
    "ipc",
    "semop",
    "shmat",
    "semtimedop",
    "send",
    "personality",
    "clone",
    "clone3",
    "openat2",
    "faccessat2",
    "execve",
    "ioctl",
    "preadv",
    "waitid",
    "mmap2",
    "fstat64",
    "arch_prctl",
    "set_tls",
    "cacheflush",
    "no_such_call",
    "futex_waitv",
];

const VALUES: [u64; 12] =
    [0, 1, 2, 3, 8, 40, 0x7fff_ffff, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 0xffff_ffff_0000_0000, u64::MAX];

fn action() -> impl Strategy<Value = (Action, Option<u32>)> {
    prop_oneof![
        Just((Action::ScmpActAllow, None)),
        Just((Action::ScmpActAllow, None)),
        Just((Action::ScmpActErrno, None)),
        (1..=4095u32).prop_map(|errno| (Action::ScmpActErrno, Some(errno))),
        Just((Action::ScmpActKill, None)),
        Just((Action::ScmpActKillThread, None)),
        Just((Action::ScmpActKillProcess, None)),
        Just((Action::ScmpActTrap, None)),
        Just((Action::ScmpActLog, None)),
        (0..=0xffffu32).prop_map(|data| (Action::ScmpActTrace, Some(data))),
    ]
}

/// All operators.
pub(crate) const ALL: [Op; 7] =
    [Op::ScmpCmpNe, Op::ScmpCmpLt, Op::ScmpCmpLe, Op::ScmpCmpEq, Op::ScmpCmpGe, Op::ScmpCmpGt, Op::ScmpCmpMaskedEq];

/// Those with which libseccomp can be asked about several rules for one call. With the others it forgets rules (`LT 0` and
/// `LT 1 << 32` together do not match 2; `EQ 1 << 32` and `MASKED_EQ 0x7fffffff 0` together do not match `1 << 32`), and of
/// two with `NE` that differ in action now one decides, now the other.
pub(crate) const SOUND_TOGETHER: [Op; 1] = [Op::ScmpCmpEq];

fn argument(ops: &'static [Op]) -> impl Strategy<Value = LinuxSeccompArg> {
    (0..6usize, select(ops.to_vec()), value(), prop::option::of(value())).prop_map(|(index, op, value, second)| {
        let argument = LinuxSeccompArgBuilder::default().index(index).op(op).value(value);
        let argument = second.into_iter().fold(argument, LinuxSeccompArgBuilder::value_two);
        argument.build().expect("all fields have defaults")
    })
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![4 => select(VALUES.to_vec()), 1 => any::<u64>()]
}

fn rule(
    action: impl Strategy<Value = (Action, Option<u32>)>,
    ops: &'static [Op],
) -> impl Strategy<Value = LinuxSyscall> {
    // A few names, so that there are often several rules for one.
    let names = subsequence(NAMES.to_vec(), 1..=4);
    let arguments = prop_oneof![1 => Just(None), 3 => prop::collection::vec(argument(ops), 0..4).prop_map(Some)];
    (action, names, arguments).prop_map(|(action, names, args)| named(&names, action, args))
}

fn named(names: &[&str], (action, value): (Action, Option<u32>), args: Option<Vec<LinuxSeccompArg>>) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.iter().map(|name| (*name).to_owned()).collect());
    rule.set_action(action).set_errno_ret(value).set_args(args);
    rule
}

fn assemble(
    (default, errno): (Action, Option<u32>),
    architectures: Option<Vec<Arch>>,
    rules: Vec<LinuxSyscall>,
) -> LinuxSeccomp {
    let mut profile = LinuxSeccomp::default();
    profile.set_default_action(default).set_default_errno_ret(errno);
    profile.set_architectures(architectures).set_syscalls(Some(rules));
    profile
}

fn architectures(all: &'static [Arch]) -> impl Strategy<Value = Option<Vec<Arch>>> {
    prop::option::of(subsequence(all.to_vec(), 0..=all.len()).prop_shuffle())
}

pub(crate) const X86: [Arch; 3] = [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32];
pub(crate) const ARMS: [Arch; 2] = [Arch::ScmpArchAarch64, Arch::ScmpArchArm];

/// A profile of any actions.
pub(crate) fn profile(all: &'static [Arch], ops: &'static [Op]) -> impl Strategy<Value = LinuxSeccomp> {
    let rules = prop::collection::vec(rule(action(), ops), 1..24);
    (action(), architectures(all), rules).prop_map(|(default, arches, rules)| assemble(default, arches, rules))
}

/// A profile whose rules all have one action, so that it does not matter which of them decides.
pub(crate) fn uniform_profile(all: &'static [Arch], ops: &'static [Op]) -> impl Strategy<Value = LinuxSeccomp> {
    (action(), action(), architectures(all)).prop_flat_map(move |(default, other, arches)| {
        prop::collection::vec(rule(Just(other), ops), 1..24)
            .prop_map(move |rules| assemble(default, arches.clone(), rules))
    })
}

/// A profile with one rule for each call.
pub(crate) fn single_profile(all: &'static [Arch]) -> impl Strategy<Value = LinuxSeccomp> {
    // What i386 carries in another call would be several rules for that one.
    let names =
        ["read", "open", "personality", "clone", "openat2", "execve", "ioctl", "preadv", "close", "futex_waitv"];
    let arguments = prop::collection::vec(argument(&ALL), 0..4).prop_map(|mut arguments| {
        arguments.sort_by_key(LinuxSeccompArg::index);
        arguments.dedup_by_key(|argument| argument.index());
        arguments
    });
    let rules = prop::collection::vec((action(), arguments), names.len());
    (action(), architectures(all), rules).prop_map(move |(default, arches, rules)| {
        let rules = names.iter().zip(rules).map(|(name, (action, arguments))| named(&[name], action, Some(arguments)));
        assemble(default, arches, rules.collect())
    })
}

/// A profile with a verdict of its own for nearly every call: its program is long, its jumps go far.
pub(crate) fn long_profile() -> impl Strategy<Value = LinuxSeccomp> {
    let names: Vec<&'static str> = super::default_names();
    let rules = prop::collection::vec((1..=4095u32, prop::option::of(argument(&ALL))), names.len());
    (action(), rules).prop_map(move |(default, rules)| {
        let rules = names.iter().zip(rules).map(|(name, (errno, argument))| {
            named(&[name], (Action::ScmpActErrno, Some(errno)), argument.map(|argument| vec![argument]))
        });
        assemble(default, Some(vec![Arch::ScmpArchX86]), rules.collect())
    })
}

/// A call near the profile's: a number of one of its names or next to it, arguments next to its values.
pub(crate) fn call(profile: &LinuxSeccomp, machine_calls: &[(u32, u32)]) -> impl Strategy<Value = Call> + use<> {
    let values: Vec<u64> = profile
        .syscalls()
        .iter()
        .flatten()
        .flat_map(|rule| rule.args().iter().flatten())
        .flat_map(|argument| [argument.value(), argument.value_two().unwrap_or(0)])
        .chain(VALUES)
        .collect();
    let value = (select(values), select(vec![0, 1, u64::MAX, 1 << 32])).prop_map(|(at, by)| at.wrapping_add(by));
    let near = (select(machine_calls.to_vec()), select(vec![0, 0, 0, 1, u32::MAX]))
        .prop_map(|((architecture, number), by)| (architecture, number.wrapping_add(by)));
    let odd =
        select(vec![0, 1, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, 0xbfff_ffff, 0xc000_0000, u32::MAX]);
    let odd = (select(vec![X86_64, I386, AARCH64, ARM, 0x8000_0008]), prop_oneof![odd, any::<u32>()]);
    (prop_oneof![6 => near, 1 => odd], prop::array::uniform6(value))
        .prop_map(|((architecture, number), arguments)| Call { number, architecture, arguments })
}

/// Architecture and number of the names on all ABIs.
pub(crate) fn numbers(names: &[&str]) -> Vec<(u32, u32)> {
    use libseccomp::ScmpArch;
    let abis = [
        (ScmpArch::X8664, X86_64),
        (ScmpArch::X32, X86_64),
        (ScmpArch::X86, I386),
        (ScmpArch::Aarch64, AARCH64),
        (ScmpArch::Arm, ARM),
    ];
    let known = names.iter().flat_map(|name| abis.map(|(arch, audit)| (audit, super::oracle::number(name, arch))));
    let carried = [102, 117, 359, 361, 364, 337, 393, 397].map(|number| (I386, Some(number)));
    known.chain(carried).filter_map(|(audit, number)| Some((audit, number?))).collect()
}

/// Architecture and number of what [`profile`] picks from.
pub(crate) fn picked_numbers() -> Vec<(u32, u32)> {
    numbers(&NAMES)
}
