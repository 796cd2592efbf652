//! One cgroup in all hierarchies.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::fcntl::OFlag;
use oci_spec::runtime::LinuxResources;

use crate::{
    Entry, Error, Result, Stats, TasksFile,
    controller::Controller,
    create, devices,
    dir::{Dir, open_dir_at},
    freeze, kill,
    layout::Layout,
    nested, occupants,
    oom::{self, OomWatch},
    path, plan, procs, remove, reset,
    stats::{self, usage::Part},
    systemd::{self, Errand, Name, Stop},
    v1, v2,
};

/// How long [`Cgroup::freeze`] waits.
const FREEZE_PATIENCE: Duration = Duration::from_secs(2);

/// How long [`Cgroup::reset`] waits.
const RESET_PATIENCE: Duration = Duration::from_secs(1);

/// How long [`Cgroup::remove`] waits for systemd.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// One cgroup: a directory per v1 hierarchy, or one directory on v2.
///
/// On hybrid a directory in the v2 hierarchy is made only when a huge page limit asks for it: entering it costs as much
/// as all v1 hierarchies together. Named v1 hierarchies are entered like the others: systemd takes a process that
/// stays in the one named after it for a part of containerd's service, and ends it with that.
#[derive(Debug)]
pub struct Cgroup {
    layout: Layout,
    path: PathBuf,
    /// The unit, when systemd has made the cgroup.
    unit: Option<String>,
    /// How far stopping the unit is.
    stop: Mutex<Stop>,
    /// In the order of the layout's hierarchies; `None` where the cgroup is gone.
    v1: Vec<Option<Dir>>,
    /// On v2 only: hybrid's is looked up when it is needed.
    v2: Option<Dir>,
    /// Made by [`Cgroup::create`], in every hierarchy.
    is_fresh: bool,
}

impl Cgroup {
    /// Makes the cgroup (and its parents) in every hierarchy. One that exists is taken over: a restarted container
    /// keeps its cgroup. On error nothing new is left behind.
    ///
    /// A path of systemd's form is that of a scope which [`Errand::start_scope`] has started: what systemd has not made
    /// of it, in hierarchies that it does not use, is made here.
    pub fn create(layout: &Layout, path: &Path) -> Result<Self> {
        Self::create_checked(layout, path, |_| Ok(()))
    }

    /// [`Cgroup::create`] for a container, whose processes are to be alone in it.
    ///
    /// # Errors
    /// Of kind [`io::ErrorKind::ResourceBusy`]: it was there before, with processes in it, or frozen, so that whoever is born
    /// in it stands still. A scope is systemd's to refuse.
    pub fn claim(layout: &Layout, path: &Path) -> Result<Self> {
        Self::create_checked(layout, path, |found| match &found.unit {
            Some(_) => Ok(()),
            None => found.refuse_what_is_anothers(),
        })
    }

    fn create_checked(layout: &Layout, path: &Path, check: impl FnOnce(&Self) -> Result<()>) -> Result<Self> {
        let (relative, unit) = Self::place(path)?;
        if unit.is_some() && Self::open_relative(layout, relative.clone())?.directories().next().is_none() {
            return Err(Error::unsupported("create cgroup", path.display(), "systemd has not made this scope"));
        }
        create::create(layout, &relative, |is_fresh| {
            let cgroup = Self { unit, is_fresh, ..Self::open_relative(layout, relative.clone())? };
            if !is_fresh {
                check(&cgroup)?;
            }
            Ok(cgroup)
        })
    }

    fn refuse_what_is_anothers(&self) -> Result<()> {
        const CHOOSE: &str = "two containers have one linux.cgroupsPath: give each its own";
        let refuse = |why: String, hint| {
            let cause = io::Error::new(io::ErrorKind::ResourceBusy, why);
            Err(Error::new("create cgroup", self.path.display(), cause).hint(hint))
        };
        match self.pids()?.as_slice() {
            [] if self.is_frozen()? => refuse("it is there already, frozen".to_owned(), "thaw it, or remove it"),
            [] => Ok(()),
            pids => {
                let who = self.describe_occupants().unwrap_or_else(|| format!("{} processes are in it", pids.len()));
                refuse(who, CHOOSE)
            }
        }
    }

