//! A connection to systemd. It blocks, so it lives in a process of its own: see [`super::Errand`].

use std::{
    collections::BTreeMap,
    env, io,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use super::wire::{self, ERROR, METHOD_RETURN, Message, Method, Property, SIGNAL, Writer};

/// How long systemd may take for one answer. It is busy with others too while a node starts.
const PATIENCE: Duration = Duration::from_secs(30);

/// systemd's own socket, for root: no bus in between.
const PRIVATE: &str = "/run/systemd/private";
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

const SYSTEMD: &str = "org.freedesktop.systemd1";
const BUS: &str = "org.freedesktop.DBus";

/// The methods of systemd's manager are all at one place.
const fn manager(member: &'static str, signature: &'static str) -> Method {
    Method {
        destination: SYSTEMD,
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member,
        signature,
    }
}

const fn bus(member: &'static str, signature: &'static str) -> Method {
    Method { destination: BUS, path: "/org/freedesktop/DBus", interface: BUS, member, signature }
}

/// What systemd answers when a unit of this name is there already.
pub(crate) const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// systemd said no: the error's name, and its text.
    Named(String, String),
    /// Nothing could be said or heard.
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name, text) => write!(f, "{text} ({name})"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// How jobs have ended that nobody has asked for yet, by their object paths.
    ended: BTreeMap<String, String>,
}

impl Bus {
    /// Connects to the address that the environment names, to systemd itself, or to the system bus.
    pub(crate) fn connect() -> Result<Self, Refusal> {
        let given = env::var("DBUS_SYSTEM_BUS_ADDRESS").ok().and_then(|address| unix_path(&address));
        let mut failure = None;
        for (path, is_bus) in places(given) {
            match UnixStream::connect(&path) {
                Ok(stream) => return Self::greet(stream, is_bus),
                Err(error) => failure = Some(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            }
        }
        Err(failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()).into())
    }

    /// D-Bus specification, "Authentication Protocol": who we are is what the socket says.
    fn greet(mut stream: UnixStream, is_bus: bool) -> Result<Self, Refusal> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let user: String = nix::unistd::geteuid().to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n") && answer.len() < 512 {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            answer.extend_from_slice(&byte);
        }
        if !answer.starts_with(b"OK ") {
            let answer = String::from_utf8_lossy(&answer).trim().to_owned();
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it answered {answer:?}")).into());
        }
        stream.write_all(b"BEGIN\r\n")?;
        let mut connection = Self { stream, serial: 0, ended: BTreeMap::new() };
        if is_bus {
            connection.call(&bus("Hello", ""), Writer::default())?;
            // On its own socket systemd tells everybody; on the bus only those who have asked.
            let mut rule = Writer::default();
            rule.text("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
            connection.call(&bus("AddMatch", "s"), rule)?;
            connection.call(&manager("Subscribe", ""), Writer::default())?;
        }
        Ok(connection)
    }

    /// Starts a unit that exists in systemd's memory only, and waits until it has been started.
    pub(crate) fn start_transient_unit(&mut self, name: &str, properties: &[Property]) -> Result<(), Refusal> {
        let mut body = Writer::default();
        body.text(name);
        body.text("replace");
        body.properties(properties);
        body.no_units();
        let job = self.call(&manager("StartTransientUnit", "ssa(sv)a(sa(sv))"), body)?.body;
        self.wait_for(job.first().map_or("", String::as_str))
    }

    /// Stops a unit, and waits until it is stopped.
    pub(crate) fn stop_unit(&mut self, name: &str) -> Result<(), Refusal> {
        let mut body = Writer::default();
        body.text(name);
        body.text("replace");
        let job = self.call(&manager("StopUnit", "ss"), body)?.body;
        self.wait_for(job.first().map_or("", String::as_str))
    }

    /// Lets systemd forget that a unit has failed.
    pub(crate) fn reset_failed_unit(&mut self, name: &str) -> Result<(), Refusal> {
        let mut body = Writer::default();
        body.text(name);
        self.call(&manager("ResetFailedUnit", "s"), body).map(drop)
    }

    /// Changes properties of a unit until the machine restarts.
    pub(crate) fn set_unit_properties(&mut self, name: &str, properties: &[Property]) -> Result<(), Refusal> {
        let mut body = Writer::default();
        body.text(name);
        body.bool(true);
        body.properties(properties);
        self.call(&manager("SetUnitProperties", "sba(sv)"), body).map(drop)
    }

    fn wait_for(&mut self, job: &str) -> Result<(), Refusal> {
        loop {
            match self.ended.remove(job) {
                Some(result) if result == "done" => return Ok(()),
                Some(result) => return Err(Refusal::Named(result, "the job did not succeed".to_owned())),
                None => self.receive().map(drop)?,
            }
        }
    }

    fn call(&mut self, method: &Method, body: Writer) -> Result<Message, Refusal> {
        self.serial += 1;
        self.stream.write_all(&wire::call(self.serial, method, body))?;
        loop {
            let message = self.receive()?;
            match message.kind {
                METHOD_RETURN if message.reply_to == self.serial => return Ok(message),
                ERROR if message.reply_to == self.serial => {
                    return Err(Refusal::Named(message.error, message.body.into_iter().next().unwrap_or_default()));
                }
                _ => {}
            }
        }
    }

    /// The next message; the end of a job is noted.
    fn receive(&mut self) -> Result<Message, Refusal> {
        let garbled = || io::Error::new(io::ErrorKind::InvalidData, "what systemd said cannot be understood");
        let mut bytes = vec![0; 16];
        self.stream.read_exact(&mut bytes).map_err(silent)?;
        let size = bytes.first_chunk().and_then(wire::size).ok_or_else(garbled)?;
        bytes.resize(size, 0);
        self.stream.read_exact(bytes.get_mut(16..).unwrap_or_default()).map_err(silent)?;
        let message = wire::parse(&bytes).ok_or_else(garbled)?;
        if message.kind == SIGNAL
            && message.member == "JobRemoved"
            && let [_, job, _, result] = message.body.as_slice()
        {
            self.ended.insert(job.clone(), result.clone());
        }
        Ok(message)
    }
}

/// A read that took too long says "try again", which nobody would understand.
fn silent(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            io::Error::new(io::ErrorKind::TimedOut, "systemd did not answer within 30 seconds")
        }
        _ => error,
    }
}

/// Where to try, and whether there is a bus, which wants to be greeted.
fn places(given: Option<PathBuf>) -> Vec<(PathBuf, bool)> {
    match given {
        Some(path) => vec![(path, true)],
        None => vec![(PRIVATE.into(), false), (SYSTEM_BUS.into(), true)],
    }
}

/// The path in an address such as `unix:path=/run/dbus/system_bus_socket,guid=...`, the first of several.
fn unix_path(address: &str) -> Option<PathBuf> {
    let first = address.split(';').next()?.strip_prefix("unix:")?;
    first.split(',').find_map(|pair| pair.strip_prefix("path=")).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_an_address_is_found() {
        assert_eq!(unix_path("unix:path=/run/x,guid=1;tcp:host=y"), Some("/run/x".into()));
        assert_eq!(unix_path("unix:abstract=x"), None);
        assert_eq!(unix_path("tcp:host=y"), None);
    }
}
