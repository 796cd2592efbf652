//! A sandbox made by hand: a process that holds the namespaces which containers share, and the files that they see.

use std::{
    fs::{self, File},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use loment_sys::{clone::clone3, pidfd};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::CloneFlags,
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{pause, pipe2, read, sethostname},
};

use super::{
    cgroups::{Group, Hierarchies},
    plan::Plan,
};

/// A pod's sandbox. To be removed by [`Sandbox::remove`].
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) directory: PathBuf,
    pub(super) holder: OwnedFd,
    group: Group,
}

impl Sandbox {
    pub(super) fn run(plan: &Plan, hierarchies: &Hierarchies, directory: &Path) -> Result<Self> {
        let group = hierarchies.make(&format!("{}/by-hand-sandbox", plan.cgroup))?;
        files(directory)?;
        let (ready, told) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).context("make a pipe")?;
        let mut flags =
            CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWPID;
        if plan.own_network {
            flags |= CloneFlags::CLONE_NEWNET;
        }
        let told_fd = told.as_fd();
        let (_, holder) = clone3(flags.bits() as u64, group.v2(), || match hold(&group, plan.own_network) {
            Ok(()) => {
                // Nobody to tell means that nobody waits.
                let _ = nix::unistd::write(told_fd, b"r");
                loop {
                    pause();
                }
            }
            Err(errno) => errno as i32,
        })
        .context("clone the sandbox's process")?;
        drop(told);
        let mut byte = [0];
        let length = read(&ready, &mut byte).context("wait for the sandbox's process")?;
        let sandbox = Self { directory: directory.to_owned(), holder, group };
        if length == 0 {
            let _ = sandbox.remove();
            anyhow::bail!("the sandbox's process has ended");
        }
        Ok(sandbox)
    }

    pub(super) fn remove(self) -> Result<()> {
        // One that has ended already is reaped all the same.
        let _ = pidfd::send_signal(self.holder.as_fd(), Signal::SIGKILL as i32);
        pidfd::reap(self.holder.as_fd()).context("reap the sandbox's process")?;
        clean(&self.directory)?;
        self.group.remove()
    }
}

/// Unmounts and removes the files of a pod.
pub(super) fn clean(directory: &Path) -> Result<()> {
    let shm = directory.join("shm");
    umount2(&shm, MntFlags::MNT_DETACH).with_context(|| format!("unmount {}", shm.display()))?;
    fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))
}

/// The files of a pod that its containers see, and its shared memory.
fn files(directory: &Path) -> Result<()> {
    let shm = directory.join("shm");
    fs::create_dir(directory).with_context(|| format!("create {}", directory.display()))?;
    fs::create_dir(&shm).with_context(|| format!("create {}", shm.display()))?;
    File::create(directory.join("file")).with_context(|| format!("create a file in {}", directory.display()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("shm"), &shm, Some("tmpfs"), flags, Some("mode=1777,size=65536k"))
        .with_context(|| format!("mount tmpfs on {}", shm.display()))
}

/// In the holder: into its cgroup, with a name and a network.
fn hold(group: &Group, own_network: bool) -> nix::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    group.enter()?;
    sethostname("by-hand")?;
    if own_network {
        loment_sys::net::loopback_up()?;
    }
    Ok(())
}
