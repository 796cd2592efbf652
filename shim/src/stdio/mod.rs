//! Standard input, output and error of a process, as containerd names them: fifos, files, a logger, or nothing.
//!
//! A process without a terminal gets the fifo itself: no copying, no buffer that could lose output, no memory. The
//! shim holds the other ends open, so that containerd may come and go: a read end of each output, without which the
//! application would be killed by SIGPIPE while containerd restarts, and a write end of the input until CloseIO. A logger
//! gets pipes, whose other ends are held in the same way.

mod logger;
mod output;

use std::{
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use loment_sandbox::container::Io;
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc, unistd,
};

pub(crate) use self::output::Sink;
use self::{logger::Logger, output::Output};
use crate::{
    failure::{Failure, Result},
    shim::Shim,
};

/// A client that has not read anything for so long is not waited for.
pub(crate) const STUCK: Duration = Duration::from_millis(500);
/// Nor is one that reads what others go on writing: a process may have left some that hold its output open.
const LONGEST: Duration = Duration::from_secs(2);

/// First and longest wait before it is looked whether a client that was away has read what was left for it.
const LOOK: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(250));

/// How long an answer waits for a client that has come back to take what was left for it.
const TAKING: Duration = Duration::from_millis(50);

/// How long a client may take to open what it wants to read.
const MEETING: Duration = Duration::from_secs(2);

/// Where containerd wants the three streams; empty is nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paths {
    /// Fifo that a client writes into.
    pub(crate) stdin: String,
    /// Fifo or URI.
    pub(crate) stdout: String,
    /// Fifo or URI; nothing with a terminal.
    pub(crate) stderr: String,
    /// Whether the process gets a terminal.
    pub(crate) terminal: bool,
}

/// The open streams of one process, and of its later attempts if it is restarted in place.
#[derive(Debug)]
pub(crate) struct Stdio {
    paths: Paths,
    outputs: [Output; 2],
    held: Arc<Mutex<Held>>,
    logger: Option<Logger>,
}

/// Ends held open on the process's behalf.
#[derive(Debug, Default)]
struct Held {
    /// Write end of the input fifo.
    stdin: Option<File>,
    /// Read end of the input fifo: a client that begins to write before the process has been started must neither
    /// wait nor lose what it writes.
    stdin_reader: Option<File>,
    /// Write ends of the output fifos, until the process has its own.
    met: Vec<File>,
    /// Read ends of the output fifos.
    readers: Vec<File>,
    /// Write ends of the output fifos, for a process that may be run again: the reader must not see an end between
    /// two attempts.
    writers: Vec<File>,
    /// The logger's pipes, until the process will not run again.
    pipes: [Option<Pipe>; 2],
}

impl Held {
    fn unread(&self) -> usize {
        // What is no pipe keeps nothing back.
        let readers = self.readers.iter().chain(self.pipes.iter().flatten().map(|pipe| &pipe.reader));
        readers.map(|reader| loment_sys::fd::unread(reader.as_fd()).unwrap_or_default()).sum()
    }
}

/// A pipe to a logger.
#[derive(Debug)]
struct Pipe {
    reader: File,
    writer: OwnedFd,
}

impl Pipe {
    fn new() -> Result<Self> {
        let made = unistd::pipe2(OFlag::O_CLOEXEC);
        let (reader, writer) = made.map_err(|errno| Failure::io("make a pipe for", "the logger", &errno.into()))?;
        Ok(Self { reader: reader.into(), writer })
    }
}

