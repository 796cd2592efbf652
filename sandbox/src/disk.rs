//! How much of a disk directories use: what du(1) would say, without following anything that leads out of them.

use std::{
    collections::HashSet,
    ffi::CString,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use nix::{
    NixPath,
    dir::Dir,
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat},
    sys::stat::{FileStat, Mode, SFlag, fstat, fstatat},
};

use crate::{Result, error::Context};

/// The unit of `st_blocks`. stat(3type)
const BLOCK: u64 = 512;

/// Adds up trees. A file that has several names is counted once, in whichever tree it is met first.
#[derive(Debug, Default)]
pub struct Usage {
    /// Device and inode of files with more than one name.
    seen: HashSet<(u64, u64)>,
}

impl Usage {
    /// Bytes that the tree below `path` occupies, on its own file system only. A tree that is not there uses nothing; what
    /// goes away meanwhile, or is nested deeper than this process may have descriptors, is left out.
    ///
    /// It may wait for the disk, and may take long: in the shim it is a job for an errand.
    pub fn of(&mut self, path: &Path) -> Result<u64> {
        let root = match open(AT_FDCWD, path) {
            Err(Errno::ENOENT) => return Ok(0),
            opened => opened.at("open", path.display())?,
        };
        let status = fstat(&root).at("examine", path.display())?;
        let mut bytes = status.st_blocks as u64 * BLOCK;
        let mut below = Vec::new();
        bytes += self.look_into(&root, status.st_dev, &mut below);
        // One path of the tree at a time: directories that are open, each with those in it that are still to be seen.
        let mut path = vec![(root, below)];
        while let Some((directory, below)) = path.last_mut() {
            let Some(name) = below.pop() else {
                path.pop();
                continue;
            };
            let Ok(next) = open(&*directory, name.as_c_str()) else { continue };
            let mut below = Vec::new();
            bytes += self.look_into(&next, status.st_dev, &mut below);
            path.push((next, below));
        }
        Ok(bytes)
    }

    /// Adds up what is in a directory, and notes the directories among it.
    fn look_into(&mut self, directory: &OwnedFd, device: u64, below: &mut Vec<CString>) -> u64 {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(mut listing) = Dir::openat(directory, c".", flags, Mode::empty()) else { return 0 };
        let mut bytes = 0;
        for entry in listing.iter().flatten() {
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Ok(found) = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
            // Of a file an overlay tells the device of the layer that it is in.
            if (is_directory(&found) && found.st_dev != device) || !self.is_new(&found) {
                continue;
            }
            bytes += found.st_blocks as u64 * BLOCK;
            if is_directory(&found) {
                below.push(name.to_owned());
            }
        }
        bytes
    }

    fn is_new(&mut self, file: &FileStat) -> bool {
        let has_other_names = file.st_nlink > 1 && !is_directory(file);
        !has_other_names || self.seen.insert((file.st_dev, file.st_ino))
    }
}

fn is_directory(file: &FileStat) -> bool {
    file.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()
}

fn open<P: ?Sized + NixPath>(parent: impl AsFd, name: &P) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("loment-disk-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("a/b/c")).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn du(path: &Path) -> u64 {
        let output = Command::new("du").args(["-s", "-x", "--block-size=1"]).arg(path).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn v1_a_tree_is_as_large_as_du_says() {
        let scratch = Scratch::new("du");
        fs::write(scratch.0.join("a/b/c/large"), vec![1; 300_000]).unwrap();
        fs::write(scratch.0.join("a/small"), "x").unwrap();
        fs::hard_link(scratch.0.join("a/b/c/large"), scratch.0.join("a/again")).unwrap();
        symlink("/usr", scratch.0.join("a/link")).unwrap();
        symlink("/usr/", scratch.0.join("out")).unwrap();
        assert_eq!(Usage::default().of(&scratch.0).unwrap(), du(&scratch.0));
    }

    #[test]
    fn v1_what_two_trees_share_is_counted_once() {
        let scratch = Scratch::new("shared");
        fs::create_dir(scratch.0.join("z")).unwrap();
        fs::write(scratch.0.join("a/large"), vec![1; 300_000]).unwrap();
        fs::hard_link(scratch.0.join("a/large"), scratch.0.join("z/large")).unwrap();
        let mut usage = Usage::default();
        assert!(usage.of(&scratch.0.join("a")).unwrap() > 300_000);
        assert!(usage.of(&scratch.0.join("z")).unwrap() < 300_000);
    }

    #[test]
    fn a_tree_that_is_not_there_uses_nothing_and_a_link_is_not_followed() {
        let scratch = Scratch::new("none");
        assert_eq!(Usage::default().of(&scratch.0.join("none")).unwrap(), 0);
        symlink("/usr", scratch.0.join("link")).unwrap();
        assert!(Usage::default().of(&scratch.0.join("link")).is_err());
    }
}
