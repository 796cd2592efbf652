//! How a dockerd gets its containers made: it is given the command line, or the shim.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use loment_integration::programs;

use crate::say;

/// The first docker whose `daemon.json` takes a shim. An older one refuses to be given a shim's name with `docker run`, and
/// where `daemon.json` has one, it says nothing and runs runc.
const FIRST_WITH_SHIMS: u32 = 23;

/// What containerd calls the shim.
pub(crate) const SHIM: &str = "io.containerd.loment.v2";

/// Where daemons are, which PATH may lack.
const OF_DAEMONS: &str = "/usr/sbin:/sbin";

pub(crate) enum Way {
    /// The machine's docker with `loment-runtime`.
    Runtime,
    /// A docker that is new enough, with the shim: where both are, to be looked into before PATH.
    Shim(Vec<PathBuf>),
}

impl Way {
    /// Those that there is a docker for; says which is left out.
    pub(crate) fn all() -> Vec<Self> {
        let Some(docker) = docker_with_shims() else {
            say(&format!(
                "SKIPPED: the shim under docker: that takes docker {FIRST_WITH_SHIMS} or newer (scripts/dockers unpacks one \
                 where it can)"
            ));
            return vec![Self::Runtime];
        };
        let shim = programs::directory().expect("the shim is built");
        vec![Self::Runtime, Self::Shim([vec![shim], docker].concat())]
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Runtime => "loment-runtime",
            Self::Shim(_) => "the shim",
        }
    }

    /// PATH of docker's programs.
    pub(crate) fn path(&self) -> OsString {
        let first: &[PathBuf] = match self {
            Self::Runtime => &[],
            Self::Shim(directories) => directories,
        };
        let own = env::var_os("PATH").unwrap_or_default();
        let all = first.iter().cloned().chain(env::split_paths(&own)).chain(env::split_paths(OF_DAEMONS));
        env::join_paths(all).unwrap()
    }

    /// What docker calls `loment`, as in `daemon.json`.
    pub(crate) fn configuration(&self) -> String {
        match self {
            Self::Runtime => format!(r#"{{"path":"{}"}}"#, env!("CARGO_BIN_EXE_loment-runtime")),
            Self::Shim(_) => format!(r#"{{"runtimeType":"{SHIM}"}}"#),
        }
    }
}

/// The directories of a docker that is new enough: none where it is the machine's.
fn docker_with_shims() -> Option<Vec<PathBuf>> {
    let is_new = |program: &Path| version(program).is_some_and(|version| version >= FIRST_WITH_SHIMS);
    if is_new(Path::new("dockerd")) {
        return Some(Vec::new());
    }
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/docker");
    let found = fs::read_dir(unpacked).into_iter().flatten().flatten().map(|entry| entry.path().join("usr"));
    let new = found.into_iter().find(|usr| is_new(&usr.join("sbin/dockerd")))?;
    Some(vec![new.join("sbin"), new.join("bin")])
}

/// The 26 of `Docker version 26.1.5, build 411e817`.
fn version(dockerd: &Path) -> Option<u32> {
    let path = format!("{}:{OF_DAEMONS}", env::var("PATH").unwrap_or_default());
    let output = Command::new(dockerd).arg("--version").env("PATH", path).output().ok()?;
    String::from_utf8_lossy(&output.stdout).split_whitespace().nth(2)?.split('.').next()?.parse().ok()
}
