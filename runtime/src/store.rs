//! What is known of containers between one command and the next: a directory for each, in a tmpfs.
//!
//! | file | what | written |
//! |---|---|---|
//! | `config.json` | the container's, because the bundle may change | by create, first |
//! | `gate` | where init waits | by create; gone when the program runs |
//! | `loment.json` | cgroup and init, [`loment_sandbox::record`] | by create, before it makes the cgroup, and again with init |
//! | `state.json` | the rest | by create, at last: with it the container exists |
//!
//! A command that changes a container holds a lock on its directory. Who only looks needs none: files appear whole, and a
//! directory goes at once, by being renamed.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use loment_cgroups::Layout;
use loment_sandbox::{
    container::{self, Adopted, Io, Request, Role},
    hooks, record,
};
use nix::fcntl::{Flock, FlockArg};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::failure::{Context, Failure, Result};

/// All containers.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

/// The directory of one container.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) id: String,
    pub(crate) directory: PathBuf,
}

/// As long as it lives no other command changes the container.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code, reason = "held, not used")] Flock<File>);

/// What is written of a container when it has been created.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// Version of the specification that its config.json follows.
    pub(crate) oci_version: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub(crate) created: String,
    /// Who has made it.
    pub(crate) owner: String,
    #[serde(default)]
    pub(crate) annotations: HashMap<String, String>,
}

/// Where a container stands, as the runtime specification names it, and `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl Store {
    pub(crate) fn new(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).at("find", root.display())?;
        Ok(Self { root })
    }

    /// Makes the directory of a new container, locked.
    pub(crate) fn make(&self, id: &str) -> Result<(Place, Lock)> {
        let place = self.place(id)?;
        let private = |recursive| {
            let mut builder = DirBuilder::new();
            builder.mode(0o700).recursive(recursive);
            builder
        };
        private(true).create(&self.root).at("make directory", self.root.display())?;
        match private(false).create(&place.directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(Failure::new(format!("create container {id:?}: a container with this id exists")));
            }
            made => made.at("make directory", place.directory.display())?,
        }
        let lock = place.lock()?;
        Ok((place, lock))
    }

    /// The directory of a container that exists.
    pub(crate) fn find(&self, id: &str) -> Result<Place> {
        let place = self.place(id)?;
        match place.directory.is_dir() {
            true => Ok(place),
            false => Err(place.is_missing()),
        }
    }

    /// All containers, by name.
    pub(crate) fn all(&self) -> Result<Vec<Place>> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.at("list", self.root.display())?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut places: Vec<_> = names.filter_map(|name| self.find(&name).ok()).collect();
        places.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(places)
    }

    fn place(&self, id: &str) -> Result<Place> {
        container::check_id(id)?;
        Ok(Place { id: id.to_owned(), directory: self.root.join(id) })
    }
}

impl Place {
    /// Waits until no other command changes the container.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let directory = match File::open(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.is_missing()),
            directory => directory.at("open", self.directory.display())?,
        };
        let lock = Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, errno)| errno);
        let lock = lock.at("lock", self.directory.display())?;
        // It may have been deleted while this command waited, and another one of the same name created.
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let locked = lock.metadata().map(identity).at("examine", self.directory.display())?;
        match fs::metadata(&self.directory).map(identity) {
            Ok(there) if there == locked => Ok(Lock(lock)),
            _ => Err(self.is_missing()),
        }
    }

    pub(crate) fn is_missing(&self) -> Failure {
        Failure::new(format!("container {:?} does not exist", self.id))
    }

    /// What was written of it; `None` while it is being created.
    pub(crate) fn state(&self) -> Result<Option<State>> {
        let path = self.directory.join("state.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).at("understand", path.display()).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => match self.directory.is_dir() {
                true => Ok(None),
                false => Err(self.is_missing()),
            },
            Err(error) => Err(Failure::io("read", path.display(), &error)),
        }
    }

    /// Says that the container has been created.
    pub(crate) fn write_state(&self, state: &State) -> Result<()> {
        let path = self.directory.join("state.json");
        let text = serde_json::to_vec(state).at("write", path.display())?;
        write_whole(&path, &text)
    }

    /// Keeps the container's specification.
    pub(crate) fn write_spec(&self, text: &str) -> Result<()> {
        let path = self.directory.join("config.json");
        fs::write(&path, text).at("write", path.display())
    }

    /// What the container was made from.
    pub(crate) fn request(&self, state: &State) -> Result<Request> {
        let path = self.directory.join("config.json");
        let text = fs::read_to_string(&path).at("read", path.display())?;
        let spec: Spec = serde_json::from_str(&text).at("understand", path.display())?;
        Ok(Request {
            id: self.id.clone(),
            bundle: state.bundle.clone(),
            spec: Arc::new(spec),
            rootfs: Vec::new(),
            io: Io::Terminal,
            role: Role::Program,
        })
    }

    /// The container; `None` before there is anything of it.
    pub(crate) fn adopt(&self, layout: &Layout) -> Result<Option<Adopted>> {
        Ok(Adopted::open(&self.directory, layout)?)
    }

    /// The container, which must have been created.
    pub(crate) fn created(&self, layout: &Layout) -> Result<Adopted> {
        let created = self.state()?.is_some();
        match self.adopt(layout)? {
            Some(adopted) if created => Ok(adopted),
            // Its record goes first when it is deleted, and its directory next.
            None if created => Err(self.is_missing()),
            _ => Err(Failure::new(format!("container {:?} is being created", self.id))),
        }
    }

    fn run_poststop(&self, state: &State) -> Result<()> {
        let request = self.request(state)?;
        if let Some(errand) = hooks::poststop(&request.spec, &self.id, &request.bundle)? {
            errand.finish()?.iter().for_each(crate::log::warn);
        }
        Ok(())
    }

    /// Ends whatever is left of the container, runs its `poststop` hooks and forgets it.
    pub(crate) fn clear(&self) -> Result<()> {
        if record::sweep(&self.directory)?.record.is_some()
            && let Some(state) = self.state()?
        {
            self.run_poststop(&state).unwrap_or_else(crate::log::warn);
        }
        // At once for everybody; no container has a name with a dot in front.
        let gone = self.directory.with_file_name(format!(".{}.{}", self.id, std::process::id()));
        fs::rename(&self.directory, &gone).at("remove", self.directory.display())?;
        fs::remove_dir_all(&gone).at("remove", gone.display())
    }
}

/// Where a container stands.
pub(crate) fn status(adopted: &Adopted) -> Result<Status> {
    Ok(match adopted.init() {
        None => Status::Stopped,
        Some(_) if adopted.cgroup().is_frozen()? => Status::Paused,
        Some(_) if adopted.is_at_gate() => Status::Created,
        Some(_) => Status::Running,
    })
}

/// Writes a file that nobody sees half of.
pub(crate) fn write_whole(path: &Path, text: &[u8]) -> Result<()> {
    let name = path.file_name().ok_or_else(|| Failure::new(format!("write {}: is no file", path.display())))?;
    let unfinished = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        let _never_there = fs::remove_file(&unfinished);
    }
    written.at("write", path.display())
}
