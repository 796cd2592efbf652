//! What a profile means for one call, read off its rules one by one: slow, and without a table of its own.

use libseccomp::{ScmpArch, ScmpSyscall};
use loment_sandbox::seccomp::Machine;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator as Op,
};

use super::kernel::{AARCH64, ARM, Call, I386, X86_64};

const KILL_THREAD: u32 = 0;
const ENOSYS: u32 = 0x0005_0026;
const X32_BIT: u32 = 0x4000_0000;

/// The verdict of a profile on a call. A call that the profile does not name and no library knows is not asked for.
pub(crate) fn verdict(profile: &LinuxSeccomp, machine: Machine, call: &Call) -> u32 {
    let listed = profile.architectures().clone().unwrap_or_default();
    let x32 = machine == Machine::X86_64 && listed.contains(&Arch::ScmpArchX32);
    let default = value(profile.default_action(), profile.default_errno_ret());
    let arch = match (machine, call.architecture) {
        (Machine::X86_64, X86_64) if x32 && call.number & X32_BIT != 0 => ScmpArch::X32,
        (Machine::X86_64, X86_64) => ScmpArch::X8664,
        (Machine::X86_64, I386) if listed.contains(&Arch::ScmpArchX86) => ScmpArch::X86,
        (Machine::Aarch64, AARCH64) => ScmpArch::Aarch64,
        (Machine::Aarch64, ARM) if listed.contains(&Arch::ScmpArchArm) => ScmpArch::Arm,
        _ => return KILL_THREAD,
    };
    let foreign = arch == ScmpArch::X8664 && call.number & X32_BIT != 0;
    if !foreign && enosys(profile, arch, call.number) {
        return ENOSYS;
    }
    // Bit 31 alone is no x32 call, but libseccomp asks for numbers from bit 30 on.
    if arch == ScmpArch::X8664 && call.number >= X32_BIT && call.number != u32::MAX && !x32 {
        return KILL_THREAD;
    }
    rules(profile, arch, call).unwrap_or(default)
}

fn enosys(profile: &LinuxSeccomp, arch: ScmpArch, number: u32) -> bool {
    use LinuxSeccompAction as Action;
    if matches!(profile.default_action(), Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace) {
        return false;
    }
    let names = profile.syscalls().iter().flatten().flat_map(oci_spec::runtime::LinuxSyscall::names);
    match names.flat_map(|name| numbers(name, arch)).map(|(number, _)| number).max() {
        None | Some(0) => false,
        Some(highest) => number > highest,
    }
}

/// The numbers of a name, and what the first argument says if it is carried by another call.
fn numbers(name: &str, arch: ScmpArch) -> Vec<(u32, Option<u64>)> {
    let Ok(call) = ScmpSyscall::from_name_by_arch(name, arch).map(ScmpSyscall::as_raw_syscall) else { return vec![] };
    if arch != ScmpArch::X86 {
        return u32::try_from(call).into_iter().map(|number| (number, None)).collect();
    }
    // libseccomp counts the calls inside socketcall from -100 down and those inside ipc from -200 down.
    let carried = match call {
        -120..-100 => Some((102, Some(u64::from(call.unsigned_abs() - 100)))),
        -224..-200 => Some((117, Some(u64::from(call.unsigned_abs() - 200)))),
        _ => None,
    };
    let own = DIRECT_ON_I386.iter().find(|(direct, _)| *direct == name).map(|(_, number)| *number);
    let own = own.or(u32::try_from(call).ok()).map(|number| (number, None));
    carried.into_iter().chain(own).collect()
}

/// Calls that have a number of their own besides being carried (asm/unistd_32.h).
const DIRECT_ON_I386: [(&str, u32); 27] = [
    ("socket", 359),
    ("socketpair", 360),
    ("bind", 361),
    ("connect", 362),
    ("listen", 363),
    ("accept4", 364),
    ("getsockopt", 365),
    ("setsockopt", 366),
    ("getsockname", 367),
    ("getpeername", 368),
    ("sendto", 369),
    ("sendmsg", 370),
    ("recvfrom", 371),
    ("recvmsg", 372),
    ("shutdown", 373),
    ("recvmmsg", 337),
    ("sendmmsg", 345),
    ("semget", 393),
    ("semctl", 394),
    ("shmget", 395),
    ("shmctl", 396),
    ("shmat", 397),
    ("shmdt", 398),
    ("msgget", 399),
    ("msgsnd", 400),
    ("msgrcv", 401),
    ("msgctl", 402),
];

