//! Something that was found, whose it is, and what is to become of it.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::survey::{Names, Part};

/// Something that is left, or that is told beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) thing: Thing,
    pub(crate) owner: Owner,
    /// Why it is told.
    pub(crate) why: String,
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is a leftover.
    Remove,
    /// It is left alone, with the reason; it is no leftover of this containerd's, or not only.
    Keep(String),
}

/// What it is, and how it is recognised right before it is removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    /// Of CRI's, with its task.
    Container {
        id: String,
    },
    Shim {
        pid: i32,
        start_time: u64,
    },
    Process {
        pid: i32,
        start_time: u64,
        name: String,
    },
    Mount {
        id: u64,
        at: PathBuf,
        kind: String,
    },
    Attachment {
        path: PathBuf,
        inode: u64,
        id: String,
        network: String,
    },
    Interface {
        name: String,
    },
    Network {
        path: PathBuf,
        inode: u64,
    },
    Cgroup {
        path: PathBuf,
    },
    Socket {
        path: PathBuf,
        inode: u64,
    },
    Bundle {
        path: PathBuf,
        inode: u64,
        namespace: String,
        id: String,
    },
    Kept {
        part: PartName,
        path: PathBuf,
        inode: u64,
    },
}

/// [`Part`], with an order.
pub(crate) type PartName = &'static str;

/// Whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) pod: Names,
    /// Id of the sandbox or the container, and containerd's namespace.
    pub(crate) id: String,
    pub(crate) containerd_namespace: String,
    /// What has told: a record, the cgroup, the command line, ...
    pub(crate) by: &'static str,
}

impl Owner {
    /// `default/web`, as far as it is known.
    pub(crate) fn pod(&self) -> String {
        match (self.pod.namespace.as_str(), self.pod.name.as_str()) {
            ("", "") => or_dash(&self.pod.uid),
            (namespace, name) => format!("{}/{}", or_dash(namespace), or_dash(name)),
        }
    }
}

pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

impl Thing {
    /// What it is called in lists.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Thing::Container { .. } => "container",
            Thing::Shim { .. } => "shim",
            Thing::Process { .. } => "process",
            Thing::Mount { .. } => "mount",
            Thing::Attachment { .. } => "cni",
            Thing::Interface { .. } => "interface",
            Thing::Network { .. } => "netns",
            Thing::Cgroup { .. } => "cgroup",
            Thing::Socket { .. } => "socket",
            Thing::Bundle { .. } => "bundle",
            Thing::Kept { part, .. } => part,
        }
    }

    /// Which one it is, for people.
    pub(crate) fn object(&self) -> String {
        match self {
            Thing::Container { id } => printable(id),
            Thing::Shim { pid, .. } => format!("{pid}"),
            Thing::Process { pid, name, .. } => format!("{pid} ({})", printable(name)),
            Thing::Mount { at, kind, .. } => format!("{} ({})", path(at), printable(kind)),
            Thing::Attachment { path: note, network, .. } => format!("{} ({})", path(note), printable(network)),
            Thing::Interface { name } => printable(name),
            Thing::Network { path: file, .. }
            | Thing::Cgroup { path: file }
            | Thing::Socket { path: file, .. }
            | Thing::Bundle { path: file, .. }
            | Thing::Kept { path: file, .. } => path(file),
        }
    }

    /// The place in the order of removal: nothing goes before what uses it.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Thing::Container { .. } | Thing::Shim { .. } => 0,
            Thing::Process { .. } => 1,
            Thing::Mount { .. } => 2,
            Thing::Attachment { .. } => 3,
            Thing::Network { .. } => 4,
            Thing::Interface { .. } => 5,
            Thing::Cgroup { .. } => 6,
            Thing::Socket { .. } => 7,
            Thing::Bundle { .. } => 8,
            Thing::Kept { .. } => 9,
        }
    }
}

impl Part {
    pub(crate) fn kind(self) -> PartName {
        match self {
            Part::Record => "pod-directory",
            Part::Making => "pod-begun",
            Part::Removed => "pod-removed",
            Part::Unbegun => "pod-unbegun",
            Part::Lock => "lock",
            Part::Logs => "logs",
        }
    }
}

impl Finding {
    pub(crate) fn is_leftover(&self) -> bool {
        self.verdict == Verdict::Remove
    }

    /// As docs/leaks.md says it.
    pub(crate) fn json(&self) -> Value {
        let kept = match &self.verdict {
            Verdict::Remove => None,
            Verdict::Keep(why) => Some(why),
        };
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        json!({
            "kind": self.thing.kind(),
            "object": self.thing.object(),
            "pod": {
                "namespace": some(&self.owner.pod.namespace), "name": some(&self.owner.pod.name),
                "uid": some(&self.owner.pod.uid), "container": some(&self.owner.pod.container),
            },
            "id": some(&self.owner.id),
            "containerdNamespace": some(&self.owner.containerd_namespace),
            "attributedBy": some(self.owner.by),
            "why": self.why,
            "leftover": self.is_leftover(),
            "kept": kept,
        })
    }
}

/// What two looks agree on: what is only being made or removed is seen by one of them.
pub(crate) fn agreed(first: &[Finding], second: Vec<Finding>) -> Vec<Finding> {
    let was_there =
        |one: &Finding| first.iter().any(|other| other.thing == one.thing && other.is_leftover() == one.is_leftover());
    second.into_iter().filter(was_there).collect()
}

fn path(path: &std::path::Path) -> String {
    printable(&path.to_string_lossy())
}

/// A name may have been chosen by anybody: nothing of it moves the cursor of a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().flat_map(|char| if char.is_control() { char.escape_default().collect() } else { vec![char] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shim(pid: i32, verdict: Verdict) -> Finding {
        Finding { thing: Thing::Shim { pid, start_time: 1 }, owner: Owner::default(), why: String::new(), verdict }
    }

    #[test]
    fn what_only_one_look_has_seen_is_no_leftover() {
        let first = [shim(1, Verdict::Remove), shim(2, Verdict::Keep("x".into()))];
        let second = vec![shim(1, Verdict::Remove), shim(2, Verdict::Remove), shim(3, Verdict::Remove)];
        assert_eq!(agreed(&first, second), [shim(1, Verdict::Remove)]);
    }

    #[test]
    fn a_pid_that_was_given_away_between_two_looks_is_another_thing() {
        let mut later = shim(1, Verdict::Remove);
        later.thing = Thing::Shim { pid: 1, start_time: 2 };
        assert_eq!(agreed(&[shim(1, Verdict::Remove)], vec![later]), []);
    }

    #[test]
    fn a_name_cannot_write_on_the_terminal() {
        let name = "a\u{1b}[2Jb\n".to_owned();
        assert_eq!(Thing::Process { pid: 7, start_time: 1, name }.object(), "7 (a\\u{1b}[2Jb\\n)");
    }

    #[test]
    fn a_pod_is_told_as_far_as_it_is_known() {
        let owner = |namespace: &str, name: &str, uid: &str| {
            let pod = Names { namespace: namespace.into(), name: name.into(), uid: uid.into(), ..Names::default() };
            Owner { pod, ..Owner::default() }.pod()
        };
        assert_eq!(
            [owner("a", "b", "u"), owner("", "b", ""), owner("", "", "u"), owner("", "", "")],
            ["a/b", "-/b", "u", "-"]
        );
    }
}