impl Stdio {
    /// Opens the ends that are held. `restartable`: see [`Held::writers`]. `owner`: user and group of the process,
    /// who must be able to open `/dev/stdout` again.
    pub(crate) fn open(paths: Paths, restartable: bool, owner: (u32, u32)) -> Result<Self> {
        let outputs = Output::both(&paths.stdout, &paths.stderr, paths.terminal)?;
        let mut held = Held::default();
        for (output, pipe) in outputs.iter().zip(&mut held.pipes) {
            if matches!(output, Output::Logger(_)) {
                *pipe = Some(Pipe::new()?);
            }
            let Output::Fifo(path) = output else { continue };
            held.readers.push(open(path, File::options().read(true), libc::O_NONBLOCK)?);
            if restartable {
                held.writers.push(open(path, File::options().write(true), libc::O_NONBLOCK)?);
            }
        }
        if !paths.stdin.is_empty() && !paths.terminal {
            let path = Path::new(&paths.stdin);
            // The reader first: without one, a fifo cannot be opened for writing without waiting.
            held.stdin_reader = Some(open(path, File::options().read(true), libc::O_NONBLOCK)?);
            held.stdin = Some(open(path, File::options().write(true), libc::O_NONBLOCK)?);
        }
        if owner != (0, 0) {
            let pipes = held.pipes.iter().flatten().map(|pipe| &pipe.reader);
            give_to(owner, held.readers.iter().chain(&held.stdin).chain(pipes))?;
        }
        Ok(Self { paths, outputs, held: Arc::new(Mutex::new(held)), logger: None })
    }

    /// Refuses outputs that nothing can be written to.
    pub(crate) fn check(stdout: &str, stderr: &str, terminal: bool) -> Result<()> {
        Output::both(stdout, stderr, terminal).map(drop)
    }

    /// The same with its logger, if it is to have one, started and ready. `id` is what the logger is told: the
    /// container's, or the exec's.
    pub(crate) async fn with_logger(mut self, shim: &Arc<Shim>, id: &str) -> Result<Self> {
        let [Output::Logger(program), _] = &self.outputs else { return Ok(self) };
        let streams = {
            let held = crate::lock(&self.held);
            let reader = |pipe: &Option<Pipe>| match pipe {
                Some(pipe) => pipe.reader.try_clone().map_err(|error| Failure::io("copy", "the logger's pipe", &error)),
                // Nobody writes into this one: the logger finds its end.
                None => Pipe::new().map(|pipe| pipe.reader),
            };
            let [stdout, stderr] = &held.pipes;
            [reader(stdout)?, reader(stderr)?]
        };
        self.logger = Some(Logger::start(shim, program, id, streams).await?);
        Ok(self)
    }

