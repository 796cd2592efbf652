//! A container made by hand: created up to a gate, started, entered, killed.

use std::{
    fs,
    io::Read as _,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use loment_sys::{
    clone::clone3,
    pidfd::{self, Ending},
};
use nix::{
    fcntl::OFlag,
    sched::{CloneFlags, setns},
    sys::signal::Signal,
    unistd::{pipe2, read, write},
};

use super::{
    cgroups::{Group, Hierarchies},
    child::{self, Root},
    helper::Pods,
    sandbox::Sandbox,
};

/// A container. To be removed by [`Container::remove`].
#[derive(Debug)]
pub(super) struct Container {
    directory: PathBuf,
    process: OwnedFd,
    group: Group,
    /// It is told here that its root is ready, and by the end that its program runs.
    told: OwnedFd,
    gate: OwnedFd,
}

impl Container {
    pub(super) fn create(pods: &Pods, sandbox: &Sandbox, hierarchies: &Hierarchies, number: u32) -> Result<Self> {
        let plan = &pods.plan;
        let group = hierarchies.make(&format!("{}/by-hand-{number}", plan.cgroup))?;
        let directory = sandbox.directory.join(number.to_string());
        for name in ["upper", "work", "root"] {
            let path = directory.join(name);
            fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        }
        let (told, tell) = pipe2(OFlag::O_CLOEXEC).context("make a pipe")?;
        let (wait, gate) = pipe2(OFlag::O_CLOEXEC).context("make a pipe")?;
        let flags = (CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID).bits() as u64;
        let root = Root { plan, directory: &directory, sandbox: &sandbox.directory };
        let child = || {
            let prepared = child::prepare(&root, &group, sandbox.holder.as_fd());
            let run = prepared.and_then(|()| {
                write(&tell, b"r")?;
                // Its maker's death is the end of the pipe, and of this child by the signal that it has asked for.
                read(&wait, &mut [0])?;
                child::execute(pods, &plan.arguments)
            });
            run.map_or_else(|errno| errno as i32, |never| match never {})
        };
        let (_, process) = clone3(flags, group.v2(), child).context("clone a container's process")?;
        drop((tell, wait));
        let container = Self { directory, process, group, told, gate };
        let length = read(&container.told, &mut [0]).context("wait for a container's root")?;
        container.fails_unless(length == 1)
    }

    /// Lets its program run, and waits until it does.
    pub(super) fn start(self) -> Result<Self> {
        write(&self.gate, b"g").context("open a container's gate")?;
        // The end comes by execve, and by the child's own.
        let _ = read(&self.told, &mut [0]).context("wait for a container's program")?;
        let lives = pidfd::try_wait(self.process.as_fd(), false).context("look at a container's process")?.is_none();
        self.fails_unless(lives)
    }

    /// Runs a further process to its end and takes what it writes.
    pub(super) fn exec(&self, pods: &Pods, command: &[String]) -> Result<()> {
        let (output, write_end) = pipe2(OFlag::O_CLOEXEC).context("make a pipe")?;
        let own = fs::File::open("/proc/self/ns/pid").context("open the own pid namespace")?;
        // Only for the children that are made until it is set back.
        setns(&self.process, CloneFlags::CLONE_NEWPID).context("enter a container's pid namespace")?;
        let cloned = clone3(0, self.group.v2(), || {
            let entered = child::enter(&self.group, self.process.as_fd(), write_end.as_fd());
            entered
                .and_then(|()| child::execute(pods, command))
                .map_or_else(|errno| errno as i32, |never| match never {})
        });
        setns(&own, CloneFlags::CLONE_NEWPID).context("leave a container's pid namespace")?;
        let (_, process) = cloned.context("clone a further process")?;
        drop(write_end);
        fs::File::from(output).read_to_end(&mut Vec::new()).context("read what a further process writes")?;
        let ending = pidfd::reap(process.as_fd()).context("reap a further process")?;
        ensure!(ending == Ending::Exited(0), "a further process ended by {ending:?}");
        Ok(())
    }

    pub(super) fn kill(&self) -> Result<()> {
        pidfd::send_signal(self.process.as_fd(), Signal::SIGKILL as i32).context("kill a container")?;
        pidfd::reap(self.process.as_fd()).context("reap a container").map(drop)
    }

    /// What is left when it has ended.
    pub(super) fn remove(self) -> Result<()> {
        self.group.remove()?;
        remove_directory(&self.directory)
    }

    fn fails_unless(self, fine: bool) -> Result<Self> {
        if fine {
            return Ok(self);
        }
        let ending = pidfd::reap(self.process.as_fd()).context("reap a container")?;
        let _ = self.remove();
        match ending {
            Ending::Exited(errno) => Err(nix::errno::Errno::from_raw(errno)).context("set up a container by hand"),
            Ending::Signaled(signal) => anyhow::bail!("a container's process was ended by signal {signal}"),
        }
    }
}

fn remove_directory(directory: &Path) -> Result<()> {
    fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))
}
