//! Faults planted in the survey of a machine where everything passes: each is found, alone, and its remedy is named.

use super::look;
use super::survey::{Cgroups, Cni, Containerd, Disk, Program, Security, Survey};
use super::{CHECKS, Level, judge};
use crate::setup::config::{Config, Version};
use crate::setup::found::{self, Hints, Places};

const CONFIG: &str = "version = 2
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]
  runtime_type = \"io.containerd.runc.v2\"
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.loment]
  runtime_type = \"io.containerd.loment.v2\"
  pod_annotations = [\"io.loment.*\"]
  container_annotations = [\"io.loment.*\"]
";

fn healthy() -> Survey {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let program = |path: &str| Some(Program { path: path.into(), is_executable: true, version: Some("0.1.0".into()) });
    Survey {
        is_root: true,
        kernel: "6.1.0-18-amd64".into(),
        namespaces: words("cgroup ipc mnt net pid time user uts"),
        cgroups: Cgroups { layout: Some(Ok("v2")), controllers: words("cpu io memory pids") },
        capabilities: 0x1ff_ffff_ffff,
        security: Security { apparmor: true, apparmor_parser: true, selinux: None },
        seccomp: words("kill_process errno user_notif allow"),
        user_namespaces: Some(15_000),
        has_overlay: true,
        disk: vec![Disk { path: "/var/lib".into(), bytes: 50, inodes: 50 }],
        handler: "loment".into(),
        own_version: "0.1.0".into(),
        shim: program("/usr/local/bin/containerd-shim-loment-v2"),
        prober: program("/usr/local/bin/loment-prober"),
        containerd: Containerd {
            found: Some(Ok("containerd 1.7.24".into())),
            version: Some(Version::new(1, 7)),
            config_path: "/etc/containerd/config.toml".into(),
            config: Some(Config::parse(CONFIG).unwrap()),
            plan: Some(Ok(None)),
            socket: "/run/containerd/containerd.sock".into(),
            units: "containerd".into(),
            answer: Some(Ok("1.7.24".into())),
            classes: Some(Ok(words("runc loment"))),
            restart: Some("systemctl restart containerd".into()),
        },
        cni: Cni {
            plugin_dirs: vec!["/opt/cni/bin".into()],
            plugins: words("bridge loopback"),
            conf_dir: "/etc/cni/net.d".into(),
            networks: words("10-net.conflist"),
        },
        leftovers: Some(Ok(0)),
    }
}

#[test]
fn every_check_passes_on_a_healthy_machine() {
    let lines = judge(&healthy());
    assert_eq!(lines.len(), CHECKS.len());
    for line in lines {
        assert_eq!((line.level, &line.remedy), (Level::Pass, &None), "{line:?}");
    }
}

/// A fault: the check that has to find it, how badly, words of the remedy, and how it is planted.
type Fault = (&'static str, Level, &'static str, fn(&mut Survey));

fn config(survey: &mut Survey, from: &str, to: &str) {
    assert!(CONFIG.contains(from));
    survey.containerd.config = Some(Config::parse(&CONFIG.replace(from, to)).unwrap());
}

const FAULTS: &[Fault] = &[
    ("root", Level::Fail, "sudo loment doctor", |s| s.is_root = false),
    ("kernel", Level::Fail, "Linux 5.14", |s| s.kernel = "5.10.0-28-amd64".into()),
    ("namespaces", Level::Fail, "CONFIG_NAMESPACES", |s| s.namespaces.retain(|name| name != "pid")),
    ("namespaces", Level::Warn, "CONFIG_USER_NS", |s| s.namespaces.retain(|name| name != "user")),
    ("cgroups", Level::Fail, "mount -t cgroup2", |s| s.cgroups.layout = Some(Err("none is mounted".into()))),
    ("cgroups", Level::Fail, "cgroup_enable=memory", |s| s.cgroups.controllers.retain(|name| name != "memory")),
    ("cgroups", Level::Fail, "cgroup_disable=pids", |s| s.cgroups.controllers.retain(|name| name != "pids")),
    ("capabilities", Level::Fail, "--privileged", |s| s.capabilities &= !(1 << 21)),
    ("security modules", Level::Warn, "apt-get install apparmor", |s| s.security.apparmor_parser = false),
    ("seccomp", Level::Fail, "CONFIG_SECCOMP_FILTER", |s| s.seccomp.clear()),
    ("seccomp", Level::Warn, "Linux 5.0", |s| s.seccomp.retain(|action| action != "user_notif")),
    ("user namespaces", Level::Warn, "sysctl -w user.max_user_namespaces", |s| s.user_namespaces = Some(0)),
    ("overlay", Level::Fail, "modprobe overlay", |s| s.has_overlay = false),
    ("disk", Level::Warn, "crictl rmi --prune", |s| s.disk[0].bytes = 3),
    ("disk", Level::Warn, "crictl rmi --prune", |s| s.disk[0].inodes = 0),
    ("shim", Level::Fail, "loment install", |s| s.shim = None),
    ("shim", Level::Fail, "chmod 755", |s| s.shim.as_mut().unwrap().is_executable = false),
    ("shim", Level::Warn, "loment install", |s| s.shim.as_mut().unwrap().version = Some("0.0.9".into())),
    ("shim", Level::Fail, "scripts/build", |s| s.shim.as_mut().unwrap().version = None),
    ("prober", Level::Warn, "loment install", |s| s.prober = None),
    ("containerd", Level::Fail, "systemctl start containerd", |s| {
        s.containerd.answer = Some(Err("connection refused".into()));
    }),
    ("containerd", Level::Fail, "1.6 or later", |s| s.containerd.version = Some(Version::new(1, 4))),
    ("containerd", Level::Warn, "2.1 and later", |s| s.containerd.version = Some(Version::new(2, 0))),
    ("CRI", Level::Fail, "disabled_plugins", |s| {
        config(s, "version = 2\n", "version = 2\ndisabled_plugins = [\"cri\"]\n");
    }),
    ("CRI", Level::Fail, "journalctl", |s| s.containerd.classes = Some(Err("unknown service".into()))),
    ("configuration", Level::Fail, "write \"version = 2\"", |s| {
        s.containerd.plan =
            Some(Err("/etc/containerd/config.toml has no version: write \"version = 2\" at its top".into()));
    }),
    ("runtime class", Level::Fail, "loment install --restart", |s| config(s, "runtimes.loment", "runtimes.other")),
    ("runtime class", Level::Fail, "io.containerd.loment.v2", |s| {
        config(s, "io.containerd.loment.v2", "io.containerd.runc.v2");
    }),
    ("annotations", Level::Fail, "write pod_annotations = [\"io.loment.*\"]", |s| {
        config(s, "  pod_annotations", "  x");
    }),
    ("annotations", Level::Fail, "write container_annotations", |s| {
        config(s, "container_annotations = [\"io.loment.*\"]", "");
    }),
    ("sandboxer", Level::Warn, "remove sandbox_mode", |s| {
        config(s, "  pod_annotations", "  sandbox_mode = \"shim\"\n  pod_annotations");
    }),
    ("sandboxer", Level::Fail, "2.1 or later", |s| {
        s.containerd.version = Some(Version::new(1, 6));
        config(s, "  pod_annotations", "  sandboxer = \"shim\"\n  pod_annotations");
    }),
    ("default class", Level::Warn, "io.containerd.runc.v2", |s| config(s, "runtimes.runc]", "runtimes.nvidia]")),
    ("restart", Level::Fail, "systemctl restart containerd", |s| s.containerd.classes = Some(Ok(vec!["runc".into()]))),
    ("CNI plugins", Level::Fail, "containernetworking-plugins", |s| s.cni.plugins.clear()),
    ("CNI network", Level::Fail, "10-containerd-net.conflist", |s| s.cni.networks.clear()),
    ("leftovers", Level::Warn, "loment gc", |s| s.leftovers = Some(Ok(3))),
];

#[test]
fn each_planted_fault_is_found_and_its_remedy_is_named() {
    for (check, level, remedy, plant) in FAULTS {
        let mut survey = healthy();
        plant(&mut survey);
        let found: Vec<_> = judge(&survey).into_iter().filter(|line| line.level != Level::Pass).collect();
        // A class that is not there, or is another one's, takes what hangs on it along; nothing else is told.
        assert_eq!(found.len(), 1, "{check}: {found:?}");
        assert_eq!((found[0].check, found[0].level), (*check, *level), "{found:?}");
        assert!(found[0].remedy.as_ref().unwrap().contains(remedy), "{check}: {:?}", found[0]);
    }
    let unplanted = CHECKS.iter().find(|(name, _)| !FAULTS.iter().any(|(check, ..)| check == name));
    assert!(unplanted.is_none(), "no fault is planted for {:?}", unplanted.map(|(name, _)| name));
}

#[test]
fn a_machine_without_containerd_is_told_so_and_nothing_that_hangs_on_it() {
    let mut survey = healthy();
    let nowhere = std::path::PathBuf::from("/nowhere");
    let places = Places {
        config: nowhere.clone(),
        k3s: nowhere.clone(),
        rke2: nowhere.clone(),
        microk8s: nowhere.clone(),
        docker: nowhere,
        programs: Vec::new(),
    };
    let error = found::find(&places, &Hints::default()).unwrap_err().to_string();
    survey.containerd = Containerd { found: Some(Err(error)), ..Containerd::default() };
    survey.leftovers = None;
    let lines = judge(&survey);
    let failed: Vec<_> = lines.iter().filter(|line| line.level == Level::Fail).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].remedy.as_ref().unwrap().contains("apt-get install containerd"));
}

#[test]
fn this_machine_is_seen_as_it_is() {
    let survey = look::machine("loment");
    assert!(survey.namespaces.iter().any(|name| name == "pid"));
    assert!(survey.kernel.starts_with(|c: char| c.is_ascii_digit()));
    assert!(survey.cgroups.layout.is_some() && !survey.disk.is_empty());
    assert_eq!(survey.is_root, nix::unistd::geteuid().is_root());
}
