//! Verdicts to instructions.
//!
//! A classic BPF program only jumps forward, and a conditional jump at most 255 instructions far. The program is
//! written from its end to its beginning: whatever an instruction jumps to is there already, its distance is known, and
//! where it is too far a trampoline (or one more `RET`) is put right behind the jump before the jump is written.

use loment_sys::seccomp::Instruction;

use super::rules::{Action, Condition, Rule, Test};

// linux/filter.h, linux/bpf_common.h
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQ: u16 = 0x15;
const JUMP_GT: u16 = 0x25;
const JUMP_GE: u16 = 0x35;
const RETURN: u16 = 0x06;

// Offsets into struct seccomp_data (linux/seccomp.h); its arguments are of the machine's byte order, and every machine
// with a table here is little-endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// A conditional jump passes over at most this many instructions.
const REACH: usize = 255;

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Return(Action),
    /// The instruction this far from the end of the program.
    At(usize),
}

/// Numbers from `first` on, up to the next range, that share a target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) target: Target,
}

/// A program that grows from its end.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    backwards: Vec<Instruction>,
    /// The nearest instruction that does nothing but get to the target.
    nearest: Vec<(Target, usize)>,
}

impl Assembler {
    /// The program, and its beginning first.
    pub(super) fn finish(mut self) -> Box<[Instruction]> {
        self.backwards.reverse();
        self.backwards.into_boxed_slice()
    }

    /// Tells the architectures apart: `trees` by their audit number, anything else is killed.
    pub(super) fn architectures(&mut self, trees: &[(u32, Target)]) {
        let mut next = Target::Return(Action::KILL_THREAD);
        for (architecture, tree) in trees.iter().rev() {
            next = self.branch(JUMP_EQ, *architecture, *tree, next);
        }
        self.load(ARCHITECTURE);
    }

    /// Finds the range of a call's number. `ranges` are ascending from 0, neighbours differ in target.
    pub(super) fn numbers(&mut self, ranges: &[Range]) -> Target {
        match self.search(ranges) {
            Target::At(_) => self.load(NUMBER),
            settled @ Target::Return(_) => settled,
        }
    }

    fn search(&mut self, ranges: &[Range]) -> Target {
        match ranges {
            [] => Target::Return(Action::KILL_THREAD),
            [all] => all.target,
            [before, one, after] if before.target == after.target && one.first.checked_add(1) == Some(after.first) => {
                self.branch(JUMP_EQ, one.first, one.target, before.target)
            }
            _ => {
                let (low, high) = ranges.split_at(ranges.len() / 2);
                let above = self.search(high);
                let below = self.search(low);
                self.branch(JUMP_GE, high.first().map_or(0, |range| range.first), above, below)
            }
        }
    }

    /// The rules of a call, one after the other.
    pub(super) fn chain(&mut self, rules: &[Rule], default: Action, wide: bool) -> Target {
        let mut next = Target::Return(default);
        let runs: Vec<_> = rules.chunk_by(|one, other| same_word(one, other, wide)).collect();
        for run in runs.into_iter().rev() {
            next =
                match run {
                    [rule] => rule.conditions.iter().rev().fold(Target::Return(rule.action), |holds, condition| {
                        self.condition(condition, wide, holds, next)
                    }),
                    _ => self.switch(run, wide, next),
                };
        }
        next
    }

    /// Rules that each compare the same argument with one value, equal in its high half: one load for all.
    fn switch(&mut self, run: &[Rule], wide: bool, otherwise: Target) -> Target {
        let mut next = otherwise;
        let mut first = None;
        for rule in run.iter().rev() {
            first = rule.conditions.first().or(first);
            if let Some(condition) = rule.conditions.first() {
                next = self.branch(JUMP_EQ, low(condition.value), Target::Return(rule.action), next);
            }
        }
        let Some(condition) = first else { return otherwise };
        let matched = self.load(argument(condition));
        self.high_equal(condition, wide, matched, otherwise)
    }

