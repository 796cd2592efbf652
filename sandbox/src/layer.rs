//! The writable layer of a root file system, made new for another attempt at running a container.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat},
    sys::stat::{Mode, SFlag, fstatat},
    unistd::{UnlinkatFlags, unlinkat},
};

use crate::{Result, container::RootfsMount, errand::Errand, error::Context};

/// How much is removed at once: some milliseconds. The runtime, which is one thread, is not to wait longer for a disk.
const AT_ONCE: usize = 512;

/// Empties the upper and the work directory of an overlay, so that the next attempt begins as the first did. `Ok(false)`
/// when there is no writable layer to empty.
///
/// The container must have ended: an overlay that is still mounted would not notice. The directory itself is kept,
/// with its owner and mode; what an overlay notes on it is taken off.
pub fn fresh_writable_layer(mounts: &[RootfsMount]) -> Result<bool> {
    let mut left = usize::MAX;
    freshen(mounts, &mut left)?;
    Ok(writable(mounts).is_some())
}

/// The same for who must not wait: what there is too much of for that is left to an errand.
pub fn begin_fresh_writable_layer(mounts: &[RootfsMount]) -> Result<Option<Errand>> {
    let mut left = AT_ONCE;
    if freshen(mounts, &mut left)? {
        return Ok(None);
    }
    let mounts = mounts.to_vec();
    Errand::fetch("empty a writable layer", move || fresh_writable_layer(&mounts).map(|_| Vec::new())).map(Some)
}

