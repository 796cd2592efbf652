//! Versions of containerd: which one a lab runs, and what that one knows.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

/// The directory of containerds that `scripts/containerds` has unpacked, in the directory of what is built.
const UNPACKED: &str = "containerd";

/// The first version with the Sandbox API, an experiment then.
const FIRST_WITH_SANDBOXES: Version = Version { major: 1, minor: 7 };

/// Of a version what decides about its behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The 1 of 1.7.24.
    pub major: u32,
    /// The 7 of 1.7.24.
    pub minor: u32,
}

impl Version {
    /// A version.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// What a containerd says of itself.
    fn of(program: &Path) -> Option<Self> {
        let output = Command::new(program).arg("--version").output().ok()?;
        Self::said(&String::from_utf8_lossy(&output.stdout))
    }

    /// From what `containerd --version` says: `containerd github.com/containerd/containerd v1.7.24 1a2b3c`.
    fn said(line: &str) -> Option<Self> {
        line.split_whitespace().nth(2)?.trim_start_matches('v').parse().ok()
    }
}

impl FromStr for Version {
    type Err = String;

    /// Two numbers; whatever follows them as in `1.7.24~ds1` decides nothing here.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = text.split('.').map(|part| {
            let digits = part.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            digits.parse::<u32>().ok()
        });
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(format!("{text:?} is no version of containerd: give it as in 1.7")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Who makes a pod's sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sandboxer {
    /// containerd: a pause container.
    #[default]
    Podsandbox,
    /// The shim, through the Sandbox API.
    Shim,
}

impl Sandboxer {
    /// As a runtime class calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Podsandbox => "podsandbox",
            Self::Shim => "shim",
        }
    }

    /// Why a version does not have it, if it does not.
    pub fn complaint(self, version: Version) -> Option<String> {
        let lacks = self == Self::Shim && version < FIRST_WITH_SANDBOXES;
        lacks.then(|| format!("containerd {version} has no Sandbox API: it came with {FIRST_WITH_SANDBOXES}"))
    }

    /// What a runtime class says for it, empty where the version knows one way only.
    pub(crate) fn setting(self, version: Version) -> String {
        match version {
            Version { major: 1, minor: ..=6 } => String::new(),
            Version { major: 1, .. } => format!("  sandbox_mode = \"{}\"\n", self.name()),
            _ => format!("  sandboxer = \"{}\"\n", self.name()),
        }
    }

    /// Whether containerd has to be told in its environment too: 1.7 has two CRI servers, of which the experimental one
    /// knows sandboxes.
    pub(crate) fn is_experiment(self, version: Version) -> bool {
        self == Self::Shim && version == FIRST_WITH_SANDBOXES
    }

    /// Whether containerd itself leaves this behind of a pod. The experiment makes directories in the place of what it
    /// has not written, shared memory and `resolv.conf`, when a container is to have them, and removes none.
    pub(crate) fn leaves_behind(self, version: Version, entry: &str) -> bool {
        self.is_experiment(version) && entry.contains("/io.containerd.grpc.v1.cri/sandboxes/")
    }
}

impl FromStr for Sandboxer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Podsandbox, Self::Shim]
            .into_iter()
            .find(|one| one.name() == text)
            .ok_or_else(|| format!("{text:?} is no sandboxer: there are podsandbox and shim"))
    }
}

impl fmt::Display for Sandboxer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A containerd with the client that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Containerd {
    /// containerd itself.
    pub program: PathBuf,
    /// Its own client.
    pub ctr: PathBuf,
    /// Which version it says to be.
    pub version: Version,
}

impl Containerd {
    /// The one that is asked for by its path or its version, else the machine's own.
    pub fn find(asked: Option<&str>) -> Result<Self, String> {
        let program = match asked {
            Some(path) if path.contains('/') => PathBuf::from(path),
            Some(version) => of_version(version.parse()?)?,
            None => on_path().ok_or("containerd 1.6 or newer (package containerd)")?,
        };
        let beside = program.parent().map(|directory| directory.join("ctr")).filter(|path| path.is_file());
        let ctr = beside.or_else(|| crate::requirements::find("ctr"));
        let ctr = ctr.ok_or_else(|| format!("ctr, as it comes with containerd (beside {})", program.display()))?;
        let version = Version::of(&program);
        let version = version.ok_or_else(|| format!("a containerd that tells its version: {}", program.display()))?;
        Ok(Self { program, ctr, version })
    }

