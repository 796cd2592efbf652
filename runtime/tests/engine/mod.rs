//! What the tests of the engines share: ground that is not the machine's, an image, answers of commands, and how a list
//! of cases becomes a test program.

pub(crate) mod common;
mod ground;

use std::{
    fs::File,
    io::Read,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

pub(crate) use ground::Ground;
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use nix::pty::{Winsize, openpty};

const PATIENCE: Duration = Duration::from_secs(60);

/// A test with its name.
pub(crate) type Case<L> = (&'static str, fn(&L));

/// Names of test functions with the functions.
macro_rules! cases {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn(&Lab))),*] };
}
pub(crate) use cases;

/// Runs those of the cases that the arguments choose; without a lab they are only listed.
pub(crate) fn run<L: Sync>(arguments: &Arguments, cases: &[Case<L>], lab: Option<&'static L>) -> Conclusion {
    let trial = |(name, test): &Case<L>| {
        let test = *test;
        Trial::test(*name, move || {
            let lab = lab.ok_or_else(|| Failed::from("no lab"))?;
            test(lab);
            Ok(())
        })
    };
    libtest_mimic::run(arguments, cases.iter().map(trial).collect())
}

/// An engine on ground of its own.
pub(crate) trait Engine {
    /// The command that removes a container, whatever it does.
    const REMOVE: &'static [&'static str];
    /// What to do where there is no such engine.
    const MISSING: &'static str;

    /// A command of the engine's.
    fn command(&self, args: &[&str]) -> Command;

    fn call(&self, args: &[&str]) -> Answer {
        answer(self.command(args).output().expect(Self::MISSING))
    }

    /// Runs a script in a container that is gone afterwards.
    fn run(&self, flags: &[&str], script: &str) -> Answer {
        self.call(&[&["run", "--rm"], network(flags), flags, &["busybox", "sh", "-c", script]].concat())
    }

    /// A container that runs in the background.
    #[track_caller]
    fn start(&self, name: &str, flags: &[&str], script: &str) {
        let first = ["run", "--detach", "--name", name];
        self.call(&[&first, network(flags), flags, &["busybox", "sh", "-c", script]].concat()).ok();
    }

    #[track_caller]
    fn inspect(&self, name: &str, what: &str) -> String {
        self.call(&["inspect", "--format", &format!("{{{{{what}}}}}"), name]).ok().trim().to_owned()
    }

    #[track_caller]
    fn remove(&self, name: &str) {
        self.call(&[Self::REMOVE, &[name]].concat()).ok();
    }
}

/// Without a network unless a test asks for one.
fn network(flags: &[&str]) -> &'static [&'static str] {
    if flags.iter().any(|flag| flag.starts_with("--network")) { &[] } else { &["--network", "none"] }
}

/// What an engine has said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    /// Its output, if it went well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}{}", self.out, self.err);
        self.out
    }
}

pub(crate) fn answer(output: Output) -> Answer {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Answer { status: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs a command at a terminal; answers with its status and what was shown.
pub(crate) fn at_terminal(mut command: Command) -> (Option<i32>, String) {
    let size = Winsize { ws_row: 20, ws_col: 70, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).unwrap();
    let side = || Stdio::from(pty.slave.try_clone().unwrap());
    let mut child = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
    drop((command, pty.slave));
    let mut shown = Vec::new();
    // EIO when the last one has closed it.
    let _hung_up = File::from(pty.master).read_to_end(&mut shown);
    (child.wait().unwrap().code(), String::from_utf8_lossy(&shown).into_owned())
}

/// Asks again until the answer is right.
#[track_caller]
pub(crate) fn eventually(what: &str, mut ask: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ask() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
