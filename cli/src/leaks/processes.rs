//! Every process of the machine, as far as it tells whose it is. proc_pid_stat(5), proc_pid_cgroup(5)

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::survey::{Claim, Process};

/// Name of the shim's program.
pub(crate) const SHIM: &str = "containerd-shim-loment-v2";

/// Reads all of them. `programs` are files of the shim's program that are known without a process. One that ends meanwhile
/// is left out.
pub(crate) fn all(own_mounts: u64, programs: &[PathBuf]) -> Vec<Process> {
    let listening = listening(&fs::read_to_string("/proc/net/unix").unwrap_or_default());
    let mut found: Vec<(Process, Option<Program>)> = pids().filter_map(read).collect();
    // A file in an image may be called the same. What the machine runs with its own mounts is the machine's, if it is root's:
    // any user may call a program so, and name what is others' on its command line.
    let running = found.iter().filter(|(process, _)| process.mounts == own_mounts).filter_map(|(_, one)| one.as_ref());
    let running = running.filter(|program| program.is_run_by_root).map(|program| &program.file);
    let known: Vec<fs::Metadata> = programs.iter().filter_map(|path| fs::metadata(path).ok()).collect();
    let trusted: BTreeSet<(u64, u64)> =
        running.chain(&known).filter(|file| is_roots_alone(file)).map(identity).collect();
    for (process, program) in &mut found {
        let is_trusted =
            program.as_ref().is_some_and(|one| one.is_run_by_root && trusted.contains(&identity(&one.file)));
        if is_trusted {
            let claim = claim(&fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default());
            // The machine inside of a system container may execute the same file, for a containerd of its own.
            let is_own = process.mounts == own_mounts;
            let is_ours =
                |claim: &Claim| is_own || !is_nested(process.pid) && !is_elsewhere(process.pid, &claim.address);
            process.claim = claim.filter(is_ours);
            process.listens = sockets(process.pid).filter_map(|inode| listening.get(&inode).cloned()).collect();
        }
    }
    found.into_iter().map(|(process, _)| process).collect()
}

/// A program that is called like the shim's.
struct Program {
    file: fs::Metadata,
    /// Of the machine, whatever a user namespace calls its user.
    is_run_by_root: bool,
}

/// Device and inode.
fn identity(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Whether a file is owned by root and nobody else may write to it.
fn is_roots_alone(file: &fs::Metadata) -> bool {
    file.uid() == 0 && file.mode() & 0o002 == 0 && (file.gid() == 0 || file.mode() & 0o020 == 0)
}

/// Whether all of a process's users are root: real, effective, saved, of the file system. proc_pid_status(5), `Uid`
fn is_roots(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.is_some_and(|line| line.split_ascii_whitespace().all(|uid| uid == "0"))
}

pub(crate) fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn read(pid: i32) -> Option<(Process, Option<Program>)> {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let stat = String::from_utf8_lossy(&fs::read(directory.join("stat")).ok()?).into_owned();
    let (parent, start_time, name) = parse_stat(&stat)?;
    let inode = |name: &str| fs::metadata(directory.join("ns").join(name)).map(|file| file.ino()).ok();
    let cgroups = parse_cgroups(&fs::read_to_string(directory.join("cgroup")).ok()?);
    if is_outside(&cgroups) {
        return None;
    }
    let process = Process {
        pid,
        parent,
        start_time,
        name,
        cgroups,
        // A process that has ended has none: nothing is to be done to it.
        mounts: inode("mnt")?,
        network: inode("net")?,
        ..Process::default()
    };
    let executes = fs::read_link(directory.join("exe")).ok().filter(|path| is_called_so(path));
    let file = executes.and_then(|_| fs::metadata(directory.join("exe")).ok());
    let program = file.map(|file| {
        let status = fs::read_to_string(directory.join("status")).unwrap_or_default();
        Program { file, is_run_by_root: is_roots(&status) }
    });
    Some((process, program))
}

/// Whether these are not below those of this process: it is in a cgroup namespace, and they are somebody's beside it.
/// cgroup_namespaces(7)
fn is_outside(cgroups: &BTreeSet<PathBuf>) -> bool {
    cgroups.iter().any(|path| path.starts_with("/.."))
}

/// Whether a program is the shim's by its name; one that was replaced is marked by the kernel.
fn is_called_so(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.strip_suffix(" (deleted)").unwrap_or(name) == SHIM
}

/// Whether the containerd that a process names is another one where the process lives. A holder lives on an empty root.
fn is_elsewhere(pid: i32, address: &str) -> bool {
    let file = |path: &str| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let there = file(&format!("/proc/{pid}/root{address}"));
    there.is_some() && there != file(address)
}

/// Whether a process is in a pid namespace below this one, and not its first as the holder of a pod is.
fn is_nested(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    pids_in_status(&status).skip(1).last().is_some_and(|inner| inner != "1")
}

/// Its pid in each namespace, from this one down. proc_pid_status(5), `NSpid`
fn pids_in_status(status: &str) -> impl Iterator<Item = &str> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.unwrap_or_default().split_ascii_whitespace()
}

