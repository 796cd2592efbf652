//! A procfs of our own: what the setting-up process writes to must not be a /proc that the container could have
//! replaced (CVE-2019-16884, CVE-2025-52881). It is mounted nowhere and closed by execve(2).

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use loment_sys::mount::{FsContext, attr};
use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2},
    sys::{
        stat::Mode,
        statfs::{PROC_SUPER_MAGIC, fstatfs},
    },
    unistd::write,
};

use crate::{Error, Result, error::Context, plan::sysctl::Sysctl};

/// A private procfs of the caller's pid namespace.
#[derive(Debug)]
pub(crate) struct ProcFs(OwnedFd);

impl AsFd for ProcFs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ProcFs {
    /// Makes one.
    pub(crate) fn open() -> Result<Self> {
        let proc = FsContext::open(c"proc")
            .and_then(|context| {
                context.create()?;
                context.mount(attr::NOSUID | attr::NODEV | attr::NOEXEC)
            })
            .at("make a private", "procfs")?;
        match fstatfs(&proc).at("examine the private", "procfs")?.filesystem_type() {
            PROC_SUPER_MAGIC => Ok(Self(proc)),
            other => Err(Error::invalid("procfs", format!("{other:?}"), "is not a procfs")),
        }
    }

    /// Opens a file of it: no link out of it, no other mount.
    pub(crate) fn file(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        // `self` and `thread-self` are ordinary links of procfs; magic links lead elsewhere.
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        openat2(self.0.as_fd(), path, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve))
    }

    /// Takes one that another process of this pid namespace has made.
    pub(crate) fn given(proc: OwnedFd) -> Self {
        Self(proc)
    }

    /// One of the namespaces that this process is in, by its name in `/proc/self/ns`.
    pub(crate) fn own_namespace(&self, name: &str) -> nix::Result<OwnedFd> {
        // A magic link, which no container can have put there: this procfs is mounted nowhere.
        openat(&self.0, format!("self/ns/{name}").as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
    }

    /// The pid that the process of a pidfd has for itself. proc_pid_fdinfo(5), `NSpid`
    pub(crate) fn innermost_pid(&self, process: BorrowedFd<'_>) -> Result<i32> {
        let path = format!("self/fdinfo/{}", process.as_raw_fd());
        let page = self.file(Path::new(&path), OFlag::O_RDONLY).map(std::fs::File::from).at("open", &path)?;
        let page = std::io::read_to_string(page).at("read", &path)?;
        let pids = page.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let innermost = pids.and_then(|pids| pids.split_ascii_whitespace().next_back()?.parse().ok());
        innermost.ok_or_else(|| Error::invalid("the pid of", "the container's process", "is not told by the kernel"))
    }

    /// Writes a value in one piece, as procfs wants it.
    pub(crate) fn write(&self, path: impl AsRef<Path>, value: &str) -> nix::Result<()> {
        let file = self.file(path.as_ref(), OFlag::O_WRONLY)?;
        write(&file, value.as_bytes()).map(drop)
    }

    /// Sets the kernel parameters of the namespaces that this process is in.
    pub(crate) fn set_sysctls<'a>(&self, sysctls: impl IntoIterator<Item = &'a Sysctl>) -> Result<()> {
        for sysctl in sysctls {
            let path = Path::new("sys").join(&sysctl.path);
            self.write(path, &sysctl.value)
                .at("set kernel parameter", format_args!("{}={}", sysctl.name, sysctl.value))?;
        }
        Ok(())
    }

    /// Sets how ready the kernel is to kill this process for want of memory.
    pub(crate) fn set_oom_score_adj(&self, score: Option<i32>) -> Result<()> {
        let Some(score) = score else { return Ok(()) };
        self.write("self/oom_score_adj", &score.to_string()).map_err(|errno| {
            let error = Error::os("set oom_score_adj to", score, errno);
            match errno {
                nix::errno::Errno::EACCES | nix::errno::Errno::EPERM => {
                    error.hint("lowering it needs CAP_SYS_RESOURCE; containerd's restrict_oom_score_adj avoids it")
                }
                _ => error,
            }
        })
    }

    /// Sets the security labels that the next execve(2) takes on.
    pub(crate) fn set_exec_labels(&self, apparmor: Option<&str>, selinux: Option<&str>) -> Result<()> {
        if let Some(profile) = apparmor {
            self.write("self/attr/apparmor/exec", &format!("exec {profile}")).at("set AppArmor profile", profile)?;
        }
        if let Some(label) = selinux {
            self.write("self/attr/exec", label).at("set SELinux label", label)?;
        }
        Ok(())
    }
}
