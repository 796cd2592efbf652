//! Checks of the machine: the kernel and what it is set up with.

use super::survey::Survey;
use super::{Said, fail, pass, warn};

/// The oldest kernel: mount_setattr(2) is of 5.12, cgroup.kill of 5.14.
const KERNEL: (u32, u32) = (5, 14);

/// Capabilities that making a container takes, with their bits (capability.h).
const NEEDED: [(&str, u32); 8] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SETPCAP", 8),
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_ADMIN", 21),
];

/// Percent below which a file system counts as full: a kubelet evicts pods below 10 % of bytes and 5 % of inodes.
const BYTES: u64 = 10;
const INODES: u64 = 5;

pub(super) fn root(survey: &Survey) -> Said {
    if survey.is_root {
        return pass("run as root");
    }
    fail("not run as root: much cannot be seen", "run \"sudo loment doctor\"")
}

pub(super) fn kernel(survey: &Survey) -> Said {
    let mut numbers = survey.kernel.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= KERNEL {
        return pass(format!("Linux {}", survey.kernel));
    }
    fail(
        format!("Linux {} is too old: mount_setattr and cgroup.kill are needed", survey.kernel),
        "install Linux 5.14 or later; Debian 12, Ubuntu 22.04 and RHEL 9 have one",
    )
}

pub(super) fn namespaces(survey: &Survey) -> Said {
    let lacks = |names: &[&'static str]| -> Vec<&'static str> {
        names.iter().copied().filter(|name| !survey.namespaces.iter().any(|has| has == name)).collect()
    };
    let needed = lacks(&["ipc", "mnt", "net", "pid", "uts"]);
    if !needed.is_empty() {
        let found = format!("the kernel has no namespaces of the kinds {}", needed.join(", "));
        return fail(found, "use a kernel with CONFIG_NAMESPACES and CONFIG_*_NS");
    }
    let wanted = lacks(&["cgroup", "time", "user"]);
    if !wanted.is_empty() {
        let found = format!(
            "the kernel has no namespaces of the kinds {}: pods that ask for them are refused",
            wanted.join(", ")
        );
        return warn(found, "use a kernel with CONFIG_USER_NS, CONFIG_TIME_NS and CONFIG_CGROUPS");
    }
    pass("all kinds")
}

pub(super) fn cgroups(survey: &Survey) -> Said {
    let layout = match survey.cgroups.layout.as_ref()? {
        Ok(layout) => layout,
        Err(error) => return fail(error.clone(), "mount them: mount -t cgroup2 none /sys/fs/cgroup"),
    };
    let lacks: Vec<&str> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|name| !survey.cgroups.controllers.iter().any(|has| has == name))
        .collect();
    if lacks.is_empty() {
        return pass(format!("{layout}: {}", survey.cgroups.controllers.join(", ")));
    }
    let lacking = lacks.join(", ");
    // Debian's kernels for some boards, and Raspberry Pi OS, turn memory off.
    let remedy = if lacks.contains(&"memory") {
        "start the kernel with cgroup_enable=memory (and without cgroup_disable) on its command line".to_owned()
    } else {
        format!(
            "see that no cgroup_disable={lacking} is on the kernel's command line, and that the controller is mounted"
        )
    };
    fail(format!("{layout}, without the controllers {lacking}: limits of pods are refused"), remedy)
}

pub(super) fn capabilities(survey: &Survey) -> Said {
    let lacks = NEEDED.iter().filter(|(_, bit)| survey.capabilities & (1 << bit) == 0).map(|(name, _)| *name);
    let lacks: Vec<&str> = lacks.collect();
    if lacks.is_empty() {
        return pass("all that making a container takes");
    }
    fail(
        format!("this machine, or the container that this is, lacks {}", lacks.join(", ")),
        "run containerd outside of the container, or give that these capabilities (docker run --privileged)",
    )
}

pub(super) fn security_modules(survey: &Survey) -> Said {
    let security = &survey.security;
    if security.apparmor && !security.apparmor_parser {
        return warn(
            "AppArmor is on, but there is no apparmor_parser: containerd gives containers no profile",
            "install it: apt-get install apparmor",
        );
    }
    match (security.apparmor, security.selinux) {
        (true, _) => pass("AppArmor, with its parser"),
        (_, Some(true)) => pass("SELinux enforces: pods have labels if containerd's enable_selinux is on"),
        (_, Some(false)) => pass("SELinux, permissive"),
        _ => pass("neither AppArmor nor SELinux is on: profiles and labels of pods mean nothing"),
    }
}

pub(super) fn seccomp(survey: &Survey) -> Said {
    if survey.seccomp.is_empty() {
        return fail(
            "the kernel has no seccomp filters: pods with a profile are refused, and RuntimeDefault is one",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        );
    }
    if !survey.seccomp.iter().any(|action| action == "user_notif") {
        return warn(
            "seccomp cannot notify a supervisor: profiles with SCMP_ACT_NOTIFY are refused",
            "use such profiles only on Linux 5.0 and later with user_notif",
        );
    }
    pass("filters, with notification")
}

pub(super) fn user_namespaces(survey: &Survey) -> Said {
    match survey.user_namespaces {
        Some(0) => warn(
            "user.max_user_namespaces is 0: pods with hostUsers: false are refused",
            "set it: sysctl -w user.max_user_namespaces=15000, and in /etc/sysctl.d for the next start",
        ),
        Some(limit) => pass(format!("at most {limit}")),
        None => warn(
            "the kernel has no user namespaces: pods with hostUsers: false are refused",
            "use a kernel with CONFIG_USER_NS",
        ),
    }
}

pub(super) fn overlay(survey: &Survey) -> Said {
    if survey.has_overlay {
        return pass("overlayfs is there");
    }
    fail(
        "the kernel has no overlayfs, which containerd's default snapshotter mounts",
        "load it: modprobe overlay, and in /etc/modules-load.d for the next start; or set snapshotter = \"native\"",
    )
}

pub(super) fn disk(survey: &Survey) -> Said {
    for disk in &survey.disk {
        let path = disk.path.display();
        if disk.bytes < BYTES || disk.inodes < INODES {
            return warn(
                format!("{path}: {} % of the bytes and {} % of the inodes are free", disk.bytes, disk.inodes),
                "remove images that are not used (crictl rmi --prune), and old logs in /var/log/pods",
            );
        }
    }
    let free: Vec<String> =
        survey.disk.iter().map(|disk| format!("{} {} % free", disk.path.display(), disk.bytes)).collect();
    pass(free.join(", "))
}
