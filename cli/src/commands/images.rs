//! The images of a pod: there before anything is made of it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Container, Pod};
use loment_cri::{Client, v1};

use crate::lower::{self, security::must_not_be_root};

/// How long a pull of an image that is present already may take before the present one is used.
const REFRESH: Duration = Duration::from_secs(20);

/// Makes every image of a pod present, as the pull policies of its containers say. Answers with warnings.
pub(super) async fn ensure(client: &Client, pod: &Pod) -> anyhow::Result<Vec<String>> {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut wanted: Vec<(String, String)> = Vec::new();
    for container in lower::containers(&spec) {
        let image = container.image.clone().unwrap_or_default();
        let policy = container.image_pull_policy.clone().unwrap_or_default();
        if !wanted.contains(&(image.clone(), policy.clone())) {
            wanted.push((image, policy));
        }
    }
    for volume in spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref()) {
        let (image, policy) =
            (volume.reference.clone().unwrap_or_default(), volume.pull_policy.clone().unwrap_or_default());
        if !wanted.contains(&(image.clone(), policy.clone())) {
            wanted.push((image, policy));
        }
    }
    let pulls: Vec<_> = wanted
        .into_iter()
        .map(|(image, policy)| {
            let client = client.clone();
            tokio::spawn(async move { one(&client, &image, &policy).await })
        })
        .collect();
    let mut warnings = Vec::new();
    for pull in pulls {
        warnings.extend(pull.await.context("wait for an image")??);
    }
    for container in lower::containers(&spec) {
        check_user(client, pod, container).await?;
    }
    Ok(warnings)
}

async fn one(client: &Client, image: &str, policy: &str) -> anyhow::Result<Option<String>> {
    let present = client.image_status(image).await?.is_some();
    match (policy, present) {
        ("Never", false) => bail!(
            "ErrImageNeverPull: container image {image:?} is not present with pull policy of Never (import it with `ctr \
             --namespace k8s.io images import`)"
        ),
        ("Never" | "IfNotPresent", true) => Ok(None),
        (_, false) => {
            client.pull_image(image).await.map_err(|error| {
                let hint = if is_unreachable(&error.to_string()) {
                    " (no registry is reachable and the image is not on this machine: import it with `ctr --namespace k8s.io \
                     images import`)"
                } else {
                    ""
                };
                anyhow::anyhow!("ErrImagePull: {error}{hint}")
            })?;
            Ok(None)
        }
        (_, true) => refresh(client, image).await,
    }
}

/// Pulls an image that is present. A machine without a way to the registry goes on with what it has, and says so.
async fn refresh(client: &Client, image: &str) -> anyhow::Result<Option<String>> {
    let why = match tokio::time::timeout(REFRESH, client.pull_image(image)).await {
        Ok(Ok(_)) => return Ok(None),
        Ok(Err(error)) if is_unreachable(&error.to_string()) => "no registry is reachable".to_owned(),
        Ok(Err(error)) => bail!("ErrImagePull: {error}"),
        Err(_) => format!("the registry did not answer within {} s", REFRESH.as_secs()),
    };
    Ok(Some(format!("image {image:?} has pull policy Always, but {why}: the one on this machine is used")))
}

/// Whether a pull failed on the way to the registry, and not by what the registry said.
fn is_unreachable(message: &str) -> bool {
    const SIGNS: [&str; 7] = [
        "dial tcp",
        "no such host",
        "connection refused",
        "network is unreachable",
        "i/o timeout",
        "proxyconnect",
        "TLS handshake timeout",
    ];
    SIGNS.iter().any(|sign| message.contains(sign))
}

/// Refuses a container that must not run as root and would.
async fn check_user(client: &Client, pod: &Pod, container: &Container) -> anyhow::Result<()> {
    let spec = pod.spec.clone().unwrap_or_default();
    let (forbidden, user) = must_not_be_root(&spec, container);
    if !forbidden {
        return Ok(());
    }
    let image = client.image_status(container.image.as_deref().unwrap_or_default()).await?.unwrap_or_default();
    match root_problem(user, &image) {
        Some(problem) => bail!("CreateContainerConfigError: container {:?}: {problem}", container.name),
        None => Ok(()),
    }
}

/// What is wrong with the user of a container that must not be root. `user` is the one that the manifest names.
fn root_problem(user: Option<i64>, image: &v1::Image) -> Option<String> {
    match (user, &image.uid) {
        (Some(0), _) => Some("container's runAsUser breaks non-root policy".to_owned()),
        (Some(_), _) => None,
        (None, Some(uid)) if uid.value != 0 => None,
        (None, None) if !image.username.is_empty() => Some(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root",
            image.username
        )),
        (None, _) => Some("container has runAsNonRoot and image will run as root".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_in_the_manifest_and_in_the_image() {
        let image = |uid: Option<i64>, username: &str| v1::Image {
            uid: uid.map(|value| v1::Int64Value { value }),
            username: username.to_owned(),
            ..v1::Image::default()
        };
        assert!(root_problem(Some(0), &image(Some(5), "")).is_some());
        assert!(root_problem(Some(5), &image(None, "")).is_none());
        assert!(root_problem(None, &image(Some(5), "")).is_none());
        assert!(root_problem(None, &image(Some(0), "")).is_some());
        assert!(root_problem(None, &image(None, "")).is_some());
        assert!(root_problem(None, &image(None, "www")).unwrap().contains("non-numeric user (www)"));
    }

    #[test]
    fn an_answer_of_the_registry_is_no_lack_of_a_way_to_it() {
        assert!(is_unreachable("failed to do request: Head \"https://r\": dial tcp: lookup r: no such host"));
        assert!(!is_unreachable("pull access denied, repository does not exist or may require authorization"));
    }
}