    /// Whether it was made for who holds this, by [`Cgroup::create`] or by systemd: whoever is in it came after that.
    pub fn is_own(&self) -> bool {
        self.is_fresh || self.unit.is_some()
    }

    /// What `path` means: where the cgroup is, and the name of its unit if it is systemd's.
    fn place(path: &Path) -> Result<(PathBuf, Option<String>)> {
        match Name::parse(path)? {
            Some(name) => Ok((name.path(), Some(name.unit))),
            None => Ok((path::below_root(path)?, None)),
        }
    }

    /// Where the cgroup of a `path` is, below each hierarchy's mount point: what [`Cgroup::path`] will be. A path that
    /// cannot be one is an error of kind [`io::ErrorKind::InvalidInput`].
    pub fn path_of(path: &Path) -> Result<PathBuf> {
        Self::place(path).map(|(relative, _)| relative)
    }

    /// The cgroup at `path`, which may be gone already in some or all hierarchies.
    pub fn open(layout: &Layout, path: &Path) -> Result<Self> {
        let (relative, unit) = Self::place(path)?;
        let unit = unit.or_else(|| systemd::unit_at(&relative));
        Ok(Self { unit, ..Self::open_relative(layout, relative)? })
    }

    fn open_relative(layout: &Layout, path: PathBuf) -> Result<Self> {
        let open = |root: &Dir| {
            Dir::open_below(root, &path).map_err(|e| Error::new("open cgroup", root.path().join(&path).display(), e))
        };
        let v1 = layout.v1().iter().map(|h| open(&h.root)).collect::<Result<Vec<_>>>()?;
        let v2 = match layout.v2() {
            Some(root) if layout.v1().is_empty() => open(root)?,
            _ => None,
        };
        Ok(Self { layout: layout.clone(), v1, v2, path, unit: None, stop: Mutex::default(), is_fresh: false })
    }

    /// Tells systemd of new limits, if the cgroup is one of its scopes: to be done before [`Cgroup::update`]. A quota without a
    /// period, and a period without a quota, get the present one first: systemd rounds the two.
    pub fn tell_systemd(&self, resources: &mut LinuxResources) -> Result<Option<Errand>> {
        let Some(unit) = &self.unit else { return Ok(None) };
        systemd::complete(resources, |file| self.present(file));
        let devices_change = match resources.devices() {
            Some(list) if !list.is_empty() => self.would_change_devices(&devices::rules(list)?)?,
            _ => false,
        };
        Errand::set_limits(&self.layout, unit, resources, |file| self.present(file), devices_change)
    }

    /// The content of a controller's file.
    fn present(&self, file: &str) -> Option<String> {
        let (controller, _) = file.split_once('.')?;
        self.dir(Controller::from_name(controller)?)?.read_string(file).ok()?
    }

