//! What containerd and the shims have used of the cpus: from their cgroup, where they have one of their own, else from
//! procfs.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use loment_cgroups::Layout;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::process;

/// File of a v1 hierarchy, in nanoseconds; of all processes in the cgroup and below. Includes those that have ended.
const V1: &str = "cpuacct.usage";
/// The same of v2: a key in microseconds.
const V2: &str = "cpu.stat";

/// How cpu time is read.
#[derive(Debug)]
pub(crate) enum Meter {
    /// From cgroups: containerd's, in which shims are born, and the one that the run's pods are in.
    Cgroups(Vec<PathBuf>),
    /// From procfs.
    Processes(Processes),
}

/// containerd and the shims that it has started. The time of a shim is its own, with that of the runtimes that it has
/// reaped, until it is reaped itself: then it is a part of the time of who has reaped it.
#[derive(Debug)]
pub(crate) struct Processes {
    containerd: i32,
    /// Who reaps a shim when containerd does not: known when a pod has been seen.
    reaper: Option<i32>,
    /// Those that are not reaped yet, as far as is known.
    shims: Vec<i32>,
}

/// The times of a meter in the course of a pod's life.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Readings {
    pub(crate) begun: Duration,
    /// Before and after a look at the pod, which is no part of its life.
    pub(crate) before_look: Duration,
    pub(crate) after_look: Duration,
    pub(crate) done: Duration,
}

impl Meter {
    /// For the containerd that listens at `socket`, with pods in the cgroup `pods`.
    ///
    /// Errors: containerd cannot be seen from here, behind a pid namespace for example.
    pub(crate) fn find(socket: &Path, pods: &str) -> Result<Self> {
        let containerd = listener(socket)?;
        ensure!(containerd > 0, "containerd is in another pid namespace, which is not seen from here");
        let processes = Processes { containerd, reaper: None, shims: Vec::new() };
        Ok(cgroups(containerd, pods).unwrap_or(Self::Processes(processes)))
    }

    /// The time until now. Only differences mean something.
    pub(crate) fn read(&mut self) -> Result<Duration> {
        match self {
            Self::Cgroups(files) => files.iter().map(|file| usage(file)).sum(),
            Self::Processes(processes) => processes.read(),
        }
    }

    /// Tells the meter of a pod's shim and its parent. Answers whether readings before and after can be compared: not those
    /// around the first shim that somebody else than containerd will reap.
    pub(crate) fn sees(&mut self, shim: i32, parent: i32) -> bool {
        match self {
            Self::Cgroups(_) => true,
            Self::Processes(processes) => processes.sees(shim, parent),
        }
    }

    /// What a pod's life has cost.
    pub(crate) fn spent(&self, readings: Readings) -> Duration {
        let Readings { begun, before_look, after_look, done } = readings;
        match self {
            Self::Cgroups(_) => before_look.saturating_sub(begun) + done.saturating_sub(after_look),
            // The shim is not seen before the look, which itself takes less than a tick.
            Self::Processes(_) => done.saturating_sub(begun),
        }
    }

    /// What was read, for people.
    pub(crate) fn description(&self) -> String {
        match self {
            Self::Cgroups(files) => {
                let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                format!("from the cgroups of containerd, with its shims, and of the pods: {}", files.join(", "))
            }
            Self::Processes(Processes { containerd, reaper, .. }) => {
                let reaper = reaper.map_or_else(String::new, |reaper| format!(" and by {reaper}"));
                format!(
                    "from procfs, in steps of a clock tick, for containerd has no cgroup of its own here: containerd \
                     ({containerd}), shims, and what was reaped by it{reaper}"
                )
            }
        }
    }
}

impl Processes {
    fn read(&mut self) -> Result<Duration> {
        let containerd = process::times(self.containerd)?;
        let mut total = containerd.own + containerd.reaped;
        if let Some(reaper) = self.reaper {
            total += process::times(reaper)?.reaped;
        }
        self.shims.retain(|shim| match process::times(*shim) {
            Ok(times) => {
                total += times.own + times.reaped;
                true
            }
            // It has been reaped, and is in what its reaper has.
            Err(_) => false,
        });
        Ok(total)
    }

    fn sees(&mut self, shim: i32, parent: i32) -> bool {
        if !self.shims.contains(&shim) {
            self.shims.push(shim);
        }
        let reaper = (parent != self.containerd).then_some(parent);
        let is_known = reaper == self.reaper;
        self.reaper = reaper;
        is_known
    }
}

/// Who listens at a socket: the process that called listen(2), as it is seen from here. unix(7), `SO_PEERCRED`
fn listener(socket: &Path) -> Result<i32> {
    let stream = UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    Ok(getsockopt(&stream, PeerCredentials).context("ask who listens there")?.pid())
}

