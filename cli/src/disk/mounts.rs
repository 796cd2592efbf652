//! File systems that volumes are in, and the end of everything that is mounted below a pod's directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use loment_cgroups::mountinfo::unescape;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A tmpfs of so many bytes at most (0: the kernel's own bound). What is in it is not swapped out, where the kernel knows
/// how to promise that (Linux 6.4).
pub(super) fn tmpfs(at: &Path, mode: u32, bytes: u64) -> anyhow::Result<()> {
    let size = if bytes > 0 { format!(",size={bytes}") } else { String::new() };
    let options = format!("mode={mode:o}{size}");
    match file_system("tmpfs", at, &format!("{options},noswap")) {
        Err(Errno::EINVAL) => file_system("tmpfs", at, &options),
        other => other,
    }
    .with_context(|| format!("mount tmpfs ({options}) on {}", at.display()))
}

/// Huge pages of one size as a file system.
pub(super) fn huge_pages(at: &Path, mode: u32, page: u64) -> anyhow::Result<()> {
    let options = format!("mode={mode:o},pagesize={page}");
    file_system("hugetlbfs", at, &options).with_context(|| format!("mount hugetlbfs ({options}) on {}", at.display()))
}

fn file_system(kind: &str, at: &Path, options: &str) -> Result<(), Errno> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let flags = if kind == "tmpfs" { MsFlags::empty() } else { flags };
    mount(Some(kind), at, Some(kind), flags, Some(options))
}

/// A read-only view of an image: an overlay of its layers, or the directory of its only one.
pub(super) fn view(at: &Path, kind: &str, source: &str, options: &[String]) -> anyhow::Result<()> {
    let what = || format!("mount {kind} {source} ({}) on {}", options.join(","), at.display());
    let data: Vec<&str> =
        options.iter().map(String::as_str).filter(|option| !matches!(*option, "ro" | "bind" | "rbind")).collect();
    let none: Option<&str> = None;
    if kind == "bind" {
        mount(Some(source), at, none, MsFlags::MS_BIND, none).with_context(what)?;
        let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        return mount(none, at, none, again, none).with_context(what);
    }
    let data = data.join(",");
    mount(Some(source), at, Some(kind), MsFlags::MS_RDONLY, Some(data.as_str())).with_context(what)
}

/// Whether something is mounted at this very place.
pub(super) fn is_mounted(at: &Path) -> anyhow::Result<bool> {
    let Ok(at) = at.canonicalize() else { return Ok(false) };
    Ok(mounted_at_or_below(&at)?.contains(&at))
}

/// Unmounts everything below a directory, whoever has mounted it and whenever: what is mounted is the only record that a
/// command cannot lose by being killed. Nothing may be removed below a directory for which this fails: it could be a
/// directory of the machine's.
pub(super) fn unmount_below(directory: &Path) -> anyhow::Result<()> {
    let Ok(directory) = directory.canonicalize() else { return Ok(()) };
    // Mounts on mounts come to light one after the other.
    const ROUNDS: usize = 16;
    for _ in 0..ROUNDS {
        let found = mounted_at_or_below(&directory)?;
        if found.is_empty() {
            return Ok(());
        }
        // A part of a volume shares what is mounted below it with the machine's own mount: unmounted here, it would go
        // there too.
        for at in &found {
            let none: Option<&str> = None;
            match mount(none, at, none, MsFlags::MS_PRIVATE, none) {
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
                Err(error) => return Err(error).with_context(|| format!("make the mount {} private", at.display())),
            }
        }
        for at in found.iter().rev() {
            match umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                // One that went with the mount that it was on.
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
                Err(error) => return Err(error).with_context(|| format!("unmount {}", at.display())),
            }
        }
    }
    bail!("unmount what is below {}: something is mounted there again and again", directory.display())
}

/// The places at or below a directory where something is mounted, in the order in which it was.
fn mounted_at_or_below(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let table = fs::read("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let places = table.split(|byte| *byte == b'\n').filter_map(mount_point);
    Ok(places.filter(|place| place.starts_with(directory)).collect())
}

/// The fifth field of a line of proc_pid_mountinfo(5).
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    line.split(|byte| *byte == b' ').nth(4).map(unescape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_read_with_its_blanks() {
        let line = br"36 35 98:0 /mnt1 /a\040b/c\134d rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount_point(line), Some(PathBuf::from(r"/a b/c\d")));
        assert_eq!(mount_point(b""), None);
    }
}