/// Removes as much as `left` says; whether that was all.
fn freshen(mounts: &[RootfsMount], left: &mut usize) -> Result<bool> {
    for mount in mounts {
        let Some(upper) = overlay_option(mount, "upperdir=") else { continue };
        let mut all = empty(Path::new(upper), left).at("empty the writable layer", upper)?;
        if let Some(work) = overlay_option(mount, "workdir=") {
            all = all && empty(Path::new(work), left).at("empty the work directory of an overlay", work)?;
        }
        if !all {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The directory of the writable layer, if there is one.
pub fn writable(mounts: &[RootfsMount]) -> Option<PathBuf> {
    mounts.iter().find_map(|mount| overlay_option(mount, "upperdir=")).map(PathBuf::from)
}

fn overlay_option<'a>(mount: &'a RootfsMount, key: &str) -> Option<&'a str> {
    let options = mount.options.iter().rev();
    options.filter(|_| mount.kind == "overlay").find_map(|option| option.strip_prefix(key))
}

fn empty(path: &Path, left: &mut usize) -> nix::Result<bool> {
    let directory = open_directory(AT_FDCWD, path)?;
    forget_overlay(&directory);
    remove_contents(&directory, left)
}

fn open_directory<Fd: AsFd, P: ?Sized + nix::NixPath>(parent: Fd, name: &P) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Removes everything in `directory`, never through a link: a container may have left links to anywhere. Goes down
/// one directory at a time, so that a deep tree costs descriptors of one path only. Stops after `left` entries; whether
/// there are no more.
fn remove_contents(directory: &OwnedFd, left: &mut usize) -> nix::Result<bool> {
    let mut path = vec![(directory.try_clone().map_err(|_| Errno::EMFILE)?, None)];
    while let Some((current, _)) = path.last() {
        match remove_files(current, left)? {
            Remains::Unknown => return Ok(false),
            Remains::Directory(name) => {
                let below = open_directory(current, name.as_c_str())?;
                path.push((below, Some(name)));
            }
            Remains::Nothing => {
                let name = path.pop().and_then(|(_, name)| name);
                if let (Some((parent, _)), Some(name)) = (path.last(), name) {
                    unlinkat(parent, name.as_c_str(), UnlinkatFlags::RemoveDir)?;
                }
            }
        }
    }
    Ok(true)
}

/// What there still is in a directory.
enum Remains {
    Nothing,
    /// One that has something in it.
    Directory(CString),
    /// As many entries have been looked at as may be.
    Unknown,
}

/// Removes what is not a directory with something in it, up to the first one that is.
fn remove_files(directory: &OwnedFd, left: &mut usize) -> nix::Result<Remains> {
    let mut listing =
        Dir::openat(directory, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match left.checked_sub(1) {
            Some(fewer) => *left = fewer,
            None => return Ok(Remains::Unknown),
        }
        if !remove(directory, name)? {
            return Ok(Remains::Directory(name.to_owned()));
        }
    }
    Ok(Remains::Nothing)
}

fn remove(directory: &OwnedFd, name: &CStr) -> nix::Result<bool> {
    let kind = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_mode & SFlag::S_IFMT.bits();
    let flag = match kind == SFlag::S_IFDIR.bits() {
        true => UnlinkatFlags::RemoveDir,
        false => UnlinkatFlags::NoRemoveDir,
    };
    match unlinkat(directory, name, flag) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// What an overlay notes on its upper directory (where it came from, that it was merged) would be wrong for the next.
fn forget_overlay(directory: &OwnedFd) {
    for name in [c"trusted.overlay.origin", c"trusted.overlay.impure", c"user.overlay.origin", c"user.overlay.impure"] {
        // Absent is as good as removed.
        let _ = loment_sys::fd::remove_attribute(directory.as_fd(), name);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("loment-layer-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("upper")).unwrap();
            fs::create_dir_all(path.join("work/work")).unwrap();
            Self(path)
        }

        fn mounts(&self) -> Vec<RootfsMount> {
            let at = |name: &str| self.0.join(name).display().to_string();
            let options =
                vec![format!("upperdir={}", at("upper")), format!("workdir={}", at("work")), "lowerdir=/".into()];
            vec![RootfsMount { kind: "overlay".into(), source: "overlay".into(), target: String::new(), options }]
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_layer_is_empty_and_as_it_was_made() {
        let scratch = Scratch::new("empty");
        let upper = scratch.0.join("upper");
        fs::set_permissions(&upper, fs::Permissions::from_mode(0o751)).unwrap();
        let mut deep = upper.clone();
        for _ in 0..200 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "x").unwrap();
        for number in 0..300 {
            fs::write(upper.join(format!("file{number}")), "x").unwrap();
        }
        let inode = fs::metadata(&upper).unwrap().ino();
        assert!(fresh_writable_layer(&scratch.mounts()).unwrap());
        assert_eq!(fs::read_dir(&upper).unwrap().count(), 0);
        assert_eq!(fs::read_dir(scratch.0.join("work")).unwrap().count(), 0);
        let status = fs::metadata(&upper).unwrap();
        assert_eq!((status.ino(), status.mode() & 0o7777), (inode, 0o751));
        assert!(fresh_writable_layer(&scratch.mounts()).unwrap(), "an empty one can be emptied");
    }

    #[test]
    fn nothing_behind_a_link_is_touched() {
        let scratch = Scratch::new("link");
        let outside = scratch.0.join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "x").unwrap();
        symlink(&outside, scratch.0.join("upper/link")).unwrap();
        fresh_writable_layer(&scratch.mounts()).unwrap();
        assert!(outside.join("file").exists());
        fs::remove_dir(scratch.0.join("upper")).unwrap();
        symlink(&outside, scratch.0.join("upper")).unwrap();
        assert!(fresh_writable_layer(&scratch.mounts()).is_err(), "the layer itself is not a link");
        assert!(outside.join("file").exists());
        fs::remove_file(scratch.0.join("upper")).unwrap();
    }

    #[test]
    fn a_root_without_a_writable_layer_is_left_alone() {
        let mut mounts = Scratch::new("none").mounts();
        mounts[0].options = vec!["lowerdir=/a:/b".into()];
        assert!(!fresh_writable_layer(&mounts).unwrap());
        mounts[0].kind = "bind".into();
        mounts[0].options = vec!["upperdir=/".into()];
        assert!(!fresh_writable_layer(&mounts).unwrap());
    }
}
