//! `delete`: run by containerd when a shim has died, and at every normal teardown. Removes what is left of one
//! container and of no other; when nothing is left it costs almost nothing.

use std::{io::Write, path::PathBuf, time::SystemTime};

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
    address::forget_stale(&bundle)?;
    // Containers mount nothing on the host; this is for a bundle that another runtime or a restore has used.
    let _not_mounted = umount2(&bundle.join("rootfs"), MntFlags::MNT_DETACH);
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
