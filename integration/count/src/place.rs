//! The same place for every count, whatever the machine has: namespaces of its own and a `/run` with nothing in it but
//! what the pod needs, under the same names each time.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{personality, stat::Mode},
    unistd::mkfifo,
};
use serde_json::Value;

/// Everything that belongs to the count.
pub(crate) const HOME: &str = "/run/count";
/// The shim that is counted.
pub(crate) const SHIM: &str = "/run/count/loment-counted-shim";
/// Where callgrind writes.
pub(crate) const OUT: &str = "/run/count/out";
/// The shim says here that it rests.
pub(crate) const RESTS: &str = "/run/count/rests";
/// Directory of the bundles.
pub(crate) const BUNDLES: &str = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";

/// Names of the sandbox and the container, as long as containerd's.
pub(crate) const SANDBOX: &str = "1111111111111111111111111111111111111111111111111111111111111111";
/// See [`SANDBOX`].
pub(crate) const CONTAINER: &str = "2222222222222222222222222222222222222222222222222222222222222222";

/// What a machine with cgroup v2 shows, and nothing that is peculiar to one.
const MOUNTINFO: &str = "\
22 28 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
23 28 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
24 28 0:5 / /dev rw,nosuid,relatime shared:2 - devtmpfs udev rw,size=1980084k,nr_inodes=495021,mode=755
25 24 0:23 / /dev/pts rw,nosuid,noexec,relatime shared:3 - devpts devpts rw,gid=5,mode=620,ptmxmode=000
26 28 0:24 / /run rw,nosuid,nodev,noexec,relatime shared:5 - tmpfs tmpfs rw,size=400544k,mode=755
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard,errors=remount-ro
29 23 0:26 / /run/count/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
30 24 0:27 / /dev/shm rw,nosuid,nodev shared:4 - tmpfs tmpfs rw
";

const STAT: &str = "7 (runc:[2:INIT]) S 1 7 7 0 -1 4194560 120 0 0 0 1 2 0 0 20 0 1 0 123456 1208320 245 \
18446744073709551615 4194304 7340032 140736211304448 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 9437184 9568256 10485760 \
140736211308319 140736211308400 140736211308400 140736211312610 0\n";

/// The files of a cgroup that the shim may read or write, and what is in them.
const CGROUP: &[(&str, &str)] = &[
    ("cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n"),
    ("cgroup.events", "populated 0\nfrozen 0\n"),
    ("cgroup.freeze", "0\n"),
    ("cgroup.kill", ""),
    ("cgroup.procs", ""),
    ("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0\n"),
    ("cgroup.subtree_control", "cpuset cpu io memory hugetlb pids rdma misc\n"),
    ("cgroup.threads", ""),
    ("cgroup.type", "domain\n"),
    ("cpu.max", "max 100000\n"),
    (
        "cpu.stat",
        "usage_usec 12345\nuser_usec 2345\nsystem_usec 10000\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
    ),
    ("cpu.weight", "100\n"),
    ("io.stat", ""),
    ("memory.current", "348160\n"),
    ("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n"),
    ("memory.high", "max\n"),
    ("memory.low", "0\n"),
    ("memory.max", "max\n"),
    ("memory.min", "0\n"),
    ("memory.oom.group", "0\n"),
    ("memory.peak", "528384\n"),
    (
        "memory.stat",
        "anon 106496\nfile 0\nkernel 241664\nkernel_stack 16384\npgfault 415\npgmajfault 0\ninactive_file 0\n",
    ),
    ("memory.swap.current", "0\n"),
    ("memory.swap.max", "max\n"),
    ("pids.current", "1\n"),
    ("pids.max", "max\n"),
];

/// pause(2) for ever: mov eax, 34; syscall; jmp to the beginning.
const PAUSE: &[u8] = &[0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];
/// exit(0): mov eax, 60; xor edi, edi; syscall.
const EXIT: &[u8] = &[0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];

/// The smallest static program: the runtime reads its headers, which a machine's own would have more or less of. elf(5)
fn program(code: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    const BASE: u64 = 0x40_0000;
    let length = HEADERS + code.len() as u64;
    let mut text = b"\x7fELF\x02\x01\x01".to_vec();
    text.resize(16, 0);
    // An executable for x86_64.
    text.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    text.extend([BASE + HEADERS, 64, 0].map(u64::to_le_bytes).as_flattened());
    // Flags; sizes and numbers: this header, one program header, no section.
    text.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // All of the file is loaded, to be read and executed.
    text.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    text.extend([0, BASE, BASE, length, length, 0x1000].map(u64::to_le_bytes).as_flattened());
    text.extend(code);
    text
}

