//! Parts of volumes, bind mounted where no container can exchange them.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use loment_sys::mount::{attach, attr, clone_tree, set_attributes};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};

use super::{directory, parent};
use crate::lower::volumes::Pin;

/// Finds what a container mounts of a volume, makes a directory of it if there is nothing, and keeps hold of it by a bind
/// mount below the pod's directory.
pub(super) fn make(pin: &Pin) -> anyhow::Result<()> {
    pinned(pin).with_context(|| format!("{}: subPath {:?}", pin.what, pin.sub_path))
}

fn pinned(pin: &Pin) -> anyhow::Result<()> {
    let found = find(&pin.root, Path::new(&pin.sub_path))?;
    let mode = fstat(&found).context("look at what was found")?.st_mode;
    let is_directory = SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
    directory(parent(&pin.at), 0o700)?;
    if super::mounts::is_mounted(&pin.at)? {
        return Ok(());
    }
    if is_directory {
        directory(&pin.at, 0o700)?;
    } else {
        File::create(&pin.at).with_context(|| format!("make {}", pin.at.display()))?;
    }
    let tree = clone_tree(found.as_fd(), c"", true).context("copy the mount")?;
    if pin.read_only {
        set_attributes(tree.as_fd(), true, attr::RDONLY, 0, None)
            .context("make all of it read-only (mount_setattr(2), Linux 5.12)")?;
    }
    let at = open(&pin.at, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .with_context(|| format!("open {}", pin.at.display()))?;
    attach(tree.as_fd(), at.as_fd()).with_context(|| format!("mount on {}", pin.at.display()))
}

/// Opens a path below a volume with the volume as the root: links are followed and lead nowhere else. What is missing
/// becomes directories with the mode of the volume's root.
fn find(root: &Path, sub_path: &Path) -> anyhow::Result<OwnedFd> {
    let volume = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    let volume = match volume {
        // A volume that is a single file can only be mounted as a whole.
        Err(Errno::ENOTDIR) if sub_path.as_os_str().is_empty() => {
            return open(root, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
                .with_context(|| format!("open {}", root.display()));
        }
        other => other.with_context(|| format!("open {}", root.display()))?,
    };
    let mode = Mode::from_bits_truncate(fstat(&volume).context("look at the volume")?.st_mode & 0o2777);
    let mut reached = PathBuf::from(".");
    let mut found = below(&volume, &reached, OFlag::O_PATH).with_context(|| format!("open {}", root.display()))?;
    for part in sub_path.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            _ => bail!("it leads out of the volume"),
        };
        let path = reached.join(name);
        found = match below(&volume, &path, OFlag::O_PATH) {
            Err(Errno::ENOENT) => {
                mkdirat(&found, name, mode).with_context(|| format!("make {}", path.display()))?;
                let made = below(&volume, &path, OFlag::O_DIRECTORY);
                let made = made.with_context(|| format!("open {}", path.display()))?;
                // Whatever the umask has left of it.
                fchmod(&made, mode).with_context(|| format!("set the mode of {}", path.display()))?;
                made
            }
            other => other.with_context(|| format!("open {}", path.display()))?,
        };
        reached = path;
    }
    Ok(found)
}