    /// Where what came with it is, its shim among it.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.program.parent()
    }
}

fn on_path() -> Option<PathBuf> {
    crate::requirements::find("containerd")
}

/// The machine's own where that is of this version, else an unpacked one.
fn of_version(version: Version) -> Result<PathBuf, String> {
    let own = on_path().filter(|program| Version::of(program) == Some(version));
    let unpacked = || unpacked_in(&own_directory()?, version);
    own.or_else(unpacked).ok_or_else(|| format!("containerd {version} (scripts/containerds unpacks it where it can)"))
}

fn own_directory() -> Option<PathBuf> {
    Some(env::current_exe().ok()?.parent()?.to_path_buf())
}

/// The unpacked one of a version, in this directory's neighbourhood: programs are below `target` as it is.
fn unpacked_in(directory: &Path, version: Version) -> Option<PathBuf> {
    let place = format!("{UNPACKED}/{version}/usr/bin/containerd");
    directory.ancestors().map(|above| above.join(&place)).find(|program| fs::metadata(program).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_each_containerd_says_of_itself() {
        let said = |text| Version::said(text);
        assert_eq!(
            said("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1"),
            Some(Version::new(1, 6))
        );
        assert_eq!(said("containerd github.com/containerd/containerd/v2 2.1.9+unknown "), Some(Version::new(2, 1)));
        assert_eq!(said("containerd containerd.io v2.10.0-rc.1 4ac6c20"), Some(Version::new(2, 10)));
        assert_eq!(said("containerd"), None);
        assert!("2".parse::<Version>().is_err());
        assert!("two.one".parse::<Version>().is_err());
        assert!(Version::new(2, 10) > Version::new(2, 9) && Version::new(2, 0) > Version::new(1, 10));
    }

    #[test]
    fn a_runtime_class_names_its_sandboxer_in_the_words_of_the_version() {
        let shim = |major, minor| Sandboxer::Shim.setting(Version::new(major, minor));
        assert_eq!(shim(1, 6), "");
        assert_eq!(shim(1, 7), "  sandbox_mode = \"shim\"\n");
        assert_eq!(shim(2, 1), "  sandboxer = \"shim\"\n");
        assert!(Sandboxer::Shim.complaint(Version::new(1, 6)).is_some());
        assert!(Sandboxer::Podsandbox.complaint(Version::new(1, 6)).is_none());
        assert!(Sandboxer::Shim.complaint(Version::new(1, 7)).is_none());
    }

    #[test]
    fn what_the_experiment_leaves_behind_is_nobody_elses_excuse() {
        let left = "directory /run/x/state/io.containerd.grpc.v1.cri/sandboxes/1a";
        assert!(Sandboxer::Shim.leaves_behind(Version::new(1, 7), left));
        assert!(!Sandboxer::Shim.leaves_behind(Version::new(1, 7), "file /run/containerd/s/1a"));
        assert!(!Sandboxer::Podsandbox.leaves_behind(Version::new(1, 7), left));
        assert!(!Sandboxer::Shim.leaves_behind(Version::new(2, 1), left));
    }

    #[test]
    fn an_unpacked_containerd_is_found_from_below_the_directory_of_what_is_built() {
        let top = std::env::temp_dir().join(format!("loment-version-{}", std::process::id()));
        let programs = top.join("debug/deps");
        let bin = top.join("containerd/1.7/usr/bin");
        for directory in [&programs, &bin] {
            fs::create_dir_all(directory).expect("make a directory");
        }
        fs::write(bin.join("containerd"), "").expect("write a file");
        let found = unpacked_in(&programs, Version::new(1, 7));
        let other = unpacked_in(&programs, Version::new(2, 1));
        fs::remove_dir_all(&top).expect("remove the directories");
        assert_eq!(found, Some(bin.join("containerd")));
        assert_eq!(other, None);
    }
}
