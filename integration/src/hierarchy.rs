//! The lab's place in the machine's cgroup hierarchies. Everything that runs in the lab lives below one cgroup of each
//! hierarchy, which a cgroup namespace makes the root: a test can name `/pods` and touch nobody else's.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Controllers that runtimes ask for on cgroup v2.
const V2_CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// What the name of a lab's cgroup begins with; the pid of its outer process follows.
const LAB: &str = "loment-lab-";

/// Name of the leaf where the lab's own processes live: on v2 only leaves may hold processes.
const LEAF: &str = "lab";

/// Name of the leaf where the lab's containerd lives with its shims: what they use can be read there.
const CONTAINERD: &str = "containerd";

/// One mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// What to ask `mount` for: controllers or `none,name=...`; empty on v2.
    pub options: String,
    /// Whether it is cgroup v2.
    pub v2: bool,
}

/// The hierarchies in a `/proc/<pid>/mountinfo`, each once.
pub fn parse_mountinfo(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(mountpoint) = left.split(' ').nth(4) else { continue };
        let mut right = right.split(' ');
        let (kind, options) = (right.next().unwrap_or_default(), right.nth(1).unwrap_or_default());
        let hierarchy = match kind {
            "cgroup2" => Hierarchy { mountpoint: mountpoint.into(), options: String::new(), v2: true },
            "cgroup" => Hierarchy { mountpoint: mountpoint.into(), options: v1_options(options), v2: false },
            _ => continue,
        };
        if !found.iter().any(|known| known.options == hierarchy.options && known.v2 == hierarchy.v2) {
            found.push(hierarchy);
        }
    }
    found
}

/// Keeps what selects the hierarchy and leaves the flags of its superblock out.
fn v1_options(options: &str) -> String {
    let flags = ["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode"];
    let kept: Vec<&str> =
        options.split(',').filter(|option| !flags.contains(option) && !option.starts_with("release_agent=")).collect();
    match kept.as_slice() {
        [name] if name.starts_with("name=") => format!("none,{name}"),
        _ => kept.join(","),
    }
}

/// Path of the calling process in one hierarchy, from `/proc/self/cgroup`.
fn own_path<'a>(cgroup: &'a str, hierarchy: &Hierarchy) -> Option<&'a str> {
    let wanted = hierarchy.options.strip_prefix("none,").unwrap_or(&hierarchy.options);
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        (controllers == wanted).then_some(path)
    })
}

/// The lab's cgroup in each hierarchy.
#[derive(Debug)]
pub struct LabCgroups {
    places: Vec<(Hierarchy, PathBuf)>,
}

impl LabCgroups {
    /// Name of the calling process's lab.
    pub fn own_id() -> String {
        format!("{LAB}{}", nix::unistd::getpid())
    }

