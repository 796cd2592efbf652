//! What a pod asks for that not every containerd can pass on. What it does not know it leaves out in silence, so it has to
//! be asked first.

use anyhow::bail;
use k8s_openapi::api::core::v1::Pod;

use crate::lower;
use crate::session::Session;

/// Refuses a pod by the name of the field that this containerd would leave out.
pub(crate) async fn check(session: &Session, pod: &Pod) -> anyhow::Result<()> {
    let spec = pod.spec.clone().unwrap_or_default();
    let policy = spec.security_context.as_ref().and_then(|context| context.supplemental_groups_policy.as_deref());
    if policy != Some("Strict") {
        return Ok(());
    }
    let status = session.client.status(false).await?;
    if !status.features.is_some_and(|features| features.supplemental_groups_policy) {
        let version = session.client.version().await?.runtime_version;
        bail!(
            "pod {:?}: spec.securityContext.supplementalGroupsPolicy: Strict is not supported by containerd {version}, which \
             would add the groups of the image's /etc/group (2.0 and later can do it)",
            lower::name(pod)
        );
    }
    Ok(())
}