    /// Waits until the client has come to read its fifos, and holds them open until the process has its own ends.
    ///
    /// A client's open waits for somebody who writes. A process that ends before the client has come would leave it
    /// waiting for ever. (A reader that waits in open(2) counts as one: fifo(7).)
    pub(crate) async fn meet_client(paths: &Paths) -> Vec<File> {
        let deadline = Instant::now() + MEETING;
        let mut met = Vec::new();
        for output in Output::both(&paths.stdout, &paths.stderr, paths.terminal).into_iter().flatten() {
            let Output::Fifo(path) = output else { continue };
            loop {
                let opened = File::options().write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(&path);
                match opened {
                    Ok(end) => met.push(end),
                    Err(error) if error.raw_os_error() == Some(libc::ENXIO) && Instant::now() < deadline => {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    // What is wrong with it is told when it is opened for the process.
                    Err(_) => {}
                }
                break;
            }
        }
        met
    }

    /// Keeps what [`Stdio::meet_client`] has opened until the process has its own ends.
    pub(crate) fn keep(&self, met: Vec<File>) {
        crate::lock(&self.held).met = met;
    }

    /// As containerd named them.
    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Descriptors for one attempt of the process.
    pub(crate) fn for_process(&self) -> Result<Io> {
        if self.paths.terminal {
            return Ok(Io::Terminal);
        }
        let stdin = if self.paths.stdin.is_empty() {
            None
        } else {
            Some(for_child(open(Path::new(&self.paths.stdin), File::options().read(true), libc::O_NONBLOCK)?)?)
        };
        Ok(Io::Plain { stdin, stdout: self.output(0)?, stderr: self.output(1)? })
    }

    /// One output for a process, by its number.
    fn output(&self, number: usize) -> Result<Option<OwnedFd>> {
        match &self.outputs[number] {
            Output::Nothing => Ok(None),
            Output::Fifo(path) => Output::open(path, true).map(Some),
            Output::File(path) => Output::open(path, false).map(Some),
            Output::Logger(_) => self.pipe(number).map(Some),
        }
    }

    /// What a terminal's output is copied into.
    pub(crate) fn terminal_output(&self) -> Result<Option<Sink>> {
        match &self.outputs[0] {
            Output::Nothing => Ok(None),
            Output::Fifo(path) => Sink::fifo(path).map(Some),
            Output::File(path) => Sink::file(path).map(Some),
            Output::Logger(_) => Sink::pipe(self.pipe(0)?).map(Some),
        }
    }

    /// The write end of one of the logger's pipes once more.
    fn pipe(&self, number: usize) -> Result<OwnedFd> {
        let held = crate::lock(&self.held);
        let pipe = held.pipes[number].as_ref();
        let pipe = pipe.ok_or_else(|| Failure::precondition("write to the logger: its process will not run again"))?;
        pipe.writer.try_clone().map_err(|error| Failure::io("copy", "the logger's pipe", &error))
    }

    /// The process has its own descriptors: from now on a client that writes to one that has ended is told so.
    pub(crate) fn handed_over(&self) {
        let mut held = crate::lock(&self.held);
        held.met.clear();
        if held.writers.is_empty() {
            held.stdin_reader = None;
        }
    }

    /// Bytes of output that the client has not read yet.
    fn unread(&self) -> usize {
        crate::lock(&self.held).unread()
    }

    /// Waits until the client has read all output, as long as it goes on reading.
    ///
    /// CRI of containerd 1.6 closes its end when it hears of the exit, and what is still in the fifo is lost.
    pub(crate) async fn drained(&self) {
        let mut left = self.unread();
        let begin = Instant::now();
        let mut last_progress = begin;
        while left > 0 && last_progress.elapsed() < STUCK && begin.elapsed() < LONGEST {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let now = self.unread();
            if now < left {
                last_progress = Instant::now();
            }
            left = now;
        }
    }

    /// The client will write no more: the process sees the end once the client, too, has closed.
    pub(crate) fn close_stdin(&self) {
        crate::lock(&self.held).stdin = None;
    }

    /// Lets go of every end: the process will not run again.
    pub(crate) fn release(&self) {
        *crate::lock(&self.held) = Held::default();
    }

    /// The same, but for fifos with something that nobody has read yet: containerd may be away, to be restarted. What it
    /// opens again must have a writer, and what is in it must not go with the last reader.
    pub(crate) fn release_when_read(&self) {
        let mut held = crate::lock(&self.held);
        let fifos = self.outputs.iter().filter_map(|output| match output {
            Output::Fifo(path) => Some(path),
            _ => None,
        });
        let readers = std::mem::take(&mut held.readers);
        let writers = fifos.filter_map(|path| open(path, File::options().write(true), libc::O_NONBLOCK).ok()).collect();
        *held = Held { readers, writers, ..Held::default() };
        if held.unread() == 0 {
            *held = Held::default();
            return;
        }
        let held = Arc::clone(&self.held);
        tokio::spawn(async move {
            let mut pause = LOOK.0;
            while crate::lock(&held).unread() > 0 {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LOOK.1);
            }
            *crate::lock(&held) = Held::default();
        });
    }

    /// Gives a client that was away a moment to take what was left for it.
    pub(crate) async fn taken(&self) {
        let taken = async {
            while self.unread() > 0 {
                tokio::time::sleep(LOOK.0).await;
            }
        };
        let _not_yet = tokio::time::timeout(TAKING, taken).await;
    }

    /// Ends the logger, which has found the end of both streams, and waits until it is gone.
    pub(crate) async fn end_logger(&self) {
        if let Some(logger) = &self.logger {
            logger.end();
            logger.gone().await;
        }
    }
}

