//! Log lines into the fifo that containerd keeps open in the bundle.

use std::{
    fs::File,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use log::{Level, LevelFilter, Log, Metadata, Record};

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    fifo: File,
}

/// Begins to log into `./log`. Without the fifo (a shim started by hand) nothing is logged.
///
/// The fifo is opened without blocking and a line that does not fit is dropped: a shim that waits for its log stops
/// answering as soon as nobody reads it.
pub(crate) fn init(debug: bool) {
    let Ok(fifo) = File::options().write(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC).open("log")
    else {
        return;
    };
    if log::set_logger(LOGGER.get_or_init(|| Logger { fifo })).is_ok() {
        log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
    }
}

/// Where log lines go, for what is said by others than this: the allocator, the C library, a panic within a panic.
pub(crate) fn fifo() -> Option<&'static File> {
    LOGGER.get().map(|logger| &logger.fifo)
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // ttrpc reports every connection that a client closes as an error.
        !metadata.target().starts_with("ttrpc") || metadata.level() == Level::Error && log::max_level() >= Level::Debug
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug | Level::Trace => "debug",
        };
        let message = record.args().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let line = format!("unix={}.{:06} level={level} msg=\"{message}\"\n", now.as_secs(), now.subsec_micros());
        // One write: a line of up to PIPE_BUF bytes is never torn. A full fifo loses it, by design.
        let _lost = (&self.fifo).write(line.as_bytes());
    }

    fn flush(&self) {}
}