    fn condition(&mut self, condition: &Condition, wide: bool, holds: Target, fails: Target) -> Target {
        let (yes, no) = if condition.negated { (fails, holds) } else { (holds, fails) };
        let (value, offset) = (condition.value, argument(condition));
        match condition.test {
            Test::Equal => {
                let low_equal = self.masked_equal(offset, low(condition.mask), low(value), yes, no);
                self.high_equal(condition, wide, low_equal, no)
            }
            Test::Greater | Test::GreaterOrEqual => {
                let jump = if condition.test == Test::Greater { JUMP_GT } else { JUMP_GE };
                self.branch(jump, low(value), yes, no);
                let low_decides = self.load(offset);
                if !wide {
                    return low_decides;
                }
                let not_above = self.branch(JUMP_EQ, high(value), low_decides, no);
                self.branch(JUMP_GT, high(value), yes, not_above);
                self.load(offset + 4)
            }
        }
    }

    fn high_equal(&mut self, condition: &Condition, wide: bool, equal: Target, differs: Target) -> Target {
        let (mask, value) = (high(condition.mask), high(condition.value));
        if wide { self.masked_equal(argument(condition) + 4, mask, value, equal, differs) } else { equal }
    }

    fn masked_equal(&mut self, offset: u32, mask: u32, value: u32, equal: Target, differs: Target) -> Target {
        if mask == 0 {
            return equal;
        }
        self.branch(JUMP_EQ, value, equal, differs);
        if mask != u32::MAX {
            self.push(AND, 0, 0, mask);
        }
        self.load(offset)
    }

    /// A conditional jump. The instruction behind it is never reached but by a jump, so trampolines may stand there.
    fn branch(&mut self, code: u16, value: u32, yes: Target, no: Target) -> Target {
        loop {
            // Each may need an instruction of its own, which moves the other one out of reach: look again.
            match (self.distance(yes), self.distance(no)) {
                (Some(yes), Some(no)) => return self.push(code, yes, no, value),
                (None, _) => self.bring_near(yes),
                (_, None) => self.bring_near(no),
            }
        }
    }

    /// How many instructions a jump written next passes over to get to the target, if it can.
    fn distance(&self, target: Target) -> Option<u8> {
        let direct = match target {
            Target::At(place) => Some(place),
            Target::Return(_) => None,
        };
        let known = self.nearest.iter().find(|(near, _)| *near == target).map(|(_, place)| *place);
        let passed = self.backwards.len() - direct.max(known)?;
        u8::try_from(passed).ok().filter(|_| passed <= REACH)
    }

    fn bring_near(&mut self, target: Target) {
        let place = match target {
            Target::Return(action) => self.push(RETURN, 0, 0, action.0),
            Target::At(place) => {
                let passed = self.backwards.len() - place;
                self.push(JUMP, 0, 0, u32::try_from(passed).unwrap_or(u32::MAX))
            }
        };
        let Target::At(place) = place else { return };
        match self.nearest.iter_mut().find(|(near, _)| *near == target) {
            Some((_, nearest)) => *nearest = place,
            None => self.nearest.push((target, place)),
        }
    }

    fn load(&mut self, offset: u32) -> Target {
        self.push(LOAD, 0, 0, offset)
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Target {
        self.backwards.push(Instruction { code, jt, jf, k });
        Target::At(self.backwards.len())
    }
}

fn low(value: u64) -> u32 {
    (value & u64::from(u32::MAX)) as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

fn argument(condition: &Condition) -> u32 {
    ARGUMENTS + 8 * u32::from(condition.argument)
}

/// Whether both rules only ask for one value each, of the same argument and with the same high half.
fn same_word(one: &Rule, other: &Rule, wide: bool) -> bool {
    let exact = |condition: &Condition| {
        let mask = if wide { u64::MAX } else { u64::from(u32::MAX) };
        condition.test == Test::Equal && !condition.negated && condition.mask & mask == mask
    };
    match (one.conditions.as_slice(), other.conditions.as_slice()) {
        ([one], [other]) => {
            exact(one) && exact(other) && one.argument == other.argument && high(one.value) == high(other.value)
        }
        _ => false,
    }
}
