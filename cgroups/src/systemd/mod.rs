//! Scopes of systemd's: a cgroup that systemd makes, accounts for and removes, and whose inside it leaves to us
//! (`Delegate=yes`).
//!
//! systemd is asked over D-Bus, and may take its time. Who asks is therefore a process of its own, an *errand*: its end
//! of a socket becomes readable when there is an answer, and the caller's thread waits for that as it likes. A scope
//! begins with a process; the errand that starts it is that process, and stays inside until others are.
//!
//! A scope ends with its last process, and systemd forgets it whatever its end was (`CollectMode`). But it hears of that
//! by a file in the cgroup: were the cgroup removed at once, it would never hear. So it is told, and removes it.

mod bus;
mod complete;
mod name;
mod properties;
mod wire;

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    thread::sleep,
    time::Duration,
};

use loment_sys::{clone, fd, pidfd};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::LinuxResources;

pub(crate) use complete::complete;
pub(crate) use name::{Name, slice_path, unit_at};

use crate::{Error, Kind, Layout, Result, devices, v1, v2};
use bus::{Bus, Refusal, UNIT_EXISTS};
use wire::{Property, Value};

#[cfg(feature = "fuzzing")]
/// Messages of a bus, as the fuzz targets read them.
pub(crate) fn read_for_fuzzing(bytes: &[u8]) {
    let _size = bytes.first_chunk().and_then(wire::size);
    let _message = wire::parse(bytes);
}

#[cfg(feature = "fuzzing")]
/// What systemd is told of planned files, for the fuzz targets.
pub(crate) fn properties_for_fuzzing(groups: &[crate::plan::Group]) {
    let _properties = (properties::of(groups), properties::of_devices(groups, "Character devices:\n  1 mem\n"));
}

/// How often, and with what pause, a unit is started anew whose predecessor of the same name is still being forgotten.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// What systemd has been asked for. Readable (as a descriptor) when there is an answer.
#[derive(Debug)]
pub struct Errand {
    what: &'static str,
    unit: String,
    process: Process,
}

/// Keeps a fresh scope from being empty, which would end it. To be dropped when a process of its own is inside.
#[derive(Debug)]
pub struct Occupant {
    _process: Process,
}

/// The process that talks to systemd; it ends with this.
#[derive(Debug)]
struct Process {
    pidfd: OwnedFd,
    stream: UnixStream,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Who has ended meanwhile may have been reaped by somebody who reaps all.
        let _ = pidfd::send_signal(self.pidfd.as_fd(), 9);
        let _ = pidfd::reap(self.pidfd.as_fd());
    }
}

/// Whether a `cgroupsPath` has the form that means a scope: `slice:prefix:name`.
pub fn is_scope(path: &Path) -> bool {
    // One that systemd would not take is meant as a scope, too.
    !matches!(Name::parse(path), Ok(None))
}

impl Errand {
    /// Asks systemd for the scope that `path` means, with these limits; `None` when it is an ordinary path.
    ///
    /// # Errors
    /// Of kind [`io::ErrorKind::Unsupported`] where no systemd manages this machine's cgroups.
    pub fn start_scope(layout: &Layout, path: &Path, resources: Option<&LinuxResources>) -> Result<Option<Self>> {
        let Some(name) = Name::parse(path)? else { return Ok(None) };
        let description = format!("loment container {}", name.unit);
        let mut properties = vec![
            ("Description", Value::Text(description)),
            ("Slice", Value::Text(name.slice.clone())),
            ("Delegate", Value::Bool(true)),
            ("DefaultDependencies", Value::Bool(false)),
            ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
        ];
        let accounting = ["CPUAccounting", "MemoryAccounting", "TasksAccounting", "IOAccounting", "BlockIOAccounting"];
        let io = if layout.kind() == Kind::V2 { "BlockIOAccounting" } else { "IOAccounting" };
        properties.extend(accounting.into_iter().filter(|known| *known != io).map(|known| (known, Value::Bool(true))));
        if let Some(resources) = resources {
            properties.extend(limits(layout, resources, |_| None)?);
            properties.extend(device_list(layout, resources)?);
        }
        let unit = name.unit.clone();
        let start = move || {
            properties.push(("PIDs", Value::U32s(vec![std::process::id()])));
            start(&unit, &properties)
        };
        Self::send("start scope", name.unit, start).map(Some)
    }

    /// Tells systemd new limits of a scope that is there, and its list of devices only if they change; `present` is as for
    /// [`v2::plan`].
    pub(crate) fn set_limits(
        layout: &Layout,
        unit: &str,
        resources: &LinuxResources,
        present: impl Fn(&str) -> Option<String>,
        devices_change: bool,
    ) -> Result<Option<Self>> {
        let mut properties = limits(layout, resources, present)?;
        if devices_change {
            properties.extend(device_list(layout, resources)?);
        }
        if properties.is_empty() {
            return Ok(None);
        }
        let name = unit.to_owned();
        let set = move || Bus::connect()?.set_unit_properties(&name, &properties);
        Self::send("set properties of", unit.to_owned(), set).map(Some)
    }

