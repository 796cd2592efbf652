//! Who keeps a cgroup from being removed, in words.

use std::{fs, os::fd::AsFd, path::Path};

use crate::{dir::Dir, procs};

/// How many processes are named.
const NAMED: usize = 3;

/// Who is in the cgroup at `path` below the first of `roots` where anybody is; `None` where it is empty everywhere. A
/// stranger may be in one hierarchy only.
pub(crate) fn describe<'a>(mut roots: impl Iterator<Item = &'a Dir>, path: &Path) -> Option<String> {
    roots.find_map(|root| {
        let dir = Dir::open_below(root, path).ok()??;
        let pids = procs::pids(dir.as_fd()).ok()?;
        let named: Vec<_> = pids.iter().take(NAMED).map(|pid| name(*pid)).collect();
        let others = match pids.len().saturating_sub(NAMED) {
            0 => String::new(),
            others => format!(" and {others} others"),
        };
        (!named.is_empty()).then(|| format!("{} holds process {}{others}", dir.path().display(), named.join(", ")))
    })
}

/// A process with its program and its state: D waits in the kernel, Z has ended. proc_pid_stat(5)
fn name(pid: i32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    describe_stat(&stat).map_or_else(|| pid.to_string(), |described| format!("{pid} ({described})"))
}

fn describe_stat(stat: &str) -> Option<String> {
    let (name, fields) = stat.rsplit_once(") ")?;
    let (_, name) = name.split_once(" (")?;
    Some(format!("{name:?}, state {}", fields.chars().next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_described_whatever_it_calls_itself() {
        assert_eq!(describe_stat("7 (sh) S 1 7").as_deref(), Some("\"sh\", state S"));
        assert_eq!(describe_stat("7 (a) (\n) D 1 7").as_deref(), Some("\"a) (\\n\", state D"));
        assert_eq!(describe_stat(""), None);
    }
}
