//! The programs that containerd starts, put where it looks for them.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use super::apply;

/// The shim, and what it probes containers with that no kubelet probes.
pub(crate) const PROGRAMS: [&str; 2] = ["containerd-shim-loment-v2", "loment-prober"];
/// Where a service of systemd looks for programs.
pub(crate) const USUAL: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];

/// A program that is to be put into a directory.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) to: PathBuf,
    from: PathBuf,
    /// Open, because the root may be another one when it is copied.
    file: File,
}

/// The programs that are beside this one.
///
/// # Errors
/// One is not there.
pub(crate) fn beside_this(directory: &Path) -> anyhow::Result<Vec<Program>> {
    let own = std::env::current_exe().context("find the path of this program")?;
    let beside = own.parent().unwrap_or(Path::new("/"));
    let open = |name: &&str| {
        let from = beside.join(name);
        Program::open(from, directory.join(name))
    };
    PROGRAMS.iter().map(open).collect()
}

impl Program {
    /// One that is to be put from here to there.
    pub(crate) fn open(from: PathBuf, to: PathBuf) -> anyhow::Result<Self> {
        let file = File::open(&from).map_err(|error| {
            anyhow!("{}: {error}; build it with scripts/build and run that build's `loment install`", from.display())
        })?;
        Ok(Program { to, from, file })
    }

    /// Whether the very same is there already.
    pub(crate) fn is_there(&mut self) -> anyhow::Result<bool> {
        let Ok(old) = fs::metadata(&self.to) else { return Ok(false) };
        let new = self.file.metadata().with_context(|| format!("look at {}", self.from.display()))?;
        // By the file, not by the path, which is another file's when the root has been changed.
        if (old.dev(), old.ino()) == (new.dev(), new.ino()) {
            return Ok(true);
        }
        let is_executable = old.permissions().mode() & 0o111 == 0o111;
        Ok(is_executable && fs::read(&self.to).is_ok_and(|old| self.bytes().is_ok_and(|new| old == new)))
    }

    fn bytes(&mut self) -> anyhow::Result<Vec<u8>> {
        use std::io::Seek as _;
        let mut bytes = Vec::new();
        self.file
            .rewind()
            .and_then(|()| self.file.read_to_end(&mut bytes))
            .with_context(|| format!("read {}", self.from.display()))?;
        Ok(bytes)
    }

    /// Puts it there. What runs of an older one goes on with that.
    pub(crate) fn put(&mut self) -> anyhow::Result<()> {
        let bytes = self.bytes()?;
        apply::replace(&self.to, &bytes, 0o755)?;
        fs::set_permissions(&self.to, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("make {} executable", self.to.display()))
    }
}

/// The path of the shim, if it is where containerd would not find it by its name.
pub(crate) fn path_to_name(directory: &Path) -> Option<PathBuf> {
    (!is_usual(directory)).then(|| directory.join(PROGRAMS[0]))
}

/// Whether containerd looks for programs in this directory.
pub(super) fn is_usual(directory: &Path) -> bool {
    USUAL.iter().any(|usual| Path::new(usual) == directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerd_is_told_the_path_of_a_shim_that_is_in_no_usual_directory() {
        assert_eq!(path_to_name(Path::new("/usr/local/bin")), None);
        assert_eq!(path_to_name(Path::new("/opt/x")), Some("/opt/x/containerd-shim-loment-v2".into()));
    }

    #[test]
    fn a_program_that_is_there_is_not_put_there_again() {
        let directory = std::env::temp_dir().join(format!("loment-programs-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let from = directory.join("from");
        fs::write(&from, "new").unwrap();
        let mut program = Program::open(from, directory.join("to")).unwrap();
        assert!(!program.is_there().unwrap());
        fs::write(directory.join("to"), "old").unwrap();
        assert!(!program.is_there().unwrap());
        program.put().unwrap();
        assert!(program.is_there().unwrap());
        assert_eq!(fs::metadata(&program.to).unwrap().permissions().mode() & 0o777, 0o755);
        fs::remove_dir_all(&directory).unwrap();
    }
}
