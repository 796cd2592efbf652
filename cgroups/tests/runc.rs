//! The distribution's runc and this library on the same resources: every file of every hierarchy holds the same, but for
//! what docs/cgroups.md lists with its reason (needs root and runc).

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use common::{TestCgroup, layout, resources_of, unique_path};
use loment_cgroups::{Kind, Layout};
use serde_json::{Value, json};

/// What the kernel counts, and lists of processes: not set by anybody.
const COUNTED: [&str; 32] = [
    "cgroup.procs",
    "tasks",
    "cpu.stat",
    "cpuacct.stat",
    "cpuacct.usage",
    "cpuacct.usage_all",
    "cpuacct.usage_percpu",
    "cpuacct.usage_percpu_sys",
    "cpuacct.usage_percpu_user",
    "cpuacct.usage_sys",
    "cpuacct.usage_user",
    "cpuset.memory_pressure",
    "memory.failcnt",
    "memory.kmem.failcnt",
    "memory.kmem.max_usage_in_bytes",
    "memory.kmem.slabinfo",
    "memory.kmem.tcp.failcnt",
    "memory.kmem.tcp.max_usage_in_bytes",
    "memory.kmem.tcp.usage_in_bytes",
    "memory.kmem.usage_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.memsw.failcnt",
    "memory.memsw.max_usage_in_bytes",
    "memory.memsw.usage_in_bytes",
    "memory.numa_stat",
    "memory.shown_ram_in_bytes",
    "memory.stat",
    "memory.usage_in_bytes",
    "pids.current",
    "pids.events",
    "pids.events.local",
    "pids.peak",
];

/// The same on v2, by the end of their names.
const COUNTED_ON_V2: [&str; 16] = [
    ".current",
    ".events",
    ".events.local",
    ".peak",
    ".stat",
    ".stat.local",
    ".numa_stat",
    "cpu.pressure",
    "io.pressure",
    "irq.pressure",
    "memory.pressure",
    "cgroup.threads",
    "memory.reclaim",
    // What the kernel makes of the settings of this cgroup and of those above.
    ".effective",
    "cpuset.cpus.exclusive.effective",
    "cgroup.controllers",
];

fn is_counted(name: &str) -> bool {
    COUNTED.contains(&name)
        || (name.starts_with("blkio.") && name.contains(".io_"))
        || COUNTED_ON_V2.iter().any(|end| name.ends_with(end))
}

/// Every file of a cgroup that can be read, by hierarchy and name, but for those that count.
fn settings(layout: &Layout, path: &Path) -> BTreeMap<String, String> {
    let relative = path.strip_prefix("/").unwrap();
    let mut all = BTreeMap::new();
    for mount in layout.mount_points() {
        let Ok(entries) = fs::read_dir(mount.join(relative)) else { continue };
        let hierarchy = mount.file_name().unwrap().to_str().unwrap();
        for entry in entries.map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file()) {
            let name = entry.file_name().into_string().unwrap();
            // Some are for writing only.
            if let (false, Ok(text)) = (is_counted(&name), fs::read_to_string(entry.path())) {
                all.insert(format!("{hierarchy}/{name}"), text);
            }
        }
    }
    all
}

/// A container of runc's, created and not started, in the cgroup `path`.
struct Runc {
    directory: PathBuf,
    path: PathBuf,
}

