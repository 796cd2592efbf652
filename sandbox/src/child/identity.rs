//! Who a process is and what it may use: limits, ids, capabilities.

use std::os::fd::{AsFd, BorrowedFd};

use loment_sys::{credentials, sched};
use nix::{
    errno::Errno,
    sched::{CpuSet, sched_setaffinity},
    sys::{
        personality, prctl,
        resource::{Resource, getrlimit, setrlimit},
        stat::{Mode, SFlag, fstat, umask},
    },
    unistd::{Pid, Uid, fchown, isatty},
};

use crate::{
    Error, Result,
    error::Context,
    plan::{
        Plan,
        process::{ProcessPlan, Rlimit},
    },
};

/// What has to be done with the privileges of the setting-up process. The limit of descriptors is only raised:
/// [`limit_descriptors`] sets it when no more are needed.
pub(crate) fn set_limits(
    process: &ProcessPlan,
    persona: Option<personality::Persona>,
    processors: Option<&[usize]>,
) -> Result<()> {
    raise_limits(process)?;
    for limit in process.rlimits.iter().filter(|limit| limit.resource != Resource::RLIMIT_NOFILE) {
        set_rlimit(limit)?;
    }
    set_processors(processors)?;
    if let Some(policy) = &process.memory_policy {
        sched::set_memory_policy(policy.mode, &policy.nodes).map_err(|errno| {
            let error = Error::os("set memory policy", &policy.name, errno);
            match errno {
                Errno::EINVAL => error.hint("does the mode go with nodes, and are they online and in the cpuset?"),
                Errno::ENOSYS => error.hint("this kernel has no memory nodes (CONFIG_NUMA)"),
                _ => error,
            }
        })?;
    }
    if let Some((class, level)) = process.io_priority {
        sched::set_io_priority(class, level)
            .at("set disk priority of class", format_args!("{class}, level {level}"))?;
    }
    if let Some(attributes) = process.scheduler {
        sched::set_scheduler(attributes).map_err(|errno| {
            let error = Error::os("set scheduling policy", attributes.policy, errno);
            match errno {
                // A v1 cpu cgroup gives real-time tasks no time by default.
                Errno::EINVAL | Errno::EPERM => error.hint("does the cgroup have cpu.rt_runtime_us?"),
                _ => error,
            }
        })?;
    }
    if let Some(persona) = persona {
        personality::set(persona).at("set", "the personality")?;
    }
    Ok(())
}

/// Sets the limit of descriptors, which would concern the setting-up process if it were set earlier.
pub(crate) fn limit_descriptors(process: &ProcessPlan) -> Result<()> {
    process.rlimits.iter().filter(|limit| limit.resource == Resource::RLIMIT_NOFILE).try_for_each(set_rlimit)
}

/// Raises hard limits as far as the plan wants, and leaves the rest for [`set_limits`]: only the host's root may raise
/// them, and what is still to be done must not meet lower ones.
pub(crate) fn raise_limits(process: &ProcessPlan) -> Result<()> {
    for limit in &process.rlimits {
        let (soft, hard) = getrlimit(limit.resource).at("read limit", limit.name)?;
        if limit.hard > hard {
            set_rlimit(&Rlimit { soft: soft.max(limit.soft), ..*limit })?;
        }
    }
    Ok(())
}

fn set_rlimit(limit: &Rlimit) -> Result<()> {
    setrlimit(limit.resource, limit.soft, limit.hard).map_err(|errno| {
        let object = format!("{} to {}:{}", limit.name, limit.soft, limit.hard);
        let error = Error::os("set limit", object, errno);
        match errno {
            Errno::EPERM => error.hint("raising a hard limit needs CAP_SYS_RESOURCE"),
            _ => error,
        }
    })
}

