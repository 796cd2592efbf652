//! A cgroup of this machine for one test, and processes in it.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    ops::Deref,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use loment_cgroups::{Cgroup, Entry, Kind, Layout};
use oci_spec::runtime::LinuxResources;
use serde_json::json;

/// A path that no other test and no other run uses.
pub fn unique_path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("/loment-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// The layout of this machine. These tests write into its real hierarchies.
pub fn layout() -> Layout {
    assert!(nix::unistd::geteuid().is_root(), "these tests make cgroups: run them as root (scripts/test does)");
    Layout::detect().expect("a cgroup hierarchy is mounted")
}

/// A cgroup that is removed with everything in it when the test ends, however it ends.
pub struct TestCgroup {
    pub cgroup: Cgroup,
    pub layout: Layout,
    pub path: PathBuf,
}

impl TestCgroup {
    pub fn new() -> Self {
        Self::at(unique_path())
    }

    pub fn at(path: PathBuf) -> Self {
        let layout = layout();
        let cgroup = Cgroup::create(&layout, &path).expect("create");
        Self { cgroup, layout, path }
    }

    /// Content of a file of this cgroup in the hierarchy of a controller.
    pub fn read(&self, controller: &str, file: &str) -> String {
        let path = directory(&self.layout, controller, &self.path).join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display())).trim().to_owned()
    }

    pub fn apply(&self, resources: serde_json::Value) {
        self.try_apply(resources).expect("apply");
    }

    pub fn try_apply(&self, resources: serde_json::Value) -> loment_cgroups::Result<()> {
        self.cgroup.apply(&resources_of(resources))
    }

    /// Whether cgroup v2 is all there is.
    pub fn is_unified(&self) -> bool {
        self.layout.kind() == Kind::V2
    }

    pub fn is_frozen(&self) -> bool {
        match self.is_unified() {
            true => self.read("", "cgroup.events").contains("frozen 1"),
            false => self.read("freezer", "freezer.state") == "FROZEN",
        }
    }

    /// Starts a program inside, as the sandbox does on v1: a child of its own puts itself in by `tasks`. (Being born
    /// inside, as on v2, needs a caller with one thread: the sandbox's tests do that.)
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> Process {
        let tasks: Vec<OwnedFd> = match self.cgroup.entry().expect("entry") {
            Entry::Tasks(tasks) => tasks.into_iter().map(|file| file.fd).collect(),
            Entry::Into(_) => {
                let procs = directory(&self.layout, "", &self.path).join("cgroup.procs");
                vec![File::options().write(true).open(procs).expect("open cgroup.procs").into()]
            }
            Entry::Both(..) => panic!("entered in two ways"),
        };
        let script = "for fd in $LOMENT_TASKS; do echo 0 >&$fd; done; exec \"$0\" \"$@\"";
        let numbers: Vec<String> = tasks.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let mut command = Command::new("/bin/bash");
        command.arg("-c").arg(script).arg(program).args(arguments).env("LOMENT_TASKS", numbers.join(" "));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let inherited: Vec<_> = tasks.iter().map(clear_close_on_exec).collect();
        let child = command.spawn().expect("spawn");
        drop(inherited);
        let (file, thawed) = if self.is_unified() { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
        Process(child, directory(&self.layout, "freezer", &self.path).join(file), thawed)
    }
}

/// The child needs the descriptors across its first exec.
fn clear_close_on_exec(fd: &impl AsFd) {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).expect("clear FD_CLOEXEC");
}

impl Deref for TestCgroup {
    type Target = Cgroup;

    fn deref(&self) -> &Cgroup {
        &self.cgroup
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let _ = self.cgroup.thaw();
        let _ = self.cgroup.kill();
        let removed = self.cgroup.remove();
        if !std::thread::panicking() {
            removed.expect("remove");
            assert_eq!(standing(&self.layout, &self.path), Vec::<PathBuf>::new(), "left behind");
        }
    }
}

/// A child that is ended and reaped with the test.
pub struct Process(pub Child, PathBuf, &'static str);

impl Process {
    pub fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    /// Lets a program that reads its standard input go on.
    pub fn say(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().expect("stdin"), "{line}").expect("write to child");
    }

    /// Waits for this line of its output.
    pub fn hear(&self, line: &str) {
        assert_eq!(self.listen().trim(), line);
    }

    /// Waits for a line of its output.
    pub fn listen(&self) -> String {
        let mut output = BufReader::new(
            self.0.stdout.as_ref().expect("stdout").as_fd().try_clone_to_owned().map(File::from).expect("copy"),
        );
        let mut heard = String::new();
        output.read_line(&mut heard).expect("read from child");
        heard
    }

    /// User and system time used so far, in clock ticks.
    pub fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("stat");
        let after_name = stat.rsplit_once(") ").expect("name").1;
        let field = |n: usize| after_name.split(' ').nth(n).and_then(|v| v.parse::<u64>().ok()).expect("number");
        field(11) + field(12)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that fails while it is frozen must not wait for it for ever.
        let _ = std::fs::write(&self.1, self.2);
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn resources_of(value: serde_json::Value) -> LinuxResources {
    serde_json::from_value(value).expect("resources")
}

/// Where a controller's hierarchy holds `path`; on v2 there is one for all.
pub fn directory(layout: &Layout, controller: &str, path: &Path) -> PathBuf {
    let holds = |mount: &&Path| {
        layout.kind() == Kind::V2
            || mount.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.split(',').any(|c| c == controller))
    };
    let mount = layout.mount_points().find(holds).unwrap_or_else(|| panic!("{controller} is not mounted"));
    mount.join(path.strip_prefix("/").unwrap_or(path))
}

/// The directories of `path` that stand in any hierarchy.
pub fn standing(layout: &Layout, path: &Path) -> Vec<PathBuf> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    layout.mount_points().map(|mount| mount.join(relative)).filter(|dir| dir.exists()).collect()
}

/// What `ask` answers while what `look` sees stands still, and what that is. The kernel charges memory in advance on each
/// processor, and adds up with a delay (mm/memcontrol.c): two equal looks enclose what is compared with them.
pub fn enclosed<S: PartialEq, T>(look: impl Fn() -> S, ask: impl Fn() -> T) -> (S, T) {
    let mut found = None;
    until("files that stand still", || {
        let before = look();
        let told = ask();
        let still = before == look();
        found = still.then_some((before, told));
        still
    });
    found.expect("until() returns when it is found")
}

/// Tries device rules: c 1:11 is the kernel's log.
pub fn only_allowed_devices_open(cgroup: &TestCgroup) {
    cgroup.apply(json!({"devices": [
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
    ]}));
    assert!(opens(cgroup, "<>/dev/null"));
    assert!(opens(cgroup, "</dev/kmsg"));
    assert!(!opens(cgroup, ">/dev/kmsg"));
}

/// Whether a process of the cgroup can open what a shell's redirection names.
pub fn opens(cgroup: &TestCgroup, redirect: &str) -> bool {
    cgroup.spawn("bash", &["-c", &format!("exec 3{redirect}")]).0.wait().unwrap().success()
}

/// Waits for something that the kernel or a child does in its own time; fails after ten seconds, on an emulated machine
/// after as many more as it is slower.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let slowness = std::env::var("LOMENT_TEST_SLOWNESS").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let patience = Duration::from_secs(10) * slowness;
    let deadline = Instant::now() + patience;
    while !done() {
        assert!(Instant::now() < deadline, "waited {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
