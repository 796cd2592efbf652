//! What the words of a command line mean: a process, a sandbox, a pod, a namespace.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::kind::{Id, Kind};
use super::survey::{Process, Set, Survey};
use super::whose::{self, Whose};
use crate::error::Said;

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Process(i32),
    Sandbox(String),
    /// A pod, or one container of it.
    Pod {
        namespace: String,
        name: String,
        container: Option<String>,
    },
}

impl Target {
    /// `4711`, `self`, `NAME` of a sandbox, `pod/NAME` or `pod/NAME/CONTAINER`.
    pub(crate) fn parse(text: &str, namespace: &str) -> Result<Self, Said> {
        let wrong = || {
            Said::one(format!(
                "error: {text:?} is nobody: say a pid (4711), self, a sandbox (NAME) or a pod (pod/NAME, pod/NAME/CONTAINER)"
            ))
        };
        if text == "self" {
            return i32::try_from(std::process::id()).map(Self::Process).map_err(|_| wrong());
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return text.parse().map(Self::Process).map_err(|_| wrong());
        }
        let Some(pod) = text.strip_prefix("pod/") else {
            return if is_name(text) { Ok(Self::Sandbox(text.to_owned())) } else { Err(wrong()) };
        };
        let (name, container) = pod.split_once('/').map_or((pod, None), |(name, rest)| (name, Some(rest.to_owned())));
        let is_whole = !name.is_empty() && container.as_deref() != Some("");
        let target = Self::Pod { namespace: namespace.to_owned(), name: name.to_owned(), container };
        is_whole.then_some(target).ok_or_else(wrong)
    }

    /// The process by which a process or pod is found, the oldest one that fits.
    pub(crate) fn process<'a>(&self, survey: &'a Survey) -> Result<Option<&'a Process>, Said> {
        let missing = match self {
            Self::Sandbox(_) => return Ok(None),
            Self::Process(pid) => match survey.processes.iter().find(|process| process.pid == *pid) {
                Some(found) => return Ok(Some(found)),
                None => format!("error: there is no process {pid} that can be looked into: see ps -e, and be root"),
            },
            Self::Pod { namespace, name, container } => {
                let is_it = |whose: &Whose| {
                    matches!(whose, Whose::Pod { namespace: at, pod, container: of }
                        if (at, pod) == (namespace, name) && container.as_ref().is_none_or(|wanted| wanted == of))
                };
                let of = |process: &&Process| whose::of_process(survey, process).as_ref().is_some_and(is_it);
                match survey.processes.iter().filter(of).min_by_key(|process| (process.start_time, process.pid)) {
                    Some(found) => return Ok(Some(found)),
                    None => format!(
                        "error: no process of pod {namespace}/{name} is found: loment get pods lists pods, -n chooses the namespace"
                    ),
                }
            }
        };
        Err(Said::one(missing))
    }

    /// The namespaces of who is meant. What a sandbox has not of its own is this command's.
    pub(crate) fn set(&self, survey: &Survey) -> Result<Set, Said> {
        if let Some(process) = self.process(survey)? {
            return Ok(process.namespaces.clone());
        }
        let Self::Sandbox(name) = self else { return Ok(Set::new()) };
        let directory = survey.lab.join(name);
        let pinned: Set = survey
            .pins
            .iter()
            .filter(|pin| pin.elsewhere.is_none() && pin.at.parent() == Some(&directory))
            .map(|pin| (pin.namespace.kind, pin.namespace.inode))
            .collect();
        if pinned.is_empty() {
            return Err(no_sandbox(name));
        }
        let mut set = survey.own.clone();
        set.extend(pinned);
        Ok(set)
    }
}

pub(crate) fn no_sandbox(name: &str) -> Said {
    Said::one(format!("error: there is no sandbox {name:?}: make it with loment ns create {name} --net --ipc --uts"))
}

/// A name becomes a directory, a host name, and must not be taken for a pid.
pub(crate) fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_plain)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text != "self"
}