/// Whoever started containerd may have bound it to some processors; a container gets all that its cgroup allows.
pub(crate) fn set_processors(affinity: Option<&[usize]>) -> Result<()> {
    let mut set = CpuSet::new();
    match affinity {
        Some(cpus) => {
            for cpu in cpus {
                set.set(*cpu).at("choose processor", cpu)?;
            }
            sched_setaffinity(Pid::from_raw(0), &set).at("bind to processors", format_args!("{cpus:?}"))
        }
        None => {
            for cpu in 0..CpuSet::count() {
                set.set(cpu).at("choose processor", cpu)?;
            }
            // A seccomp policy of the host may forbid it; nothing depends on it.
            let _ = sched_setaffinity(Pid::from_raw(0), &set);
            Ok(())
        }
    }
}

/// A process that is not root must be able to open /dev/stdout again: what is a pipe or a terminal becomes its own.
pub(crate) fn own_standard_streams(uid: u32) -> Result<()> {
    own_streams(&[std::io::stdin().as_fd(), std::io::stdout().as_fd(), std::io::stderr().as_fd()], uid)
}

/// The same for streams that are not in place yet.
pub(crate) fn own_streams(streams: &[BorrowedFd<'_>], uid: u32) -> Result<()> {
    for stream in streams {
        let Ok(status) = fstat(stream) else { continue };
        let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
        // Never another device than a terminal: the null device is everybody's, and others are not the container's.
        let is_terminal = || kind == SFlag::S_IFCHR && isatty(stream).unwrap_or(false);
        if status.st_uid == uid || !(kind == SFlag::S_IFIFO || is_terminal()) {
            continue;
        }
        match fchown(stream, Some(Uid::from_raw(uid)), None) {
            // Not every pipe or terminal can have an owner; the stream works all the same.
            Ok(()) | Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS) => {}
            Err(errno) => return Err(Error::os("give a standard stream to user", uid, errno)),
        }
    }
    Ok(())
}

/// Sets what is left out of the modes of files that the process makes.
pub(crate) fn set_umask(process: &ProcessPlan) {
    umask(Mode::from_bits_truncate(process.umask));
}

/// Gives up every privilege that the plan does not grant. It may be done under a seccomp filter, so it makes no system
/// calls but those that it is about: prctl(2), setgroups(2), setgid(2), setuid(2), capset(2).
/// Order matters: the bounding set needs CAP_SETPCAP, groups
/// need CAP_SETGID, and permitted capabilities survive the change of user only if the kernel is told so.
pub(crate) fn assume(process: &ProcessPlan) -> Result<()> {
    let capabilities = &process.capabilities;
    credentials::limit_bounding_set(capabilities.bounding).at("limit", "the bounding capabilities")?;
    prctl::set_keepcaps(true).at("keep", "capabilities while changing user")?;
    credentials::set_groups(&process.groups).at("set additional groups", format_args!("{:?}", process.groups))?;
    credentials::set_gid(process.gid).at("become group", process.gid)?;
    credentials::set_uid(process.uid).at("become user", process.uid)?;
    prctl::set_keepcaps(false).at("stop keeping", "capabilities")?;
    credentials::capset(capabilities.sets).map_err(|errno| {
        let object = format!("{:x?}", capabilities.sets);
        Error::os("set capabilities", object, errno)
            .hint("each effective one must be permitted, each inheritable one bounding")
    })?;
    credentials::set_ambient(capabilities.ambient).map_err(|errno| {
        let object = format!("{:x}", capabilities.ambient);
        Error::os("set ambient capabilities", object, errno).hint("each must be permitted and inheritable too")
    })?;
    // A change of user makes a process dumpable again as the system's fs.suid_dumpable says; until execve(2) this one
    // is a copy of the runtime, which nobody may look into (CVE-2016-9962).
    prctl::set_dumpable(false).at("close to debuggers", "the setting-up process")
}

/// Names that the rest of the world sees.
pub(crate) fn set_names(plan: &Plan, proc: &super::procfs::ProcFs) -> Result<()> {
    if let Some(hostname) = &plan.hostname {
        nix::unistd::sethostname(hostname).at("set hostname", hostname)?;
    }
    if let Some(domainname) = &plan.domainname {
        proc.write("sys/kernel/domainname", domainname).at("set domainname", domainname)?;
    }
    Ok(())
}
