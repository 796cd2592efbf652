//! Capabilities that the runtime cannot grant, because it does not have them itself: whoever started it may have taken
//! them from it, and a container that is to have all of them asks for those too.
//!
//! The specification wants a warning then and no error, and the container goes without them. config.md, "capabilities"

use loment_sys::credentials;

use crate::{
    Error, Result,
    error::Context,
    plan::process::{ProcessPlan, names},
};

/// Leaves out of the process's sets what cannot be granted; answers with what is to be told of it. In a user namespace of
/// its own a process has every capability, whatever the runtime lacks outside of it. user_namespaces(7)
pub(super) fn leave_out_what_is_missing(process: &mut ProcessPlan, has_user_namespace: bool) -> Result<Option<Error>> {
    let grantable = match has_user_namespace {
        true => credentials::known(),
        false => credentials::grantable(process.capabilities.all()).at("read", "the runtime's own capabilities")?,
    };
    let left_out = process.capabilities.limit(grantable);
    if left_out == 0 {
        return Ok(None);
    }
    let reason = "cannot be granted and is left out: the runtime does not have it itself";
    Ok(Some(
        Error::invalid("process.capabilities", names(left_out).join(", "), reason)
            .hint("who has started it has taken it away, or this kernel does not know it"),
    ))
}
