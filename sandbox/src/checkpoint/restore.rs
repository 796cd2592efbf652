//! Bringing a container back.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use loment_cgroups::{Cgroup, Layout};
use loment_sys::pidfd;

use super::{
    criu::{Command, Criu, utf8},
    dump::{RESTORE_FLAGS, require_directory},
    external::{self, External},
    images::{Kind, Outside, Stream},
};
use crate::{
    Error, Result, child,
    container::{Container, Defaults, FreshCgroup, Io, Request, Role, seed},
    errand::Errand,
    error::Context,
    plan,
    process::Process,
    record::{self, Record},
    rootfs::{self, VisibleRoot},
};

/// A container whose processes are on disk: its cgroup and its root file system exist. Dropping it takes both back.
#[derive(Debug)]
pub struct Restorable {
    // Dropped in this order, as for a container that is being created.
    cgroup: FreshCgroup,
    root: VisibleRoot,
    id: String,
    images: PathBuf,
    outside: Outside,
    externals: Vec<External>,
    streams: [OwnedFd; 3],
    /// The network namespace, if it is another's.
    network: Option<fs::File>,
    /// Other namespaces that are another's, by CRIU's names.
    joined: Vec<(&'static str, PathBuf)>,
    defaults: Defaults,
}

impl Restorable {
    /// Begins: makes the cgroup, and mounts the root file system in the bundle, where a client may change it before the
    /// processes come back. It is there when the errand is done.
    ///
    /// # Errors
    /// [`crate::error::Cause::Invalid`] for what cannot be restored. On any error everything that was made is undone.
    pub fn begin(request: Request, images: PathBuf, layout: &Layout) -> Result<(Self, Errand)> {
        require_directory(&images)?;
        let plan = plan::plan(&request)?;
        external::check(&plan, &request.spec)?;
        if request.role == Role::Holder || plan.hooks.is_some() || request.rootfs.is_empty() {
            let what = "a pod's sandbox, a container with hooks, or one without mounts for its root";
            return Err(Error::invalid("checkpoint", images.display(), format!("cannot be restored as {what}")));
        }
        let outside = Outside::read(&images)?;
        let externals = external::mounts(&plan)?;
        let network =
            external::network(&plan).map(|path| fs::File::open(path).at("open", path.display())).transpose()?;
        let joined = external::joined(&plan).map(|(kind, path)| (kind, path.to_owned())).collect();
        let Request { id, bundle, spec, io, rootfs, .. } = request;
        let streams = streams(io, &outside.streams)?;
        let (cgroup, defaults) = seed(&plan, &spec, &id, bundle, layout)?;
        let (root, errand) = VisibleRoot::mount(&rootfs, cgroup.bundle())?;
        Ok((Self { cgroup, root, id, images, outside, externals, streams, network, joined, defaults }, errand))
    }

