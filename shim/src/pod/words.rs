//! Last words: what a container has left in its termination message file, or at the end of its log.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use loment_sandbox::lifecycle::message;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::place;

/// How much of a log's end may hold the lines that are wanted: long lines are cut in pieces of 16 KiB by containerd.
const TAIL: u64 = 64 << 10;
/// Time between two looks at a log, and how many of them in a row must find it unchanged: containerd writes to it a
/// moment after it has read what the container wrote.
const LOOK: Duration = Duration::from_millis(10);
const QUIET: u32 = 3;
/// The same for one that has nothing of this attempt yet.
const SILENT: u32 = 10;
/// How many looks there are in all: somebody may write without end.
const LOOKS: u32 = 200;

/// The message file of the container `name` of the pod with this directory. Nothing in it leads anywhere else.
fn open_file(directory: &Path, name: &str, flags: OFlag) -> Option<File> {
    let top = place::open(directory).ok()?;
    let how = OpenHow::new()
        // The file may have become anything, a fifo too.
        .flags(flags | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let path = Path::new("containers").join(name).join("termination-log");
    let file = File::from(openat2(&top, &path, how).ok()?);
    file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(file)
}

/// What the message file says; `None` when it is empty, or there is none.
pub(super) fn left(directory: &Path, name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let file = open_file(directory, name, OFlag::O_RDONLY)?;
    file.take(message::LONGEST as u64).read_to_end(&mut bytes).ok()?;
    message::from_file(&bytes)
}

/// Empties the message file for the next attempt, which may be another user's.
pub(super) fn empty(directory: &Path, name: &str) {
    let Some(file) = open_file(directory, name, OFlag::O_WRONLY) else { return };
    let fresh = file.set_len(0).and_then(|()| file.set_permissions(fs::Permissions::from_mode(0o666)));
    if let Err(error) = fresh {
        log::warn!("empty the termination message of container {name}: {error}");
    }
}

/// The newest log of a container, whose logs are in `directory` as `<attempt>.log`.
fn newest_log(directory: &Path) -> Option<PathBuf> {
    let numbered = |path: PathBuf| {
        let number = path.file_name()?.to_str()?.strip_suffix(".log")?.parse::<u32>().ok()?;
        Some((number, path))
    };
    let found = fs::read_dir(directory).ok()?.flatten().filter_map(|entry| numbered(entry.path()));
    found.max().map(|(_, path)| path)
}

/// How long the log is now: what an attempt writes comes after that.
pub(super) fn length(directory: &Path) -> u64 {
    newest_log(directory).and_then(|path| fs::metadata(path).ok()).map_or(0, |metadata| metadata.len())
}

/// The end of a log as a message, of what was written from byte `from` on. Waits, not for long, until everything has been
/// written; its client has read it already.
pub(super) async fn from_log(directory: &Path, from: u64) -> Option<String> {
    let (mut last, mut unchanged) = (length(directory), 0);
    for _ in 0..LOOKS {
        tokio::time::sleep(LOOK).await;
        let now = length(directory);
        unchanged = if now == last { unchanged + 1 } else { 0 };
        last = now;
        if unchanged >= if now > from { QUIET } else { SILENT } {
            break;
        }
    }
    let mut file = place::carefully().read(true).open(newest_log(directory)?).ok()?;
    let length = file.metadata().ok().filter(fs::Metadata::is_file)?.len();
    // A log that is shorter than it was has been begun anew.
    let from = if length < from { 0 } else { from };
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL)))).ok()?;
    let mut text = Vec::new();
    file.take(TAIL).read_to_end(&mut text).ok()?;
    let lines = lines(&text);
    message::from_log(lines.iter().map(Vec::as_slice))
}

/// The lines of a container, out of a log in CRI's format: `TIME STREAM TAG TEXT`, where the tag `P` says that the line
/// goes on.
fn lines(log: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut goes_on = false;
    for line in log.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (Some(_), Some(_), Some(tag), Some(text)) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let is_whole = tag.split(|byte| *byte == b':').next() == Some(b"F");
        let end = if is_whole { &b"\n"[..] } else { b"" };
        match lines.last_mut().filter(|_| goes_on) {
            Some(line) => line.extend([text, end].concat()),
            None => lines.push([text, end].concat()),
        }
        goes_on = !is_whole;
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("loment-words-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("containers/app")).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("containers/app/termination-log")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a11_a_message_is_read_once_and_the_file_is_fresh_for_the_next_attempt() {
        let scratch = Scratch::new("file");
        assert_eq!(left(&scratch.0, "app"), None);
        fs::write(scratch.file(), vec![b'x'; 5000]).unwrap();
        fs::set_permissions(scratch.file(), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(left(&scratch.0, "app").map(|text| text.len()), Some(message::LONGEST));
        empty(&scratch.0, "app");
        assert_eq!(left(&scratch.0, "app"), None);
        assert_eq!(fs::metadata(scratch.file()).unwrap().permissions().mode() & 0o7777, 0o666);
    }

    #[test]
    fn a11_a_message_file_leads_nowhere() {
        let scratch = Scratch::new("link");
        fs::write(scratch.0.join("secret"), "secret").unwrap();
        symlink(scratch.0.join("secret"), scratch.file()).unwrap();
        assert_eq!(left(&scratch.0, "app"), None);
        empty(&scratch.0, "app");
        assert_eq!(left(&scratch.0, "../../.."), None);
        assert_eq!(fs::read_to_string(scratch.0.join("secret")).unwrap(), "secret");
        fs::remove_file(scratch.file()).unwrap();
        nix::unistd::mkfifo(&scratch.file(), Mode::from_bits_truncate(0o666)).unwrap();
        assert_eq!(left(&scratch.0, "app"), None, "and nobody waits for it");
    }

    #[test]
    fn a11_lines_of_a_log_are_put_together() {
        let log = b"T stdout F one\nT stderr P two \nT stderr F halves\nT stdout F \nT stdout P last";
        let all: Vec<_> = lines(log).into_iter().map(|line| String::from_utf8(line).unwrap()).collect();
        assert_eq!(all, ["one\n", "two halves\n", "\n", "last"]);
    }

    #[test]
    fn a11_the_newest_log_counts() {
        let scratch = Scratch::new("newest");
        for (name, text) in [("2.log", "22"), ("10.log", "aaaaa"), ("9.log.gz", ""), ("x.log", "")] {
            fs::write(scratch.0.join(name), text).unwrap();
        }
        assert_eq!(length(&scratch.0), 5);
        assert_eq!(length(&scratch.0.join("none")), 0);
    }
}