/// Whether a process is there that executes something else than the shim's program.
pub(crate) fn is_strange(pid: i32) -> bool {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let lives =
        fs::read(directory.join("stat")).is_ok_and(|stat| parse_stat(&String::from_utf8_lossy(&stat)).is_some());
    lives && !fs::read_link(directory.join("exe")).is_ok_and(|path| is_called_so(&path))
}

/// Parent, start time and name. The name may contain spaces and parentheses; a process that has ended and that nobody has
/// reaped yet is none any more.
pub(crate) fn parse_stat(stat: &str) -> Option<(i32, u64, String)> {
    let (before, rest) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    Some((fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?, name.to_owned()))
}

/// The start time of a process, if there is one with this pid.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    Some(parse_stat(&String::from_utf8_lossy(&stat))?.1)
}

/// The paths in the lines `4:memory:/pods/x`. A path with a line's end in it is of no cgroup of ours.
pub(crate) fn parse_cgroups(text: &str) -> BTreeSet<PathBuf> {
    let path = |line: &str| line.splitn(3, ':').nth(2).filter(|path| *path != "/").map(PathBuf::from);
    text.lines().filter_map(path).collect()
}

/// The flags of a shim that stays: its action is `start`, and another's ends by itself.
fn claim(command_line: &[u8]) -> Option<Claim> {
    words(command_line).iter().rfind(|word| !word.is_empty()).filter(|action| *action == "start")?;
    said(command_line)
}

fn words(command_line: &[u8]) -> Vec<String> {
    command_line.split(|byte| *byte == 0).skip(1).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The flags of any shim, whatever its action is. Go's flags begin with one dash or two, and may have their value behind
/// a `=`.
pub(crate) fn said(command_line: &[u8]) -> Option<Claim> {
    let words = words(command_line);
    let value = |name: &str| {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix('-').map(|flag| flag.strip_prefix('-').unwrap_or(flag)) else {
                continue;
            };
            match flag.split_once('=') {
                Some((flag, value)) if flag == name => return Some(value.to_owned()),
                None if flag == name => return words.next().cloned(),
                _ => {}
            }
        }
        None
    };
    let claim =
        Claim { namespace: value("namespace")?, id: value("id")?, address: value("address").unwrap_or_default() };
    crate::lower::layout::is_id(&claim.id).then_some(claim)
}

