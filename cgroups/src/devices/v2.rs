//! Device rules as an eBPF program, the only way on cgroup v2 (`BPF_PROG_TYPE_CGROUP_DEVICE`).
//!
//! The kernel asks the program once for each request: type, number and the accesses wanted. The program goes through
//! the rules from the last to the first. A rule that denies a wanted access ends it; one that allows takes its accesses
//! off those still wanted, and when none is left the request is granted. So the last rule for an access counts.
//!
//! Every rule loads the numbers anew: were they kept in registers, the verifier would follow each number that a rule
//! compares with through all later rules, and refuse some hundred rules as too complex.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use loment_sys::bpf::{self, Insn};
use nix::errno::Errno;

use super::{Node, Rule, Rules};
use crate::{Error, Result, dir::Dir};

/// Registers: the result, the context, what is taken from the context, and one for a number.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const WANTED: u8 = 3;
const NUMBER: u8 = 4;

/// `struct bpf_cgroup_dev_ctx`: access << 16 | type, major, minor.
const MAJOR_OFFSET: i16 = 4;
const MINOR_OFFSET: i16 = 8;

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const MOVE_VALUE: u8 = 0xb7;
const AND_VALUE: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_ANY_BIT: u8 = 0x45;
const EXIT: u8 = 0x95;

/// The verifier follows at most 8,192 conditional jumps in a row, a rule has up to four; and a jump reaches 32,767
/// instructions, a rule takes up to seven.
const MOST_RULES: usize = 2000;

/// Replaces the device program of a cgroup. When everything is allowed there is none.
pub(crate) fn apply(dir: &Dir, rules: &Rules) -> Result<()> {
    if rules.rules.len() > MOST_RULES {
        let why = format!("{} rules, at most {MOST_RULES} fit into a program", rules.rules.len());
        return Err(Error::invalid("apply device rules to", dir.path().display(), why));
    }
    const NEEDS: &str = "device control on cgroup v2 needs CONFIG_CGROUP_BPF and CAP_BPF or CAP_SYS_ADMIN";
    let failed = |operation: &str| {
        let (operation, object) = (operation.to_owned(), dir.path().display().to_string());
        move |e: io::Error| Error::new(operation, object, e).hint(NEEDS)
    };
    let old = bpf::cgroup_device_programs(dir).map_err(failed("list device programs of"))?;
    let open = rules.allow_by_default && rules.rules.is_empty();
    let mut replaced = false;
    if !open {
        let program = bpf::load_cgroup_device(&program(rules)).map_err(failed("load device program for"))?;
        let only = match old.as_slice() {
            [only] => Some(only.as_fd()),
            _ => None,
        };
        replaced = attach(dir, program.as_fd(), only).map_err(failed("attach device program to"))?;
    }
    if !replaced {
        for program in &old {
            bpf::detach_cgroup_device(dir, program).map_err(failed("detach old device program from"))?;
        }
    }
    Ok(())
}

/// Without a moment in which neither the old nor the new rules hold. Returns whether the old program has gone.
fn attach(dir: &Dir, program: BorrowedFd<'_>, old: Option<BorrowedFd<'_>>) -> io::Result<bool> {
    match bpf::attach_cgroup_device(dir, program, old) {
        // BPF_F_REPLACE is new in Linux 5.6: before, the new one comes beside the old, which is then taken off.
        Err(e) if old.is_some() && e.raw_os_error() == Some(Errno::EINVAL as i32) => {
            bpf::attach_cgroup_device(dir, program, None).map(|()| false)
        }
        done => done.map(|()| old.is_some()),
    }
}