    /// Where the cgroups of the lab `id` are, or will be. Below the caller's own cgroup on v1, so that its limits go on
    /// counting; below the root on v2, where a cgroup with processes cannot have children with controllers.
    pub fn locate(id: &str) -> Result<Self> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
        let own = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        let places = parse_mountinfo(&mountinfo)
            .into_iter()
            .map(|hierarchy| {
                let parent = if hierarchy.v2 { "/" } else { own_path(&own, &hierarchy).unwrap_or("/") };
                let path = hierarchy.mountpoint.join(parent.trim_start_matches('/')).join(id);
                (hierarchy, path)
            })
            .collect();
        Ok(Self { places })
    }

    /// Makes the cgroups.
    pub fn create(&self) -> Result<()> {
        for (hierarchy, path) in &self.places {
            fs::create_dir(path).with_context(|| format!("create cgroup {}", path.display()))?;
            if hierarchy.v2 {
                enable_controllers(&hierarchy.mountpoint)?;
            } else {
                inherit_cpuset(path)?;
            }
        }
        Ok(())
    }

    /// Moves the calling, single-threaded process in. To be followed by a new cgroup namespace and [`Self::remount`].
    pub fn enter(&self) -> Result<()> {
        for (hierarchy, path) in &self.places {
            // `tasks` moves one thread and, unlike `cgroup.procs`, does not wait for an RCU grace period.
            let file = path.join(if hierarchy.v2 { "cgroup.procs" } else { "tasks" });
            fs::write(&file, "0").with_context(|| format!("enter cgroup through {}", file.display()))?;
        }
        Ok(())
    }

    /// Mounts the hierarchies anew in the calling process's mount namespace, where the lab's cgroup is now the root.
    pub fn remount(&self) -> Result<()> {
        for (hierarchy, _) in &self.places {
            let target = &hierarchy.mountpoint;
            umount2(target, MntFlags::MNT_DETACH).with_context(|| format!("unmount {}", target.display()))?;
            let kind = if hierarchy.v2 { "cgroup2" } else { "cgroup" };
            let options = (!hierarchy.v2).then_some(hierarchy.options.as_str());
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some(kind), target, Some(kind), flags, options)
                .with_context(|| format!("mount {kind} {} on {}", hierarchy.options, target.display()))?;
            if hierarchy.v2 {
                let leaf = target.join(LEAF);
                fs::create_dir_all(&leaf).with_context(|| format!("create cgroup {}", leaf.display()))?;
                let procs = leaf.join("cgroup.procs");
                fs::write(&procs, "0").with_context(|| format!("enter cgroup through {}", procs.display()))?;
                enable_controllers(target)?;
            }
        }
        Ok(())
    }

    /// Lets everything below the cgroups run: what is frozen on v1 does not even die.
    pub fn thaw(&self) {
        self.places.iter().for_each(|(_, path)| thaw_tree(path));
    }

    /// Removes what is left of labs whose outer process was killed before it could clean up.
    pub fn remove_stale(limit: Duration) -> Result<()> {
        let mut ids = BTreeSet::new();
        for (_, path) in &Self::locate(LAB)?.places {
            let labs = path.parent().map(crate::files::subdirectories).unwrap_or_default();
            ids.extend(labs.iter().filter_map(|lab| lab.file_name()?.to_str()?.strip_prefix(LAB)?.parse::<u32>().ok()));
        }
        for pid in ids.into_iter().filter(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let stale = Self::locate(&format!("{LAB}{pid}"))?;
            stale.thaw();
            stale.remove(limit)?;
        }
        Ok(())
    }

    /// Removes the cgroups with everything below them, killing what still runs there. Waits for at most `limit`.
    pub fn remove(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        for (_, path) in &self.places {
            while let Err(error) = remove_tree(path) {
                if Instant::now() > deadline {
                    return Err(error).with_context(|| format!("remove cgroup {}", path.display()));
                }
                kill_tree(path);
                thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }
}

/// Makes a cgroup with its parents in every hierarchy, as a kubelet does for a pod. `path` is absolute.
pub fn create_everywhere(path: &str) -> Result<()> {
    for hierarchy in mounted()? {
        let mut directory = hierarchy.mountpoint.clone();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            directory.push(name);
            if !directory.is_dir() {
                fs::create_dir(&directory).with_context(|| format!("create cgroup {}", directory.display()))?;
                inherit_cpuset(&directory)?;
            }
            if hierarchy.v2 {
                enable_controllers(&directory)?;
            }
        }
    }
    Ok(())
}

/// Moves the lab's containerd, which has no children yet, to a cgroup of its own in the hierarchy that counts cpu time.
pub fn set_containerd_apart(pid: u32) -> Result<()> {
    let mounted = mounted()?;
    let v1 = mounted.iter().find(|one| one.options.split(',').any(|name| name == "cpuacct"));
    let Some(hierarchy) = v1.or_else(|| mounted.iter().find(|one| one.v2)) else { return Ok(()) };
    let directory = hierarchy.mountpoint.join(CONTAINERD);
    fs::create_dir_all(&directory).with_context(|| format!("create cgroup {}", directory.display()))?;
    let procs = directory.join("cgroup.procs");
    fs::write(&procs, pid.to_string()).with_context(|| format!("move containerd through {}", procs.display()))
}

/// Takes the v2 hierarchy out of the lab's sight where controllers are in v1: some runtimes run on machines that have
/// only one of the two.
pub fn hide_v2() -> Result<()> {
    let mounted = mounted()?;
    if mounted.iter().all(|one| one.v2) {
        return Ok(());
    }
    for hierarchy in mounted.iter().filter(|one| one.v2) {
        let target = &hierarchy.mountpoint;
        umount2(target, MntFlags::MNT_DETACH).with_context(|| format!("unmount {}", target.display()))?;
    }
    Ok(())
}

/// Removes an empty cgroup, and its parents as far as they are empty, from every hierarchy.
pub fn remove_everywhere(path: &str) -> Result<()> {
    for hierarchy in mounted()? {
        let directory = hierarchy.mountpoint.join(path.trim_start_matches('/'));
        match fs::remove_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.with_context(|| format!("remove cgroup {}", directory.display()))?,
        }
        let mut parents = directory.ancestors().skip(1).take_while(|parent| **parent != *hierarchy.mountpoint);
        while parents.next().is_some_and(|parent| fs::remove_dir(parent).is_ok()) {}
    }
    Ok(())
}

