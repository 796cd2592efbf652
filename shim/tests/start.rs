//! The program as containerd runs it: `start`, `delete`, and what becomes of the socket. Needs root.

#[path = "start/checkpoint.rs"]
mod checkpoint;
#[path = "start/faults.rs"]
mod faults;
#[path = "start/home.rs"]
mod home;
#[path = "start/hostile.rs"]
mod hostile;
#[path = "start/pod.rs"]
mod pod;
#[path = "start/sandbox.rs"]
mod sandbox;
#[path = "start/task.rs"]
mod task;
#[path = "start/terminal.rs"]
mod terminal;
#[path = "start/trackers.rs"]
mod trackers;

use std::{
    fs,
    io::{self, Write as _},
    os::unix::net::UnixStream,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use containerd_shim::bootstrap::BootstrapParams;
use containerd_shim_protos::api::DeleteResponse;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use protobuf::Message;

/// Copies what is going to be executed. A process of its own does it: what this one has open to write, the children of its other
/// threads have too until they execute something, and until then nobody may execute the file. execve(2), ETXTBSY
fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    assert!(Command::new("/bin/cp").arg(from.as_ref()).arg(to.as_ref()).status().unwrap().success());
}

/// Says why a test asks nothing on this machine, also where what a test says is kept from sight.
fn skipped(why: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {why}");
}

