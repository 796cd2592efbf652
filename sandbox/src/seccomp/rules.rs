//! The rules of a profile, checked and made independent of the OCI types: what `super` documents, as data.

use std::cmp::Ordering;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};

use super::table::{Abi, Call, multiplexed_on_i386};
use crate::error::{Error, Result};

/// `ERRNO | EPERM`'s data: what an action that carries a value carries by default.
const EPERM: u32 = 1;
/// The highest errno that the kernel lets a filter return (`MAX_ERRNO`).
const MAX_ERRNO: u32 = 4095;
/// The highest value that TRACE can carry (`SECCOMP_RET_DATA`).
const MAX_DATA: u32 = 0xffff;
/// A syscall has at most this many arguments.
const MAX_ARGS: usize = 6;

/// What the kernel does with a call: the value that a filter returns (`SECCOMP_RET_*` with its data).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Action(pub(super) u32);

impl Action {
    pub(super) const KILL_THREAD: Self = Self(0);
    pub(super) const ENOSYS: Self = Self(0x0005_0000 | 38);
    const NOTIFY: Self = Self(0x7fc0_0000);

    fn of(action: LinuxSeccompAction, value: Option<u32>, field: impl Fn() -> String) -> Result<Self> {
        let most = match action {
            LinuxSeccompAction::ScmpActErrno => MAX_ERRNO,
            LinuxSeccompAction::ScmpActTrace => MAX_DATA,
            _ => match value {
                Some(value) => {
                    return Err(Error::invalid(field(), value, format!("{action} does not carry a value"))
                        .hint("only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do"));
                }
                None => return Ok(Self(action.as_u32(None))),
            },
        };
        match value.unwrap_or(EPERM) {
            value if value > most => Err(Error::invalid(field(), value, format!("{action} carries at most {most}"))),
            value => Ok(Self(action.as_u32(Some(value)))),
        }
    }
}

/// The comparison at the root of a [`Condition`]. `NE`, `LT` and `LE` are these, negated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// The bits under the mask equal the value.
    Equal,
    Greater,
    GreaterOrEqual,
}

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) test: Test,
    pub(super) negated: bool,
    /// Which bits [`Test::Equal`] looks at.
    pub(super) mask: u64,
    pub(super) value: u64,
}

impl Condition {
    fn of(arg: &LinuxSeccompArg, field: impl Fn() -> String) -> Result<Self> {
        use LinuxSeccompOperator as Op;
        let argument = match u8::try_from(arg.index()) {
            Ok(index) if arg.index() < MAX_ARGS => index,
            _ => return Err(Error::invalid(field(), arg.index(), "a syscall has the arguments 0 to 5")),
        };
        let (test, negated) = match arg.op() {
            Op::ScmpCmpEq | Op::ScmpCmpMaskedEq => (Test::Equal, false),
            Op::ScmpCmpNe => (Test::Equal, true),
            Op::ScmpCmpGt => (Test::Greater, false),
            Op::ScmpCmpLe => (Test::Greater, true),
            Op::ScmpCmpGe => (Test::GreaterOrEqual, false),
            Op::ScmpCmpLt => (Test::GreaterOrEqual, true),
        };
        let (mask, value) = match arg.op() {
            // libseccomp drops the bits of the value that the mask hides, it does not refuse them.
            Op::ScmpCmpMaskedEq => (arg.value(), arg.value_two().unwrap_or(0) & arg.value()),
            _ => (u64::MAX, arg.value()),
        };
        Ok(Self { argument, test, negated, mask, value })
    }

    fn carried(selector: u64) -> Self {
        Self { argument: 0, test: Test::Equal, negated: false, mask: u64::MAX, value: selector }
    }

    /// As an ABI with arguments of 32 bits compares it: by the low half alone, as libseccomp does.
    fn narrow(self) -> Self {
        Self { mask: self.mask & u64::from(u32::MAX), value: self.value & u64::from(u32::MAX), ..self }
    }