/// Leaves the machine's namespaces behind: for this process, and for pids for its children.
pub(crate) fn leave() -> Result<()> {
    let own = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(own).context("make namespaces (root is needed)")?;
    // Where things are in memory is the same each time.
    personality::set(personality::Persona::ADDR_NO_RANDOMIZE).context("forbid random addresses")?;
    Ok(())
}

/// Prepares the place, as the first process of the new namespaces.
pub(crate) fn make(shim: &Path) -> Result<()> {
    // What is at hand below /run goes out of sight, so that this comes first.
    let program = fs::read(shim).with_context(|| format!("read {}", shim.display()))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("make mounts private")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>).context("mount /proc")?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755")).context("mount /run")?;
    // The machine's own cgroups are nobody's business here.
    mount(Some("tmpfs"), "/sys/fs/cgroup", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .context("cover cgroups")?;
    fs::create_dir_all(OUT)?;
    fs::write(SHIM, program)?;
    executable(SHIM)?;
    fs::write(format!("{HOME}/mountinfo"), MOUNTINFO)?;
    fs::write(format!("{HOME}/cgroups"), "0::/\n")?;
    fs::write(format!("{HOME}/stat"), STAT)?;
    mkfifo(RESTS, Mode::S_IRWXU).context("make a fifo")?;
    root()?;
    network()
}

/// A root file system with all that a container's mounts would bring.
fn root() -> Result<()> {
    let root = format!("{HOME}/rootfs");
    // What callgrind writes of a process that has changed its root.
    let out = format!("{root}{OUT}");
    for directory in ["bin", "dev/pts", "dev/shm", "dev/mqueue", "etc", "sys/firmware", "sys/fs/cgroup"] {
        fs::create_dir_all(format!("{root}/{directory}"))?;
    }
    for directory in ["acpi", "asound", "scsi", "bus", "fs", "irq", "sys"] {
        fs::create_dir_all(format!("{root}/proc/{directory}"))?;
    }
    for file in ["kcore", "keys", "timer_list", "sysrq-trigger"] {
        fs::write(format!("{root}/proc/{file}"), "")?;
    }
    for file in ["hosts", "hostname", "resolv.conf", "passwd"] {
        fs::write(format!("{root}/etc/{file}"), "")?;
    }
    fs::write(format!("{root}/dev/termination-log"), "")?;
    for (name, code) in [("sleep", PAUSE), ("true", EXIT)] {
        let path = format!("{root}/bin/{name}");
        fs::write(&path, program(code))?;
        executable(&path)?;
    }
    fs::create_dir_all(&out)?;
    mount(Some(OUT), out.as_str(), None::<&str>, MsFlags::MS_BIND, None::<&str>).context("show where callgrind writes")
}

/// The pod's network, as containerd makes it beforehand.
fn network() -> Result<()> {
    let path = Path::new("/run/netns/cni-00000000-0000-4000-8000-000000000000");
    fs::create_dir_all("/run/netns")?;
    fs::write(path, "")?;
    mount(Some("/proc/self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).context("keep a network")
}

/// A bundle with its specification, its cgroup, and whatever it binds; `sandbox` is the sandbox's pid.
pub(crate) fn bundle(id: &str, specification: &str, sandbox: u32) -> Result<PathBuf> {
    let text = specification.replace("SANDBOX", &sandbox.to_string());
    let bundle = Path::new(BUNDLES).join(id);
    fs::create_dir_all(bundle.join("rootfs"))?;
    fs::write(bundle.join("config.json"), &text)?;
    let specification: Value = serde_json::from_str(&text)?;
    for mount in specification["mounts"].as_array().into_iter().flatten() {
        let source = Path::new(mount["source"].as_str().unwrap_or_default());
        match (mount["type"].as_str(), source.parent()) {
            (Some("bind"), _) if source.ends_with("shm") => fs::create_dir_all(source)?,
            (Some("bind"), Some(parent)) => {
                fs::create_dir_all(parent)?;
                fs::write(source, "")?;
            }
            _ => {}
        }
    }
    cgroup(specification["linux"]["cgroupsPath"].as_str().unwrap_or_default())?;
    Ok(bundle)
}

/// The cgroup and those around it.
fn cgroup(path: &str) -> Result<()> {
    let top = Path::new(HOME).join("cgroup");
    let own = top.join(path.trim_start_matches('/'));
    fs::create_dir_all(&own)?;
    for directory in own.ancestors().take_while(|directory| directory.starts_with(&top)) {
        for (name, content) in CGROUP {
            fs::write(directory.join(name), content)?;
        }
    }
    Ok(())
}

fn executable(path: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}
