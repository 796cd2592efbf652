//! Names of syscalls to their numbers, for every ABI that a filter may meet.
//!
//! The tables are laid out by `build.rs` without pointers, so that they stay in read-only pages of the file and cost
//! the process nothing until a name is looked up.

use std::cmp::Ordering;

include!(concat!(env!("OUT_DIR"), "/syscalls.rs"));

const NONE: u16 = u16::MAX;
const ARM_PRIVATE_FLAG: u16 = 0x8000;
const ARM_PRIVATE_BASE: u32 = 0x000f_0000;

/// The bit that marks a syscall number of x32 (`__X32_SYSCALL_BIT`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// A way to call the kernel: an architecture in the sense of an OCI profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    I386,
    X32,
    Aarch64,
    Arm,
}

impl Abi {
    pub(super) const ALL: [Self; 5] = [Self::X86_64, Self::I386, Self::X32, Self::Aarch64, Self::Arm];

    /// Whether arguments are compared in all of their 64 bits: x32 and the 32-bit ABIs only pass the low ones.
    pub(super) fn is_wide(self) -> bool {
        matches!(self, Self::X86_64 | Self::Aarch64)
    }
}

/// A syscall by its name: a row of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call(u16);

impl Call {
    /// The call of this name, `None` if no ABI knows it.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (mut low, mut high) = (0, ENDS.len());
        while low < high {
            let middle = low.midpoint(high);
            match row_name(middle)?.cmp(name) {
                Ordering::Equal => return u16::try_from(middle).ok().map(Self),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Its number on an ABI as the kernel shows it to a filter, `None` if the ABI lacks it.
    pub(super) fn number(self, abi: Abi) -> Option<u32> {
        let number = *NUMBERS.get(usize::from(self.0))?.get(abi as usize)?;
        match abi {
            _ if number == NONE => None,
            Abi::X32 => Some(u32::from(number) | X32_BIT),
            Abi::Arm if number & ARM_PRIVATE_FLAG != 0 => {
                Some(u32::from(number & !ARM_PRIVATE_FLAG) | ARM_PRIVATE_BASE)
            }
            _ => Some(u32::from(number)),
        }
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        row_name(usize::from(self.0)).unwrap_or_default()
    }
}

fn row_name(row: usize) -> Option<&'static str> {
    let start = match row.checked_sub(1) {
        Some(before) => usize::from(*ENDS.get(before)?),
        None => 0,
    };
    NAMES.get(start..usize::from(*ENDS.get(row)?))
}

/// A call that i386 also carries inside `socketcall` or `ipc`: the number of the carrier and the value of its first
/// argument (`include/uapi/linux/net.h`, `include/uapi/linux/ipc.h`).
pub(super) fn multiplexed_on_i386(name: &str) -> Option<(u32, u64)> {
    const SOCKETCALL: u32 = 102;
    const IPC: u32 = 117;
    let (carrier, selector) = match name {
        "socket" => (SOCKETCALL, 1),
        "bind" => (SOCKETCALL, 2),
        "connect" => (SOCKETCALL, 3),
        "listen" => (SOCKETCALL, 4),
        "accept" => (SOCKETCALL, 5),
        "getsockname" => (SOCKETCALL, 6),
        "getpeername" => (SOCKETCALL, 7),
        "socketpair" => (SOCKETCALL, 8),
        "send" => (SOCKETCALL, 9),
        "recv" => (SOCKETCALL, 10),
        "sendto" => (SOCKETCALL, 11),
        "recvfrom" => (SOCKETCALL, 12),
        "shutdown" => (SOCKETCALL, 13),
        "setsockopt" => (SOCKETCALL, 14),
        "getsockopt" => (SOCKETCALL, 15),
        "sendmsg" => (SOCKETCALL, 16),
        "recvmsg" => (SOCKETCALL, 17),
        "accept4" => (SOCKETCALL, 18),
        "recvmmsg" => (SOCKETCALL, 19),
        "sendmmsg" => (SOCKETCALL, 20),
        "semop" => (IPC, 1),
        "semget" => (IPC, 2),
        "semctl" => (IPC, 3),
        "semtimedop" => (IPC, 4),
        "msgsnd" => (IPC, 11),
        "msgrcv" => (IPC, 12),
        "msgget" => (IPC, 13),
        "msgctl" => (IPC, 14),
        "shmat" => (IPC, 21),
        "shmdt" => (IPC, 22),
        "shmget" => (IPC, 23),
        "shmctl" => (IPC, 24),
        _ => return None,
    };
    Some((carrier, selector))
}

#[cfg(test)]
mod tests {
    use libseccomp::{ScmpArch, ScmpSyscall};

    use super::{Abi, Call, NUMBERS, multiplexed_on_i386};

    fn oracle(abi: Abi) -> ScmpArch {
        match abi {
            Abi::X86_64 => ScmpArch::X8664,
            Abi::I386 => ScmpArch::X86,
            Abi::X32 => ScmpArch::X32,
            Abi::Aarch64 => ScmpArch::Aarch64,
            Abi::Arm => ScmpArch::Arm,
        }
    }

    fn calls() -> impl Iterator<Item = Call> {
        (0..NUMBERS.len() as u16).map(Call)
    }

    #[test]
    fn a_name_finds_its_own_row() {
        assert!(NUMBERS.len() > 450);
        for call in calls() {
            assert_eq!(Call::named(call.name()), Some(call));
        }
        for unknown in ["", "a", "rea", "readd", "zzz", "write\0"] {
            assert_eq!(Call::named(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn numbers_are_those_of_libseccomp() {
        for abi in Abi::ALL {
            let mut compared = 0;
            for call in calls() {
                // Calls that are newer than the library are unknown to it.
                let Ok(theirs) = ScmpSyscall::from_name_by_arch(call.name(), oracle(abi)) else { continue };
                if abi == Abi::I386 && multiplexed_on_i386(call.name()).is_some() {
                    continue;
                }
                let theirs = u32::try_from(theirs.as_raw_syscall()).ok();
                assert_eq!(call.number(abi), theirs, "{} on {abi:?}", call.name());
                compared += 1;
            }
            assert!(compared > 400, "{compared} on {abi:?}");
        }
    }

    #[test]
    fn no_number_of_libseccomp_is_missing() {
        for abi in Abi::ALL {
            for number in (0..1024).chain(0x4000_0000..0x4000_0400).chain(0xf_0000..0xf_0010) {
                let theirs = ScmpSyscall::from_raw_syscall(number);
                // libseccomp also takes a number of x32 without its bit.
                if abi == Abi::X32 && number < 0x4000_0000 {
                    continue;
                }
                let Ok(name) = theirs.get_name_by_arch(oracle(abi)) else { continue };
                let ours = Call::named(&name).and_then(|call| call.number(abi));
                assert_eq!(ours, u32::try_from(number).ok(), "{name} on {abi:?}");
            }
        }
    }
}
