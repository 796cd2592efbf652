//! What a sandbox is to be.

use nix::sched::CloneFlags;

use super::super::kind::Kind;
use super::sysctl::Sysctl;

#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) kinds: Vec<Kind>,
    /// Of a UTS namespace.
    pub(crate) hostname: Option<String>,
    pub(crate) sysctls: Vec<Sysctl>,
    pub(crate) ids: Ids,
    pub(crate) clocks: Clocks,
}

/// Which ids of the machine those of a user namespace stand for, users and groups alike. user_namespaces(7)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) inside: u32,
    pub(crate) outside: u32,
    pub(crate) count: u32,
}

impl Default for Ids {
    fn default() -> Self {
        Self { inside: 0, outside: 100_000, count: 65_536 }
    }
}

impl Ids {
    /// `INSIDE:OUTSIDE:COUNT`. There has to be a root inside: somebody must set the sandbox up.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write INSIDE:OUTSIDE:COUNT, as in 0:100000:65536; INSIDE is 0".to_owned();
        let mut numbers = text.split(':').map(|number| number.parse::<u32>().ok());
        let (Some(Some(inside)), Some(Some(outside)), Some(Some(count)), None) =
            (numbers.next(), numbers.next(), numbers.next(), numbers.next())
        else {
            return Err(wrong());
        };
        let is_whole = inside == 0 && count > 0 && outside.checked_add(count).is_some();
        is_whole.then_some(Self { inside, outside, count }).ok_or_else(wrong)
    }
}

impl std::fmt::Display for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.inside, self.outside, self.count)
    }
}

/// How far the clocks of a time namespace are ahead of the machine's, in seconds. time_namespaces(7)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clocks {
    pub(crate) monotonic: i64,
    pub(crate) boottime: i64,
}

impl Clocks {
    /// By the names that `/proc/PID/timens_offsets` has for them.
    pub(super) fn by_name(self) -> [(&'static str, i64); 2] {
        [("monotonic", self.monotonic), ("boottime", self.boottime)]
    }
}

impl Wanted {
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Those that the founder is born in. Clocks it makes itself: once somebody is in a time namespace, they cannot be set
    /// any more. time_namespaces(7)
    pub(super) fn flags(&self) -> CloneFlags {
        self.kinds.iter().filter(|kind| **kind != Kind::Time).map(|kind| kind.flag()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_of_ids_has_a_root() {
        assert_eq!(Ids::parse("0:100000:65536"), Ok(Ids::default()));
        assert_eq!(Ids::parse("0:0:4294967295").map(|ids| ids.to_string()), Ok("0:0:4294967295".into()));
        for text in ["", "0", "0:1", "0:1:2:3", "1:1:1", "0:1:0", "0:1:4294967295", "a:b:c", "0:-1:1"] {
            assert!(Ids::parse(text).unwrap_err().contains("0:100000:65536"), "{text}");
        }
    }
}