    /// Has the processes brought back. `work` is for CRIU's log. When that has succeeded,
    /// [`Restorable::verify`] and [`Restorable::finish`].
    pub fn restore(&self, work: &Path) -> Result<Criu> {
        let entry = self.cgroup.get()?.entry()?;
        let pidfile = pidfile(work);
        match fs::remove_file(&pidfile) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", pidfile.display(), &error));
            }
            _ => {}
        }
        let mut arguments: Vec<String> = RESTORE_FLAGS.map(String::from).into();
        arguments.extend(["--restore-detached", "--restore-sibling", "--manage-cgroups=ignore"].map(String::from));
        // Only if needed: CRIU knows it since 3.18.
        if self.has_a_stream_of_another_mode()? {
            arguments.push("--skip-file-rwx-check".into());
        }
        arguments.extend(["--pidfile".into(), utf8(&pidfile)?]);
        arguments.extend(["--root".into(), utf8(&rootfs::place(self.cgroup.bundle()))?]);
        for External { target, source } in &self.externals {
            arguments.extend(["--external".into(), format!("mnt[{}]:{}", utf8(target)?, utf8(source)?)]);
        }
        for mask in &self.outside.masks {
            arguments.extend(["--external".into(), format!("mnt[{}]:/dev/null", utf8(mask)?)]);
        }
        for place in &self.outside.cgroups {
            let source = cgroup_for(place, self.cgroup.get()?)?;
            arguments.extend(["--external".into(), format!("mnt[{}]:{}", utf8(place)?, utf8(&source)?)]);
        }
        let mut descriptors: Vec<BorrowedFd<'_>> = Vec::new();
        let mut known: Vec<&String> = Vec::new();
        for (stream, fd) in self.outside.streams.iter().zip(&self.streams) {
            let Some(name) = stream.name.as_ref().filter(|name| !known.contains(name)) else { continue };
            arguments.extend(["--inherit-fd".into(), format!("fd[{}]:{name}", 3 + descriptors.len())]);
            descriptors.push(fd.as_fd());
            known.push(name);
        }
        if let Some(network) = &self.network {
            arguments.extend(["--inherit-fd".into(), format!("fd[{}]:{}", 3 + descriptors.len(), external::NETWORK)]);
            descriptors.push(network.as_fd());
        }
        for (kind, path) in &self.joined {
            arguments.extend(["--join-ns".into(), format!("{kind}:{}", utf8(path)?)]);
        }
        let (images, cgroup) = (&self.images, Some(&entry));
        Command { action: "restore", images, work, arguments, descriptors, cgroup }.start()
    }

    /// The fifo of another client may have other permissions.
    fn has_a_stream_of_another_mode(&self) -> Result<bool> {
        let mut others = self.outside.streams.iter().zip(&self.streams);
        others.try_fold(false, |found, (then, now)| Ok(found || then.has_other_mode_than(now.as_fd())?))
    }

    /// Whether the processes that have been brought back are held as the specification says; they are ended if not. CRIU
    /// knows `no_new_privs` since 3.19: an older one says nothing of it and loses it.
    pub fn verify(&self) -> Result<()> {
        if !self.defaults.process.no_new_privileges {
            return Ok(());
        }
        let cgroup = self.cgroup.get()?;
        for pid in cgroup.pids()? {
            // What cannot be read has ended.
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            if status.lines().any(|line| line == "NoNewPrivs:\t0") {
                cgroup.kill()?;
                return Err(Error::invalid(
                    "process.noNewPrivileges",
                    "true",
                    "is lost: CRIU has restored a process without",
                )
                .hint("install CRIU 3.19 or newer, or restore without noNewPrivileges"));
            }
        }
        Ok(())
    }

    /// The container that has been brought back. Nobody may have reaped its init, a child of this process's, before: it
    /// may have ended by now.
    pub fn finish(self, work: &Path) -> Result<Container> {
        let pidfile = pidfile(work);
        let text = fs::read_to_string(&pidfile).at("read", pidfile.display())?;
        let pid = text.trim().parse().map_err(|_| Error::invalid("pid", &text, "is no number"))?;
        let init = Process::new((pid, pidfd::open(pid).at("find process", pid)?));
        let Self { cgroup, root, id, defaults, .. } = self;
        record::write(cgroup.bundle(), &Record::of(id, pid, cgroup.get()?.path())?)?;
        Container::restored(init, cgroup, root, defaults)
    }
}

fn pidfile(work: &Path) -> PathBuf {
    work.join("restored.pid")
}

/// The directory of a container's cgroup that belongs at `place`, which is named like its hierarchy; where there is but
/// one hierarchy, its only one.
fn cgroup_for(place: &Path, cgroup: &Cgroup) -> Result<PathBuf> {
    let all: Vec<_> = cgroup.directories().collect();
    let depth = cgroup.path().components().count();
    let is_named = |directory: &&PathBuf| {
        let hierarchy = directory.ancestors().nth(depth);
        hierarchy.and_then(Path::file_name) == place.file_name()
    };
    let found = all.iter().find(is_named).or(if all.len() == 1 { all.first() } else { None });
    found
        .cloned()
        .ok_or_else(|| Error::invalid("checkpoint", place.display(), "shows a cgroup hierarchy that is not here"))
}

/// One descriptor for each stream.
///
/// What was a fifo must be one again: the process has it open as what it was. What was nothing stays nothing.
fn streams(io: Io, then: &[Stream]) -> Result<[OwnedFd; 3]> {
    let Io::Plain { stdin, stdout, stderr } = io else {
        return Err(Error::invalid("process.terminal", "true", "cannot be restored yet"));
    };
    let null = child::null_of_the_host()?;
    let stream = |number: usize, name: &str, given: Option<OwnedFd>| {
        let then = then.get(number).filter(|stream| stream.name.is_some());
        let given = given.filter(|_| then.is_none_or(|stream| stream.kind != Kind::Device));
        let fd = match given {
            Some(given) => given,
            None => null.try_clone().at("copy", "/dev/null")?,
        };
        let kind = Kind::of_descriptor(fd.as_fd())?;
        match then {
            Some(stream) if stream.kind != kind => {
                let then = stream.kind.name();
                let reason = format!("was {then} when the checkpoint was made and is {} now", kind.name());
                Err(Error::invalid("checkpoint", name, reason).hint("give the container streams of the same kind"))
            }
            _ => Ok(fd),
        }
    };
    Ok([
        stream(0, "standard input", stdin)?,
        stream(1, "standard output", stdout)?,
        stream(2, "standard error", stderr)?,
    ])
}
