//! What the shim says of itself: `-v` and `-info`. Some versions of containerd ask before every Create, so the answer
//! is put together from constants.

use std::io::Write;

use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use protobuf::{Message, MessageField, well_known_types::any::Any};

use crate::failure::{Failure, Result};

/// Name under which containerd knows the runtime.
const NAME: &str = "io.containerd.loment.v2";
/// The message type that containerd expects the features in.
const FEATURES_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// `-v`.
pub(crate) fn version() -> Result<()> {
    print_bytes(format!("containerd-shim-loment-v2:\n  Version:  {}\n", env!("CARGO_PKG_VERSION")).as_bytes())
}

/// `-info`: a bare `RuntimeInfo`.
pub(crate) fn print() -> Result<()> {
    let bytes = runtime_info()
        .write_to_bytes()
        .map_err(|error| Failure::unknown(format!("encode the answer to -info: {error}")))?;
    print_bytes(&bytes)
}

fn runtime_info() -> RuntimeInfo {
    let version = RuntimeVersion { version: env!("CARGO_PKG_VERSION").to_owned(), ..RuntimeVersion::default() };
    let features = Any {
        type_url: FEATURES_TYPE.to_owned(),
        value: loment_sandbox::FEATURES.as_bytes().to_vec(),
        ..Any::default()
    };
    RuntimeInfo {
        name: NAME.to_owned(),
        version: MessageField::some(version),
        features: MessageField::some(features),
        ..RuntimeInfo::default()
    }
}

fn print_bytes(bytes: &[u8]) -> Result<()> {
    std::io::stdout().write_all(bytes).map_err(|error| Failure::io("answer on", "standard output", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_valid_and_in_the_envelope_that_containerd_expects() {
        let info = runtime_info();
        assert_eq!(info.features.type_url, FEATURES_TYPE);
        let features: oci_spec::runtime::Features = serde_json::from_slice(&info.features.value).unwrap();
        assert_eq!(features.oci_version_min(), "1.0.0");
    }
}
