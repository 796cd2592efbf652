//! A map as a tree: group, namespaces, who is in them, what those use.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::kind::{Id, Kind};
use super::{Group, Map, Unit, What};
use crate::commands::top::bytes;

/// Names of processes that are written on a line.
const MOST: usize = 4;

pub(crate) fn draw(map: &Map) -> String {
    let mut text = String::new();
    for group in &map.groups {
        let _ = writeln!(text, "{}", group.title());
        let branches = branches(map, group);
        for (number, branch) in branches.iter().enumerate() {
            let is_last = number + 1 == branches.len();
            let (sign, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let names: Vec<String> = branch.ids.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "{sign}{}{}", names.join(" "), remark(group, branch));
            for (number, unit) in branch.members.iter().enumerate() {
                let sign = if number + 1 == branch.members.len() { "└─ " } else { "├─ " };
                let _ = writeln!(text, "{below}{sign}{}", member(unit));
            }
        }
    }
    text
}

/// Namespaces that the same units are in, and that are shared with the same others.
struct Branch<'a> {
    ids: Vec<Id>,
    members: Vec<&'a Unit>,
    is_machines: bool,
    sharers: Vec<String>,
}

/// What a branch is told apart by, in their order.
type Key = (bool, Reverse<usize>, Vec<usize>, Vec<String>);

/// Those of a group: what most of it shares first, the machine's last.
fn branches<'a>(map: &Map, group: &'a Group) -> Vec<Branch<'a>> {
    let mut found: BTreeMap<Key, Vec<Id>> = BTreeMap::new();
    for kind in Kind::ALL {
        let mut members: BTreeMap<Id, Vec<usize>> = BTreeMap::new();
        for (number, unit) in group.units.iter().enumerate() {
            if let Some(id) = unit.id(kind) {
                members.entry(id).or_default().push(number);
            }
        }
        for (id, members) in members {
            let sharers = map.sharers(id, group).into_iter().collect();
            found.entry((map.is_machines(id), Reverse(members.len()), members, sharers)).or_default().push(id);
        }
    }
    let branch = |((is_machines, _, numbers, sharers), ids): (Key, Vec<Id>)| {
        let members = numbers.iter().filter_map(|number| group.units.get(*number)).collect();
        Branch { ids, members, is_machines, sharers }
    };
    found.into_iter().map(branch).collect()
}

/// What is to be said of namespaces that are not the group's alone.
fn remark(group: &Group, branch: &Branch<'_>) -> String {
    match (branch.is_machines, branch.sharers.is_empty()) {
        (true, _) if group.kind != What::Machine => "  the machine's".to_owned(),
        (false, false) => format!("  shared with {}", branch.sharers.join(", ")),
        _ => String::new(),
    }
}

fn member(unit: &Unit) -> String {
    let mut text = unit.title().to_owned();
    let shown: Vec<String> = unit.processes.iter().take(MOST).map(|(pid, name)| format!("{pid} {name}")).collect();
    let rest = unit.processes.len().saturating_sub(MOST);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    let blank = if text.is_empty() { "" } else { "  " };
    let _ = write!(text, "{blank}{}{more}", if shown.is_empty() { "no process".to_owned() } else { shown.join(", ") });
    if let Some(usage) = &unit.usage {
        let (cpu, memory) = (usage.cpu as f64 / 1e9, bytes(usage.memory as f64));
        let _ = write!(text, "  [cpu {cpu:.2}s, memory {memory}, {}]", usage.tasks_in_words());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Usage;
    use super::super::tests::survey;
    use super::*;

    #[test]
    fn a_tree_has_each_group_with_what_it_shares() {
        let mut map = Map::of(&survey());
        map.groups[0].units[0].usage = Some(Usage { cpu: 1_500_000_000, memory: 3 << 20, tasks: 2 });
        let expected = "\
pod shop/a
├─ net:[11]
│  ├─ app  10 web, 11 web  [cpu 1.50s, memory 3Mi, 2 tasks]
│  └─ sidecar  12 log <&>
├─ ipc:[12]  shared with pod shop/b
│  ├─ app  10 web, 11 web  [cpu 1.50s, memory 3Mi, 2 tasks]
│  └─ sidecar  12 log <&>
├─ pid:[13]
│  └─ app  10 web, 11 web  [cpu 1.50s, memory 3Mi, 2 tasks]
└─ pid:[14]
   └─ sidecar  12 log <&>
";
        let drawn = draw(&map);
        assert!(drawn.starts_with(expected), "{drawn}");
        assert!(drawn.contains("sandbox mine\n├─ net:[31]\n│  └─ pins  no process\n"), "{drawn}");
        assert!(drawn.contains("└─ ipc:[2] pid:[3]  the machine's\n"), "{drawn}");
    }
}