impl Runc {
    /// Creates the container, or answers what runc says.
    fn create(resources: &Value) -> Result<Self, String> {
        let path = unique_path();
        let directory = std::env::temp_dir().join(path.strip_prefix("/").unwrap());
        fs::create_dir_all(directory.join("rootfs")).unwrap();
        // It is looked for, and never executed: the container is not started.
        fs::write(directory.join("rootfs/program"), "").unwrap();
        fs::set_permissions(directory.join("rootfs/program"), fs::Permissions::from_mode(0o755)).unwrap();
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {"cwd": "/", "args": ["/program"], "user": {"uid": 0, "gid": 0}},
            "root": {"path": "rootfs"},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {
                "cgroupsPath": path, "resources": resources,
                "namespaces": [{"type": "pid"}, {"type": "mount"}],
            },
        });
        fs::write(directory.join("config.json"), config.to_string()).unwrap();
        let runc = Self { directory, path };
        runc.run(&["create", "--bundle", runc.directory.to_str().unwrap(), "it"])?;
        Ok(runc)
    }

    fn update(&self, resources: &Value) -> Result<(), String> {
        let file = self.directory.join("update.json");
        fs::write(&file, resources.to_string()).unwrap();
        self.run(&["update", "--resources", file.to_str().unwrap(), "it"])
    }

    /// runc keeps the files that it was given open in the container: none of its streams may be a pipe.
    fn run(&self, words: &[&str]) -> Result<(), String> {
        let said = self.directory.join("said");
        let file = || fs::File::options().create(true).append(true).open(&said).unwrap();
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(self.directory.join("state")).args(words);
        let status = runc.stdin(Stdio::null()).stdout(file()).stderr(file()).status().expect("runc is installed");
        if status.success() { Ok(()) } else { Err(fs::read_to_string(&said).unwrap()) }
    }
}

