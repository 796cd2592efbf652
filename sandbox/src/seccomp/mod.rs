//! The seccomp profile of a spec, compiled to a classic BPF program (`linux.seccomp` of the OCI runtime specification).
//!
//! A container that runs under runc must find the same verdicts here, so where the specification is silent this
//! follows runc and libseccomp:
//!
//! - A rule that does what the default action does is left out. A name that no table knows is passed over.
//! - Conditions of a rule must all hold. If a rule names an argument more than once, each condition is a rule by itself.
//! - Of the rules for a call, the first one without conditions is the whole verdict, wherever it is listed. With
//!   conditions on all of them, the first that holds decides, in libseccomp's order and not the profile's: later
//!   arguments first, equality (`EQ`, `NE`, `MASKED_EQ`) before `LT` and `LE` before `GT` and `GE`, then the tighter
//!   bound (for equality: the higher value), then as listed. It only matters where two rules with different actions
//!   hold at once. Two rules with one condition and different actions, which libseccomp refuses, are taken as listed.
//!   Where libseccomp 2.5 forgets a rule (several with `NE` or bounds for one call), it is not forgotten here.
//! - `MASKED_EQ` ignores the bits of its second value that the mask (its first) hides; without a mask it is no condition.
//! - ABIs with arguments of 32 bits (i386, x32, arm) compare the low halves only.
//! - On i386 a rule for a socket or System V IPC call also holds for it inside `socketcall` and `ipc`, without the
//!   condition on its first argument, which cannot be seen there.
//! - The machine's own ABI is always included. A call by an ABI that the profile does not list kills the thread.
//! - Calls with a number above every number that the profile names for that ABI get `ENOSYS`, unless the default lets
//!   calls through (ALLOW, LOG, TRACE): a C library then tries an older call instead of failing with `EPERM`. That is
//!   what runc puts before libseccomp's program, with the same exceptions: -1 and the numbers that only x32 has.
//! - With no flags named at all, `SPEC_ALLOW` is set; an empty list sets none.
//!
//! The program is a balanced search over ranges of numbers with the same verdict, so that a call is settled after
//! some ten comparisons. That counts at load time too: the kernel runs the program once for every number, to learn
//! which calls it need not be asked about again (5.11).

mod assemble;
mod cache;
mod compile;
mod rules;
mod table;

use std::os::fd::OwnedFd;

use loment_sys::seccomp::{Flags, Instruction};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag};

use crate::error::{Error, Result};
use rules::Rules;
use table::Abi;

/// The kernel takes programs of at most this many instructions (`BPF_MAXINSNS`).
const MOST_INSTRUCTIONS: usize = 4096;

/// A compiled profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    program: Box<[Instruction]>,
    flags: Flags,
}

/// The machine that a filter is for: its own ABI and those that its kernel also offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86_64, with i386 and x32.
    X86_64,
    /// aarch64, with arm.
    Aarch64,
}

impl Machine {
    /// The machine that this was built for, `None` if its syscalls are not in the tables.
    #[must_use]
    pub const fn native() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else {
            None
        }
    }

    const fn own(self) -> Abi {
        match self {
            Self::X86_64 => Abi::X86_64,
            Self::Aarch64 => Abi::Aarch64,
        }
    }
}

impl Filter {
    /// Compiles a profile for this machine. Pure: nothing is asked of the kernel.
    ///
    /// `None` if the profile allows everything by default and has neither rules nor flags: then there is nothing to
    /// load.
    ///
    /// # Errors
    /// [`Error::invalid`] with the path of the field: a value for an action that carries none, an errno above 4095, an
    /// argument above 5, NOTIFY by default or for `write`, or more rules than fit in a program.
    pub fn compile(profile: &LinuxSeccomp) -> Result<Option<Self>> {
        let machine = Machine::native().ok_or_else(|| {
            Error::invalid("linux.seccomp", std::env::consts::ARCH, "the syscalls of this machine are not known")
        })?;
        Self::compile_for(profile, machine)
    }

