//! `delete`: run by containerd when a shim has died, and at every normal teardown. Removes what is left of one
//! container and of no other; when nothing is left it costs almost nothing.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::SystemTime,
};

use containerd_shim::Flags;
use containerd_shim_protos::api::DeleteResponse;
use loment_sandbox::record;
use nix::mount::{MntFlags, umount2};
use protobuf::{Message, MessageField};

use crate::{
    address,
    failure::{Failure, Result},
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
    let swept = record::sweep(&bundle)?;
    // Containers mount nothing on the host; this is for a bundle that another runtime or a restore has used.
    let _not_mounted = umount2(&bundle.join("rootfs"), MntFlags::MNT_DETACH);
    // A shim that was killed has left it behind, and nobody else knows of it.
    address::remove_stale(&address(flags, &bundle))?;
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

/// Where the container's shim listened: what `start` has left in the bundle, else what it would have chosen.
fn address(flags: &Flags, bundle: &Path) -> String {
    address::recorded(bundle).unwrap_or_else(|| {
        containerd_shim::socket_address(&flags.address, &flags.namespace, &address::group(bundle, &flags.id))
    })
}