impl Drop for Runc {
    fn drop(&mut self) {
        // A container that was never made is none to delete.
        let _ = self.run(&["delete", "--force", "it"]);
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// What differs by intention, each with its reason in docs/cgroups.md.
fn is_known(file: &str, runc: Option<&str>, ours: Option<&str>) -> bool {
    let devices =
        |text: Option<&str>| -> Vec<String> { text.iter().flat_map(|t| t.lines()).map(str::to_owned).collect() };
    match file {
        // runc 1.1 has the linear conversion of shares.
        "cgroup/cpu.weight" | "cgroup/cpu.weight.nice" => true,
        // Entering hybrid's v2 hierarchy costs as much as all of v1 together: left alone until it is needed.
        file if file.starts_with("unified/") => ours.is_none(),
        // tun is asked for by those who need it.
        "devices/devices.list" => {
            let without_tun = devices(runc).into_iter().filter(|line| line != "c 10:200 rwm");
            without_tun.collect::<Vec<_>>() == devices(ours)
        }
        _ => false,
    }
}

/// The files in which the two differ without a reason: `file: runc's | ours`.
fn differences(layout: &Layout, runc: &Runc, ours: &TestCgroup) -> Vec<String> {
    let (runc, ours) = (settings(layout, &runc.path), settings(layout, &ours.path));
    let names: BTreeSet<&String> = runc.keys().chain(ours.keys()).collect();
    let mut differ = Vec::new();
    for name in names {
        let (theirs, own) = (runc.get(name).map(String::as_str), ours.get(name).map(String::as_str));
        if theirs != own && !is_known(name, theirs, own) {
            differ.push(format!("{name}: {theirs:?} | {own:?}"));
        }
    }
    differ
}

/// Resources to create with, and what they are then updated to.
fn accepted(kind: Kind) -> Vec<(Value, Vec<Value>)> {
    let (major, minor) = any_disk();
    let disk = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let memory = |limit: i64, swap: i64| json!({"memory": {"limit": limit << 20, "swap": swap << 20}});
    let only_on_v1 = [
        (json!({"cpu": {"realtimePeriod": 1_000_000, "realtimeRuntime": 0}}), vec![]),
        (json!({"memory": {"swappiness": 10}}), vec![]),
        // On v2 runc wants the limit on memory repeated.
        (json!({"memory": {"limit": 64 << 20, "swap": -1}}), vec![json!({"memory": {"swap": 80 << 20}})]),
        (json!({"memory": {"disableOOMKiller": true}}), vec![]),
    ];
    let only_on_v2 = [(
        json!({"unified": {"memory.high": "33554432", "memory.oom.group": "1", "cpu.weight": "77", "pids.max": "9"}}),
        vec![],
    )];
    let everywhere = vec![
        (json!({}), vec![]),
        (json!({"devices": [{"allow": false, "access": "rwm"}]}), vec![json!({"pids": {"limit": 5}})]),
        (json!({"devices": [{"allow": true, "access": "rwm"}]}), vec![]),
        (
            json!({"devices": [{"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]}),
            vec![],
        ),
        (
            json!({"cpu": {"shares": 512, "quota": 20_000, "period": 50_000, "cpus": "0", "mems": "0"}}),
            vec![json!({"cpu": {"shares": 2048, "quota": 40_000, "period": 100_000, "cpus": "0-1"}})],
        ),
        (json!({"cpu": {"quota": -1, "period": 50_000}}), vec![json!({"cpu": {"quota": 3000}})]),
        (json!({"cpu": {"quota": 3000}}), vec![json!({"cpu": {"quota": -1}}), json!({"cpu": {"period": 20_000}})]),
        (
            json!({"memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20}}),
            vec![json!({"memory": {"limit": 128 << 20, "swap": 128 << 20, "reservation": 16 << 20}})],
        ),
        (memory(64, 64), vec![memory(32, 32), memory(96, 128), json!({"memory": {"limit": -1}})]),
        (json!({"memory": {"limit": 64 << 20, "swap": -1}}), vec![]),
        (json!({"memory": {"limit": 64 << 20}}), vec![json!({"memory": {"limit": 32 << 20}})]),
        (json!({"memory": {"limit": -1, "swap": -1}}), vec![]),
        (json!({"memory": {"kernel": 32 << 20, "kernelTCP": 16 << 20}}), vec![]),
        (json!({"memory": {"useHierarchy": true}}), vec![]),
        (json!({"pids": {"limit": 77}}), vec![json!({"pids": {"limit": -1}})]),
        (json!({"pids": {"limit": 0}}), vec![]),
        (json!({"blockIO": {"weight": 300}}), vec![json!({"blockIO": {"weight": 500}})]),
        (
            json!({"blockIO": {"throttleReadBpsDevice": disk(1 << 20), "throttleWriteBpsDevice": disk(2 << 20),
                "throttleReadIOPSDevice": disk(100), "throttleWriteIOPSDevice": disk(200)}}),
            vec![],
        ),
    ];
    let own = if kind == Kind::V2 { only_on_v2.to_vec() } else { only_on_v1.to_vec() };
    everywhere.into_iter().chain(own).collect()
}

fn any_disk() -> (u64, u64) {
    let numbers = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    fs::read_dir("/sys/block").unwrap().find_map(|entry| numbers(entry.ok()?)).expect("this machine has a disk")
}

#[test]
fn every_file_holds_what_runc_writes_on_create_and_on_update() {
    for (resources, updates) in accepted(layout().kind()) {
        let runc = Runc::create(&resources).unwrap_or_else(|said| panic!("{resources}: runc says {said}"));
        let ours = TestCgroup::new();
        ours.cgroup.confine(&resources_of(resources.clone())).unwrap();
        let layout = &ours.layout;
        assert_eq!(differences(layout, &runc, &ours), Vec::<String>::new(), "create {resources}");
        for update in updates {
            runc.update(&update).unwrap_or_else(|said| panic!("{update}: runc says {said}"));
            ours.cgroup.update(&resources_of(update.clone())).unwrap();
            assert_eq!(differences(layout, &runc, &ours), Vec::<String>::new(), "{resources}, then {update}");
        }
    }
}

#[test]
fn what_runc_cannot_do_here_is_refused_here_too() {
    let only_on_v1 = [
        json!({"blockIO": {"leafWeight": 300}}),
        json!({"unified": {"memory.high": "1"}}),
        json!({"network": {"classID": 1}}),
        json!({"network": {"priorities": [{"name": "eth0", "priority": 1}]}}),
    ];
    let everywhere = [
        json!({"memory": {"limit": 64 << 20, "swap": 32 << 20}}),
        json!({"cpu": {"cpus": "0-4000"}}),
        json!({"cpu": {"quota": 10}}),
        json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}}),
    ];
    let own = only_on_v1.iter().filter(|_| layout().kind() != Kind::V2);
    for resources in everywhere.iter().chain(own) {
        assert!(Runc::create(resources).is_err(), "runc takes {resources}");
        let ours = TestCgroup::new();
        assert!(ours.cgroup.confine(&resources_of(resources.clone())).is_err(), "{resources}");
    }
}