/// Removes the empty cgroups right below `path`, and `path` itself when that empties it, as a kubelet's housekeeping does.
pub fn prune_everywhere(path: &str) -> Result<()> {
    for hierarchy in mounted()? {
        let parent = hierarchy.mountpoint.join(path.trim_start_matches('/'));
        for directory in crate::files::subdirectories(&parent).into_iter().chain([parent]) {
            // One that is in use stays, and shows in a census.
            let _ = fs::remove_dir(directory);
        }
    }
    Ok(())
}

/// The cgroup directory of a process in the hierarchy that has this controller.
pub fn of_process(pid: i32, controller: &str) -> Result<PathBuf> {
    let file = format!("/proc/{pid}/cgroup");
    let cgroup = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let mounted = mounted()?;
    let v1 = mounted.iter().find(|one| one.options.split(',').any(|name| name == controller));
    let hierarchy = v1.or_else(|| mounted.iter().find(|one| one.v2)).context("a mounted cgroup hierarchy")?;
    let path = own_path(&cgroup, hierarchy).with_context(|| format!("find {controller} in {file}"))?;
    Ok(hierarchy.mountpoint.join(path.trim_start_matches('/')))
}

fn mounted() -> Result<Vec<Hierarchy>> {
    Ok(parse_mountinfo(&fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?))
}

/// Turns on what runtimes ask for, where it exists: on a hybrid machine v2 has nearly nothing.
fn enable_controllers(cgroup: &Path) -> Result<()> {
    let read = |name: &str| fs::read_to_string(cgroup.join(name)).unwrap_or_default();
    let (available, enabled) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    for name in V2_CONTROLLERS.into_iter().filter(|name| has(&available, name) && !has(&enabled, name)) {
        let file = cgroup.join("cgroup.subtree_control");
        fs::write(&file, format!("+{name}")).with_context(|| format!("enable {name} in {}", file.display()))?;
    }
    Ok(())
}

/// A new v1 cpuset is empty and takes no process.
fn inherit_cpuset(cgroup: &Path) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let file = cgroup.join(name);
        let Some(parent) = cgroup.parent().map(|parent| parent.join(name)).filter(|_| file.exists()) else { continue };
        let value = fs::read_to_string(&parent).with_context(|| format!("read {}", parent.display()))?;
        fs::write(&file, value.trim()).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

fn remove_tree(cgroup: &Path) -> io::Result<()> {
    for directory in crate::files::subdirectories(cgroup) {
        remove_tree(&directory)?;
    }
    match fs::remove_dir(cgroup) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn thaw_tree(cgroup: &Path) {
    for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        // Exists in one hierarchy only.
        let _ =
            File::options().write(true).open(cgroup.join(file)).and_then(|mut file| file.write_all(value.as_bytes()));
    }
    crate::files::subdirectories(cgroup).iter().for_each(|directory| thaw_tree(directory));
}

fn kill_tree(cgroup: &Path) {
    for directory in crate::files::subdirectories(cgroup) {
        kill_tree(&directory);
    }
    let pids = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for pid in pids.lines().filter_map(|line| line.parse().ok()) {
        // A process that is gone meanwhile is what is wanted.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
50 31 0:38 / /mnt/again rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn each_hierarchy_is_found_once_with_the_options_that_mount_it_again() {
        let found = parse_mountinfo(MOUNTINFO);
        let shown: Vec<(&str, &str, bool)> = found
            .iter()
            .map(|one| (one.mountpoint.to_str().unwrap_or_default(), one.options.as_str(), one.v2))
            .collect();
        let expected = [
            ("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct", false),
            ("/sys/fs/cgroup/systemd", "none,name=systemd", false),
            ("/sys/fs/cgroup/unified", "", true),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_own_cgroup_is_looked_up_per_hierarchy() {
        let cgroup = "9:name=systemd:/user\n4:cpu,cpuacct:/work:er\n0::/unit\n";
        let found = parse_mountinfo(MOUNTINFO);
        let paths: Vec<Option<&str>> = found.iter().map(|one| own_path(cgroup, one)).collect();
        assert_eq!(paths, [Some("/work:er"), Some("/user"), Some("/unit")]);
    }
}
