//! The images of pods: there before anything is made of them.

pub(crate) mod volumes;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Container, Pod};
use loment_cri::{Client, v1};

use crate::lower::{
    self,
    security::{self, must_not_be_root},
};
use crate::print::progress::Progress;

/// How long a pull of an image that is present already may take before the present one is used.
const REFRESH: Duration = Duration::from_secs(20);

/// A kubelet's delays between two pulls of an image: the first, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// Makes every image of the pods present, as the pull policies of their containers say; all at the same time. What fails
/// is tried again for as long as `retry` says. Answers with warnings.
pub(crate) async fn ensure(client: &Client, pods: &[&Pod], retry: Option<Duration>) -> anyhow::Result<Vec<String>> {
    let progress = Progress::new();
    let mut pulls = tokio::task::JoinSet::new();
    for (image, policy) in wanted(pods) {
        let (client, progress) = (client.clone(), progress.clone());
        pulls.spawn(async move {
            let until = retry.map(|retry| Instant::now() + retry);
            let again = Again { until, delays: BACK_OFF, progress: &progress };
            again.and_again(&image, || one(&client, &image, &policy, &progress)).await
        });
    }
    let mut warnings = Vec::new();
    // The first failure ends the others.
    while let Some(pulled) = pulls.join_next().await {
        warnings.extend(pulled.context("wait for an image")??);
    }
    progress.clear();
    for pod in pods {
        for container in pod.spec.iter().flat_map(lower::containers) {
            check_user(client, pod, container).await?;
        }
    }
    warnings.sort();
    Ok(warnings)
}

/// The images of the pods with the policies that they are pulled by, each once.
fn wanted(pods: &[&Pod]) -> std::collections::BTreeSet<(String, String)> {
    let specs = || pods.iter().filter_map(|pod| pod.spec.as_ref());
    let of_containers = specs().flat_map(lower::containers).map(|c| (c.image.clone(), c.image_pull_policy.clone()));
    let volumes = specs().flat_map(|spec| spec.volumes.iter().flatten()).filter_map(|volume| volume.image.as_ref());
    let of_volumes = volumes.map(|volume| (volume.reference.clone(), volume.pull_policy.clone()));
    let all = of_containers.chain(of_volumes);
    all.map(|(image, policy)| (image.unwrap_or_default(), policy.unwrap_or_default())).collect()
}

/// How long something that fails is tried again.
struct Again<'a> {
    until: Option<Instant>,
    /// The first delay, and the longest.
    delays: (Duration, Duration),
    progress: &'a Progress,
}

impl Again<'_> {
    async fn and_again<T, F>(&self, image: &str, attempt: impl Fn() -> F) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        let (mut delay, longest) = self.delays;
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            match self.until {
                Some(until) if Instant::now() + delay < until => {}
                _ => return Err(error),
            }
            self.progress.say(&format!(
                "{error:#}\nImagePullBackOff: back-off pulling image {image:?}: tried again in {} s",
                delay.as_secs()
            ));
            tokio::time::sleep(delay).await;
            delay = delay.saturating_mul(2).min(longest);
        }
    }
}

async fn one(client: &Client, image: &str, policy: &str, progress: &Progress) -> anyhow::Result<Option<String>> {
    let present = client.image_status(image).await?.is_some();
    match (policy, present) {
        ("Never", false) => bail!(
            "ErrImageNeverPull: container image {image:?} is not present with pull policy of Never (import it with `ctr \
             --namespace k8s.io images import`)"
        ),
        ("Never" | "IfNotPresent", true) => Ok(None),
        (_, false) => {
            let _shown = progress.begin(image);
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
        (_, true) => {
            let _shown = progress.begin(image);
            refresh(client, image).await
        }
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

/// Completes a container that is given a group and no user with the user of its image, which is present.
pub(crate) async fn complete_user(client: &Client, config: &mut v1::ContainerConfig) -> anyhow::Result<()> {
    let Some(context) = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()) else { return Ok(()) };
    if security::lacks_user(context) {
        let image = config.image.as_ref().map(|image| image.image.as_str()).unwrap_or_default();
        security::run_as_user_of(context, &client.image_status(image).await?.unwrap_or_default());
    }
    Ok(())
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

    #[tokio::test]
    async fn i7_a_pull_that_fails_is_tried_again_for_as_long_as_is_said() {
        let (progress, tries) = (Progress::new(), std::cell::Cell::new(0));
        let pull = || async {
            tries.set(tries.get() + 1);
            anyhow::ensure!(tries.get() == 4, "no registry");
            Ok(tries.get())
        };
        let delays = (Duration::from_millis(1), Duration::from_millis(2));
        let never = Again { until: None, delays, progress: &progress };
        assert!(never.and_again("web", pull).await.is_err());
        assert_eq!(tries.get(), 1, "it is not tried again unasked");
        let minute = Again { until: Some(Instant::now() + Duration::from_secs(60)), delays, progress: &progress };
        assert_eq!(minute.and_again("web", pull).await.unwrap(), 4);
    }

    #[test]
    fn an_answer_of_the_registry_is_no_lack_of_a_way_to_it() {
        assert!(is_unreachable("failed to do request: Head \"https://r\": dial tcp: lookup r: no such host"));
        assert!(!is_unreachable("pull access denied, repository does not exist or may require authorization"));
    }
}