fn insn(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Insn {
    Insn { code, registers: to | from << 4, offset, immediate }
}

/// A program that is still being written: jumps to its two ends are filled in last.
#[derive(Default)]
struct Builder {
    program: Vec<Insn>,
    to_allow: Vec<usize>,
    to_deny: Vec<usize>,
}

fn program(rules: &Rules) -> Vec<Insn> {
    let mut builder = Builder::default();
    builder.program.extend([
        insn(LOAD_WORD, TYPE, CONTEXT, 0, 0),
        insn(MOVE, WANTED, TYPE, 0, 0),
        insn(AND_VALUE, TYPE, 0, 0, 0xffff),
        insn(SHIFT_RIGHT, WANTED, 0, 0, 16),
    ]);
    rules.rules.iter().rev().for_each(|rule| builder.rule(rule));
    builder.finish(rules.allow_by_default)
}

impl Builder {
    fn rule(&mut self, rule: &Rule) {
        // The kernel's numbers have 12 and 20 bits: what does not fit an immediate value is no device.
        let number = |n: Option<u32>| n.map(i32::try_from).transpose();
        let (Ok(major), Ok(minor)) = (number(rule.pattern.major), number(rule.pattern.minor)) else { return };
        let node = match rule.pattern.node {
            Node::Block => 1,
            Node::Char => 2,
        };
        let numbers = [(MAJOR_OFFSET, major), (MINOR_OFFSET, minor)];
        let mut numbers: Vec<(i16, i32)> = numbers.into_iter().filter_map(|(at, value)| Some((at, value?))).collect();
        let body: i16 = if rule.allow { 2 } else { 1 };
        let past_the_rule = |numbers: &[_]| 2 * numbers.len() as i16 + body;
        self.program.push(insn(JUMP_NOT_EQUAL, TYPE, 0, past_the_rule(&numbers), node));
        while let Some((at, value)) = numbers.pop() {
            self.program.push(insn(LOAD_WORD, NUMBER, CONTEXT, at, 0));
            self.program.push(insn(JUMP_NOT_EQUAL, NUMBER, 0, past_the_rule(&numbers), value));
        }
        if rule.allow {
            self.program.push(insn(AND_VALUE, WANTED, 0, 0, !i32::from(rule.access)));
            self.to_allow.push(self.program.len());
            self.program.push(insn(JUMP_EQUAL, WANTED, 0, 0, 0));
        } else {
            self.to_deny.push(self.program.len());
            self.program.push(insn(JUMP_ANY_BIT, WANTED, 0, 0, i32::from(rule.access)));
        }
    }

    /// The default's end comes first, where the last rule falls through to; the other one only if anything jumps
    /// there, for the verifier refuses what cannot be reached.
    fn finish(mut self, allow_by_default: bool) -> Vec<Insn> {
        let ends = [allow_by_default, !allow_by_default];
        for (n, allow) in ends.into_iter().enumerate() {
            let jumps = if allow { &self.to_allow } else { &self.to_deny };
            if n > 0 && jumps.is_empty() {
                continue;
            }
            let end = self.program.len();
            for jump in jumps {
                if let Some(insn) = self.program.get_mut(*jump) {
                    insn.offset = i16::try_from(end - jump - 1).unwrap_or(i16::MAX);
                }
            }
            self.program.push(insn(MOVE_VALUE, RESULT, 0, 0, i32::from(allow)));
            self.program.push(insn(EXIT, 0, 0, 0, 0));
        }
        self.program
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What the kernel's interpreter does with these instructions.
    pub(crate) fn verdict(program: &[Insn], node: Node, major: u32, minor: u32, access: u8) -> bool {
        let kind = match node {
            Node::Block => 1,
            Node::Char => 2,
        };
        let context = [u32::from(access) << 16 | kind, major, minor];
        let mut registers = [0u64; 11];
        let mut at = 0usize;
        loop {
            let i = program[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let value = i64::from(i.immediate).cast_unsigned();
            let jump = match i.code {
                LOAD_WORD => {
                    assert_eq!((from, i.offset % 4), (usize::from(CONTEXT), 0));
                    registers[to] = u64::from(context[i.offset as usize / 4]);
                    false
                }
                MOVE => {
                    registers[to] = registers[from];
                    false
                }
                MOVE_VALUE => {
                    registers[to] = value;
                    false
                }
                AND_VALUE => {
                    registers[to] &= value;
                    false
                }
                SHIFT_RIGHT => {
                    registers[to] >>= value;
                    false
                }
                JUMP_EQUAL => registers[to] == value,
                JUMP_NOT_EQUAL => registers[to] != value,
                JUMP_ANY_BIT => registers[to] & value != 0,
                EXIT => return registers[usize::from(RESULT)] == 1,
                other => panic!("not an instruction: {other:#x}"),
            };
            assert!(!jump || i.offset >= 0, "the verifier wants forward jumps");
            at += 1 + if jump { i.offset as usize } else { 0 };
        }
    }

    pub(crate) fn compile(rules: &Rules) -> Vec<Insn> {
        program(rules)
    }

    mod on_this_kernel {
        use std::{
            path::PathBuf,
            process::Command,
            sync::atomic::{AtomicU32, Ordering},
        };

        use oci_spec::runtime::LinuxDeviceCgroup;
        use serde_json::json;

        use super::super::*;
        use crate::{Layout, devices};

        /// A directory in the machine's v2 hierarchy; device programs work there on hybrid as well.
        struct Unified(PathBuf);

        impl Unified {
            fn new() -> Self {
                static NEXT: AtomicU32 = AtomicU32::new(0);
                assert!(nix::unistd::geteuid().is_root(), "run as root (scripts/test does)");
                let layout = Layout::detect().unwrap();
                let root = layout.v2().expect("a v2 hierarchy is mounted").path().to_owned();
                let n = NEXT.fetch_add(1, Ordering::Relaxed);
                let path = root.join(format!("loment-test-bpf-{}-{n}", std::process::id()));
                std::fs::create_dir(&path).unwrap();
                Self(path)
            }

            fn apply(&self, rules: serde_json::Value) {
                let list: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules).unwrap();
                apply(&Dir::open_root(&self.0).unwrap(), &devices::rules(&list).unwrap()).unwrap();
            }

            fn programs(&self) -> usize {
                bpf::cgroup_device_programs(Dir::open_root(&self.0).unwrap()).unwrap().len()
            }

            /// Whether a process in the cgroup gets a device open.
            fn opens(&self, device: &str, mode: &str) -> bool {
                let script = format!("echo 0 > {}/cgroup.procs && exec 3{mode}{device}", self.0.display());
                Command::new("bash").arg("-c").arg(script).output().unwrap().status.success()
            }
        }

        impl Drop for Unified {
            fn drop(&mut self) {
                // The shell may still be on its way out of the cgroup.
                for _ in 0..100 {
                    if std::fs::remove_dir(&self.0).is_ok() {
                        return;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
        }

        #[test]
        fn the_kernel_accepts_the_program_and_follows_it() {
            let cgroup = Unified::new();
            cgroup.apply(json!([
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
            ]));
            assert!(cgroup.opens("/dev/null", "<>"), "a device of every container");
            assert!(cgroup.opens("/dev/kmsg", "<"), "allowed for reading");
            assert!(!cgroup.opens("/dev/kmsg", ">"), "not for writing");
        }

        #[test]
        fn new_rules_replace_the_old_ones() {
            let cgroup = Unified::new();
            cgroup.apply(json!([{"allow": false, "access": "rwm"}]));
            assert!(!cgroup.opens("/dev/kmsg", "<"));
            cgroup.apply(json!([{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm"}]));
            assert!(cgroup.opens("/dev/kmsg", "<"));
            assert_eq!(cgroup.programs(), 1);
            cgroup.apply(json!([{"allow": true, "access": "rwm"}]));
            assert_eq!(cgroup.programs(), 0, "nothing to ask when everything is allowed");
            assert!(cgroup.opens("/dev/kmsg", "<"));
        }

        #[test]
        fn the_longest_list_fits() {
            let cgroup = Unified::new();
            let rule =
                |n: usize| json!({"allow": n & 1 == 0, "type": "c", "major": n % 512, "minor": n, "access": "rw"});
            let mut rules: Vec<_> = (0..MOST_RULES - 10).map(rule).collect();
            cgroup.apply(json!(rules));
            assert!(cgroup.opens("/dev/null", "<>"));
            rules.extend([rule(1), rule(2)]);
            let list: Vec<LinuxDeviceCgroup> = serde_json::from_value(json!(rules)).unwrap();
            let dir = Dir::open_root(&cgroup.0).unwrap();
            assert!(apply(&dir, &devices::rules(&list).unwrap()).is_err());
        }
    }
}