    /// Stops a scope whose processes have gone.
    fn stop(unit: &str) -> Result<Self> {
        let name = unit.to_owned();
        Self::send("stop", unit.to_owned(), move || Bus::connect()?.stop_unit(&name))
    }

    fn send(what: &'static str, unit: String, job: impl FnOnce() -> std::result::Result<(), Refusal>) -> Result<Self> {
        // sd_booted(3)
        if !Path::new("/run/systemd/system").exists() {
            return Err(Error::unsupported(what, unit, "systemd does not run here").hint(
                "use cgroupfs: SystemdCgroup = false in containerd's options of the runtime, cgroupDriver: cgroupfs in the \
                 kubelet's, --cgroup-manager cgroupfs with podman, native.cgroupdriver=cgroupfs with docker",
            ));
        }
        let failed = |e: io::Error| Error::new(what, &unit, e);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let (_, pidfd) = clone::clone3(0, None, || run(&theirs, job)).map_err(|e| failed(e.into()))?;
        Ok(Self { what, unit, process: Process { pidfd, stream: ours } })
    }

    /// The answer; waits for it.
    pub fn finish(mut self) -> Result<Occupant> {
        let failed = |what, unit: &str, cause: io::Error| Err(Error::new(what, unit, cause));
        let mut verdict = [0];
        match self.process.stream.read(&mut verdict) {
            Ok(1) if verdict == [DONE] => Ok(Occupant { _process: self.process }),
            Ok(1) => {
                let mut reason = String::new();
                // What can be read of it says more than nothing.
                let _ = self.process.stream.read_to_string(&mut reason);
                failed(self.what, &self.unit, io::Error::other(format!("systemd: {reason}")))
            }
            Ok(_) => failed(self.what, &self.unit, io::Error::other("the process that asked systemd has ended")),
            Err(error) => failed(self.what, &self.unit, error),
        }
    }
}

impl AsFd for Errand {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.stream.as_fd()
    }
}

/// Stopping a unit, once.
#[derive(Debug, Default)]
pub(crate) enum Stop {
    #[default]
    NotAsked,
    Asked(Errand),
    Done,
}

impl Stop {
    /// Takes the next step, without waiting; true when nothing is left to do. A systemd that refuses, or that has
    /// forgotten the unit, does not keep a container from being deleted: the cgroup is removed all the same.
    pub(crate) fn step(&mut self, unit: &str) -> bool {
        let answered = |errand: &Errand| {
            poll(&mut [PollFd::new(errand.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|count| count > 0)
        };
        *self = match std::mem::take(self) {
            Self::NotAsked => Errand::stop(unit).map_or(Self::Done, Self::Asked),
            Self::Asked(errand) if !answered(&errand) => Self::Asked(errand),
            Self::Asked(_) | Self::Done => Self::Done,
        };
        matches!(self, Self::Done)
    }
}

const DONE: u8 = 0;
const FAILED: u8 = 1;

/// The errand's own life: do it, say how it went, and stay until the other end is closed.
fn run(mut stream: &UnixStream, job: impl FnOnce() -> std::result::Result<(), Refusal>) -> i32 {
    if fd::close_all_except(&[stream.as_fd()]).is_err() {
        return 1;
    }
    let said = match job() {
        Ok(()) => stream.write_all(&[DONE]),
        Err(refusal) => {
            let text = refusal.to_string();
            return stream.write_all(&[&[FAILED], text.as_bytes()].concat()).is_err().into();
        }
    };
    if said.is_ok() {
        // Nothing is ever sent: this returns when nobody is there any more.
        let _ = stream.read(&mut [0]);
    }
    0
}

/// A scope of the same name may have lost its last process a moment ago, as one attempt at a container ends and the next
/// begins. It is never stopped here: if it is alive it is somebody else's.
fn start(unit: &str, properties: &[Property]) -> std::result::Result<(), Refusal> {
    let mut bus = Bus::connect()?;
    for _ in 0..ATTEMPTS {
        match bus.start_transient_unit(unit, properties) {
            Err(Refusal::Named(name, _)) if name == UNIT_EXISTS => {
                // A unit that has not failed has nothing to be reset, and says so.
                let _ = bus.reset_failed_unit(unit);
                sleep(PAUSE);
            }
            done => return done,
        }
    }
    bus.start_transient_unit(unit, properties)
}

fn limits(
    layout: &Layout,
    resources: &LinuxResources,
    present: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Property>> {
    Ok(properties::of(&match layout.kind() {
        Kind::V2 => v2::plan(resources, present)?,
        Kind::V1 | Kind::Hybrid => v1::plan(resources, v1::Hugetlb::V1)?,
    }))
}

fn device_list(layout: &Layout, resources: &LinuxResources) -> Result<Vec<Property>> {
    match resources.devices() {
        Some(list) if !list.is_empty() && layout.kind() != Kind::V2 => {
            let names = std::fs::read_to_string("/proc/devices").unwrap_or_default();
            Ok(properties::of_devices(&devices::v1::State::of(&devices::rules(list)?)?.plan(), &names))
        }
        _ => Ok(Vec::new()),
    }
}