fn below(volume: &OwnedFd, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    loop {
        match openat2(volume.as_fd(), path, how) {
            // Somebody renames directories or mounts at this very moment: the kernel asks to try again. openat2(2)
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::super::{mounts, tests::Scratch};
    use super::*;

    fn pin(scratch: &Scratch, sub_path: &str) -> Pin {
        Pin {
            what: "container \"a\": volume mount \"v\"".into(),
            root: scratch.0.join("v"),
            sub_path: sub_path.into(),
            at: scratch.0.join("pins/0"),
            read_only: false,
        }
    }

    fn volume(test: &str) -> Scratch {
        let scratch = Scratch::new(test);
        fs::create_dir_all(scratch.0.join("v")).unwrap();
        fs::set_permissions(scratch.0.join("v"), fs::Permissions::from_mode(0o2770)).unwrap();
        scratch
    }

    fn inode(path: &Path) -> (u64, u64) {
        let found = fs::metadata(path).unwrap();
        (found.dev(), found.ino())
    }

    #[test]
    fn v5_what_is_missing_becomes_a_directory_with_the_mode_of_the_volume() {
        let scratch = volume("missing");
        make(&pin(&scratch, "a/./b")).unwrap();
        let made = scratch.0.join("v/a/b");
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o7777, 0o2770);
        assert_eq!(inode(&made), inode(&scratch.0.join("pins/0")));
        make(&pin(&scratch, "a/./b")).unwrap();
        mounts::unmount_below(&scratch.0).unwrap();
        assert_eq!(fs::read_dir(scratch.0.join("pins/0")).unwrap().count(), 0);
    }

    #[test]
    fn v5_a_link_is_followed_inside_the_volume_and_leads_nowhere_else() {
        let scratch = volume("links");
        fs::write(scratch.0.join("v/etc-of-the-volume"), "inside").unwrap();
        fs::create_dir(scratch.0.join("v/etc")).unwrap();
        for (target, name) in [("/etc", "absolute"), ("../../../../../../etc", "upwards"), ("/nowhere", "dangling")] {
            symlink(target, scratch.0.join("v").join(name)).unwrap();
        }
        for name in ["absolute", "upwards"] {
            make(&pin(&scratch, name)).unwrap();
            assert_eq!(inode(&scratch.0.join("v/etc")), inode(&scratch.0.join("pins/0")), "{name}");
            mounts::unmount_below(&scratch.0).unwrap();
        }
        let error = format!("{:#}", make(&pin(&scratch, "dangling/x")).unwrap_err());
        assert!(error.contains("volume mount \"v\": subPath \"dangling/x\": make ./dangling: EEXIST"), "{error}");
        assert!(make(&pin(&scratch, "../x")).is_err());
        assert!(!Path::new("/nowhere").exists());
    }

    #[test]
    fn v5_what_was_found_stays_what_the_container_gets() {
        let scratch = volume("exchanged");
        fs::write(scratch.0.join("v/f"), "first").unwrap();
        make(&pin(&scratch, "f")).unwrap();
        fs::remove_file(scratch.0.join("v/f")).unwrap();
        symlink("/etc/shadow", scratch.0.join("v/f")).unwrap();
        assert_eq!(fs::read_to_string(scratch.0.join("pins/0")).unwrap(), "first");
        mounts::unmount_below(&scratch.0).unwrap();
    }

    #[test]
    fn v6_what_the_machine_has_mounted_below_a_part_outlives_it() {
        let scratch = volume("outlives");
        // A mount that is shared, as those of a machine with systemd are.
        mounts::tmpfs(&scratch.0.join("v"), 0o777, 0).unwrap();
        let none: Option<&str> = None;
        nix::mount::mount(none, &scratch.0.join("v"), none, nix::mount::MsFlags::MS_SHARED, none).unwrap();
        let below = scratch.0.join("v/below");
        fs::create_dir(&below).unwrap();
        mounts::tmpfs(&below, 0o777, 0).unwrap();
        make(&pin(&scratch, "")).unwrap();
        assert!(mounts::is_mounted(&scratch.0.join("pins/0/below")).unwrap());
        mounts::unmount_below(&scratch.0.join("pins")).unwrap();
        assert!(mounts::is_mounted(&below).unwrap(), "the machine has lost its mount");
        assert!(!mounts::is_mounted(&scratch.0.join("pins/0")).unwrap());
        mounts::unmount_below(&scratch.0).unwrap();
    }

    #[test]
    fn v6_nothing_is_written_below_a_recursive_read_only_mount() {
        let scratch = volume("recursive");
        let below = scratch.0.join("v/below");
        fs::create_dir(&below).unwrap();
        mounts::tmpfs(&below, 0o777, 0).unwrap();
        make(&Pin { read_only: true, ..pin(&scratch, "") }).unwrap();
        for path in ["pins/0/f", "pins/0/below/f"] {
            let error = fs::write(scratch.0.join(path), "").unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{path}");
        }
        fs::write(below.join("f"), "").unwrap();
        mounts::unmount_below(&scratch.0).unwrap();
    }
}
