//! A container's files, seen from this machine: `/proc/PID/root`, with the mounts that the container sees, read-only where
//! they are read-only there.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, anyhow, bail};
use loment_shim::client::TaskShim;
use loment_sys::credentials::{set_gid, set_groups, set_uid};
use nix::fcntl::OFlag;
use serde_json::Value;

use super::place::Root;

/// The mask of a program that a runtime starts in a container.
const MASK: u32 = 0o022;

#[derive(Debug)]
pub(crate) struct Enclosure {
    pub(crate) root: Root,
    /// Where relative paths begin.
    pub(crate) directory: PathBuf,
    pub(crate) user: User,
    pid: i32,
    process: OwnedFd,
    id: String,
}

/// The user that the container's programs run as, in the host's ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    is_root: bool,
    ids: Ids,
}

/// What user and group ids of the container are outside of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    users: Vec<Range>,
    groups: Vec<Range>,
}

/// Ids of a user namespace and of its parent: user_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

impl Enclosure {
    /// That of the container's first process, which runs.
    pub(crate) async fn of(shim: &TaskShim, id: &str) -> anyhow::Result<Self> {
        let before = shim.container(id).await?;
        let (pid, gone) = (before.pid, || format!("enter container {id}: its process {} has ended", before.pid));
        let process = loment_sys::pidfd::open(pid).with_context(gone)?;
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).with_context(|| format!("read {path}"))
        };
        let ids = Ids { users: ranges(&read("uid_map")?), groups: ranges(&read("gid_map")?) };
        let root = Root::Here.open(Path::new(&format!("/proc/{pid}/root")), OFlag::O_PATH | OFlag::O_DIRECTORY);
        let root = root.with_context(|| format!("open /proc/{pid}/root"))?;
        let config = before.bundle.join("config.json");
        let config = fs::read(&config).with_context(|| format!("read {}", config.display()))?;
        let config: Value = serde_json::from_slice(&config).context("read the container's specification")?;
        let directory = config["process"]["cwd"].as_str().unwrap_or("/").into();
        let user = User::of(&config["process"]["user"], ids);
        let enclosure = Self { root: Root::Container(root), directory, user, pid, process, id: id.to_owned() };
        enclosure.verify(shim).await?;
        Ok(enclosure)
    }

    /// Looks for something in the container as its user does, who may not go everywhere.
    pub(crate) fn as_user<T: Send>(&self, look: impl FnOnce(&Root) -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        let looked = thread::scope(|scope| {
            let look = || {
                self.user.become_it()?;
                look(&self.root)
            };
            scope.spawn(look).join()
        });
        looked.map_err(|_| anyhow!("the thread that looks into the container has failed"))?
    }

    /// Makes sure that all this was of the container and still is: its process may have ended, and its pid may be
    /// another one's.
    pub(crate) async fn verify(&self, shim: &TaskShim) -> anyhow::Result<()> {
        let now = shim.container(&self.id).await?;
        let ended = {
            let mut asked =
                [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&self.process), nix::poll::PollFlags::POLLIN)];
            nix::poll::poll(&mut asked, nix::poll::PollTimeout::ZERO)? > 0
        };
        if ended || now.pid != self.pid || !now.running {
            bail!("the container was restarted or has ended meanwhile; what was copied may be incomplete");
        }
        Ok(())
    }
}

impl User {
    fn of(spec: &Value, ids: Ids) -> Self {
        let number = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
        let (uid, gid) = (number(&spec["uid"]).unwrap_or(0), number(&spec["gid"]).unwrap_or(0));
        let groups = spec["additionalGids"].as_array().into_iter().flatten().filter_map(number);
        let groups = groups.map(|group| ids.outside(0, group).1).collect();
        let (outer_uid, outer_gid) = ids.outside(uid, gid);
        Self { uid: outer_uid, gid: outer_gid, groups, is_root: uid == 0, ids }
    }

    /// What this user may do to files is all that the calling thread may do from now on. Root of the container may do
    /// what root of this machine may: nothing else reaches every owner.
    pub(crate) fn become_it(&self) -> anyhow::Result<()> {
        if self.is_root {
            return Ok(());
        }
        let become_it = || set_groups(&self.groups).and_then(|()| set_gid(self.gid)).and_then(|()| set_uid(self.uid));
        become_it().with_context(|| format!("act as user {} of the container", self.uid))
    }

    /// What becomes of owner and permissions of what is written into the container.
    pub(crate) fn rules(&self, preserve: bool) -> super::write::Rules {
        match self.is_root {
            true if preserve => super::write::Rules::Keep(self.ids.clone()),
            // Not root of this machine, if that is another one.
            true => super::write::Rules::Masked { mask: MASK, owner: Some((self.uid, self.gid)), exactly: preserve },
            false => super::write::Rules::Masked { mask: MASK, owner: None, exactly: preserve },
        }
    }
}

impl Ids {
    /// The ids outside; what has none inside is the container's root's.
    pub(crate) fn outside(&self, uid: u32, gid: u32) -> (u32, u32) {
        let find = |ranges: &[Range], id: u32| ranges.iter().find_map(|range| range.outside(id));
        let of = |ranges: &[Range], id: u32| find(ranges, id).or_else(|| find(ranges, 0)).unwrap_or(id);
        (of(&self.users, uid), of(&self.groups, gid))
    }
}

impl Range {
    fn outside(&self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.inside).filter(|offset| *offset < self.count)?;
        self.outside.checked_add(offset)
    }
}

fn ranges(text: &str) -> Vec<Range> {
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map_while(|word| word.parse().ok());
        Some(Range { inside: numbers.next()?, outside: numbers.next()?, count: numbers.next()? })
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_of_a_user_namespace_are_others_outside() {
        let all = Ids { users: ranges("         0          0 4294967295\n"), groups: ranges("0 0 4294967295") };
        assert_eq!(all.outside(1000, 7), (1000, 7));
        let shifted = Ids { users: ranges("0 100000 65536"), groups: ranges("0 200000 10\n10 5 1") };
        assert_eq!(shifted.outside(0, 0), (100_000, 200_000));
        assert_eq!(shifted.outside(1000, 10), (101_000, 5));
        assert_eq!(shifted.outside(70_000, 11), (100_000, 200_000), "what has no id inside is root's");
    }

    #[test]
    fn a_user_is_the_one_of_the_specification_in_the_hosts_ids() {
        let ids = Ids { users: ranges("0 100000 65536"), groups: ranges("0 100000 65536") };
        let user = User::of(&json!({ "uid": 7, "gid": 8, "additionalGids": [9] }), ids.clone());
        assert_eq!(
            (user.uid, user.gid, user.groups.as_slice(), user.is_root),
            (100_007, 100_008, &[100_009][..], false)
        );
        assert!(User::of(&json!({}), ids).is_root);
    }
}
