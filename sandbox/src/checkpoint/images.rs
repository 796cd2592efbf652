//! What has to be known beside CRIU's images to bring a container back: a file among them.

use std::{
    fs,
    os::{
        fd::BorrowedFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Error, Result, error::Context};

/// Name of the file.
const NAME: &str = "loment-checkpoint.json";

/// What was outside of the container when it was written to disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outside {
    /// Standard input, output and error of its init.
    pub(super) streams: Vec<Stream>,
    /// Paths that the host's /dev/null covered.
    pub(super) masks: Vec<PathBuf>,
    /// Where it saw its cgroups: one directory for each hierarchy, or one for all.
    #[serde(default)]
    pub(super) cgroups: Vec<PathBuf>,
}

/// A standard stream: one that is to be taken from outside has a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stream {
    /// CRIU's name for what was open, if that was not the container's own.
    pub(super) name: Option<String>,
    pub(super) kind: Kind,
    /// Its type and permissions, as of stat(2): CRIU takes others in its place only if it is told to.
    #[serde(default)]
    pub(super) mode: Option<u32>,
}

/// CRIU takes no stream of another kind in its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A fifo or a pipe.
    Fifo,
    /// A file, to which others may append.
    File,
    /// A device, as /dev/null.
    Device,
    /// Anything else, or closed.
    #[default]
    Other,
}

impl Kind {
    fn of(metadata: &fs::Metadata) -> Self {
        let kind = metadata.file_type();
        match () {
            () if kind.is_fifo() => Self::Fifo,
            () if kind.is_file() => Self::File,
            () if kind.is_char_device() => Self::Device,
            () => Self::Other,
        }
    }

    /// What an open descriptor is.
    pub(super) fn of_descriptor(fd: BorrowedFd<'_>) -> Result<Self> {
        Ok(Self::of(&examine(fd)?))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fifo => "a fifo or a logger",
            Self::File => "a file",
            Self::Device => "nothing",
            Self::Other => "something else",
        }
    }
}

fn examine(fd: BorrowedFd<'_>) -> Result<fs::Metadata> {
    let file = fs::File::from(fd.try_clone_to_owned().at("copy", "a standard stream")?);
    file.metadata().at("examine", "a standard stream")
}

impl Outside {
    /// Looks at a container's init. `maskable` are the paths that may be covered.
    pub(super) fn of(pid: i32, maskable: &[PathBuf]) -> Result<Self> {
        let path = format!("/proc/{pid}/mountinfo");
        let mounts = mounts(&fs::read_to_string(&path).at("read", &path)?);
        let streams = (0..3).map(|number| Stream::of(pid, number, &mounts)).collect::<Result<_>>()?;
        let is_mask = |path: &&PathBuf| mounts.iter().any(|mount| mount.target == **path && mount.is_null);
        let cgroups = mounts.iter().filter(|mount| mount.is_cgroup).map(|mount| mount.target.clone()).collect();
        Ok(Self { streams, cgroups, masks: maskable.iter().filter(is_mask).cloned().collect() })
    }

    pub(super) fn write(&self, images: &Path) -> Result<()> {
        let path = images.join(NAME);
        let text = serde_json::to_vec(self)
            .map_err(|error| Error::invalid("checkpoint", path.display(), format!("cannot be written: {error}")))?;
        fs::write(&path, text).at("write", path.display())
    }

    pub(super) fn read(images: &Path) -> Result<Self> {
        let path = images.join(NAME);
        let text = fs::read(&path).map_err(|error| {
            Error::io("read", path.display(), &error).hint("is this a checkpoint that this runtime has made?")
        })?;
        serde_json::from_slice(&text)
            .map_err(|error| Error::invalid("checkpoint", path.display(), format!("cannot be understood: {error}")))
    }
}

impl Stream {
    fn of(pid: i32, number: i32, mounts: &[Mount]) -> Result<Self> {
        let path = format!("/proc/{pid}/fd/{number}");
        let Ok(metadata) = fs::metadata(&path) else { return Ok(Self::default()) };
        let (kind, mode) = (Kind::of(&metadata), Some(metadata.mode()));
        let link = fs::read_link(&path).at("read", &path)?;
        if let Some(pipe) = link.to_str().filter(|link| link.starts_with("pipe:[")) {
            return Ok(Self { name: Some(pipe.to_owned()), kind, mode });
        }
        let path = format!("/proc/{pid}/fdinfo/{number}");
        let info = fs::read_to_string(&path).at("read", &path)?;
        let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
        let mount: i32 = mount.ok_or_else(|| Error::invalid("mnt_id", &path, "is missing"))?;
        let is_inside = mounts.iter().any(|inside| inside.id == mount);
        // As CRIU writes it, in hexadecimal.
        Ok(Self { name: (!is_inside).then(|| format!("file[{mount:x}:{:x}]", metadata.ino())), kind, mode })
    }

    /// Whether what is to take its place has another mode, as far as that is known.
    pub(super) fn has_other_mode_than(&self, now: BorrowedFd<'_>) -> Result<bool> {
        Ok(self.name.is_some() && self.mode != Some(examine(now)?.mode()))
    }
}

/// A mount of the container.
pub(super) struct Mount {
    id: i32,
    target: PathBuf,
    /// Whether it is the null device and nothing else of its file system.
    is_null: bool,
    is_cgroup: bool,
}

/// proc_pid_mountinfo(5)
pub(super) fn mounts(mountinfo: &str) -> Vec<Mount> {
    let parse = |line: &str| {
        let mut fields = line.split(' ');
        let (id, root, target) = (fields.next()?.parse().ok()?, fields.nth(2)?, fields.next()?);
        let kind = line.split_once(" - ")?.1.split(' ').next()?;
        let is_cgroup = matches!(kind, "cgroup" | "cgroup2");
        Some(Mount { id, target: target.into(), is_null: root == "/null", is_cgroup })
    };
    mountinfo.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_known_by_what_it_shows() {
        let text = "94 87 0:6 /null /proc/keys rw,relatime shared:16 - devtmpfs devtmpfs rw\n\
                    153 87 0:62 / /proc/acpi ro,relatime - tmpfs none rw,size=4k\n";
        let seen: Vec<_> = mounts(text).into_iter().map(|mount| (mount.id, mount.target, mount.is_null)).collect();
        assert_eq!(seen, [(94, "/proc/keys".into(), true), (153, "/proc/acpi".into(), false)]);
    }

    #[test]
    fn images_of_somebody_else_are_refused() {
        let error = Outside::read(Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(error.contains(NAME) && error.contains("a checkpoint that this runtime has made"), "{error}");
    }
}
