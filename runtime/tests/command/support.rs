//! What the tests share: a bundle as a first-time user makes it, the program, and counting what is left.

use std::{
    fs::{self, File},
    io::Read,
    os::fd::OwnedFd,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// In the environment of a test that has been run again in namespaces of its own: what makes it different from others.
pub(crate) const INSIDE: &str = "LOMENT_TEST_INSIDE";

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const APPLETS: &[&str] = &[
    "sh", "ls", "cat", "echo", "sleep", "id", "stat", "readlink", "env", "pwd", "true", "false", "kill", "touch",
    "mkdir", "rm", "test", "stty", "tty", "grep", "head", "dd", "wc", "ps", "printf", "mkfifo",
];

/// A bundle with its own state directory and its own parent of cgroups. Dropping it checks that nothing is left.
pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) config: Value,
    cgroups: String,
    program: PathBuf,
}

/// What a command has said.
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let status = output.status.code().expect("the runtime is not killed");
        Self { status, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Its output, if it went well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// Its error, if it went wrong as commands do.
    #[track_caller]
    pub(crate) fn refused(self) -> String {
        assert!(self.status == 1 || self.status == 255, "status {}: {}{}", self.status, self.out, self.err);
        assert!(!self.err.trim().is_empty(), "an error says something");
        self.err
    }
}

impl Bundle {
    /// A bundle from `loment-runtime spec` whose program is a script.
    pub(crate) fn new(script: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // In a pid namespace of its own every test is process 1.
        let process = std::env::var(INSIDE).unwrap_or_else(|_| std::process::id().to_string());
        let name = format!("loment-command-{process}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(&name);
        for directory in ["bin", "etc", "tmp"] {
            fs::create_dir_all(path.join("rootfs").join(directory)).unwrap();
        }
        fs::copy("/bin/busybox", path.join("rootfs/bin/busybox")).expect("busybox-static must be installed");
        for applet in APPLETS {
            symlink("busybox", path.join("rootfs/bin").join(applet)).unwrap();
        }
        let output = program().args(["spec", "--bundle"]).arg(&path).output().unwrap();
        Answer::of(&output).ok();
        let text = fs::read_to_string(path.join("config.json")).unwrap();
        let mut bundle = Self {
            root: path.join("state"),
            path,
            config: serde_json::from_str(&text).unwrap(),
            cgroups: format!("/{name}"),
            program: env!("CARGO_BIN_EXE_loment-runtime").into(),
        };
        bundle.config["process"]["terminal"] = json!(false);
        bundle.script(script);
        bundle
    }

    pub(crate) fn script(&mut self, script: &str) {
        self.config["process"]["args"] = json!(["sh", "-c", script]);
    }

    /// The command line up to the name of the container, in this bundle.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).args(args).current_dir(&self.path).stdin(Stdio::null());
        command
    }

    /// Runs a copy of the program from now on, which no other test executes.
    pub(crate) fn use_a_program_of_its_own(&mut self) {
        let copy = self.path.join("loment-runtime");
        // By another process: a copy that is being written while another thread forks cannot be executed for a moment.
        assert!(Command::new("cp").arg(&self.program).arg(&copy).status().unwrap().success());
        self.program = copy;
    }

    /// Writes config.json for the container `id`.
    pub(crate) fn write(&self, id: &str) {
        let mut config = self.config.clone();
        if config["linux"]["cgroupsPath"].is_null() {
            config["linux"]["cgroupsPath"] = json!(format!("{}/{id}", self.cgroups));
        }
        fs::write(self.path.join("config.json"), config.to_string()).unwrap();
    }

    /// Runs a command to its end.
    pub(crate) fn call(&self, args: &[&str]) -> Answer {
        Answer::of(&self.command(args).output().unwrap())
    }

    /// Creates a container whose output goes to a pipe.
    #[track_caller]
    pub(crate) fn create(&self, id: &str, flags: &[&str]) -> File {
        self.write(id);
        let (reader, writer) = std::io::pipe().unwrap();
        let args = [&["create"], flags, &[id]].concat();
        let mut command = self.command(&args);
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let status = command.status().unwrap();
        drop(command);
        let mut output = File::from(OwnedFd::from(reader));
        if !status.success() {
            let mut text = String::new();
            output.read_to_string(&mut text).unwrap();
            panic!("{status}: {text}");
        }
        output
    }

    /// Creates and starts.
    #[track_caller]
    pub(crate) fn start(&self, id: &str) -> File {
        let output = self.create(id, &[]);
        self.call(&["start", id]).ok();
        output
    }

    #[track_caller]
    pub(crate) fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.call(&["state", id]).ok()).unwrap()
    }

    #[track_caller]
    pub(crate) fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().unwrap().to_owned()
    }

    pub(crate) fn pid(&self, id: &str) -> i32 {
        self.state(id)["pid"].as_i64().unwrap().try_into().unwrap()
    }

    #[track_caller]
    pub(crate) fn wait_until(&self, id: &str, status: &str) {
        eventually(|| (self.status(id) == status).then_some(()), status);
    }

    #[track_caller]
    pub(crate) fn delete(&self, id: &str) {
        self.call(&["delete", "--force", id]).ok();
    }

    /// What is in the container's files of limits.
    pub(crate) fn limit(&self, id: &str, controller: &str, file: &str) -> String {
        let path = format!("/sys/fs/cgroup/{controller}{}/{id}/{file}", self.cgroups);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
    }

    fn directories_of_cgroups(&self) -> Vec<PathBuf> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
        let below = |hierarchy: PathBuf| hierarchy.join(&self.cgroups[1..]);
        hierarchies
            .map(below)
            .chain([Path::new("/sys/fs/cgroup").join(&self.cgroups[1..])])
            .filter(|path| path.exists())
            .collect()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let names = |path: &Path| -> Vec<_> {
            fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.file_name()).collect()
        };
        let containers = names(&self.root);
        let cgroups = self.directories_of_cgroups();
        if std::thread::panicking() {
            for id in containers.iter().filter_map(|id| id.to_str()) {
                let _failed = self.command(&["delete", "--force", id]).status();
            }
        } else {
            assert!(containers.is_empty(), "the state of containers is left: {containers:?}");
            assert!(cgroups.is_empty(), "cgroups are left: {cgroups:?}");
        }
        fs::remove_dir_all(&self.path).unwrap();
    }
}

pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_loment-runtime"))
}

pub(crate) fn read(mut output: File) -> String {
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    text
}

/// Asks again until there is an answer.
#[track_caller]
pub(crate) fn eventually<T>(ask: impl Fn() -> Option<T>, what: &str) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
