//! Writing a container to disk.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use super::{
    Request,
    criu::{Command, Criu, utf8},
    external,
    images::Outside,
};
use crate::{
    Error, Result,
    container::{self, Container},
    error::Context,
    plan,
};

impl Container {
    /// Begins to write the container to disk. It stands still meanwhile, also if it is not paused. `made_of` is what it
    /// was made of, apart from its streams.
    ///
    /// # Errors
    /// [`crate::error::Cause::Invalid`] for a container that could not be brought back.
    pub fn checkpoint(&self, made_of: &container::Request, request: &Request) -> Result<Criu> {
        let plan = plan::plan(made_of)?;
        external::check(&plan, &made_of.spec)?;
        let externals = external::mounts(&plan)?;
        let outside = Outside::of(self.init().pid(), &external::maskable(&plan))?;
        outside.write(&request.images)?;
        let mut arguments = vec!["--tree".into(), self.init().pid().to_string()];
        // The container's cgroup is made anew from its specification.
        arguments.push("--manage-cgroups=ignore".into());
        arguments.extend(["--freeze-cgroup".into(), utf8(&self.cgroup().freezer_directory()?)?]);
        let targets = externals.iter().map(|external| &external.target).chain(&outside.masks).chain(&outside.cgroups);
        for target in targets {
            let target = utf8(target)?;
            arguments.extend(["--external".into(), format!("mnt[{target}]:{target}")]);
        }
        if let Some(path) = external::network(&plan) {
            let inode = fs::metadata(path).at("examine", path.display())?.ino();
            arguments.extend(["--external".into(), format!("net[{inode}]:{}", external::NETWORK)]);
        }
        // Of a pipe it keeps the one end by itself.
        let names = outside.streams.iter().filter_map(|stream| stream.name.as_ref());
        for name in names.filter(|name| name.starts_with("file[")) {
            arguments.extend(["--external".into(), name.clone()]);
        }
        arguments.extend(flags(request)?);
        Command {
            action: "dump",
            images: &request.images,
            work: &request.work,
            arguments,
            descriptors: Vec::new(),
            cgroup: None,
        }
        .start()
    }
}

fn flags(request: &Request) -> Result<Vec<String>> {
    let choices = [
        (!request.exit, "--leave-running"),
        (request.open_tcp, "--tcp-established"),
        (request.external_unix_sockets, "--ext-unix-sk"),
        (request.file_locks, "--file-locks"),
    ];
    let mut flags: Vec<String> = choices.iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| (*flag).into()).collect();
    for kind in &request.empty_namespaces {
        // CRIU's only one, under the names of the specification and of CRIU.
        if !matches!(kind.as_str(), "network" | "net") {
            return Err(Error::invalid("empty_namespaces", kind, "cannot be restored empty (CRIU knows network only)"));
        }
        flags.extend(["--empty-ns".into(), "net".into()]);
    }
    Ok(flags)
}

/// What a restore needs of the choices that were made: the same flags, by what CRIU has kept.
pub(super) const RESTORE_FLAGS: [&str; 3] = ["--tcp-established", "--ext-unix-sk", "--file-locks"];

/// Whether a directory is there.
pub(super) fn require_directory(path: &Path) -> Result<()> {
    match path.is_absolute() && path.is_dir() {
        true => Ok(()),
        false => Err(Error::invalid("checkpoint", path.display(), "is not an absolute path of a directory")),
    }
}
