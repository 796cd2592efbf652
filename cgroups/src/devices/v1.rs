//! Device rules as lines for `devices.allow` and `devices.deny` (kernel's `cgroup-v1/devices`).
//!
//! v1 knows a default and exceptions from it, not an order of rules: the list is worked through here, and what the
//! kernel gets is the outcome.

use std::collections::BTreeMap;

use super::{MKNOD, Node, Pattern, READ, Rules, WRITE};
use crate::{
    Error, Result,
    controller::Controller,
    plan::{Group, Write},
};

/// What a device cgroup does: a default, and the accesses in which devices differ from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    allow_by_default: bool,
    exceptions: BTreeMap<Pattern, u8>,
}

impl State {
    pub(crate) fn of(rules: &Rules) -> Result<Self> {
        Ok(Self { allow_by_default: rules.allow_by_default, exceptions: exceptions(rules)? })
    }

    /// The content of `devices.list`. Where all is allowed by default the kernel does not show the exceptions.
    pub(crate) fn parse(list: &str) -> Option<Self> {
        if list.lines().any(|line| line.starts_with("a ")) {
            return Some(Self { allow_by_default: true, exceptions: BTreeMap::new() });
        }
        let exceptions = list.lines().map(parse_line).collect::<Option<_>>()?;
        Some(Self { allow_by_default: false, exceptions })
    }

    /// The default first, which clears what was there, then the exceptions: for a cgroup without processes.
    pub(crate) fn plan(&self) -> Vec<Group> {
        let exceptions = self.exceptions.iter().map(|(pattern, access)| describe(pattern, *access));
        let exceptions = exceptions.map(|line| write(!self.allow_by_default, line));
        std::iter::once(write(self.allow_by_default, "a".to_owned())).chain(exceptions).collect()
    }

    /// What differs from what is `present`, for a cgroup with processes: to clear it would close /dev/null to them for a moment
    /// (runc #2204), and the kernel refuses that where there are cgroups below. What is allowed comes before what is not any
    /// more.
    ///
    /// Exceptions from a default that allows are added only: those that are there cannot be seen.
    pub(crate) fn plan_from(&self, present: &Self) -> Vec<Group> {
        if self.allow_by_default != present.allow_by_default {
            return self.plan();
        }
        let (new, gone) =
            (beyond(&self.exceptions, &present.exceptions), beyond(&present.exceptions, &self.exceptions));
        let new = new.map(|line| write(!self.allow_by_default, line));
        let gone = gone.map(|line| write(self.allow_by_default, line));
        new.chain(gone).collect()
    }
}

fn write(allow: bool, value: String) -> Group {
    const HAS_CHILDREN: &str =
        "a device cgroup with cgroups below it cannot get a new default, nor one below a parent that denies it";
    let file = if allow { "devices.allow" } else { "devices.deny" };
    vec![Write::new(Controller::Devices, file, value).hint(HAS_CHILDREN)]
}

/// The accesses of `some` that are not among `others`, as lines.
fn beyond(some: &BTreeMap<Pattern, u8>, others: &BTreeMap<Pattern, u8>) -> impl Iterator<Item = String> {
    let rest = |(pattern, access): (&Pattern, &u8)| (*pattern, access & !others.get(pattern).copied().unwrap_or(0));
    some.iter().map(rest).filter(|(_, access)| *access != 0).map(|(pattern, access)| describe(&pattern, access))
}

/// The accesses in which devices differ from the default.
fn exceptions(rules: &Rules) -> Result<BTreeMap<Pattern, u8>> {
    let mut exceptions: BTreeMap<Pattern, u8> = BTreeMap::new();
    for rule in &rules.rules {
        if rule.allow != rules.allow_by_default {
            *exceptions.entry(rule.pattern).or_default() |= rule.access;
            continue;
        }
        for (pattern, access) in &mut exceptions {
            if rule.pattern.covers(pattern) {
                *access &= !rule.access;
            } else if rule.pattern.overlaps(pattern) && *access & rule.access != 0 {
                let (rule, wider) = (describe(&rule.pattern, rule.access), describe(pattern, *access));
                let why = format!("cgroup v1 cannot take a part out of an earlier rule, {wider}");
                return Err(
                    Error::unsupported("apply device rule", rule, why).hint("replace the wider rule by narrower ones")
                );
            }
        }
    }
    exceptions.retain(|_, access| *access != 0);
    Ok(completed(&exceptions))
}

/// The kernel grants a request only when a single exception covers all its accesses: a narrow one gets those of the
/// wider ones around it (mknod for all devices and reading of one make mknod and reading of that one).
fn completed(exceptions: &BTreeMap<Pattern, u8>) -> BTreeMap<Pattern, u8> {
    let around = |inner: &Pattern| {
        exceptions.iter().filter(|(p, _)| p.covers(inner)).fold(0, |accesses, (_, access)| accesses | access)
    };
    exceptions.keys().map(|pattern| (*pattern, around(pattern))).collect()
}

const LETTERS: [(u8, char); 3] = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];

fn describe(pattern: &Pattern, access: u8) -> String {
    let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
    let node = match pattern.node {
        Node::Block => 'b',
        Node::Char => 'c',
    };
    let letters: String = LETTERS.iter().filter(|(bit, _)| access & bit != 0).map(|(_, letter)| letter).collect();
    format!("{node} {}:{} {letters}", number(pattern.major), number(pattern.minor))
}

/// The other way round; `None` for what is no line of the kernel's.
fn parse_line(line: &str) -> Option<(Pattern, u8)> {
    let mut words = line.split(' ');
    let (node, numbers, letters) = (words.next()?, words.next()?, words.next()?);
    let node = match node {
        "b" => Node::Block,
        "c" => Node::Char,
        _ => return None,
    };
    let number = |text: &str| if text == "*" { Some(None) } else { text.parse().ok().map(Some) };
    let (major, minor) = numbers.split_once(':')?;
    let access = LETTERS.iter().filter(|(_, letter)| letters.contains(*letter)).fold(0, |all, (bit, _)| all | bit);
    Some((Pattern { node, major: number(major)?, minor: number(minor)? }, access))
}

#[cfg(test)]
impl State {
    /// What the kernel makes of a line (security/device_cgroup.c).
    pub(super) fn after(mut self, file: &str, line: &str) -> Self {
        let allow = file == "devices.allow";
        let Some((pattern, access)) = parse_line(line) else {
            return Self { allow_by_default: allow, exceptions: BTreeMap::new() };
        };
        let known = self.exceptions.entry(pattern).or_default();
        *known = if allow == self.allow_by_default { *known & !access } else { *known | access };
        self.exceptions.retain(|_, access| *access != 0);
        self
    }
}