/// The namespaces that a word means, which may be an inode of several kinds: `4026532201`, `net:[4026532201]`, a path of
/// one, or `WHO/KIND`.
pub(crate) fn namespaces(text: &str, survey: &Survey, namespace: &str) -> Result<Vec<Id>, Said> {
    if let Some(id) = Id::parse(text) {
        return Ok(vec![id]);
    }
    if text.starts_with(['/', '.']) {
        return at(Path::new(text)).map(|inode| Kind::ALL.map(|kind| Id { kind, inode }).to_vec());
    }
    if let Some((who, kind)) = text.rsplit_once('/').and_then(|(who, kind)| Some((who, Kind::of_file(kind)?))) {
        let set = Target::parse(who, namespace)?.set(survey)?;
        let found = set.get(&kind).map(|&inode| Id { kind, inode });
        return found.map(|id| vec![id]).ok_or_else(|| Said::one(format!("error: {who} has no {kind} namespace")));
    }
    let wrong = || {
        Said::one(format!(
            "error: {text:?} names no namespace: say an inode of loment ns ls (4026532201), net:[4026532201], WHO/KIND (4711/net) or a path"
        ))
    };
    let inode = text.parse().map_err(|_| wrong())?;
    Ok(Kind::ALL.map(|kind| Id { kind, inode }).to_vec())
}

fn at(path: &Path) -> Result<u64, Said> {
    let wrong = |reason: &str| Said::one(format!("error: {} is no namespace: {reason}", path.display()));
    let found = fs::metadata(path).map_err(|error| wrong(&error.to_string()))?;
    let own = fs::metadata("/proc/self/ns/net").map_err(|error| wrong(&error.to_string()))?;
    if found.dev() != own.dev() {
        return Err(wrong("say /proc/PID/ns/KIND or a file that one is mounted on"));
    }
    Ok(found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_meant_is_told_by_the_form() {
        let parse = |text| Target::parse(text, "default");
        let pod = |name: &str, container: Option<&str>| Target::Pod {
            namespace: "default".into(),
            name: name.into(),
            container: container.map(str::to_owned),
        };
        assert_eq!(parse("4711").unwrap(), Target::Process(4711));
        assert_eq!(parse("lab-1").unwrap(), Target::Sandbox("lab-1".into()));
        assert_eq!(parse("pod/web").unwrap(), pod("web", None));
        assert_eq!(parse("pod/web/app").unwrap(), pod("web", Some("app")));
        for text in ["", "47x", "Lab", "../x", "pod/", "pod/web/", "a/b", "-a", "a-", ".", "a b"] {
            let said = parse(text).unwrap_err().to_string();
            assert!(said.lines().count() == 1 && said.contains("pod/NAME"), "{text}: {said}");
        }
    }

    #[test]
    fn a_sandbox_has_its_pins_and_of_the_rest_what_this_command_has() {
        use super::super::survey::Pin;
        let pin = |kind, inode, at: &str, elsewhere| Pin { namespace: Id { kind, inode }, at: at.into(), elsewhere };
        let pins = vec![
            pin(Kind::Net, 7, "/lab/a/net", None),
            pin(Kind::Ipc, 8, "/lab/b/ipc", None),
            pin(Kind::Uts, 9, "/lab/a/uts", Some((1, "x".into()))),
        ];
        let own = [(Kind::Net, 1), (Kind::Ipc, 2)].into();
        let survey = Survey { own, pins, lab: "/lab".into(), ..Survey::default() };
        let set = |name: &str| Target::Sandbox(name.into()).set(&survey);
        assert_eq!(set("a").unwrap(), [(Kind::Net, 7), (Kind::Ipc, 2)].into());
        assert!(set("c").unwrap_err().to_string().contains("loment ns create c"));
        assert_eq!(namespaces("a/net", &survey, "default").unwrap(), [Id { kind: Kind::Net, inode: 7 }]);
        assert_eq!(namespaces("7", &survey, "default").unwrap().len(), 8);
        assert!(namespaces("nonsense", &survey, "default").is_err());
        assert!(namespaces("/etc/hostname", &survey, "default").unwrap_err().to_string().contains("/proc/PID/ns/KIND"));
    }
}
