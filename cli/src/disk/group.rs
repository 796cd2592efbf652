//! Volumes that belong to a group: `fsGroup`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;

use anyhow::Context as _;

use crate::lower::volumes::Group;

/// What the group may do with the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

impl Access {
    /// Permission bits that files get in addition.
    fn of_files(self) -> u32 {
        match self {
            Access::Read => 0o440,
            Access::Write => 0o660,
        }
    }

    /// Those of directories: they can be entered, and what is made in them belongs to the group.
    fn of_directories(self) -> u32 {
        self.of_files() | 0o2110
    }
}

/// Gives a volume to a group as the pod says: all of it, or only if its root is not the group's yet.
pub(super) fn apply(path: &Path, group: Group, access: Access) -> anyhow::Result<()> {
    if group.on_root_mismatch {
        let root = fs::symlink_metadata(path).with_context(|| format!("look at {}", path.display()))?;
        let bits = access.of_directories();
        if root.gid() == group.id && root.mode() & bits == bits {
            return Ok(());
        }
    }
    give(path, group.id, access)
}

/// Gives everything at and below a path to a group. Links get the owner and keep their mode, and are not followed.
pub(super) fn give(path: &Path, group: u32, access: Access) -> anyhow::Result<()> {
    let what = || format!("give {} to group {group}", path.display());
    let found = fs::symlink_metadata(path).with_context(what)?;
    if found.is_dir() {
        for entry in fs::read_dir(path).with_context(what)? {
            give(&entry.with_context(what)?.path(), group, access)?;
        }
    }
    // The mode comes last, because a change of owner clears setgid.
    lchown(path, None, Some(group)).with_context(what)?;
    if found.is_symlink() {
        return Ok(());
    }
    let more = if found.is_dir() { access.of_directories() } else { access.of_files() };
    let mode = found.mode() & 0o7777 | more;
    fs::set_permissions(path, Permissions::from_mode(mode)).with_context(what)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::tests::Scratch;
    use super::*;

    fn of(path: &Path) -> (u32, u32) {
        let found = fs::symlink_metadata(path).unwrap();
        (found.gid(), found.mode() & 0o7777)
    }

    #[test]
    fn v8_all_of_a_volume_is_given_to_the_group_and_no_link_is_followed() {
        let scratch = Scratch::new("group");
        let (volume, outside) = (scratch.0.join("v"), scratch.0.join("outside"));
        fs::create_dir_all(volume.join("d")).unwrap();
        for file in [&volume.join("d/f"), &outside] {
            fs::write(file, "").unwrap();
            fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        }
        symlink(&outside, volume.join("l")).unwrap();
        apply(&volume, Group { id: 2000, on_root_mismatch: false }, Access::Write).unwrap();
        assert_eq!(of(&volume.join("d/f")), (2000, 0o660));
        assert_eq!(of(&volume.join("d")), (2000, 0o2775));
        assert_eq!(of(&volume.join("l")).0, 2000);
        assert_eq!(of(&outside), (0, 0o600));
    }

    #[test]
    fn v8_on_root_mismatch_leaves_a_volume_alone_that_is_the_groups() {
        let scratch = Scratch::new("mismatch");
        let group = Group { id: 2000, on_root_mismatch: true };
        apply(&scratch.0, group, Access::Write).unwrap();
        let file = scratch.0.join("f");
        fs::write(&file, "").unwrap();
        lchown(&file, None, Some(0)).unwrap();
        apply(&scratch.0, group, Access::Write).unwrap();
        assert_eq!(of(&file).0, 0, "the root is the group's: nothing is looked at");
        apply(&scratch.0, Group { on_root_mismatch: false, ..group }, Access::Write).unwrap();
        assert_eq!(of(&file).0, 2000);
    }
}
