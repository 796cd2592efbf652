//! Mounts by descriptor: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2) (Linux 5.2) and
//! mount_setattr(2) (Linux 5.12).

use std::{
    ffi::CStr,
    io::Read,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use crate::{Result, check};

// linux/mount.h
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;

/// Attributes of one mount, `MOUNT_ATTR_*` of mount_setattr(2).
pub mod attr {
    /// Nothing can be written through this mount.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id bits and file capabilities do not count.
    pub const NOSUID: u64 = 0x2;
    /// Devices cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Programs cannot be executed.
    pub const NOEXEC: u64 = 0x8;
    /// The bits of the access time policy: a change of policy clears all of them first.
    pub const ATIME: u64 = 0x70;
    /// Access times are kept roughly.
    pub const RELATIME: u64 = 0x0;
    /// Access times are not kept.
    pub const NOATIME: u64 = 0x10;
    /// Access times are kept exactly.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are not kept.
    pub const NODIRATIME: u64 = 0x80;
    /// Symbolic links are not followed. Linux 5.14
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// How mount events travel between a mount and its copies. mount_namespaces(7)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// In neither direction.
    Private,
    /// From the original only.
    Slave,
    /// In both directions.
    Shared,
    /// In neither direction, and it cannot be bind mounted.
    Unbindable,
}

impl Propagation {
    fn flag(self) -> u64 {
        match self {
            Self::Private => libc::MS_PRIVATE,
            Self::Slave => libc::MS_SLAVE,
            Self::Shared => libc::MS_SHARED,
            Self::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// A file system that is being configured.
#[derive(Debug)]
pub struct FsContext(OwnedFd);

impl FsContext {
    /// Begins a new instance of a file system type, in the namespaces of the caller. fsopen(2)
    pub fn open(kind: &CStr) -> Result<Self> {
        const FSOPEN_CLOEXEC: u32 = 1;
        // SAFETY: the kernel reads a C string that outlives the call.
        let fd = check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Sets an option without a value.
    pub fn set_flag(&self, key: &CStr) -> Result<()> {
        self.config(FSCONFIG_SET_FLAG, Some(key), None)
    }

    /// Sets an option to a value of at most 255 bytes; the kernel answers `EINVAL` to a longer one.
    pub fn set_string(&self, key: &CStr, value: &CStr) -> Result<()> {
        self.config(FSCONFIG_SET_STRING, Some(key), Some(value))
    }

    /// Makes the instance.
    pub fn create(&self) -> Result<()> {
        self.config(FSCONFIG_CMD_CREATE, None, None)
    }

    /// A mount of the instance that is attached nowhere, with attributes of [`attr`]. fsmount(2)
    pub fn mount(&self, attributes: u64) -> Result<OwnedFd> {
        const FSMOUNT_CLOEXEC: u32 = 1;
        // SAFETY: takes numbers and touches no memory.
        let fd = check(unsafe { libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    /// What the kernel has to say about the last failure, often more than an errno: the lines of its log for this
    /// context, without their severity.
    pub fn messages(self) -> String {
        let mut log = std::fs::File::from(self.0);
        let mut text = Vec::new();
        // One message per read; the end is ENODATA.
        let mut line = [0; 512];
        while let Ok(length @ 1..) = log.read(&mut line) {
            if !text.is_empty() {
                text.extend_from_slice(b"; ");
            }
            let line = line.get(..length).unwrap_or_default().trim_ascii();
            text.extend_from_slice(line.get(2..).unwrap_or_default());
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn config(&self, command: u32, key: Option<&CStr>, value: Option<&CStr>) -> Result<()> {
        let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: both strings are null or outlive the call; the last argument is unused by these commands.
        check(unsafe {
            libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, pointer(key), pointer(value), 0)
        })
        .map(drop)
    }
}

/// A copy of the mount at `path` (of everything below too if `recursive`) that is attached nowhere. An empty path
/// means `dir` itself. The last component is followed. open_tree(2)
///
/// Before Linux 6.15 the original must be attached in the caller's mount namespace (`EINVAL`).
pub fn clone_tree(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    const OPEN_TREE_CLONE: i32 = 1;
    let mut flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the kernel reads a C string that outlives the call.
    let fd = check(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches the mount `from` on the file or directory `to`: nothing is resolved by name. move_mount(2)
pub fn attach(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x04;
    const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let here = c"".as_ptr();
    // SAFETY: the kernel reads two static C strings.
    check(unsafe { libc::syscall(libc::SYS_move_mount, from.as_raw_fd(), here, to.as_raw_fd(), here, flags) }).map(drop)
}

/// Changes a mount, and all below it if `recursive`: clears the attributes `clear`, sets `set`, changes propagation.
/// mount_setattr(2)
pub fn set_attributes(
    mount: BorrowedFd<'_>,
    recursive: bool,
    set: u64,
    clear: u64,
    propagation: Option<Propagation>,
) -> Result<()> {
    change(mount, recursive, [set, clear, propagation.map_or(0, Propagation::flag), 0])
}

/// Shows the owners of files on this mount, and on all below it if `recursive`, as the id maps of a user namespace say.
/// The mount must be attached nowhere, must not be mapped yet, and its file system must know of such mounts.
/// mount_setattr(2), `MOUNT_ATTR_IDMAP`: Linux 5.12
pub fn map_owners(mount: BorrowedFd<'_>, recursive: bool, user_namespace: BorrowedFd<'_>) -> Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    change(mount, recursive, [MOUNT_ATTR_IDMAP, 0, 0, user_namespace.as_raw_fd() as u64])
}

/// mount_setattr(2). `attributes` is linux/mount.h's struct mount_attr, version 0: what to set, what to clear,
/// propagation, user namespace.
fn change(mount: BorrowedFd<'_>, recursive: bool, attributes: [u64; 4]) -> Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the kernel reads a static C string and as many bytes as it is told of an array that outlives the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    })
    .map(drop)
}
