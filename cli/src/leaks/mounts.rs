//! What is mounted, here and in every other mount namespace. proc_pid_mountinfo(5)

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use loment_cgroups::mountinfo::unescape;

use super::survey::{Mount, Process};

/// The mounts of this mount namespace at or below these directories, and what other namespaces have mounted at the same
/// places, by one process of each.
pub(crate) fn below(directories: &[PathBuf], own_mounts: u64, processes: &[Process]) -> Vec<Mount> {
    let is_meant = |mount: &Mount| directories.iter().any(|directory| mount.at.starts_with(directory));
    let own = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<Mount> = parse(&own).filter(is_meant).collect();
    for process in representatives(own_mounts, processes) {
        // It may have ended.
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", process.pid)).unwrap_or_default();
        let elsewhere = Some((process.pid, process.name.clone()));
        found.extend(parse(&table).filter(is_meant).map(|mount| Mount { elsewhere: elsewhere.clone(), ..mount }));
    }
    found
}

/// One process of each mount namespace, its oldest.
fn representatives(own: u64, processes: &[Process]) -> impl Iterator<Item = &Process> {
    let mut oldest: BTreeMap<u64, &Process> = BTreeMap::new();
    for process in processes.iter().filter(|process| process.mounts != own) {
        let known = oldest.entry(process.mounts).or_insert(process);
        if (process.start_time, process.pid) < (known.start_time, known.pid) {
            *known = process;
        }
    }
    oldest.into_values()
}

/// `ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS ... - TYPE SOURCE OPTIONS`.
fn parse(table: &str) -> impl Iterator<Item = Mount> {
    table.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ');
        Some(Mount {
            id: fields.next()?.parse().ok()?,
            at: unescape(fields.nth(3)?.as_bytes()),
            kind: right.split(' ').next()?.to_owned(),
            elsewhere: None,
        })
    })
}

/// The id of the mount that is on top at a place.
pub(crate) fn top_at(at: &std::path::Path) -> Option<u64> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    parse(&table).filter(|mount| mount.at == at).map(|mount| mount.id).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_with_a_blank_is_read_as_it_is() {
        let table = "36 35 98:0 / /run/a\\040b/shm rw,noatime master:1 - tmpfs shm rw\nnonsense\n";
        let expected = Mount { id: 36, at: "/run/a b/shm".into(), kind: "tmpfs".into(), elsewhere: None };
        assert_eq!(parse(table).collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn each_namespace_is_looked_into_once_by_its_oldest_process() {
        let process = |pid, mounts, start_time| Process { pid, mounts, start_time, ..Process::default() };
        let all = [process(1, 1, 0), process(5, 2, 9), process(9, 2, 3), process(7, 3, 5)];
        let pids: Vec<i32> = representatives(1, &all).map(|one| one.pid).collect();
        assert_eq!(pids, [9, 7]);
    }
}
