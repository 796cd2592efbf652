//! Log lines into the fifo that containerd keeps open in the bundle: fields as logfmt has them, so that a line can be told
//! from those of other shims in containerd's own log.

use std::{
    fs::File,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use log::{Level, LevelFilter, Log, Metadata, Record};

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    fifo: File,
    /// What each line ends with: whose it is.
    whose: String,
}

/// Begins to log into `./log`. Without the fifo (a shim started by hand) nothing is logged.
///
/// The fifo is opened without blocking and a line that does not fit is dropped: a shim that waits for its log stops
/// answering as soon as nobody reads it.
///
/// `id` is the container that the shim was started for, a pod's sandbox under CRI, in containerd's namespace `namespace`.
pub(crate) fn init(debug: bool, namespace: &str, id: &str) {
    let Ok(fifo) = File::options().write(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC).open("log")
    else {
        return;
    };
    let whose = whose(namespace, id, std::process::id());
    if log::set_logger(LOGGER.get_or_init(|| Logger { fifo, whose })).is_ok() {
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
        let line = line(now, record.level(), &record.args().to_string(), &self.whose);
        // One write: a line of up to PIPE_BUF bytes is never torn. A full fifo loses it, by design.
        let _lost = (&self.fifo).write(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Names of containerd's have letters, digits and `-_.` only.
fn whose(namespace: &str, id: &str, pid: u32) -> String {
    format!("namespace={namespace} id={id} pid={pid}")
}

fn line(since_1970: Duration, level: Level, message: &str, whose: &str) -> String {
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug | Level::Trace => "debug",
    };
    let message = message.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let (seconds, micros) = (since_1970.as_secs(), since_1970.subsec_micros());
    format!("unix={seconds}.{micros:06} level={level} msg=\"{message}\" {whose}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_how_grave_what_and_whose_it_is() {
        let whose = whose("k8s.io", "0123abcd", 42);
        let line = line(Duration::from_micros(1_700_000_000_000_007), Level::Warn, "say \"a\\b\"\nand go", &whose);
        let expected = "unix=1700000000.000007 level=warning msg=\"say \\\"a\\\\b\\\"\\nand go\" \
                        namespace=k8s.io id=0123abcd pid=42\n";
        assert_eq!(line, expected);
    }
}
