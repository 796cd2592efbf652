//! The programs of this project that run in a lab: the shim and its prober, the command for people, and the probe that
//! goes into the test image.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// Names the directory that holds them; when it is set, nothing is built.
pub const BIN_DIR: &str = "LOMENT_BIN_DIR";

/// The targets for static programs: the one that the shim is shipped for, which needs `rustup target add`, and the one
/// that is used where it cannot be had.
const LIBRARIES: [&str; 2] = ["musl", "gnu"];

/// The shim, as containerd looks it up.
pub const SHIM: &str = "containerd-shim-loment-v2";

/// What the shim asks a pod's servers with; beside it.
pub const PROBER: &str = "loment-prober";

/// Runs inside test containers.
pub const PROBE: &str = "loment-probe";

/// The command for people.
pub const COMMAND: &str = "loment";

/// All that a lab needs.
const ALL: [&str; 4] = [SHIM, PROBER, PROBE, COMMAND];

/// The directory with static builds of all of them: what [`BIN_DIR`] names, that of the running program where
/// `scripts/build` has put all of them together, or a build of this source tree.
pub fn directory() -> Result<PathBuf> {
    let directory = match env::var_os(BIN_DIR) {
        Some(given) => PathBuf::from(given),
        None => match beside() {
            Some(directory) => directory,
            None => build()?,
        },
    };
    for program in ALL {
        if !directory.join(program).is_file() {
            bail!("find {program} in {}: no such file (build it with scripts/build)", directory.display());
        }
    }
    directory.canonicalize().with_context(|| format!("resolve {}", directory.display()))
}

/// Only for a shipped program: next to one that cargo has just built, the others may be older.
fn beside() -> Option<PathBuf> {
    let directory = env::current_exe().ok()?.parent()?.to_path_buf();
    let complete = ALL.iter().all(|program| directory.join(program).is_file());
    (complete && !cfg!(debug_assertions)).then_some(directory)
}

/// Builds them, statically, and returns where they are.
fn build() -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let [musl, gnu] = LIBRARIES.map(|library| format!("{}-unknown-linux-{library}", env::consts::ARCH));
    let target = if is_installed(&musl) { musl } else { gnu };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Each alone, as they are shipped: together they would have the features of their libraries that any of them wants.
    for packages in [&["loment-shim"][..], &["loment-prober"], &["loment-probe", "loment"]] {
        let mut command = Command::new(&cargo);
        command.current_dir(&workspace).args(["build", "--quiet", "--profile", profile, "--target", &target]);
        command.args(packages.iter().flat_map(|package| ["--package", package]));
        if target.ends_with("gnu") {
            command.env("RUSTFLAGS", "-C target-feature=+crt-static");
        }
        let status = command.status().with_context(|| {
            format!("run {} build (set {BIN_DIR} to use programs that are built already)", cargo.to_string_lossy())
        })?;
        if !status.success() {
            bail!("build {}: {status}", packages.join(" and "));
        }
    }
    let target_directory = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    Ok(target_directory.join(&target).join(if profile == "dev" { "debug" } else { "release" }))
}

/// Whether the standard library for this target is installed.
fn is_installed(target: &str) -> bool {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}
