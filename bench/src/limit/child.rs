//! What the child does between its clone and its program.

use std::{
    convert::Infallible,
    ffi::CString,
    fs::{self, File},
    os::{fd::BorrowedFd, unix::fs::symlink},
    path::{Path, PathBuf},
};

use loment_sys::{Errno, credentials};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::{
        prctl::set_pdeathsig,
        signal::Signal,
        stat::{Mode, SFlag, makedev, mknod},
    },
    unistd::{chdir, dup2_stderr, dup2_stdout, execvpe, fchdir, pivot_root},
};

use super::{cgroups::Group, helper::Pods, plan::Plan};

/// What containerd leaves a container of capabilities: capability n is bit n.
const CAPABILITIES: u64 = 0xa804_25fb;

const NONE: Option<&str> = None;

/// What a container's root is made of.
pub(super) struct Root<'a> {
    pub(super) plan: &'a Plan,
    /// Of the container: with `upper`, `work` and `root`.
    pub(super) directory: &'a Path,
    /// Of its sandbox: with `shm` and a `file`.
    pub(super) sandbox: &'a Path,
}

/// Into cgroups and namespaces, and then the root.
pub(super) fn prepare(root: &Root<'_>, group: &Group, holder: BorrowedFd<'_>) -> nix::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    group.enter()?;
    let mut shared = CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    if root.plan.own_network {
        shared |= CloneFlags::CLONE_NEWNET;
    }
    setns(holder, shared)?;
    unshare(CloneFlags::CLONE_NEWCGROUP)?;
    build(root, group)
}

/// Into all that a container's process has.
pub(super) fn enter(group: &Group, process: BorrowedFd<'_>, output: BorrowedFd<'_>) -> nix::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    group.enter()?;
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWCGROUP;
    setns(process, all)?;
    dup2_stdout(output)?;
    dup2_stderr(output)
}

/// Gives up what containers do not have, and becomes the program.
pub(super) fn execute(pods: &Pods, arguments: &[String]) -> nix::Result<Infallible> {
    // While the capability for it is there.
    if let Some(filter) = &pods.filter {
        filter.load()?;
    }
    credentials::limit_bounding_set(CAPABILITIES)?;
    let sets = credentials::CapabilitySets { effective: CAPABILITIES, permitted: CAPABILITIES, inheritable: 0 };
    credentials::capset(sets)?;
    let words = |words: &[String]| words.iter().map(|word| c_string(word)).collect::<nix::Result<Vec<CString>>>();
    let (arguments, environment) = (words(arguments)?, words(&pods.plan.environment)?);
    execvpe(arguments.first().ok_or(Errno::ENOENT)?, &arguments, &environment)
}

fn c_string(word: &str) -> nix::Result<CString> {
    CString::new(word).map_err(|_| Errno::EINVAL)
}

fn build(root: &Root<'_>, group: &Group) -> nix::Result<()> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    let top = root.directory.join("root");
    let layers: Vec<_> = root.plan.layers.iter().map(|layer| layer.display().to_string()).collect();
    let (upper, work) = (root.directory.join("upper"), root.directory.join("work"));
    let options = format!("lowerdir={},upperdir={},workdir={}", layers.join(":"), upper.display(), work.display());
    mount(Some("overlay"), &top, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    for one in &root.plan.mounts {
        let target = inside(&top, one.destination());
        let kind = one.typ().as_deref().unwrap_or("bind");
        match kind {
            "bind" => bind(root, one.destination(), &target)?,
            "cgroup" => cgroups(&target, group)?,
            _ => {
                make_directory(&target)?;
                let (flags, data) = options_of(one.options().as_deref().unwrap_or_default());
                mount(Some(kind), &target, Some(kind), flags, Some(data.as_str()))?;
            }
        }
        if one.destination() == Path::new("/dev") {
            devices(&target)?;
        }
    }
    close(&top, root.plan)?;
    leave_for(&top)
}

/// A directory or a file of the pod.
fn bind(root: &Root<'_>, destination: &Path, target: &Path) -> nix::Result<()> {
    let source = if destination == Path::new("/dev/shm") {
        make_directory(target)?;
        root.sandbox.join("shm")
    } else {
        if let Some(parent) = target.parent() {
            make_directory(parent)?;
        }
        if !target.exists() {
            File::create(target).map_err(errno)?;
        }
        root.sandbox.join("file")
    };
    mount(Some(&source), target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
}

/// The container's own cgroups, read-only, below a file system in memory; or that of v2 alone.
fn cgroups(target: &Path, group: &Group) -> nix::Result<()> {
    make_directory(target)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if let [_] = group.directories.as_slice() {
        return mount(Some("cgroup"), target, Some("cgroup2"), flags | MsFlags::MS_RDONLY, NONE);
    }
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some("mode=755"))?;
    for (number, directory) in group.directories.iter().enumerate() {
        let place = target.join(number.to_string());
        make_directory(&place)?;
        mount(Some(directory), &place, NONE, MsFlags::MS_BIND, NONE)?;
    }
    mount(NONE, target, NONE, flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, NONE)
}

/// The devices and links that every container has.
fn devices(target: &Path) -> nix::Result<()> {
    for (name, major, minor) in
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
    {
        mknod(&target.join(name), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major, minor))?;
    }
    for (name, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(to, target.join(name)).map_err(errno)?;
    }
    Ok(())
}

/// Hides what is masked and protects what is read-only, as far as it exists.
fn close(top: &Path, plan: &Plan) -> nix::Result<()> {
    for path in plan.masked.iter().map(|path| inside(top, path)).filter(|path| path.exists()) {
        if path.is_dir() {
            mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::MS_RDONLY, NONE)?;
        } else {
            mount(Some("/dev/null"), &path, NONE, MsFlags::MS_BIND, NONE)?;
        }
    }
    for path in plan.readonly.iter().map(|path| inside(top, path)).filter(|path| path.exists()) {
        mount(Some(&path), &path, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(NONE, &path, NONE, flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, NONE)?;
    }
    Ok(())
}

/// Makes `top` the root and detaches the one before.
fn leave_for(top: &Path) -> nix::Result<()> {
    let old = File::open("/").map_err(errno)?;
    chdir(top)?;
    pivot_root(".", ".")?;
    fchdir(&old)?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")
}

fn inside(top: &Path, path: &Path) -> PathBuf {
    top.join(path.strip_prefix("/").unwrap_or(path))
}

fn make_directory(path: &Path) -> nix::Result<()> {
    fs::create_dir_all(path).map_err(errno)
}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Flags of mount(2), and what is left for the file system. mount(8)
fn options_of(options: &[String]) -> (MsFlags, String) {
    let mut data = Vec::new();
    let mut flags = MsFlags::empty();
    for option in options {
        match option.as_str() {
            "nosuid" => flags |= MsFlags::MS_NOSUID,
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            "nodev" => flags |= MsFlags::MS_NODEV,
            "ro" => flags |= MsFlags::MS_RDONLY,
            "strictatime" => flags |= MsFlags::MS_STRICTATIME,
            "relatime" => flags |= MsFlags::MS_RELATIME,
            "rw" => {}
            other => data.push(other),
        }
    }
    (flags, data.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_flags_of_the_mount_or_data_of_the_file_system() {
        let words = ["nosuid", "ro", "mode=755", "size=65536k"].map(str::to_owned);
        assert_eq!(options_of(&words), (MsFlags::MS_NOSUID | MsFlags::MS_RDONLY, "mode=755,size=65536k".to_owned()));
    }
}
