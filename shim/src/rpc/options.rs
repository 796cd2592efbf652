//! What a client says about the runtime in an `Any`.

use containerd_shim_protos::shim::oci::{CheckpointOptions, Options};
use protobuf::{Message, well_known_types::any::Any};

use crate::failure::{Failure, Result};

/// Reads containerd's options for OCI runtimes. What comes in another envelope (`runtimeoptions.v1.Options`, a TOML file
/// of the administrator's) has nothing for this runtime.
pub(crate) fn runtime(any: Option<&Any>) -> Result<Options> {
    match any {
        Some(any) if any.type_url.rsplit('/').next() == Some("containerd.runc.v1.Options") => {
            Options::parse_from_bytes(&any.value)
                .map_err(|error| Failure::invalid(format!("read the runtime's options: {error}")))
        }
        _ => Ok(Options::new()),
    }
}

/// Reads the options of a checkpoint. containerd 1.6 writes them under an older name for runtimes that it does not know;
/// the fields are the same.
pub(crate) fn checkpoint(any: Option<&Any>) -> Result<CheckpointOptions> {
    const NAMES: [&str; 2] = ["containerd.runc.v1.CheckpointOptions", "containerd.linux.runc.CheckpointOptions"];
    match any {
        None => Ok(CheckpointOptions::new()),
        Some(any) if any.type_url.is_empty() => Ok(CheckpointOptions::new()),
        Some(any) if any.type_url.rsplit('/').next().is_some_and(|name| NAMES.contains(&name)) => {
            CheckpointOptions::parse_from_bytes(&any.value)
                .map_err(|error| Failure::invalid(format!("read the checkpoint's options: {error}")))
        }
        Some(any) => Err(Failure::invalid(format!("read the checkpoint's options: {} is not known", any.type_url))),
    }
}

/// Who is to own the pipes of the container's processes, if the options say so.
pub(crate) fn io_owner(options: &Options) -> Option<(u32, u32)> {
    Some((options.io_uid, options.io_gid)).filter(|owner| *owner != (0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: &[u8]) -> Any {
        Any { type_url: type_url.to_owned(), value: value.to_vec(), ..Any::default() }
    }

    #[test]
    fn the_owner_of_pipes_is_read_from_the_options() {
        let options = Options { io_uid: 1000, io_gid: 100, ..Options::default() };
        let bytes = options.write_to_bytes().unwrap();
        for prefix in ["", "type.googleapis.com/"] {
            let any = any(&format!("{prefix}containerd.runc.v1.Options"), &bytes);
            assert_eq!(io_owner(&runtime(Some(&any)).unwrap()), Some((1000, 100)));
        }
        assert_eq!(io_owner(&runtime(None).unwrap()), None);
        assert_eq!(io_owner(&runtime(Some(&any("runtimeoptions.v1.Options", &bytes))).unwrap()), None);
    }

    #[test]
    fn options_that_cannot_be_read_are_refused() {
        let refusal = runtime(Some(&any("containerd.runc.v1.Options", b"\xff"))).unwrap_err();
        assert_eq!(refusal.code, ttrpc::Code::INVALID_ARGUMENT);
    }
}