    /// The order in which libseccomp asks conditions of one call: later arguments first, equality before upper bounds
    /// before lower bounds, and the narrower bound first.
    fn order(&self, other: &Self) -> Ordering {
        let rank = |condition: &Self| match (condition.test, condition.negated) {
            (Test::Equal, _) => 0,
            (_, true) => 1,
            (_, false) => 2,
        };
        let values = match rank(self) {
            1 => self.value.cmp(&other.value),
            _ => other.value.cmp(&self.value),
        };
        other.argument.cmp(&self.argument).then(rank(self).cmp(&rank(other))).then(values)
    }
}

/// An action and the conditions that must all hold for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) action: Action,
    /// By argument, no argument twice. Empty: the rule always applies.
    pub(super) conditions: Vec<Condition>,
}

impl Rule {
    fn order(&self, other: &Self) -> Ordering {
        let mut others = other.conditions.iter();
        for condition in &self.conditions {
            match others.next().map(|other| condition.order(other)) {
                None => return Ordering::Greater,
                Some(Ordering::Equal) => {}
                Some(decided) => return decided,
            }
        }
        if others.next().is_some() { Ordering::Less } else { Ordering::Equal }
    }
}

/// What becomes of a call on one ABI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Always(Action),
    /// The first rule whose conditions hold decides, the profile's default if none does.
    Chain(Vec<Rule>),
}

/// A profile, checked.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) default: Action,
    pub(super) notifies: bool,
    rules: Vec<Rule>,
    /// Which calls each of the rules is for, in the profile's order.
    calls: Vec<(Call, u32)>,
    /// The highest number that the profile names on each ABI, by any rule.
    highest: [u32; Abi::ALL.len()],
}

impl Rules {
    /// Checks a profile.
    ///
    /// # Errors
    /// [`Error::invalid`] with the path of the field that cannot be honoured.
    pub(super) fn of(profile: &LinuxSeccomp) -> Result<Self> {
        let default = Action::of(profile.default_action(), profile.default_errno_ret(), || {
            "linux.seccomp.defaultErrnoRet".to_owned()
        })?;
        if default == Action::NOTIFY {
            return Err(Error::invalid(
                "linux.seccomp.defaultAction",
                profile.default_action(),
                "a listener cannot be asked about every call, its own loading would wait for it",
            ));
        }
        let mut rules = Self { default, notifies: false, rules: Vec::new(), calls: Vec::new(), highest: [0; 5] };
        for (index, syscall) in profile.syscalls().iter().flatten().enumerate() {
            rules.add(index, syscall)?;
        }
        Ok(rules)
    }

    fn add(&mut self, index: usize, syscall: &LinuxSyscall) -> Result<()> {
        let field = |name: &str| format!("linux.seccomp.syscalls[{index}].{name}");
        let action = Action::of(syscall.action(), syscall.errno_ret(), || field("errnoRet"))?;
        let first = self.rules.len();
        for conditions in alternatives(syscall.args().as_deref().unwrap_or_default(), index)? {
            self.rules.push(Rule { action, conditions });
        }
        for name in syscall.names() {
            if action == Action::NOTIFY && name == "write" {
                return Err(Error::invalid(field("names"), name, "a listener cannot be asked about write")
                    .hint("runc hands the listener over by a write and refuses it, so no profile has it"));
            }
            // What no ABI knows is a call of a newer kernel or of another machine: runc passes it over, and so do we.
            let Some(call) = Call::named(name) else { continue };
            self.note_highest(call);
            // libseccomp refuses a rule that does what the default does, so runc leaves it out, and it must not win
            // over another rule here either.
            if action != self.default {
                self.calls.extend((first..self.rules.len()).map(|rule| (call, rule as u32)));
            }
        }
        self.notifies |= action == Action::NOTIFY;
        Ok(())
    }

