//! A directory of pins for each test, and the command run on it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const KINDS: [&str; 8] = ["user", "cgroup", "ipc", "net", "pid", "time", "uts", "mnt"];

/// One test at a time: a sandbox with mounts has a copy of the pins that others have at that moment.
static TURN: Mutex<()> = Mutex::new(());

/// Sandboxes of one test. What it leaves is removed, by force.
pub(crate) struct Lab {
    pub(crate) pins: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    pub(crate) fn new(test: &str) -> Self {
        let pins = std::env::temp_dir().join(format!("loment-ns-{test}-{}", std::process::id()));
        Self { pins, _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loment"));
        command.arg("ns").arg("--pins").arg(&self.pins).args(words.split(' ')).stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// What a command that succeeds prints.
    pub(crate) fn run(&self, words: &str) -> String {
        let output = self.output(words);
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.run(&format!("{words} -o json"))).unwrap()
    }

    /// The line that a command which fails prints, and its status.
    pub(crate) fn refused(&self, words: &str) -> (String, Option<i32>) {
        let output = self.output(words);
        assert!(!output.status.success(), "{words} succeeds");
        (String::from_utf8(output.stderr).unwrap().trim_end().to_owned(), output.status.code())
    }

    /// Starts one that stays, and waits until what it runs is there: a `sleep` in this sandbox's network.
    pub(crate) fn stay(&self, words: &str, network: u64) -> Stay {
        let stay = Stay(self.command(words).spawn().unwrap());
        wait_for("the command in the sandbox", || sleeping_in(network).is_some());
        stay
    }

    /// What keeps a namespace, as `loment ns why` says it.
    pub(crate) fn holders(&self, id: &str) -> Vec<Value> {
        let document = self.json(&format!("why {id}"));
        document["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|one| one["holders"].as_array().unwrap().clone())
            .collect()
    }

    /// What is mounted at or below the directory.
    pub(crate) fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let place = self.pins.to_str().unwrap();
        table
            .lines()
            .filter(|line| line.split(' ').nth(4).is_some_and(|at| at.starts_with(place)))
            .map(str::to_owned)
            .collect()
    }

    /// Nothing is left: no directory, no mount, no process that a command of this lab has made. (The inode of a namespace
    /// that is gone tells nothing: the next one may have it.)
    pub(crate) fn is_gone(&self) {
        assert_eq!(self.mounts(), Vec::<String>::new());
        assert!(!self.pins.exists());
        assert_eq!(self.processes(), Vec::<i32>::new());
    }

    /// Commands of this lab, and founders and holders, which keep their maker's command line.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let place = self.pins.as_os_str().as_encoded_bytes();
        let is_mine = |pid: &i32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).any(|word| word == place)
        };
        pids().filter(is_mine).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let names = fs::read_dir(&self.pins).into_iter().flatten().flatten();
        for name in names.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>() {
            let _ = self.output(&format!("rm --force {name}"));
        }
    }
}

/// A command that is ended with the test.
pub(crate) struct Stay(pub(crate) Child);

impl Drop for Stay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The namespaces that `loment ns create -o json` has told.
pub(crate) fn namespaces(record: &Value) -> BTreeMap<String, u64> {
    serde_json::from_value(record["namespaces"].clone()).unwrap()
}

/// The inode of a process's namespace, as the kernel says it.
pub(crate) fn inode(pid: impl ToString, kind: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{}/ns/{kind}", pid.to_string())).ok().map(|file| file.ino())
}

/// The inodes in the output of `readlink /proc/self/ns/...`.
pub(crate) fn links(text: &str) -> BTreeMap<String, u64> {
    let link = |line: &str| {
        let (kind, rest) = line.split_once(":[")?;
        Some((kind.to_owned(), rest.strip_suffix(']')?.parse().ok()?))
    };
    text.lines().filter_map(link).collect()
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Processes in a namespace.
pub(crate) fn members(kind: &str, namespace: u64) -> Vec<i32> {
    pids().filter(|pid| inode(pid, kind) == Some(namespace)).collect()
}

/// A `sleep` in a network.
pub(crate) fn sleeping_in(network: u64) -> Option<i32> {
    let is_sleep = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
    members("net", network).into_iter().find(is_sleep)
}

/// Waits for what comes sooner or later; that it does not come at all is a failure.
pub(crate) fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    const PATIENCE: Duration = Duration::from_secs(60);
    let begun = Instant::now();
    while !is_there() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a path is below another one's directory.
pub(crate) fn is_pin_of(path: &Value, lab: &Lab, name: &str, kind: &str) -> bool {
    path.as_str().map(Path::new) == Some(&lab.pins.join(name).join(kind))
}
