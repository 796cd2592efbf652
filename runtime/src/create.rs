//! `create`, and what `run` has in common with it.

use std::{fs, os::fd::OwnedFd, path::Path, sync::Arc, time::SystemTime};

use loment_cgroups::{Layout, systemd::is_scope};
use loment_sandbox::{
    OCI_VERSION,
    container::{Container, Creating, Extras, Request, Role},
    gate,
    lifecycle::rfc3339::Timestamp,
};
use oci_spec::runtime::Spec;

use crate::{
    args::{Global, Making},
    failure::{Context, Failure, Result},
    store::{Lock, Place, State, Store},
    streams::{self, Preserved},
};

/// A container whose init waits at its gate.
pub(crate) struct Created {
    pub(crate) place: Place,
    pub(crate) container: Container,
    /// The caller's end of its terminal, unless it was sent away.
    pub(crate) terminal: Option<OwnedFd>,
    lock: Lock,
}

impl Created {
    /// Other commands may change the container from now on.
    pub(crate) fn unlock(self) -> (Place, Container, Option<OwnedFd>) {
        drop(self.lock);
        (self.place, self.container, self.terminal)
    }
}

/// Makes a container. Everything that was made is undone on error.
pub(crate) fn create(
    store: &Store,
    global: &Global,
    making: &Making,
    preserved: &Preserved,
    detached: bool,
) -> Result<Created> {
    let bundle = fs::canonicalize(&making.bundle).at("find bundle", making.bundle.display())?;
    let (text, mut spec) = read_spec(&bundle, making.config.as_deref())?;
    if global.systemd_cgroup {
        choose_scope(&mut spec, &making.id)?;
    }
    let terminal = spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal).unwrap_or(false);
    streams::check_terminal(terminal, detached, &making.handover)?;
    if let Some(process) = spec.process_mut() {
        preserved.tell(process);
        if terminal && !detached {
            streams::give_size(process);
        }
    }
    let state = state(&bundle, &spec);
    let (place, lock) = store.make(&making.id)?;
    let made = (|| {
        place.write_spec(&text)?;
        let extras = Extras {
            gate: Some(gate::make(&place.directory)?),
            preserve: preserved.count,
            keep_keyring: making.no_new_keyring,
            record: Some(place.directory.clone()),
            ..Extras::default()
        };
        let io = streams::io(terminal)?;
        let request = Request {
            id: making.id.clone(),
            bundle,
            spec: Arc::new(spec),
            rootfs: Vec::new(),
            io,
            role: Role::Program,
        };
        let mut creating = Creating::begin_with(request, extras, &Layout::detect()?)?;
        creating.take_warnings().iter().for_each(crate::log::warn);
        let mut container = creating.finish()?;
        let mut terminal = container.take_terminal();
        streams::hand_over(&making.handover, container.init().pid(), terminal.as_ref())?;
        if making.handover.console_socket.is_some() {
            terminal = None;
        }
        place.write_state(&state)?;
        Ok((container, terminal))
    })();
    match made {
        Ok((container, terminal)) => Ok(Created { place, container, terminal, lock }),
        Err(failure) => {
            // The failure that brought us here is the one to be told. What could not be cleared, delete --force can.
            let _uncleared = place.clear();
            Err(failure)
        }
    }
}

fn read_spec(bundle: &Path, name: Option<&Path>) -> Result<(String, Spec)> {
    let path = bundle.join(name.unwrap_or(Path::new("config.json")));
    let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(format!(
            "read {}: no such file or directory (a bundle needs one: loment-runtime spec writes one to begin with)",
            path.display()
        )),
        _ => Failure::io("read", path.display(), &error),
    })?;
    let spec = serde_json::from_str(&text).at("understand", path.display())?;
    Ok((text, spec))
}

/// With `--systemd-cgroup` a container that does not say where its cgroup is gets a scope of its own, and one that says it
/// has to mean a scope. Without, it may.
fn choose_scope(spec: &mut Spec, id: &str) -> Result<()> {
    let linux = spec.linux_mut().get_or_insert_default();
    match linux.cgroups_path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
        None => {
            linux.set_cgroups_path(Some(format!("system.slice:loment:{id}").into()));
            Ok(())
        }
        Some(path) if is_scope(path) => Ok(()),
        Some(path) => Err(Failure::new(format!(
            "linux.cgroupsPath {path:?}: with --systemd-cgroup it has the form slice:prefix:name, as in \
             system.slice:loment:{id}"
        ))),
    }
}

fn state(bundle: &Path, spec: &Spec) -> State {
    let root = spec.root().as_ref().map(|root| bundle.join(root.path()));
    State {
        oci_version: OCI_VERSION.to_owned(),
        bundle: bundle.to_owned(),
        rootfs: root.unwrap_or_default(),
        created: Timestamp::micros(SystemTime::now()).to_string(),
        owner: owner(),
        annotations: spec.annotations().clone().unwrap_or_default(),
    }
}

fn owner() -> String {
    match nix::unistd::geteuid().as_raw() {
        0 => "root".to_owned(),
        uid => uid.to_string(),
    }
}
