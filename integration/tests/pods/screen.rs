//! A person at a terminal: a program that has one, what it shows, and what is typed.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use loment_integration::pod::eventually;
use nix::{
    pty::{Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, tcgetattr},
    },
    unistd::Pid,
};

/// A program on a terminal of its own.
#[derive(Debug)]
pub(crate) struct Screen {
    master: File,
    slave: File,
    child: Child,
    text: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    /// Starts the program with the terminal as its standard streams.
    pub(crate) fn start(mut command: Command, rows: u16, columns: u16) -> Result<Self> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(&size, None).context("make a terminal")?;
        let slave = || terminal.slave.try_clone().map(Stdio::from).context("copy the terminal");
        let child = command.stdin(slave()?).stdout(slave()?).stderr(slave()?).spawn().context("run the program")?;
        let text = Arc::new(Mutex::new(Vec::new()));
        let (sink, mut master) = (Arc::clone(&text), File::from(terminal.master));
        let screen = Self { master: master.try_clone()?, slave: File::from(terminal.slave), child, text };
        // Ends when the last slave is closed, which makes reading an error.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = master.read(&mut buffer) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
            }
        });
        Ok(screen)
    }

    /// All that it has shown.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until it shows this.
    pub(crate) async fn shows(&self, text: &str) -> Result<()> {
        let shown = eventually(text, async || Ok(self.text().contains(text).then_some(()))).await;
        shown.with_context(|| format!("the terminal shows {:?}", self.text()))
    }

    /// Types.
    pub(crate) fn types(&mut self, text: &str) -> Result<()> {
        self.master.write_all(text.as_bytes()).context("type")
    }

    /// Gives the terminal another size and tells the program, as the kernel tells those whose session has the terminal.
    pub(crate) fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        use std::os::fd::AsFd as _;
        loment_sys::terminal::resize(self.master.as_fd(), columns, rows).context("resize the terminal")?;
        self.signal(Signal::SIGWINCH)
    }

    /// Sends the program a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal).context("send a signal")
    }

    /// Whether the terminal echoes what is typed and keeps it until the line has ended, as before any program.
    pub(crate) fn is_cooked(&self) -> Result<bool> {
        let mode = tcgetattr(&self.slave).context("ask the terminal for its mode")?.local_flags;
        Ok(mode.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG))
    }

    /// Waits for the program's end.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus> {
        let ended = eventually("the end of the program", async || Ok(self.child.try_wait()?)).await;
        ended.with_context(|| format!("the terminal shows {:?}", self.text()))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
