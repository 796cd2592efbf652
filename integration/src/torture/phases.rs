//! Which phases of a start a shim has reached, read from outside.
//!
//! Phases are numbers in memory that the shim shares with its children ([`loment_sandbox::trace`]): the only mapping of
//! its kind that it has. The first ones are noted after the fact, when there is such memory; they are told by the calls.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt as _,
};

use loment_sandbox::trace::Phase;
use nix::unistd::Pid;

/// What a shared mapping without a file is called in `/proc/PID/maps`.
const SHARED: &str = "/dev/zero (deleted)";

/// The traces of one shim.
#[derive(Debug)]
pub(super) struct Phases {
    memory: File,
    from: u64,
    words: Vec<u8>,
    /// When each was reached, by place in memory.
    seen: BTreeMap<usize, u64>,
}

impl Phases {
    /// Those of a shim, from now on; `None` as long as it has no memory for them.
    pub(super) fn of(shim: Pid) -> Option<Self> {
        let maps = fs::read_to_string(format!("/proc/{shim}/maps")).ok()?;
        let (from, to) = maps.lines().find_map(range)?;
        let memory = File::open(format!("/proc/{shim}/mem")).ok()?;
        let length = usize::try_from(to - from).ok()?;
        let mut phases = Self { memory, from, words: vec![0; length], seen: BTreeMap::new() };
        phases.look();
        Some(phases)
    }

    /// The phases that were reached since the last look.
    pub(super) fn look(&mut self) -> Vec<Phase> {
        // A process that is gone has reached nothing more.
        if self.memory.read_exact_at(&mut self.words, self.from).is_err() {
            return Vec::new();
        }
        let count = Phase::all().count();
        let mut reached = Vec::new();
        for (place, word) in self.words.chunks_exact(8).enumerate() {
            let at = u64::from_le_bytes(word.try_into().unwrap_or_default());
            // The first number of each start is its turn.
            let Some(index) = (place % (count + 1)).checked_sub(1) else { continue };
            if at != 0 && self.seen.insert(place, at) != Some(at) {
                reached.extend(Phase::all().nth(index));
            }
        }
        reached
    }
}

/// The addresses of a line of maps, if that is a shared mapping that can be written.
fn range(line: &str) -> Option<(u64, u64)> {
    let (addresses, rest) = line.split_once(' ')?;
    if !rest.starts_with("rw-s") || !rest.ends_with(SHARED) {
        return None;
    }
    let (from, to) = addresses.split_once('-')?;
    Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use loment_sandbox::trace::{Group, Traces};

    #[test]
    fn phases_of_a_process_are_seen_once_when_they_are_reached() {
        let traces = Traces::new(2, 1).expect("memory");
        let (first, _) = traces.begin(Group::Containers);
        first.reached(Phase::Asked);
        let mut phases = Phases::of(nix::unistd::getpid()).expect("the mapping");
        assert_eq!(phases.look(), []);
        let (second, _) = traces.begin(Group::Containers);
        second.reached(Phase::Asked);
        second.reached(Phase::Cloned);
        assert_eq!(phases.look(), [Phase::Asked, Phase::Cloned]);
        assert_eq!(phases.look(), []);
    }

    #[test]
    fn only_a_shared_mapping_without_a_file_is_one() {
        let shared = "7f0000001000-7f0000003000 rw-s 00000000 00:01 1029 /dev/zero (deleted)";
        assert_eq!(range(shared), Some((0x7f00_0000_1000, 0x7f00_0000_3000)));
        assert_eq!(range("7f0000001000-7f0000003000 rw-p 00000000 00:00 0 "), None);
        assert_eq!(range("short"), None);
    }
}
