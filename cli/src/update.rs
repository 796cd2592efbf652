//! What follows when a pod's record has changed: whoever works with the pod is told.

use k8s_openapi::api::core::v1::Pod;

use crate::session::{Found, Session};

/// Tells the rest of the pod that its record has changed to `pod`.
pub(crate) async fn announce(_session: &Session, _found: &Found, _pod: &Pod) {}