    /// Compiles a profile for another machine than this one, see [`Filter::compile`].
    ///
    /// # Errors
    /// As [`Filter::compile`].
    pub fn compile_for(profile: &LinuxSeccomp, machine: Machine) -> Result<Option<Self>> {
        let rules = Rules::of(profile)?;
        let no_rules = profile.syscalls().as_ref().is_none_or(Vec::is_empty);
        let no_flags = profile.flags().as_ref().is_none_or(Vec::is_empty);
        if profile.default_action() == LinuxSeccompAction::ScmpActAllow && no_rules && no_flags {
            return Ok(None);
        }
        let program = compile::program(&rules, &abis(profile, machine));
        if program.len() > MOST_INSTRUCTIONS {
            let reason = format!("compiles to more than the {MOST_INSTRUCTIONS} instructions that a kernel takes");
            return Err(Error::invalid("linux.seccomp.syscalls", format_args!("({})", program.len()), reason)
                .hint("use fewer rules with conditions, or list fewer architectures"));
        }
        Ok(Some(Self { program, flags: flags(profile, rules.notifies) }))
    }

    /// Puts the filter over the calling thread and all that it starts, and returns the listener's descriptor
    /// (close-on-exec) if a rule notifies. The thread needs `no_new_privs` or `CAP_SYS_ADMIN`.
    ///
    /// Allocates nothing and may be called in the child of a clone: hence the bare errno.
    ///
    /// # Errors
    /// What seccomp(2) says, see [`loment_sys::seccomp::load`].
    pub fn load(&self) -> nix::Result<Option<OwnedFd>> {
        loment_sys::seccomp::load(&self.program, self.flags)
    }

    /// The number of instructions, at most 4096.
    #[must_use]
    pub fn len(&self) -> usize {
        self.program.len()
    }

    /// Never: a filter has at least the check of the architecture.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.program.is_empty()
    }

    /// The instructions.
    #[must_use]
    pub fn program(&self) -> &[Instruction] {
        &self.program
    }

    /// The flags it is loaded with.
    #[must_use]
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// The filter as bytes, to keep it by the content of its profile: flags, then instructions, in the machine's order.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + 8 * self.program.len());
        bytes.extend_from_slice(&self.flags.bits().to_ne_bytes());
        for Instruction { code, jt, jf, k } in &self.program {
            bytes.extend_from_slice(&code.to_ne_bytes());
            bytes.extend_from_slice(&[*jt, *jf]);
            bytes.extend_from_slice(&k.to_ne_bytes());
        }
        bytes
    }

    /// A filter from [`Filter::to_bytes`], `None` if they are not of that shape. What the program does is not checked:
    /// bytes must come from a place that only this runtime's user can write.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (flags, program) = bytes.split_first_chunk::<4>()?;
        let (program, rest) = program.as_chunks::<8>();
        if program.is_empty() || program.len() > MOST_INSTRUCTIONS || !rest.is_empty() {
            return None;
        }
        let instruction = |&[a, b, jt, jf, c, d, e, f]: &[u8; 8]| Instruction {
            code: u16::from_ne_bytes([a, b]),
            jt,
            jf,
            k: u32::from_ne_bytes([c, d, e, f]),
        };
        let flags = Flags::from_bits(u32::from_ne_bytes(*flags))?;
        Some(Self { program: program.iter().map(instruction).collect(), flags })
    }

    /// Whether [`Filter::load`] returns a listener.
    #[must_use]
    pub fn wants_listener(&self) -> bool {
        self.flags.contains(Flags::NEW_LISTENER)
    }
}

/// The flags of a profile. `TSYNC` is taken and does nothing: a filter is loaded by a process with one thread.
fn flags(profile: &LinuxSeccomp, notifies: bool) -> Flags {
    let listed = match profile.flags() {
        None => Flags::SPEC_ALLOW,
        Some(flags) => flags.iter().fold(Flags::default(), |all, flag| {
            all | match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => Flags::LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => Flags::SPEC_ALLOW,
                // The kernel refuses it where there is nothing to wait for.
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if notifies => Flags::WAIT_KILLABLE_RECV,
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv
                | LinuxSeccompFilterFlag::SeccompFilterFlagTsync => Flags::default(),
            }
        }),
    };
    if notifies { listed | Flags::NEW_LISTENER } else { listed }
}

/// The ABIs that a profile lists and the machine has, its own first. Those of other machines never come up.
fn abis(profile: &LinuxSeccomp, machine: Machine) -> Vec<Abi> {
    let mut abis = vec![machine.own()];
    for arch in profile.architectures().iter().flatten() {
        let abi = match (machine, arch) {
            (Machine::X86_64, Arch::ScmpArchX86) => Abi::I386,
            (Machine::X86_64, Arch::ScmpArchX32) => Abi::X32,
            (Machine::Aarch64, Arch::ScmpArchArm) => Abi::Arm,
            _ => continue,
        };
        if !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    abis
}