    fn note_highest(&mut self, call: Call) {
        for (abi, highest) in Abi::ALL.into_iter().zip(&mut self.highest) {
            let carrier = multiplexed_on_i386(call.name()).filter(|_| abi == Abi::I386).map(|(carrier, _)| carrier);
            *highest = call.number(abi).max(carrier).map_or(*highest, |number| number.max(*highest));
        }
    }

    /// The highest number that the profile names on an ABI. Above it a call gets `ENOSYS`, so that a C library tries
    /// an older one. `None`: nobody asked for it, because the default lets calls through or the profile names none.
    pub(super) fn highest(&self, abi: Abi) -> Option<u32> {
        let permissive = matches!(self.default.0 & 0xffff_0000, 0x7fff_0000 | 0x7ffc_0000 | 0x7ff0_0000);
        self.highest.get(abi as usize).copied().filter(|highest| *highest != 0 && !permissive)
    }

    /// The verdicts of an ABI, by ascending number.
    pub(super) fn verdicts(&self, abi: Abi) -> Vec<(u32, Verdict)> {
        let mut entries = Vec::with_capacity(self.calls.len() + 32);
        for (place, (call, rule)) in self.calls.iter().enumerate() {
            if let Some(number) = call.number(abi) {
                entries.push(Entry { number, place, rule: *rule, selector: None });
            }
            if let Some((carrier, selector)) = multiplexed_on_i386(call.name()).filter(|_| abi == Abi::I386) {
                entries.push(Entry { number: carrier, place, rule: *rule, selector: Some(selector) });
            }
        }
        entries.sort_unstable_by_key(|entry| (entry.number, entry.place));
        let groups = entries.chunk_by(|one, other| one.number == other.number);
        groups.filter_map(|group| Some((group.first()?.number, self.verdict(group, abi)))).collect()
    }

    fn verdict(&self, group: &[Entry], abi: Abi) -> Verdict {
        let mut chain = Vec::new();
        for entry in group {
            let Some(rule) = self.rules.get(entry.rule as usize) else { continue };
            let rule = entry.specialise(rule, abi);
            // A rule without conditions is the whole verdict, whatever was listed before: so in libseccomp.
            if rule.conditions.is_empty() {
                return Verdict::Always(rule.action);
            }
            chain.push(rule);
        }
        chain.sort_by(Rule::order);
        Verdict::Chain(chain)
    }
}

/// A rule at the place where an ABI has the call.
struct Entry {
    number: u32,
    place: usize,
    rule: u32,
    selector: Option<u64>,
}

impl Entry {
    fn specialise(&self, rule: &Rule, abi: Abi) -> Rule {
        let mut conditions = rule.conditions.clone();
        if let Some(selector) = self.selector {
            // The carrier's first argument says which call it carries, so nothing can be said about that call's own
            // first argument: libseccomp drops the condition.
            conditions.retain(|condition| condition.argument != 0);
            conditions.insert(0, Condition::carried(selector));
        }
        if !abi.is_wide() {
            conditions.iter_mut().for_each(|condition| *condition = condition.narrow());
        }
        conditions.retain(|condition| condition.mask != 0);
        Rule { action: rule.action, conditions }
    }
}

/// The rules that a list of conditions stands for: one that needs them all, or, as in runc, one for each of them if an
/// argument is named more than once.
fn alternatives(args: &[LinuxSeccompArg], syscall: usize) -> Result<Vec<Vec<Condition>>> {
    let mut conditions = Vec::with_capacity(args.len());
    for (index, arg) in args.iter().enumerate() {
        conditions.push(Condition::of(arg, || format!("linux.seccomp.syscalls[{syscall}].args[{index}].index"))?);
    }
    let repeated = (0..MAX_ARGS).any(|index| args.iter().filter(|arg| arg.index() == index).count() > 1);
    if repeated {
        return Ok(conditions.into_iter().map(|condition| vec![condition]).collect());
    }
    conditions.sort_unstable_by_key(|condition| condition.argument);
    Ok(vec![conditions])
}
