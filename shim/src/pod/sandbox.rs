//! The sandbox of a pod that the shim runs: its holder may be lost, and is made again in its place. The network stays: it
//! belongs to whoever made it, and to CNI.

use std::{
    net::IpAddr,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use loment_sandbox::{lifecycle::Event, network::Network, process::Exit};
use oci_spec::runtime::Spec;

use super::host::Host;
use crate::{
    failure::{Failure, Result},
    task::Task,
};

/// The sandbox as the host knows it.
#[derive(Default)]
pub(super) struct Sandbox {
    task: OnceLock<Arc<Task>>,
    /// Opened when it is first asked for.
    network: Mutex<Option<Arc<Network>>>,
    /// How the holder ended that was lost, as long as there is no other.
    lost: Mutex<Option<Exit>>,
    /// The pids of holders that were lost: by them clients, and specifications, go on to name the pod's namespaces.
    former: Mutex<Vec<i32>>,
}

impl Host {
    /// The sandbox's task is this one.
    pub(crate) fn has_sandbox(&self, task: &Arc<Task>) {
        // A pod has one.
        let _second = self.sandbox.task.set(Arc::clone(task));
    }

    /// The pod has no holder, and its network is this one.
    pub(crate) fn has_network(&self, network: Network) {
        *crate::lock(&self.sandbox.network) = Some(Arc::new(network));
    }

    /// The pod's network is given back.
    pub(crate) fn leaves_network(&self) {
        *crate::lock(&self.sandbox.network) = None;
    }

    fn sandbox_task(&self) -> Option<&Arc<Task>> {
        self.sandbox.task.get()
    }

    /// Pid of the holder, 0 while there is none.
    pub(crate) fn sandbox_pid(&self) -> i32 {
        self.sandbox_task().filter(|task| !task.has_ended()).map_or(0, |task| task.pid())
    }

    /// The pod's network.
    pub(super) fn network(&self) -> Result<Arc<Network>> {
        if let Some(network) = &*crate::lock(&self.sandbox.network) {
            return Ok(Arc::clone(network));
        }
        let pid = self.sandbox_pid();
        if pid == 0 {
            return Err(Failure::precondition("enter the pod's network: its sandbox is gone"));
        }
        let network = Arc::new(Network::of(pid)?);
        *crate::lock(&self.sandbox.network) = Some(Arc::clone(&network));
        Ok(network)
    }

    /// By which process the pod's network is found, and where.
    pub(crate) fn network_at(&self) -> Option<(i32, String)> {
        let holder = self.sandbox_pid();
        if holder > 0 {
            return Some((holder, format!("/proc/{holder}/ns/net")));
        }
        let (network, shim) = (crate::lock(&self.sandbox.network).clone()?, std::process::id());
        let name = network.namespace().map_or("ns/net".to_owned(), |pin| format!("fd/{}", pin.as_raw_fd()));
        Some((shim.cast_signed(), format!("/proc/{shim}/{name}")))
    }

    /// The pod's own address.
    pub(crate) fn address(&self) -> Result<IpAddr> {
        Ok(self.network()?.address()?)
    }

    /// The holder has ended. Whether that is nobody's business yet: the pod goes on in a new sandbox, or what is left of it
    /// can still be asked for, which ends when containerd hears of it. `asked`: a client has asked for the end.
    pub(crate) fn loses_sandbox(&self, exit: Exit, asked: bool) -> bool {
        if asked {
            return false;
        }
        log::warn!(
            "pod: the holder of its namespaces has ended with code {}, and nobody has asked for that",
            exit.code
        );
        *crate::lock(&self.sandbox.lost) = Some(exit);
        self.tell(Event::SandboxLost);
        true
    }

    /// Tells the end of a holder that was lost: a client wants it.
    pub(crate) fn give_up_sandbox(&self) {
        let lost = crate::lock(&self.sandbox.lost).take();
        if let (Some(exit), Some(task)) = (lost, self.sandbox_task()) {
            task.finish(exit);
        }
    }

    /// There is a holder in the place of the one with this pid.
    pub(crate) fn has_lost_holder(&self, pid: i32) {
        crate::lock(&self.sandbox.former).push(pid);
    }

    /// Names the holder that there is now where a specification names one that was before it.
    pub(crate) fn lead_to_holder(&self, spec: &mut Spec) {
        let former = crate::lock(&self.sandbox.former);
        let present = self.sandbox_pid();
        if former.is_empty() || present == 0 {
            return;
        }
        let namespaces = spec.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut());
        for namespace in namespaces.into_iter().flatten() {
            if let Some(path) = namespace.path().as_deref().and_then(|path| redirected(path, &former, present)) {
                namespace.set_path(Some(path));
            }
        }
    }

    /// Makes the holder again: new namespaces where the pod's own were, in the same cgroup and network, with the same name
    /// and parameters.
    pub(super) async fn renew_sandbox(self: Arc<Self>) -> Event {
        let Some(task) = self.sandbox_task() else {
            return Event::SandboxFailed { message: "the pod has no sandbox".into() };
        };
        match task.renew_holder().await {
            Ok(()) => {
                *crate::lock(&self.sandbox.lost) = None;
                Event::SandboxReady
            }
            Err(failure) => Event::SandboxFailed { message: failure.message },
        }
    }
}

/// `/proc/<pid>/ns/<kind>` of one of the `former` processes, as that of the `present` one.
fn redirected(path: &Path, former: &[i32], present: i32) -> Option<PathBuf> {
    let (pid, kind) = path.to_str()?.strip_prefix("/proc/")?.split_once("/ns/")?;
    former.contains(&pid.parse().ok()?).then(|| PathBuf::from(format!("/proc/{present}/ns/{kind}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_of_a_holder_that_was_lost_is_one_of_the_present_holder() {
        let led = |path: &str| redirected(path.as_ref(), &[41, 42], 43).map(|path| path.display().to_string());
        assert_eq!(led("/proc/42/ns/ipc").as_deref(), Some("/proc/43/ns/ipc"));
        assert_eq!(led("/proc/41/ns/net").as_deref(), Some("/proc/43/ns/net"));
        assert_eq!(led("/proc/7/ns/ipc"), None);
        assert_eq!(led("/var/run/netns/cni-42"), None);
        assert_eq!(led("/proc/self/ns/net"), None);
    }
}
