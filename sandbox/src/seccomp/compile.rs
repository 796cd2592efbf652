//! Rules to a program: which numbers of which ABI share a verdict.

use loment_sys::seccomp::Instruction;

use super::assemble::{Assembler, Range, Target};
use super::rules::{Action, Rule, Rules, Verdict};
use super::table::{Abi, X32_BIT};

/// A number with bit 31 and not bit 30: neither native nor x32.
const SIGN_BIT: u32 = 0x8000_0000;
/// The number that a tracer sets to skip a call.
const SKIPPED: u32 = u32::MAX;

/// The number by which a filter is told an ABI (`AUDIT_ARCH_*`, linux/audit.h).
const fn audit_architecture(abi: Abi) -> u32 {
    match abi {
        Abi::X86_64 | Abi::X32 => 0xc000_003e,
        Abi::I386 => 0x4000_0003,
        Abi::Aarch64 => 0xc000_00b7,
        Abi::Arm => 0x4000_0028,
    }
}

/// The program for these ABIs, the machine's own first.
pub(super) fn program(rules: &Rules, abis: &[Abi]) -> Box<[Instruction]> {
    Compiler { rules, assembler: Assembler::default() }.run(abis)
}

struct Compiler<'a> {
    rules: &'a Rules,
    assembler: Assembler,
}

impl Compiler<'_> {
    fn run(mut self, abis: &[Abi]) -> Box<[Instruction]> {
        let x32 = abis.contains(&Abi::X32);
        let mut trees = Vec::with_capacity(abis.len());
        // Written backwards: the machine's own ABI last, so that it is nearest to the beginning.
        for abi in abis.iter().rev().filter(|abi| **abi != Abi::X32) {
            let ranges = if *abi == Abi::X86_64 { self.x86_64(x32) } else { self.plain(*abi) };
            trees.push((audit_architecture(*abi), self.assembler.numbers(&ranges)));
        }
        trees.reverse();
        self.assembler.architectures(&trees);
        self.assembler.finish()
    }

    /// An ABI that has all numbers for itself.
    fn plain(&mut self, abi: Abi) -> Vec<Range> {
        let mut ranges = Ranges::default();
        self.calls(&mut ranges, abi, 0);
        ranges.0
    }

    /// x86_64 shares its numbers with x32, which has those with bit 30 set.
    fn x86_64(&mut self, x32: bool) -> Vec<Range> {
        let default = Target::Return(self.rules.default);
        let foreign = Target::Return(if x32 { self.rules.default } else { Action::KILL_THREAD });
        let enosys = Target::Return(Action::ENOSYS);
        let above = self.rules.highest(Abi::X86_64).map(|_| enosys);
        let above_x32 = self.rules.highest(Abi::X32).filter(|_| x32).map(|_| enosys);

        let mut ranges = Ranges::default();
        self.calls(&mut ranges, Abi::X86_64, 0);
        if x32 {
            self.calls(&mut ranges, Abi::X32, X32_BIT);
        } else {
            ranges.push(X32_BIT, foreign);
        }
        ranges.push(SIGN_BIT, above.unwrap_or(foreign));
        ranges.push(SIGN_BIT | X32_BIT, above_x32.unwrap_or(foreign));
        ranges.push(SKIPPED, above_x32.unwrap_or(default));
        ranges.0
    }

    /// The calls of an ABI whose numbers start at `first`, and what is above them.
    fn calls(&mut self, ranges: &mut Ranges, abi: Abi, first: u32) {
        let default = Target::Return(self.rules.default);
        let mut chains: Vec<(Vec<Rule>, Target)> = Vec::new();
        ranges.push(first, default);
        for (number, verdict) in self.rules.verdicts(abi) {
            let target = match verdict {
                Verdict::Always(action) => Target::Return(action),
                Verdict::Chain(rules) => match chains.iter().find(|(known, _)| *known == rules) {
                    Some((_, target)) => *target,
                    None => {
                        let target = self.assembler.chain(&rules, self.rules.default, abi.is_wide());
                        chains.push((rules, target));
                        target
                    }
                },
            };
            ranges.push(number, target);
            ranges.push(number + 1, default);
        }
        if let Some(highest) = self.rules.highest(abi) {
            ranges.push(highest + 1, Target::Return(Action::ENOSYS));
        }
    }
}

/// Ranges by ascending first number; a later one for the same number replaces the earlier.
#[derive(Default)]
struct Ranges(Vec<Range>);

impl Ranges {
    fn push(&mut self, first: u32, target: Target) {
        self.0.pop_if(|last| last.first == first);
        if self.0.last().is_none_or(|last| last.target != target) {
            self.0.push(Range { first, target });
        }
    }
}