/// A bundle and a directory for sockets.
struct Place {
    directory: PathBuf,
    id: String,
    /// What the shim finds in its environment beside the tests' own.
    environment: Vec<(&'static str, String)>,
    /// What a shell does before it becomes a shim.
    before: String,
    /// Flags of its command line beside the usual ones.
    flags: Vec<&'static str>,
}

impl Place {
    fn new() -> Self {
        // First of all it has to be seen whether there is one.
        checkpoint::forget_cache();
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // In a pid namespace of its own every test is process 1.
        let process = std::env::var(faults::INSIDE).unwrap_or_else(|_| std::process::id().to_string());
        let id = format!("s{process}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(format!("loment-{id}"));
        fs::create_dir_all(directory.join("bundle")).unwrap();
        Self { directory, id, environment: Vec::new(), before: String::new(), flags: Vec::new() }
    }

    /// The program by a name of its own, so that nothing else of the build is beside it.
    fn program(&self) -> PathBuf {
        let program = self.directory.join("containerd-shim-loment-v2");
        if !program.exists() {
            let built = PathBuf::from(env!("CARGO_BIN_EXE_containerd-shim-loment-v2"));
            if fs::hard_link(&built, &program).is_err() {
                copy_program(&built, &program);
            }
        }
        program
    }

    /// Runs an action as containerd 2.3 does. `redirections` is what a shell does to the streams before.
    fn run(&self, action: &str, redirections: &str) -> Output {
        let before = if action == "start" { self.before.as_str() } else { "" };
        self.run_after(before, action, redirections)
    }

    /// The same when the shell has done something else before.
    fn run_after(&self, before: &str, action: &str, redirections: &str) -> Output {
        let text = |name: &str| self.directory.join(name).display().to_string();
        let params = BootstrapParams {
            instance_id: self.id.clone(),
            namespace: "test".into(),
            socket_dir: Some(text("s")),
            containerd_ttrpc_address: text("containerd.sock.ttrpc"),
            ..BootstrapParams::default()
        };
        let input = self.directory.join("input");
        fs::write(&input, params.write_to_bytes().unwrap()).unwrap();
        // What it says is complete when every copy of its streams is closed, as for containerd.
        Command::new("/bin/sh")
            .args(["-c", &format!("{before} exec \"$0\" \"$@\" {redirections}")])
            .arg(self.program())
            .args(["-namespace", "test", "-address", &text("containerd.sock"), "-id", &self.id])
            .args(self.flags.iter().chain([&action]))
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .current_dir(self.directory.join("bundle"))
            .stdin(fs::File::open(&input).unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .unwrap()
    }

    /// Starts a shim; answers with its pid.
    fn started(&self, redirections: &str) -> i32 {
        let output = self.run("start", redirections);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        match self.shims().as_slice() {
            [shim] => *shim,
            shims => panic!("one shim stays behind, not {shims:?}"),
        }
    }

    fn deleted(&self) {
        let output = self.run("delete", "");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert_eq!(DeleteResponse::parse_from_bytes(&output.stdout).unwrap().exit_status(), 137);
    }

    /// Processes that run for this place.
    fn shims(&self) -> Vec<i32> {
        let ours = |entry: &fs::DirEntry| {
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).any(|word| word == self.id.as_bytes())
        };
        let processes = fs::read_dir("/proc").unwrap().flatten().filter(ours);
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Waits until none of them is left.
    fn gone(&self) {
        let deadline = Instant::now() + Duration::from_secs(20) * task::slowness();
        while !self.shims().is_empty() {
            assert!(Instant::now() < deadline, "{:?} are still there", self.shims());
            sleep(Duration::from_millis(5));
        }
    }

    fn socket(&self) -> PathBuf {
        let address = fs::read_to_string(self.directory.join("bundle/address")).unwrap();
        PathBuf::from(address.strip_prefix("unix://").unwrap())
    }
}

/// Cleans up in a destructor. What goes wrong with that fails the test, but not while the test is failing already: a second
/// panic would end the program, with all other tests, and nobody would read the first.
fn clean_up(work: impl FnOnce()) {
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    if let Err(panic) = done
        && !thread::panicking()
    {
        panic::resume_unwind(panic);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Each for itself: of a test that has failed as much goes as can.
        clean_up(|| self.shims().into_iter().for_each(|shim| end(shim, Signal::SIGKILL)));
        // Without standard input the shim was not told to have its socket in here.
        clean_up(|| drop(self.run("delete", "")));
        clean_up(|| fs::remove_dir_all(&self.directory).unwrap());
        clean_up(checkpoint::forget_cache);
    }
}

/// Sends a signal and waits for the end.
fn end(pid: i32, signal: Signal) {
    // A shim's forks look like it, and end when they have done what they are for.
    match kill(Pid::from_raw(pid), signal) {
        Err(Errno::ESRCH) => return,
        sent => sent.unwrap(),
    }
    let runs = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    let deadline = Instant::now() + Duration::from_secs(20) * task::slowness();
    while runs() {
        assert!(Instant::now() < deadline, "{pid} does not end by {signal}");
        sleep(Duration::from_millis(5));
    }
}

fn oom_score(pid: impl std::fmt::Display) -> i32 {
    fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap()
}

#[test]
fn the_socket_of_a_killed_shim_is_removed_by_delete() {
    let place = Place::new();
    let shim = place.started("");
    assert!(place.socket().starts_with(&place.directory), "{}", place.socket().display());
    place.deleted();
    assert!(UnixStream::connect(place.socket()).is_ok(), "a shim that lives keeps its socket");
    end(shim, Signal::SIGKILL);
    assert!(place.socket().exists(), "nobody could remove it");
    place.deleted();
    assert!(!place.socket().exists());
}

#[test]
fn a_shim_that_is_told_to_leave_takes_its_socket_with_it() {
    let place = Place::new();
    end(place.started(""), Signal::SIGTERM);
    assert!(!place.socket().exists());
}

#[test]
fn a_second_start_of_a_group_is_answered_from_the_first() {
    let place = Place::new();
    let first = place.started("");
    assert_eq!(place.started(""), first);
    end(first, Signal::SIGKILL);
    assert_ne!(place.started(""), first, "a stale socket is replaced");
}

#[test]
fn a_shim_has_no_streams_but_the_null_device_even_if_it_was_started_without_any() {
    for redirections in ["", "<&- >&- 2>&-"] {
        let place = Place::new();
        let shim = place.started(redirections);
        for stream in 0..3 {
            let target = fs::read_link(format!("/proc/{shim}/fd/{stream}")).unwrap();
            assert_eq!(target, PathBuf::from("/dev/null"), "{stream} with {redirections:?}");
        }
        assert!(UnixStream::connect(place.socket()).is_ok());
    }
}

#[test]
fn the_kernel_prefers_the_shim_to_who_started_it_when_memory_runs_out() {
    let place = Place::new();
    let shim = place.started("");
    assert_eq!(oom_score(shim), (oom_score("self") + 1).min(1000));
}

#[test]
fn a_container_whose_sandbox_has_lost_its_shim_gets_no_other() {
    let place = Place::new();
    let spec = r#"{"annotations": {"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": "the-sandbox"}}"#;
    fs::write(place.directory.join("bundle/config.json"), spec).unwrap();
    let output = place.run("start", "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("sandbox the-sandbox is gone"), "{output:?}");
    assert!(place.shims().is_empty(), "{:?}", place.shims());
    assert!(!place.directory.join("s").exists(), "it has made a place for sockets");
}

#[test]
fn a_start_that_fails_leaves_no_shim() {
    let place = Place::new();
    // The address cannot be written down.
    fs::create_dir_all(place.directory.join("bundle/address/x")).unwrap();
    let output = place.run("start", "");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/address"), "{output:?}");
    assert!(place.shims().is_empty());
    fs::remove_dir_all(place.directory.join("bundle/address")).unwrap();
}
