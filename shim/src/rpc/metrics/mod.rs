//! A cgroup's usage as containerd's metrics messages.

mod v1;
mod v2;

use loment_cgroups::stats::Stats;
use protobuf::{Message, well_known_types::any::Any};

use crate::{
    failure::{Failure, Result},
    pod::stats,
    shim::Shim,
};

/// The message of the cgroup's own kind, packed.
pub(super) fn encode(stats: &Stats) -> Any {
    match stats {
        Stats::V1(stats) => pack("io.containerd.cgroups.v1.Metrics", &v1::metrics(stats)),
        Stats::V2(stats) => pack("io.containerd.cgroups.v2.Metrics", &v2::metrics(stats)),
    }
}

/// The same of a pod as a whole: of its own cgroup, or added up.
pub(crate) fn of_pod(shim: &Shim) -> Result<Any> {
    let own = shim.pod_stats()?;
    let summed = || Ok::<_, Failure>(Stats::of_sum(&stats::survey(shim)?.pod.usage, &shim.layout));
    Ok(encode(&own.map_or_else(summed, Ok)?))
}

fn pack(name: &str, message: &impl Message) -> Any {
    // Encoding fails only for messages with unset required fields, which proto3 does not have.
    Any { type_url: name.to_owned(), value: message.write_to_bytes().unwrap_or_default(), ..Any::default() }
}

/// A message whose fields are those of a struct with the same names.
macro_rules! same {
    ($message:ident { $($field:ident),* $(,)? } from $source:expr $(, $key:ident: $value:expr)*) => {
        $message { $($field: $source.$field.clone(),)* $($key: $value,)* ..$message::default() }
    };
}
use same;
