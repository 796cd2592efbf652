//! Which devices a cgroup may make, read and write: the specification's list of rules.
//!
//! A list means: nothing is allowed before its first rule; every rule decides anew about each access (`r`, `w`, `m`)
//! that it names, so that the last rule for an access counts; a request is granted when all its accesses are. After
//! the list come the devices that the specification promises to every container.

#[cfg(test)]
mod tests;
pub(crate) mod v1;
pub(crate) mod v2;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::{Error, Result};

/// mknod, read, write: the bits that the kernel's device programs get.
pub(crate) const MKNOD: u8 = 1;
pub(crate) const READ: u8 = 2;
pub(crate) const WRITE: u8 = 4;
pub(crate) const ALL: u8 = MKNOD | READ | WRITE;

/// Type of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Block,
    Char,
}

/// Devices by number; `None` is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pattern {
    pub(crate) node: Node,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
}

/// One decision about some accesses to some devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) allow: bool,
    pub(crate) pattern: Pattern,
    pub(crate) access: u8,
}

/// A list with everything before the last rule about all devices left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    /// What holds for a device that no rule names.
    pub(crate) allow_by_default: bool,
    pub(crate) rules: Vec<Rule>,
}

/// null, zero, full, random, urandom, tty; ptmx and the terminals of devpts; and making nodes of any kind, which
/// without access to them gives nothing. The list of runc and crun.
const DEFAULT_DEVICES: [(Node, Option<u32>, Option<u32>, u8); 10] = [
    (Node::Char, None, None, MKNOD),
    (Node::Block, None, None, MKNOD),
    (Node::Char, Some(1), Some(3), ALL),
    (Node::Char, Some(1), Some(5), ALL),
    (Node::Char, Some(1), Some(7), ALL),
    (Node::Char, Some(1), Some(8), ALL),
    (Node::Char, Some(1), Some(9), ALL),
    (Node::Char, Some(5), Some(0), ALL),
    (Node::Char, Some(5), Some(2), ALL),
    (Node::Char, Some(136), None, ALL),
];

/// The rules of a specification, and after them the devices that every container has.
pub(crate) fn rules(list: &[LinuxDeviceCgroup]) -> Result<Rules> {
    let mut lowered = Rules { allow_by_default: false, rules: Vec::with_capacity(list.len() + DEFAULT_DEVICES.len()) };
    for rule in list {
        lower(rule, &mut lowered)?;
    }
    if !lowered.allow_by_default || !lowered.rules.is_empty() {
        let default =
            |(node, major, minor, access)| Rule { allow: true, pattern: Pattern { node, major, minor }, access };
        lowered.rules.extend(DEFAULT_DEVICES.map(default));
    }
    Ok(lowered)
}

fn lower(rule: &LinuxDeviceCgroup, into: &mut Rules) -> Result<()> {
    let refuse = |why: String| Err(Error::invalid("apply device rule", rule, why));
    let mut access = 0;
    for letter in rule.access().as_deref().unwrap_or_default().chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            other => return refuse(format!("access {other:?} is none of r, w, m")),
        };
    }
    if access == 0 {
        // Without accesses nothing is allowed; but what is denied without naming any is denied altogether.
        if rule.allow() {
            return Ok(());
        }
        access = ALL;
    }
    let number = |value: Option<i64>| match value {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n).map(Some),
    };
    let (Ok(major), Ok(minor)) = (number(rule.major()), number(rule.minor())) else {
        return refuse("a device number is -1 (any) or 0..=4294967295".to_owned());
    };
    let nodes: &[Node] = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => &[Node::Block, Node::Char],
        LinuxDeviceType::B => &[Node::Block],
        LinuxDeviceType::C | LinuxDeviceType::U => &[Node::Char],
        LinuxDeviceType::P => return refuse("a fifo is no device".to_owned()),
    };
    if nodes.len() == 2 && major.is_none() && minor.is_none() && access == ALL {
        *into = Rules { allow_by_default: rule.allow(), rules: Vec::new() };
        return Ok(());
    }
    let one = |node: &Node| Rule { allow: rule.allow(), pattern: Pattern { node: *node, major, minor }, access };
    into.rules.extend(nodes.iter().map(one));
    Ok(())
}

impl Pattern {
    /// Whether every device of `other` is one of this pattern's.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.node == other.node
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }

    /// Whether there is a device of both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.node == other.node && meet(self.major, other.major) && meet(self.minor, other.minor)
    }
}