    /// Path below each hierarchy's mount point: the specification's `cgroupsPath` without a leading slash.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its directory in each hierarchy of [`Layout::mount_points`] in which it exists.
    pub fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let unified = self.unified().ok().flatten().map(|dir| dir.path().to_owned());
        let v1 = self.v1.iter().flatten().map(|dir| dir.path().to_owned());
        v1.chain(unified)
    }

    /// Sets limits before the first process enters. What is not given stays as it is.
    ///
    /// A value of 0 for shares, quota, period, weights, pids and memory means "not given", a negative one "no limit",
    /// as with every other runtime. What this layout cannot do is an error of kind [`io::ErrorKind::Unsupported`],
    /// except for kernel memory limits, which the kernel has dropped.
    pub fn apply(&self, resources: &LinuxResources) -> Result<()> {
        self.apply_all(resources, false)
    }

    /// [`Cgroup::apply`] for a container that is being made: where nothing is said about devices, it gets those that
    /// the specification promises to every container, and no others.
    pub fn confine(&self, resources: &LinuxResources) -> Result<()> {
        self.apply_limits(resources)?;
        self.restrict_devices(Some(resources))
    }

    /// [`Cgroup::apply`] while processes run: when the kernel refuses a value, those that were written before it are
    /// put back, so that the limits are all old or all new.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        self.apply_all(resources, true)
    }

    /// [`Cgroup::apply`] without the device rules.
    pub fn apply_limits(&self, resources: &LinuxResources) -> Result<()> {
        self.set(resources, false, || Ok(()))
    }

    fn apply_all(&self, resources: &LinuxResources, all_or_none: bool) -> Result<()> {
        let devices = match resources.devices() {
            Some(list) if !list.is_empty() => Some(self.device_control(&devices::rules(list)?)?),
            _ => None,
        };
        self.set(resources, all_or_none, || devices.map_or(Ok(()), |control| self.change_devices(&control)))
    }

    fn set(&self, resources: &LinuxResources, all_or_none: bool, last: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.process_dir().is_none() {
            return Err(self.nowhere());
        }
        if let Some(memory) = resources.memory()
            && memory.check_before_update() == Some(true)
        {
            self.check_memory_fits(memory.limit())?;
        }
        let groups = match &self.v2 {
            Some(_) => v2::plan(resources, |file| self.present(file))?,
            None => v1::plan(resources, self.hugetlb_files())?,
        };
        let hybrid = match resources.hugepage_limits() {
            Some(limits) if !limits.is_empty() => self.hugetlb_directory()?,
            _ => None,
        };
        let dir_of = |controller| match (controller, &hybrid) {
            (Controller::Hugetlb, Some(dir)) => Some(dir),
            _ => self.dir(controller),
        };
        match all_or_none {
            true => plan::run_whole(&groups, dir_of, last),
            false => plan::run(&groups, dir_of).and_then(|()| last()),
        }
    }

    /// Sets the device rules of a container to be. Without any only the devices of every container are allowed, not
    /// all that the parent allows.
    pub fn restrict_devices(&self, resources: Option<&LinuxResources>) -> Result<()> {
        let list = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
        // Where there is no such controller, who says nothing of devices is not refused for it.
        if list.is_empty() && self.dir(Controller::Devices).is_none() {
            return Ok(());
        }
        self.set_devices(&devices::rules(list)?)
    }

    /// Allows all devices that the parent allows, as for a cgroup that has just been made.
    pub fn allow_devices(&self) -> Result<()> {
        self.set_devices(&devices::Rules { allow_by_default: true, rules: Vec::new() })
    }

    /// In a cgroup that has just been made there is nobody whom a moment without devices could harm, and what is there need
    /// not be looked at.
    fn set_devices(&self, rules: &devices::Rules) -> Result<()> {
        match self.device_control(rules)? {
            Control::V1(state) if self.is_fresh => plan::run(&state.plan(), |controller| self.dir(controller)),
            control => self.change_devices(&control),
        }
    }

    /// What the rules come to; what cannot be had is an error before anything is changed.
    fn device_control(&self, rules: &devices::Rules) -> Result<Control> {
        match &self.v2 {
            Some(_) => Ok(Control::V2(rules.clone())),
            None => devices::v1::State::of(rules).map(Control::V1),
        }
    }

    fn would_change_devices(&self, rules: &devices::Rules) -> Result<bool> {
        Ok(match self.device_control(rules)? {
            Control::V1(wanted) => self.device_state().is_none_or(|present| !wanted.plan_from(&present).is_empty()),
            Control::V2(_) => true,
        })
    }

    /// Changes what differs; on error nothing.
    fn change_devices(&self, control: &Control) -> Result<()> {
        let wanted = match (control, &self.v2) {
            (Control::V2(rules), Some(dir)) => return devices::v2::apply(dir, rules),
            (Control::V2(_), None) => return Err(self.nowhere()),
            (Control::V1(wanted), _) => wanted,
        };
        let Some(present) = self.device_state() else {
            return plan::run(&wanted.plan(), |controller| self.dir(controller));
        };
        plan::run(&wanted.plan_from(&present), |controller| self.dir(controller)).inspect_err(|_| {
            if let Some(now) = self.device_state() {
                // The error that is told is the first one.
                let _ = plan::run(&present.plan_from(&now), |controller| self.dir(controller));
            }
        })
    }

    /// v1: what the kernel shows of the device rules in force.
    fn device_state(&self) -> Option<devices::v1::State> {
        let list = self.dir(Controller::Devices)?.read_string("devices.list").ok()??;
        devices::v1::State::parse(&list)
    }

    /// `checkBeforeUpdate`: a limit below what is in use would kill on v2.
    fn check_memory_fits(&self, limit: Option<i64>) -> Result<()> {
        let (Some(dir), Some(limit)) = (self.dir(Controller::Memory), limit.and_then(|l| u64::try_from(l).ok())) else {
            return Ok(());
        };
        let file = if self.v2.is_some() { "memory.current" } else { "memory.usage_in_bytes" };
        let text = dir.read_string(file).map_err(|e| Error::new("read", dir.join(file).display(), e))?;
        let usage = text.map_or(0, |text| stats::parse::number(&text));
        if limit != 0 && usage > limit {
            let why = format!("{usage} bytes are in use");
            return Err(Error::invalid(&format!("set memory limit {limit} of"), dir.path().display(), why)
                .hint("checkBeforeUpdate is set: free memory or raise the limit"));
        }
        Ok(())
    }

    fn hugetlb_files(&self) -> v1::Hugetlb {
        match self.layout.v1_index(Controller::Hugetlb) {
            None if self.layout.v2().is_some() => v1::Hugetlb::V2,
            _ => v1::Hugetlb::V1,
        }
    }

    /// Hybrid: the v2 directory with huge page limits, made if there is none. A process that is in the cgroup already
    /// would stay outside of it.
    fn hugetlb_directory(&self) -> Result<Option<Dir>> {
        let root = match self.layout.v2() {
            Some(root) if self.v2.is_none() && self.hugetlb_files() == v1::Hugetlb::V2 => root,
            _ => return Ok(None),
        };
        if self.unified()?.is_none() && !self.pids()?.is_empty() {
            let why = "its processes were started without huge page limits";
            return Err(Error::unsupported("limit huge pages of", self.path.display(), why)
                .hint("give the limits when the container is created"));
        }
        create::create_in_v2(root, &self.path, Controller::Hugetlb)?;
        self.unified()
    }

    /// What a new process needs to be born in, or to put itself into, this cgroup.
    pub fn entry(&self) -> Result<Entry> {
        match &self.v2 {
            Some(dir) => Ok(Entry::Into(own(dir)?)),
            None => self.entry_with(self.unified()?.as_ref()),
        }
    }

    /// [`Cgroup::entry`] for another process of a container that has handed controllers of v2 down to cgroups below its own:
    /// then no process can be in that itself, and clone3(2) says EBUSY. It comes to be where `neighbour` is, a process of
    /// the container.
    ///
    /// A pid may have passed to another process: the caller has to look, after this, whether `neighbour` has ended.
    ///
    /// # Errors
    /// `neighbour` is not in the cgroup or below it.
    pub fn entry_beside(&self, neighbour: i32) -> Result<Entry> {
        let file = format!("/proc/{neighbour}/cgroup");
        let text = fs::read_to_string(&file).map_err(|e| Error::new("read", &file, e))?;
        let place = nested::place(&text, &self.path).ok_or_else(|| {
            Error::unsupported("enter", self.path.display(), format!("process {neighbour} is not in it")).hint(
                "it hands controllers down, so that only cgroups below it can have processes: move the first one there",
            )
        })?;
        let gone = || Error::new("open cgroup", place.display(), io::Error::from(io::ErrorKind::NotFound));
        let root = self.layout.v2().ok_or_else(gone)?;
        let dir = Dir::open_below(root, &place).map_err(|e| Error::new("open cgroup", place.display(), e))?;
        let dir = dir.ok_or_else(gone)?;
        if self.v2.is_some() { Ok(Entry::Into(own(&dir)?)) } else { self.entry_with(Some(&dir)) }
    }

    /// The entry into v1's hierarchies, and on hybrid into a directory of v2.
    fn entry_with(&self, unified: Option<&Dir>) -> Result<Entry> {
        let mut tasks = Vec::with_capacity(self.v1.len());
        for (dir, hierarchy) in self.v1.iter().zip(self.layout.v1()) {
            let dir = dir.as_ref().ok_or_else(|| self.gone(&hierarchy.root))?;
            let path = dir.join("tasks");
            let fd = dir.open("tasks", OFlag::O_WRONLY).map_err(|e| Error::new("open", path.display(), e))?;
            tasks.push(TasksFile { fd, path });
        }
        match unified {
            Some(dir) => Ok(Entry::Both(own(dir)?, tasks)),
            None if tasks.is_empty() => Err(self.nowhere()),
            None => Ok(Entry::Tasks(tasks)),
        }
    }

    /// All processes in this cgroup and below, each once, ascending. Processes that cannot be seen from the caller's
    /// pid namespace are left out. Empty when the cgroup is gone.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let Some(dir) = self.process_dir() else { return Ok(Vec::new()) };
        procs::pids(dir.as_fd()).map_err(|e| Error::new("list processes of", dir.path().display(), e))
    }

    /// Stops every process and returns when the kernel says that all are stopped. After two seconds it lets them run
    /// again and fails.
    pub fn freeze(&self) -> Result<()> {
        let failed = |dir: &Dir, e| {
            Error::new("freeze", dir.path().display(), e)
                .hint("a task that waits in the kernel cannot be stopped; try again when its I/O is done")
        };
        self.refuse_own("freeze")?;
        match self.freezer()? {
            Freezer::V1(dir) => freeze::freeze_v1(dir, FREEZE_PATIENCE).map_err(|e| failed(dir, e)),
            Freezer::V2(dir) => freeze::freeze_v2(dir, FREEZE_PATIENCE).map_err(|e| failed(dir, e)),
        }
    }

    /// The directory of the hierarchy in which its processes are stopped.
    pub fn freezer_directory(&self) -> Result<PathBuf> {
        Ok(match self.freezer()? {
            Freezer::V1(dir) | Freezer::V2(dir) => dir.path().to_owned(),
        })
    }

    /// Lets frozen processes run again.
    pub fn thaw(&self) -> Result<()> {
        let (dir, done) = match self.freezer()? {
            Freezer::V1(dir) => (dir, freeze::thaw_v1(dir)),
            Freezer::V2(dir) => (dir, freeze::thaw_v2(dir)),
        };
        done.map_err(|e| Error::new("thaw", dir.path().display(), e))
    }

    /// Whether its processes are stopped: by [`Cgroup::freeze`], or together with a cgroup above. False without a freezer
    /// and when the cgroup is gone.
    pub fn is_frozen(&self) -> Result<bool> {
        let (dir, frozen) = match self.freezer() {
            Ok(Freezer::V1(dir)) => (dir, freeze::is_frozen_v1(dir)),
            Ok(Freezer::V2(dir)) => (dir, freeze::is_frozen_v2(dir)),
            Err(_) => return Ok(false),
        };
        frozen.map_err(|e| Error::new("read the freezer of", dir.path().display(), e))
    }

    /// Kills every process in this cgroup and below with SIGKILL, frozen ones too, and forks that race it. The
    /// processes may still be dying when it returns. A cgroup that is gone has none.
    pub fn kill(&self) -> Result<()> {
        let Some(dir) = self.process_dir() else { return Ok(()) };
        self.refuse_own("kill all processes of")?;
        let failed = |e| Error::new("kill all processes of", dir.path().display(), e);
        if self.v2.is_some() {
            match dir.write("cgroup.kill", "1") {
                // Before Linux 5.14; or the cgroup has just been removed, which the other way finds out as well.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                done => return done.map_err(failed),
            }
        }
        kill::kill_all(&KillTarget { dir, freezer: self.freezer().ok() }).map_err(failed)
    }

    /// Makes it ready for the next processes when the last ones have been killed: removes the cgroups that they have made below
    /// it, hands no controllers down any more, and lets processes run. What it has counted and its limits stay. Does not wait:
    /// false while a process is still in it. One that is gone is ready.
    pub fn try_reset(&self) -> Result<bool> {
        let failed = |dir: &Dir| {
            let path = dir.path().display().to_string();
            move |e| Error::new("make ready for the next attempt", path, e)
        };
        let unified = if self.v2.is_none() { self.unified()? } else { None };
        for dir in self.v1.iter().flatten().chain(&self.v2).chain(&unified) {
            if !reset::empty(dir).map_err(failed(dir))? {
                return Ok(false);
            }
        }
        if let Some(dir) = self.v2.as_ref().or(unified.as_ref()) {
            reset::open(dir).map_err(failed(dir))?;
        }
        Ok(self.pids()?.is_empty())
    }

    /// [`Cgroup::try_reset`] that waits, for a bounded time (1 s), for processes that are dying.
    pub fn reset(&self) -> Result<()> {
        let deadline = Instant::now() + RESET_PATIENCE;
        while !self.try_reset()? {
            if Instant::now() >= deadline {
                let occupants = self.describe_occupants().unwrap_or_else(|| "a process is still in it".to_owned());
                let cause = io::Error::new(io::ErrorKind::ResourceBusy, occupants);
                return Err(Error::new("make ready for the next attempt", self.path.display(), cause));
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Usage and limits, as the kernel accounts them now. A controller that is not there is left out; a cgroup that is
    /// gone is an error of kind [`io::ErrorKind::NotFound`].
    pub fn stats(&self) -> Result<Stats> {
        let present = self.process_dir().ok_or_else(|| self.nowhere())?;
        // The descriptor outlives the cgroup: without files in it there is nothing left to account.
        present.open("cgroup.procs", OFlag::O_PATH).map_err(|_| self.nowhere())?;
        match &self.v2 {
            Some(dir) => stats::read_v2::read(dir),
            None => stats::read_v1::read(|controller| self.dir(controller)),
        }
        .map_err(|e| Error::new("read statistics of", present.path().display(), e))
    }

    /// A part of the statistics in one set of units on every layout. A cgroup that is gone is an error of kind
    /// [`io::ErrorKind::NotFound`].
    pub fn usage(&self) -> Result<stats::Usage> {
        self.read_usage(Part::Whole)
    }

    /// Of [`Cgroup::usage`] what [`stats::Usage::add_lasting`] takes, from a third of the files: for a cgroup that is about
    /// to be removed.
    pub fn lasting_usage(&self) -> Result<stats::Usage> {
        self.read_usage(Part::Lasting)
    }

    fn read_usage(&self, part: Part) -> Result<stats::Usage> {
        let present = self.process_dir().ok_or_else(|| self.nowhere())?;
        present.open("cgroup.procs", OFlag::O_PATH).map_err(|_| self.nowhere())?;
        match &self.v2 {
            Some(dir) => stats::usage::read_v2(dir, part),
            None => {
                let unified = if part == Part::Whole { self.unified()? } else { None };
                stats::usage::read_v1(|controller| self.dir(controller), unified.as_ref(), part)
            }
        }
        .map_err(|e| Error::new("read usage of", present.path().display(), e))
    }

    /// How many processes the kernel has killed here and below for want of memory. A cgroup that is gone is an error of
    /// kind [`io::ErrorKind::NotFound`]: what it had counted is not known any more.
    pub fn oom_kills(&self) -> Result<u64> {
        let (dir, kills) = match (&self.v2, self.dir(Controller::Memory)) {
            (Some(dir), _) => (dir, oom::kills_v2(dir)),
            (None, Some(dir)) => (dir, oom::kills_v1(dir)),
            (None, None) => return Err(self.no_memory_controller()),
        };
        match kills.map_err(|e| Error::new("count out-of-memory kills of", dir.path().display(), e))? {
            Some(kills) => Ok(kills),
            // It may be on its way out: a count that is gone is not a count of none.
            None if self.is_removed(dir)? => Err(self.nowhere()),
            // Without a memory controller nothing is killed on its account.
            None => Ok(0),
        }
    }

    fn is_removed(&self, dir: &Dir) -> Result<bool> {
        dir.is_removed().map_err(|e| Error::new("list", dir.path().display(), e))
    }

    /// The slice around a scope of systemd's on cgroup v2: it has counted the memory kills of scopes that systemd has
    /// removed, too. `None` for every other cgroup, and where the slice is the root, which counts nothing.
    pub fn slice(&self) -> Result<Option<Self>> {
        match (&self.unit, &self.v2) {
            (Some(_), Some(_)) => self.parent(),
            _ => Ok(None),
        }
    }

    /// Of [`Cgroup::oom_kills`], those in this very cgroup: the others were in cgroups that the container has made.
    pub fn own_oom_kills(&self) -> Result<u64> {
        let (dir, kills) = match (&self.v2, self.dir(Controller::Memory)) {
            (Some(dir), _) => (dir, oom::own_kills(dir, "memory.events.local")),
            (None, Some(dir)) => (dir, oom::own_kills(dir, "memory.oom_control")),
            (None, None) => return Err(self.no_memory_controller()),
        };
        kills.map_err(|e| Error::new("count out-of-memory kills of", dir.path().display(), e))
    }

    /// A descriptor that becomes readable when the count of [`Cgroup::oom_kills`] may have changed.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        let (dir, watch) = match (&self.v2, self.dir(Controller::Memory)) {
            (Some(dir), _) => (dir, OomWatch::v2(dir)),
            (None, Some(dir)) => (dir, OomWatch::v1(dir)),
            (None, None) => return Err(self.no_memory_controller()),
        };
        watch.map_err(|e| Error::new("watch for lack of memory in", dir.path().display(), e))
    }

    /// Removes the cgroup and those that a container has made below it; one that is gone is removed. Waits, for a
    /// bounded time (1 s), for processes that are dying. Parents stay.
    pub fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + STOP_PATIENCE;
        while !self.is_stopped()? && Instant::now() < deadline {
            sleep(Duration::from_millis(1));
        }
        remove::remove(self.roots().collect(), &self.path)
    }

    /// Whether the unit, if there is one, has been stopped, or has refused; to be asked again. It is never stopped as
    /// long as a process is in it.
    fn is_stopped(&self) -> Result<bool> {
        let Some(unit) = &self.unit else { return Ok(true) };
        if !self.pids()?.is_empty() {
            return Ok(false);
        }
        Ok(self.stop.lock().unwrap_or_else(PoisonError::into_inner).step(unit))
    }

    /// [`Cgroup::remove`] without waiting: false when a process is still in it.
    pub fn try_remove(&self) -> Result<bool> {
        if !self.is_stopped()? {
            return Ok(false);
        }
        let mut roots = self.roots().collect();
        remove::try_remove(&mut roots, &self.path)?;
        Ok(roots.is_empty())
    }

    /// Who keeps it from being removed, as a sentence; `None` when nobody is in it, in any hierarchy.
    pub fn describe_occupants(&self) -> Option<String> {
        occupants::describe(self.roots(), &self.path)
    }

    /// Removes the cgroup, and its parent if that is the one which a containerd namespace has at the top (`/k8s.io/ID`)
    /// and nothing is left in it. Parents further down are those of a kubelet or of whoever else manages pods.
    pub fn remove_with_parent(&self) -> Result<()> {
        self.remove()?;
        self.remove_parent()
    }

    /// [`Cgroup::remove_with_parent`] without waiting: false when a process is still in it.
    pub fn try_remove_with_parent(&self) -> Result<bool> {
        let gone = self.try_remove()?;
        if gone {
            self.remove_parent()?;
        }
        Ok(gone)
    }

    fn remove_parent(&self) -> Result<()> {
        // A slice is systemd's.
        if self.path.parent().is_some_and(|parent| parent.extension().is_some_and(|extension| extension == "slice")) {
            return Ok(());
        }
        let mut parents = self.path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
        if let (Some(parent), None) = (parents.next(), parents.next()) {
            remove::remove_if_empty(self.roots(), parent)?;
        }
        Ok(())
    }

    /// Removes the cgroup where neither a process nor another cgroup is in it; false when it still stands somewhere.
    /// For parents that containers share: what others have below them is left alone.
    pub fn remove_if_empty(&self) -> Result<bool> {
        remove::remove_if_empty(self.roots(), &self.path)
    }

    /// The cgroup above this one; `None` below the root.
    pub(crate) fn parent(&self) -> Result<Option<Self>> {
        match self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => Self::open_relative(&self.layout, parent.to_owned()).map(Some),
            None => Ok(None),
        }
    }

    /// Whether what was killed for want of memory is still counted when its cgroup is gone: on v1 it is counted where
    /// the process was, on v2 in all cgroups above as well.
    pub(crate) fn remembers_kills(&self) -> bool {
        self.v2.is_some()
    }

    fn roots(&self) -> impl Iterator<Item = &Dir> {
        self.layout.v1().iter().map(|h| &h.root).chain(self.layout.v2())
    }

    /// The directory with a controller's files.
    fn dir(&self, controller: Controller) -> Option<&Dir> {
        match &self.v2 {
            Some(dir) => Some(dir),
            None => self.v1.get(self.layout.v1_index(controller)?)?.as_ref(),
        }
    }

    /// The one hierarchy that is asked for processes: the freezer's, so that what is killed is what was frozen.
    fn process_dir(&self) -> Option<&Dir> {
        self.dir(Controller::Freezer).or_else(|| self.v1.iter().flatten().next())
    }

    /// The directory in the v2 hierarchy, if there is one now.
    fn unified(&self) -> Result<Option<Dir>> {
        let Some(root) = self.layout.v2() else { return Ok(None) };
        Dir::open_below(root, &self.path)
            .map_err(|e| Error::new("open cgroup", root.path().join(&self.path).display(), e))
    }

    fn freezer(&self) -> Result<Freezer<'_>> {
        match (&self.v2, self.dir(Controller::Freezer)) {
            (Some(dir), _) => Ok(Freezer::V2(dir)),
            (None, Some(dir)) => Ok(Freezer::V1(dir)),
            (None, None) => Err(Error::unsupported("freeze", self.path.display(), "there is no freezer for it")
                .hint("mount the v1 freezer controller, or use cgroup v2 with Linux 5.2")),
        }
    }

    /// A caller that froze itself could not thaw anything again.
    fn refuse_own(&self, operation: &str) -> Result<()> {
        match self.pids()?.binary_search(&std::process::id().cast_signed()) {
            Ok(_) => Err(Error::invalid(operation, self.path.display(), "this very process is in it")),
            Err(_) => Ok(()),
        }
    }

    fn gone(&self, root: &Dir) -> Error {
        let cause = io::Error::new(io::ErrorKind::NotFound, "the cgroup is gone");
        Error::new("open", root.path().join(&self.path).display(), cause)
    }

    fn nowhere(&self) -> Error {
        let cause = io::Error::new(io::ErrorKind::NotFound, "the cgroup is gone from every hierarchy");
        Error::new("use cgroup", self.path.display(), cause)
    }

    fn no_memory_controller(&self) -> Error {
        if self.process_dir().is_none() {
            return self.nowhere();
        }
        Error::unsupported("watch memory of", self.path.display(), "no memory controller holds it")
    }
}