fn open(path: &Path, options: &mut std::fs::OpenOptions, flags: i32) -> Result<File> {
    options
        .custom_flags(flags | libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| Failure::io("open standard stream", path.display(), &error))
}

/// Takes away O_NONBLOCK, which was only wanted for the opening: a program does not expect it.
fn for_child(file: File) -> Result<OwnedFd> {
    with_flags(file, OFlag::empty())
}

/// The same for a file that others append to as well.
fn appending(file: File) -> Result<OwnedFd> {
    with_flags(file, OFlag::O_APPEND)
}

fn with_flags(file: File, flags: OFlag) -> Result<OwnedFd> {
    fcntl(&file, FcntlArg::F_SETFL(flags))
        .map_err(|errno| Failure::io("take O_NONBLOCK from", "a standard stream", &errno.into()))?;
    Ok(file.into())
}

/// Makes `owner` the owner of the fifos among `files`.
fn give_to<'a>(owner: (u32, u32), files: impl Iterator<Item = &'a File>) -> Result<()> {
    for file in files {
        let is_fifo = file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
        if is_fifo {
            unistd::fchown(file.as_fd(), Some(owner.0.into()), Some(owner.1.into())).map_err(|errno| {
                Failure::io("give standard stream to the user of the process", owner.0, &errno.into())
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};
    use std::{
        io::{Read, Write},
        path::PathBuf,
    };

    struct Fifos(PathBuf);

    impl Fifos {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("loment-stdio-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            for stream in ["in", "out", "err"] {
                mkfifo(&dir.join(stream), Mode::from_bits_truncate(0o700)).unwrap();
            }
            Self(dir)
        }

        fn paths(&self) -> Paths {
            let of = |stream: &str| self.0.join(stream).display().to_string();
            Paths { stdin: of("in"), stdout: of("out"), stderr: of("err"), terminal: false }
        }
    }

    impl Drop for Fifos {
        fn drop(&mut self) {
            let _gone = std::fs::remove_dir_all(&self.0);
        }
    }

    fn plain(io: Io) -> [Option<File>; 3] {
        let Io::Plain { stdin, stdout, stderr } = io else { panic!("no terminal was asked for") };
        [stdin, stdout, stderr].map(|fd| fd.map(File::from))
    }

    #[test]
    fn the_application_may_write_while_no_client_reads() {
        let fifos = Fifos::new("write");
        let stdio = Stdio::open(fifos.paths(), false, (0, 0)).unwrap();
        let [_, stdout, _] = plain(stdio.for_process().unwrap());
        stdout.unwrap().write_all(b"hello").unwrap();
    }

    #[test]
    fn a_reader_sees_no_end_between_two_attempts_and_sees_it_after_the_last() {
        let fifos = Fifos::new("attempts");
        let stdio = Stdio::open(fifos.paths(), true, (0, 0)).unwrap();
        let mut client = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(fifos.0.join("out")).unwrap();
        for text in ["one", "two"] {
            plain(stdio.for_process().unwrap())[1].as_mut().unwrap().write_all(text.as_bytes()).unwrap();
            let mut buffer = [0; 8];
            assert_eq!(client.read(&mut buffer).unwrap(), 3);
            assert_eq!(client.read(&mut buffer).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        }
        stdio.release();
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn input_ends_after_close_io() {
        let fifos = Fifos::new("input");
        let stdio = Stdio::open(fifos.paths(), false, (0, 0)).unwrap();
        let [stdin, ..] = plain(stdio.for_process().unwrap());
        let mut client = File::options().write(true).open(fifos.0.join("in")).unwrap();
        client.write_all(b"x").unwrap();
        drop(client);
        stdio.close_stdin();
        let mut all = String::new();
        stdin.unwrap().read_to_string(&mut all).unwrap();
        assert_eq!(all, "x");
    }

    #[test]
    fn output_may_be_appended_to_a_file() {
        let fifos = Fifos::new("file");
        let target = fifos.0.join("logs/out.log");
        let paths = Paths { stdout: format!("file://{}", target.display()), ..Paths::default() };
        let stdio = Stdio::open(paths, false, (0, 0)).unwrap();
        for _ in 0..2 {
            plain(stdio.for_process().unwrap())[1].as_mut().unwrap().write_all(b"line\n").unwrap();
        }
        assert_eq!(std::fs::read_to_string(target).unwrap(), "line\nline\n");
    }

    /// Needs root.
    #[test]
    fn fifos_and_pipes_belong_to_who_is_to_open_them_again() {
        use std::os::unix::fs::MetadataExt;
        let fifos = Fifos::new("owner");
        let owner = |metadata: std::fs::Metadata| (metadata.uid(), metadata.gid());
        let _stdio = Stdio::open(fifos.paths(), false, (1234, 567)).unwrap();
        for stream in ["in", "out", "err"] {
            assert_eq!(owner(std::fs::metadata(fifos.0.join(stream)).unwrap()), (1234, 567), "{stream}");
        }
        let paths = Paths { stdout: "binary:///logger".into(), ..Paths::default() };
        let stdio = Stdio::open(paths, false, (1234, 567)).unwrap();
        let [_, stdout, stderr] = plain(stdio.for_process().unwrap());
        for stream in [stdout, stderr] {
            assert_eq!(owner(stream.unwrap().metadata().unwrap()), (1234, 567));
        }
    }

    #[test]
    fn an_unknown_scheme_or_a_missing_fifo_is_refused_by_name() {
        let of = |stdout: &str| Stdio::open(Paths { stdout: stdout.into(), ..Paths::default() }, false, (0, 0));
        assert!(of("carrier://pigeon").unwrap_err().message.contains("carrier"));
        assert!(of("/nonexistent/fifo").unwrap_err().message.contains("/nonexistent/fifo"));
    }

    #[test]
    fn a_fifo_in_the_place_of_a_file_keeps_nobody_waiting() {
        let fifos = Fifos::new("fifo-file");
        let paths = Paths { stdout: format!("file://{}", fifos.0.join("out").display()), ..Paths::default() };
        let stdio = Stdio::open(paths, false, (0, 0)).unwrap();
        let refusal = stdio.for_process().unwrap_err();
        assert!(refusal.message.contains("/out"), "{refusal}");
    }

    #[test]
    fn what_nobody_has_read_is_kept_for_a_client_that_comes_later_and_then_ends() {
        let fifos = Fifos::new("late");
        let stdio = Stdio::open(fifos.paths(), false, (0, 0)).unwrap();
        let mut stdout = plain(stdio.for_process().unwrap())[1].take().unwrap();
        stdout.write_all(b"last words").unwrap();
        drop(stdout);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let read = runtime.block_on(async {
            stdio.release_when_read();
            let path = fifos.0.join("out");
            let reader = std::thread::spawn(move || std::fs::read_to_string(path));
            while !reader.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            reader.join().unwrap()
        });
        assert_eq!(read.unwrap(), "last words");
        assert!(crate::lock(&stdio.held).readers.is_empty());
    }

    #[test]
    fn output_that_never_ends_does_not_keep_an_exit_back_for_ever() {
        let fifos = Fifos::new("endless");
        let stdio = Stdio::open(fifos.paths(), false, (0, 0)).unwrap();
        let mut left_behind = plain(stdio.for_process().unwrap())[1].take().unwrap();
        let mut client = File::options().read(true).open(fifos.0.join("out")).unwrap();
        left_behind.write_all(&[b'y'; 1 << 15]).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let stopped = || stop.load(std::sync::atomic::Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| while !stopped() && left_behind.write_all(&[b'y'; 4096]).is_ok() {});
            let reader = scope.spawn(|| while !stopped() && matches!(client.read(&mut [0; 1]), Ok(1..)) {});
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(stdio.drained());
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            reader.join().unwrap();
            // The writer may wait for room.
            for reader in &crate::lock(&stdio.held).readers {
                let _some = (&*reader).read(&mut [0; 1 << 16]);
            }
        });
    }
}