/// The files to read when containerd has a cgroup that this program is not in.
fn cgroups(containerd: i32, pods: &str) -> Option<Meter> {
    let layout = Layout::detect().ok()?;
    let v1 = layout.mount_points().find(|mount| mount.join(V1).is_file());
    let v2 = layout.mount_points().find(|mount| mount.join("cgroup.controllers").is_file());
    let (mount, controller, name) = v1.map(|mount| (mount, "cpuacct", V1)).or(v2.map(|mount| (mount, "", V2)))?;
    let place = |pid: &str| place(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?, controller);
    let (theirs, own) = (place(&containerd.to_string())?, place("self")?);
    if !is_apart(&theirs, &own) {
        return None;
    }
    let directory = mount.join(theirs.trim_start_matches('/'));
    let inside = fs::read_to_string(directory.join("cgroup.procs")).ok()?;
    if !inside.lines().any(|line| line.parse() == Ok(containerd)) {
        return None;
    }
    let mut files = vec![directory.join(name)];
    // It may not be there yet; a new cgroup has used nothing.
    if is_apart(&theirs, pods) {
        files.push(mount.join(pods.trim_start_matches('/')).join(name));
    }
    Some(Meter::Cgroups(files))
}

/// Whether the cgroup `other` is neither `cgroup` nor below it, and `cgroup` can be told from everything else.
fn is_apart(cgroup: &str, other: &str) -> bool {
    cgroup != "/" && !Path::new(other).starts_with(cgroup)
}

/// The cgroup of a process in the hierarchy of a v1 controller, or of v2 for an empty one. cgroups(7)
fn place(cgroup: &str, controller: &str) -> Option<String> {
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then(|| path.to_owned())
    })
}

fn usage(file: &Path) -> Result<Duration> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Duration::ZERO),
        Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
    };
    parse_usage(&text).with_context(|| format!("parse {}", file.display()))
}

fn parse_usage(text: &str) -> Option<Duration> {
    let v2 = process::field(text, "usage_usec").map(Duration::from_micros);
    v2.or_else(|| text.trim().parse().ok().map(Duration::from_nanos))
}

#[cfg(test)]
mod tests {
    use std::{
        os::fd::AsFd as _,
        process::{Child, Command},
    };

    use super::*;

    #[test]
    fn a_cgroup_counts_when_it_can_be_told_from_that_of_the_bench_itself() {
        assert!(is_apart("/system.slice/containerd.service", "/user.slice"));
        assert!(is_apart("/containerd", "/containerd-bench"));
        assert!(!is_apart("/", "/user.slice"));
        assert!(!is_apart("/lab", "/lab"));
        assert!(!is_apart("/lab", "/lab/pods"));
    }

    #[test]
    fn the_place_of_a_process_is_that_of_the_controller() {
        let text = "3:cpuset:/a\n2:cpu,cpuacct:/b:c\n0::/d\n";
        assert_eq!(place(text, "cpuacct").as_deref(), Some("/b:c"));
        assert_eq!(place(text, "").as_deref(), Some("/d"));
        assert_eq!(place(text, "memory"), None);
    }

    #[test]
    fn both_versions_of_cgroups_are_read() {
        assert_eq!(parse_usage("1234567\n"), Some(Duration::from_nanos(1_234_567)));
        assert_eq!(parse_usage("usage_usec 1500\nuser_usec 1000\n"), Some(Duration::from_micros(1500)));
        assert_eq!(parse_usage("nothing"), None);
    }

    /// A child that does not outlive its test.
    struct Guarded(Child);

    impl Guarded {
        fn run(program: &str, arguments: &[&str]) -> Self {
            Self(Command::new(program).args(arguments).spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            i32::try_from(self.0.id()).unwrap()
        }
    }

    impl Drop for Guarded {
        fn drop(&mut self) {
            // It may have ended, and been waited for.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn the_time_of_a_shim_counts_once_whether_it_is_reaped_or_not() {
        // One that does nothing stands for containerd, and this process for who reaps shims.
        let containerd = Guarded::run("sleep", &["600"]);
        let mut shim = Guarded::run("sh", &["-c", "while :; do :; done"]);
        let pid = shim.pid();
        let mut processes = Processes { containerd: containerd.pid(), reaper: None, shims: Vec::new() };
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(!processes.sees(pid, own), "readings around a new reaper cannot be compared");
        assert!(processes.sees(pid, own));
        // Much more than what is lost when each of several numbers is rounded to a tick.
        let tick = process::tick();
        while process::times(pid).unwrap().own < 20 * tick {
            std::thread::sleep(tick);
        }
        shim.0.kill().unwrap();
        // When its pidfd says so it has ended, and is not reaped.
        let process = loment_sys::pidfd::open(pid).unwrap();
        let mut ended = [nix::poll::PollFd::new(process.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut ended, nix::poll::PollTimeout::NONE).unwrap();
        let used = process::times(pid).unwrap().own;
        let dead = processes.read().unwrap();
        shim.0.wait().unwrap();
        let reaped = processes.read().unwrap();
        assert!(dead >= used, "{used:?} {dead:?}");
        // Neither lost nor twice there.
        assert!(reaped.abs_diff(dead) < used / 2, "{used:?} {dead:?} {reaped:?}");
    }

    #[test]
    fn the_listener_of_a_socket_is_the_process_that_listens() {
        let path = std::env::temp_dir().join(format!("loment-bench-listener-{}", std::process::id()));
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let found = listener(&path);
        drop(socket);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found.unwrap(), i32::try_from(std::process::id()).unwrap());
    }
}