/// Inodes of the sockets that a process has open.
fn sockets(pid: i32) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let link = fs::read_link(entry.path()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

/// Sockets that somebody listens on, by their inode: `Num RefCount Protocol Flags Type St Inode Path`, where the flag
/// 0x10000 says it.
fn listening(table: &str) -> BTreeMap<u64, PathBuf> {
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
        let path = fields.get(7).filter(|path| path.starts_with('/'))?;
        (flags & 0x1_0000 != 0).then_some((fields.get(6)?.parse().ok()?, PathBuf::from(path)))
    };
    table.lines().skip(1).filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_whatever_its_name_is() {
        let stat = |name: &str, state: &str| {
            format!("7 ({name}) {state} 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 1")
        };
        for name in ["sh", "a) S 1 (b", "a b"] {
            assert_eq!(parse_stat(&stat(name, "S")), Some((3, 4711, name.to_owned())));
        }
        assert_eq!(parse_stat(&stat("sh", "Z")), None);
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn what_a_shim_says_of_itself_is_in_its_flags() {
        let line = |text: &str| claim(text.replace(' ', "\0").as_bytes());
        let expected = Claim { namespace: "k8s.io".into(), id: "a1".into(), address: "/run/c.sock".into() };
        for text in [
            "shim -namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id a1 start",
            "shim --namespace=k8s.io --id=a1 --address=/run/c.sock start",
        ] {
            assert_eq!(line(text), Some(expected.clone()), "{text}");
        }
        assert_eq!(line("shim -namespace k8s.io -id ../../etc start"), None);
        assert_eq!(line("shim -v"), None);
        assert_eq!(line("shim -namespace k8s.io -id a1 delete"), None, "it ends by itself");
    }

    #[test]
    fn a_program_that_is_called_as_the_shim_is_believed_only_if_root_owns_it_and_runs_it() {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        use std::os::unix::process::CommandExt as _;
        use std::process::{Command, Stdio};

        let scratch = crate::disk::tests::Scratch::new("called-so");
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
        let program = scratch.0.join(SHIM);
        let own_mounts = fs::metadata("/proc/self/ns/mnt").unwrap().ino();
        let is_believed = |owner: u32, mode: u32, user: u32| {
            // A process of its own copies it: no thread's child has it open to write.
            assert!(Command::new("cp").arg("-L").arg("/bin/sh").arg(&program).status().unwrap().success());
            chown(&program, Some(owner), Some(owner)).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
            // It names a container of somebody else's.
            let mut command = Command::new(&program);
            command.args([
                "-c",
                "read line",
                "-namespace",
                "k8s.io",
                "-address",
                "/run/c.sock",
                "-id",
                "victim",
                "start",
            ]);
            let mut child = command.stdin(Stdio::piped()).uid(user).gid(user).spawn().unwrap();
            let pid = i32::try_from(child.id()).unwrap();
            let found = all(own_mounts, &[]).into_iter().find(|process| process.pid == pid).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            fs::remove_file(&program).unwrap();
            found.claim.is_some()
        };
        assert!(is_believed(0, 0o755, 0));
        assert!(!is_believed(0, 0o755, 1000), "any user may run the shim's own program");
        assert!(!is_believed(1000, 0o755, 0));
        assert!(!is_believed(0, 0o757, 0));
    }

    #[test]
    fn the_users_of_a_process_are_in_the_status() {
        assert!(is_roots("Name:\tx\nUid:\t0\t0\t0\t0\nGid:\t7\t7\t7\t7\n"));
        assert!(!is_roots("Uid:\t1000\t0\t0\t0\n") && !is_roots(""));
    }

    #[test]
    fn a_pid_in_each_namespace_is_in_the_status() {
        let inner = |status: &str| pids_in_status(status).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(inner("Pid:\t7\nNSpid:\t7\t1\nNSsid:\t7\t0\n"), ["7", "1"]);
        assert_eq!(inner("Pid:\t7\n"), [""; 0]);
        assert!(!is_nested(std::process::id().cast_signed()));
    }

    #[test]
    fn what_is_in_nobodys_cgroup_that_is_seen_is_somebody_elses() {
        let outside = |text: &str| is_outside(&parse_cgroups(text));
        assert!(outside("5:memory:/../other/pods/x\n0::/\n"));
        assert!(!outside("5:memory:/pods/x\n0::/..x\n"));
    }

    #[test]
    fn a_containerd_is_looked_up_where_the_process_lives() {
        let own = std::process::id().cast_signed();
        assert!(!is_elsewhere(own, "/proc/self/status/not/there"));
        assert!(!is_elsewhere(own, "/etc/passwd"));
        // In a mount namespace of its own the same name is another file.
        let script = "mount -t tmpfs none /mnt && touch /mnt/loment-socket && echo ready && exec sleep 60";
        let mut child = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let is_another = is_elsewhere(i32::try_from(child.id()).unwrap(), "/mnt/loment-socket");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_another);
    }

    #[test]
    fn who_listens_is_in_the_table_of_the_kernel() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                     0: 00000002 00000000 00010000 0001 01 42 /run/containerd/s/x\n\
                     0: 00000003 00000000 00000000 0001 03 43 /run/containerd/s/x\n\
                     0: 00000003 00000000 00000000 0001 03 44\n";
        assert_eq!(listening(table), BTreeMap::from([(42, PathBuf::from("/run/containerd/s/x"))]));
    }

    #[test]
    fn cgroups_of_all_hierarchies_are_told_and_roots_are_not() {
        let text = "5:memory:/pods/x/y\n4:cpu,cpuacct:/pods/x/y\n1:name=x:/\n0::/other\n";
        assert_eq!(parse_cgroups(text), BTreeSet::from(["/pods/x/y".into(), "/other".into()]));
    }

    #[test]
    fn this_process_is_found_and_is_no_shim() {
        let own = i32::try_from(std::process::id()).unwrap();
        let found = all(0, &[]).into_iter().find(|process| process.pid == own).unwrap();
        assert_eq!((found.claim, Some(found.start_time)), (None, start_time(own)));
    }

    #[test]
    fn a_program_that_was_replaced_is_still_known_by_its_name() {
        assert!(is_called_so(Path::new("/usr/local/bin/containerd-shim-loment-v2 (deleted)")));
        assert!(!is_called_so(Path::new("/usr/bin/containerd-shim-runc-v2")));
    }
}
