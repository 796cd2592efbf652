//! The oracle: libseccomp, used as runc uses it.

use std::io::Read as _;

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use loment_sandbox::seccomp::Machine;
use loment_sys::seccomp::Instruction;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};

use super::kernel;

/// The program that libseccomp makes of a profile, `None` if it refuses a rule.
pub(crate) fn compile(profile: &LinuxSeccomp, machine: Machine) -> Option<Vec<Instruction>> {
    Some(export(&filter(profile, machine)?))
}

/// The program of a filter. A pipe holds it all: it has at most 4096 instructions of 8 bytes, a pipe 65536 bytes.
pub(crate) fn export(filter: &ScmpFilterContext) -> Vec<Instruction> {
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    filter.export_bpf(&writer).expect("export");
    drop(writer);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).expect("read");
    kernel::parse(&bytes)
}

/// The filter before it is made a program.
pub(crate) fn filter(profile: &LinuxSeccomp, machine: Machine) -> Option<ScmpFilterContext> {
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut filter = ScmpFilterContext::new(default).expect("filter");
    let own = match machine {
        Machine::X86_64 => ScmpArch::X8664,
        Machine::Aarch64 => ScmpArch::Aarch64,
    };
    filter.add_arch(own).expect("architecture");
    if own != ScmpArch::native() {
        filter.remove_arch(ScmpArch::native()).expect("architecture");
    }
    for arch in profile.architectures().iter().flatten() {
        filter.add_arch(architecture(*arch)).expect("architecture");
    }
    // runc asks for a binary tree for long profiles. Without one, libseccomp 2.5 loses the load of the number if x86_64
    // and x32 are there together and a call that neither has is named: then it kills every call.
    let x32 = profile.architectures().iter().flatten().any(|arch| *arch == Arch::ScmpArchX32);
    if x32 || profile.syscalls().iter().flatten().map(|rule| rule.names().len()).sum::<usize>() > 32 {
        filter.set_ctl_optimize(2).expect("optimize");
    }
    for rule in profile.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret());
        if action == default {
            continue;
        }
        let args = rule.args().clone().unwrap_or_default();
        let conditions: Vec<_> = args.iter().map(condition).collect();
        let repeated = (0..6).any(|index| args.iter().filter(|arg| arg.index() == index).count() > 1);
        for name in rule.names() {
            let Ok(call) = ScmpSyscall::from_name(name) else { continue };
            let added = if repeated {
                conditions.iter().try_for_each(|one| filter.add_rule_conditional(action, call, &[*one]).map(drop))
            } else {
                filter.add_rule_conditional(action, call, &conditions).map(drop)
            };
            added.ok()?;
        }
    }
    Some(filter)
}

/// The number that libseccomp has for a name, `None` if the architecture lacks it or the name is unknown.
pub(crate) fn number(name: &str, arch: ScmpArch) -> Option<u32> {
    let call = ScmpSyscall::from_name_by_arch(name, arch).ok()?;
    u32::try_from(call.as_raw_syscall()).ok()
}

fn action(action: LinuxSeccompAction, value: Option<u32>) -> ScmpAction {
    let value = value.unwrap_or(1);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(value as i32),
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(value as u16),
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
    }
}

fn architecture(arch: Arch) -> ScmpArch {
    match arch {
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchArm => ScmpArch::Arm,
        _ => panic!("{arch}"),
    }
}

fn condition(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    let (op, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0))
        }
    };
    ScmpArgCompare::new(arg.index() as u32, op, value)
}
