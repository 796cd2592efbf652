//! Who is none of the shim's own.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use containerd_shim_protos::{api::ShutdownRequest, protobuf::Message as _, ttrpc::proto::Request};

use super::{REQUEST, TASK, Victim, frame};

/// In the environment of this test's program when it is the stranger: the socket.
const SOCKET: &str = "LOMENT_TEST_STRANGER";
/// How often a stranger tries.
const TIMES: usize = 100;

/// The stranger itself: says how often it was answered. Nothing when it is run like the other tests.
#[test]
fn stranger() {
    let Ok(socket) = env::var(SOCKET) else { return };
    let request = |method: &str| Request { service: TASK.into(), method: method.into(), ..Request::default() };
    let payload = ShutdownRequest::default().write_to_bytes().unwrap();
    let mut answers = 0;
    for _ in 0..TIMES {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = Request { payload: payload.clone(), ..request("Connect") };
        // It may have been hung up on by now.
        let _closed = stream.write_all(&frame(1, REQUEST, 0, &request.write_to_bytes().unwrap()));
        answers += usize::from(matches!(stream.read(&mut [0; 1]), Ok(1)));
    }
    println!("ANSWERS {answers}");
}

impl Victim {
    /// What the stranger has heard, run by this command. The way to the socket is open to everybody.
    fn answers_to(&self, command: impl FnOnce(&Path) -> Command) -> usize {
        let program = self.place.directory.join("stranger");
        if !program.exists() {
            crate::copy_program(env::current_exe().unwrap(), &program);
        }
        let socket = self.place.socket();
        for (path, mode) in [(socket.parent().unwrap(), 0o777), (&socket, 0o777), (&program, 0o755)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut command = command(&program);
        command.args(["hostile::peers::stranger", "--exact", "--nocapture"]).env(SOCKET, &socket).current_dir("/");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let count = said.split("ANSWERS ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        count.unwrap_or_else(|| panic!("{output:?}"))
    }
}

fn unshare(flags: &'static [&'static str]) -> impl Fn(&Path) -> Command {
    move |program| {
        let mut command = Command::new("unshare");
        command.args(flags).arg("--").arg(program);
        command
    }
}

#[test]
fn a_peer_of_another_user_is_not_heard_and_keeps_nobody_waiting() {
    let victim = Victim::new();
    let answers = victim.answers_to(|program: &Path| {
        let mut command = Command::new(PathBuf::from(program));
        command.uid(65534).gid(65534);
        command
    });
    assert_eq!(answers, 0);
    victim.still_works();
}

/// Its root is ours by number, and has none of our privileges.
#[test]
fn a_peer_of_another_user_namespace_is_not_heard() {
    let victim = Victim::new();
    assert_eq!(victim.answers_to(unshare(&["--user", "--map-root-user"])), 0);
    assert_eq!(victim.answers_to(unshare(&["--user", "--map-root-user", "--pid", "--fork"])), 0);
    victim.still_works();
}

/// A client that administers the machine from a container of its own, with the host's root, is one of ours.
#[test]
fn a_peer_of_another_pid_namespace_is_what_its_user_is() {
    let victim = Victim::new();
    assert_eq!(victim.answers_to(unshare(&["--pid", "--fork"])), TIMES);
    let setpriv = ["--pid", "--fork", "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let answers = victim.answers_to(|program: &Path| {
        let mut command = Command::new("unshare");
        command.args(setpriv).arg("--").arg(program);
        command
    });
    assert_eq!(answers, 0);
    victim.still_works();
}