fn own(dir: &Dir) -> Result<OwnedFd> {
    let gone = |e| Error::new("open cgroup", dir.path().display(), e);
    open_dir_at(dir, c".").and_then(|fd| fd.ok_or_else(|| io::ErrorKind::NotFound.into())).map_err(gone)
}

/// Device rules, as each version of cgroups takes them.
enum Control {
    V1(devices::v1::State),
    V2(devices::Rules),
}

enum Freezer<'a> {
    V1(&'a Dir),
    V2(&'a Dir),
}

struct KillTarget<'a> {
    dir: &'a Dir,
    freezer: Option<Freezer<'a>>,
}

impl kill::Target for KillTarget<'_> {
    fn freeze(&self) -> bool {
        match &self.freezer {
            Some(Freezer::V1(dir)) => freeze::freeze_v1(dir, kill::FREEZE_PATIENCE).is_ok(),
            Some(Freezer::V2(dir)) => freeze::freeze_v2(dir, kill::FREEZE_PATIENCE).is_ok(),
            None => false,
        }
    }

    fn thaw(&self) -> io::Result<()> {
        match &self.freezer {
            Some(Freezer::V1(dir)) => freeze::thaw_v1(dir),
            Some(Freezer::V2(dir)) => freeze::thaw_v2(dir),
            None => Ok(()),
        }
    }

    fn pids(&self) -> io::Result<Vec<i32>> {
        procs::pids(self.dir.as_fd())
    }
}
