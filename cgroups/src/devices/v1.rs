//! Device rules as lines for `devices.allow` and `devices.deny` (kernel's `cgroup-v1/devices`).
//!
//! v1 knows a default and exceptions from it, not an order of rules: the list is worked through here, and what the
//! kernel gets is the outcome.

use std::collections::BTreeMap;

use super::{ALL, MKNOD, Node, Pattern, READ, Rules, WRITE};
use crate::{
    Error, Result,
    controller::Controller,
    plan::{Group, Write},
};

/// The default first, which clears what was there, then the exceptions.
pub(crate) fn plan(rules: &Rules) -> Result<Vec<Group>> {
    const HAS_CHILDREN: &str =
        "a device cgroup with cgroups below it cannot get a new default, nor one below a parent that denies it";
    let line = |allow: bool, value: String| {
        let file = if allow { "devices.allow" } else { "devices.deny" };
        vec![Write::new(Controller::Devices, file, value).hint(HAS_CHILDREN)]
    };
    let mut groups = vec![line(rules.allow_by_default, "a".to_owned())];
    for (pattern, access) in exceptions(rules)? {
        groups.push(line(!rules.allow_by_default, describe(&pattern, access)));
    }
    Ok(groups)
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

fn describe(pattern: &Pattern, access: u8) -> String {
    let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
    let node = match pattern.node {
        Node::Block => 'b',
        Node::Char => 'c',
    };
    let letters: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .iter()
        .filter(|(bit, _)| access & ALL & bit != 0)
        .map(|(_, l)| l)
        .collect();
    format!("{node} {}:{} {letters}", number(pattern.major), number(pattern.minor))
}
