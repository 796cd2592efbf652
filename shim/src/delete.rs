//! `delete`: run by containerd when a shim has died, and at every normal teardown. Removes what is left of one
//! container, and of those that the shim had beside it if that is dead; of no other. When nothing is left it costs almost
//! nothing.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::SystemTime,
};

use containerd_shim::Flags;
use containerd_shim_protos::api::DeleteResponse;
use loment_sandbox::{
    errand::Errand,
    hooks,
    record::{self, Record, Swept},
};
use nix::mount::{MntFlags, umount2};
use protobuf::{Message, MessageField};

use crate::{
    address,
    failure::{Failure, Result},
    members::{self, Member},
    sandbox::fittings::remove_shared_memory,
    socket, spec,
    time::timestamp,
};

/// Status of a process that was killed: 128 + SIGKILL.
const KILLED: u32 = 137;

/// Runs the action.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    let bundle = if flags.bundle.is_empty() {
        std::env::current_dir().map_err(|error| Failure::io("find", "the bundle", &error))?
    } else {
        PathBuf::from(&flags.bundle)
    };
    // A shim that was killed has left it behind, and nobody else knows of it.
    let lives = socket::remove_stale(&address(flags, &bundle))?;
    // With Task v3 this is the only time that anybody asks for them.
    let members = if lives { Vec::new() } else { members::kept(&bundle) };
    // None of them waits for another one, which may not die.
    members.iter().for_each(|member| told(record::strike(&member.directory).map_err(Failure::from)));
    let swept = sweep(&Member::of(&bundle));
    told(remove_shared_memory(&bundle));
    members.iter().for_each(|member| told(sweep(member)));
    let swept = swept?;
    let response = DeleteResponse {
        pid: swept.record.map_or(0, |record| record.pid.unsigned_abs()),
        exit_status: KILLED,
        exited_at: MessageField::some(timestamp(SystemTime::now())),
        ..DeleteResponse::default()
    };
    let bytes =
        response.write_to_bytes().map_err(|error| Failure::unknown(format!("encode the answer to delete: {error}")))?;
    std::io::stdout().write_all(&bytes).map_err(|error| Failure::io("answer on", "standard output", &error))
}

/// Says what could not be done: containerd logs it.
fn told<T>(done: Result<T>) {
    if let Err(failure) = done {
        // Nobody is left to be told when standard error is gone too.
        let _ = writeln!(std::io::stderr(), "delete: {failure}");
    }
}

/// Removes what is left of a container.
fn sweep(member: &Member) -> Result<Swept> {
    let _alone = member.alone();
    let swept = record::sweep(&member.directory)?;
    // Without a process none of its hooks has run.
    if let Some(record) = swept.record.as_ref().filter(|record| record.pid != 0)
        && let Some(bundle) = member.of_spec()
    {
        run_hooks(bundle, record);
    }
    unmount_root(&member.bundle);
    Ok(swept)
}

/// Unmounts a root file system that is mounted for hooks to find, for a restore, or by another runtime: an ordinary
/// container mounts nothing on the host.
fn unmount_root(bundle: &Path) {
    let _not_mounted = umount2(&bundle.join("rootfs"), MntFlags::MNT_DETACH);
}

/// The hooks for the time after a container. Its shim cannot run them any more. containerd logs what is said of them.
fn run_hooks(bundle: &Path, record: &Record) {
    let run = || -> Result<Vec<loment_sandbox::Error>> {
        let errand = hooks::poststop(&spec::read(bundle)?, &record.id, bundle)?;
        Ok(errand.map(Errand::finish).transpose()?.unwrap_or_default())
    };
    let warnings = match run() {
        Ok(failures) => failures.iter().map(ToString::to_string).collect(),
        Err(failure) => vec![failure.message],
    };
    for warning in warnings {
        // Nobody is left to be told when standard error is gone too.
        let _ = writeln!(std::io::stderr(), "delete container {}: {warning}", record.id);
    }
}

/// Where the container's shim listened: what `start` has left in the bundle, else what it would have chosen.
fn address(flags: &Flags, bundle: &Path) -> String {
    address::recorded(bundle).unwrap_or_else(|| {
        address::in_the_usual_place(&flags.address, &flags.namespace, &address::group(bundle, &flags.id).name)
    })
}