/// A rule that is for the call: its conditions, and what it does.
type Candidate = (Vec<LinuxSeccompArg>, u32);

fn rules(profile: &LinuxSeccomp, arch: ScmpArch, call: &Call) -> Option<u32> {
    let default = value(profile.default_action(), profile.default_errno_ret());
    let wide = matches!(arch, ScmpArch::X8664 | ScmpArch::Aarch64);
    let mut candidates: Vec<Candidate> = Vec::new();
    for rule in profile.syscalls().iter().flatten() {
        let action = value(rule.action(), rule.errno_ret());
        for (_, carried) in rule
            .names()
            .iter()
            .filter(|_| action != default)
            .flat_map(|name| numbers(name, arch))
            .filter(|(number, _)| *number == call.number)
        {
            for mut conditions in alternatives(rule.args().clone().unwrap_or_default()) {
                if let Some(selector) = carried {
                    conditions.retain(|condition| condition.index() != 0);
                    let carried = LinuxSeccompArgBuilder::default().op(Op::ScmpCmpEq).value(selector).build();
                    conditions.push(carried.expect("all fields have defaults"));
                }
                // No bit to look at: no condition.
                conditions.retain(|one| one.op() != Op::ScmpCmpMaskedEq || narrow(one.value(), wide) != 0);
                candidates.push((conditions, action));
            }
        }
    }
    if let Some((_, action)) = candidates.iter().find(|(conditions, _)| conditions.is_empty()) {
        return Some(*action);
    }
    candidates.retain(|(conditions, _)| conditions.iter().all(|condition| holds(condition, call, wide)));
    candidates.sort_by_key(|(conditions, _)| precedence(conditions, wide));
    candidates.first().map(|(_, action)| *action)
}

fn alternatives(args: Vec<LinuxSeccompArg>) -> Vec<Vec<LinuxSeccompArg>> {
    let repeated = args.iter().enumerate().any(|(at, arg)| args[..at].iter().any(|other| other.index() == arg.index()));
    if repeated { args.into_iter().map(|arg| vec![arg]).collect() } else { vec![args] }
}

fn narrow(value: u64, wide: bool) -> u64 {
    if wide { value } else { value & 0xffff_ffff }
}

fn holds(condition: &LinuxSeccompArg, call: &Call, wide: bool) -> bool {
    let is = narrow(call.arguments[condition.index()], wide);
    let value = narrow(condition.value(), wide);
    match condition.op() {
        Op::ScmpCmpNe => is != value,
        Op::ScmpCmpLt => is < value,
        Op::ScmpCmpLe => is <= value,
        Op::ScmpCmpEq => is == value,
        Op::ScmpCmpGe => is >= value,
        Op::ScmpCmpGt => is > value,
        Op::ScmpCmpMaskedEq => is & value == condition.value_two().unwrap_or(0) & value,
    }
}

/// Of rules that hold at once, the one with the least key decides.
fn precedence(conditions: &[LinuxSeccompArg], wide: bool) -> Vec<(usize, u8, u64)> {
    let mut keys: Vec<_> = conditions.to_vec();
    keys.sort_by_key(LinuxSeccompArg::index);
    let key = |condition: &LinuxSeccompArg| {
        let value = narrow(condition.value(), wide);
        let (rank, value) = match condition.op() {
            Op::ScmpCmpEq | Op::ScmpCmpNe => (0, !value),
            Op::ScmpCmpMaskedEq => (0, !(narrow(condition.value_two().unwrap_or(0), wide) & value)),
            Op::ScmpCmpLt | Op::ScmpCmpLe => (1, value),
            Op::ScmpCmpGe | Op::ScmpCmpGt => (2, !value),
        };
        (usize::MAX - condition.index(), rank, value)
    };
    keys.iter().map(key).collect()
}

/// The value that a filter returns for an action (linux/seccomp.h).
fn value(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    match action {
        LinuxSeccompAction::ScmpActKillProcess => 0x8000_0000,
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => KILL_THREAD,
        LinuxSeccompAction::ScmpActTrap => 0x0003_0000,
        LinuxSeccompAction::ScmpActErrno => 0x0005_0000 | errno.unwrap_or(1),
        LinuxSeccompAction::ScmpActNotify => 0x7fc0_0000,
        LinuxSeccompAction::ScmpActTrace => 0x7ff0_0000 | errno.unwrap_or(1),
        LinuxSeccompAction::ScmpActLog => 0x7ffc_0000,
        LinuxSeccompAction::ScmpActAllow => 0x7fff_0000,
    }
}
