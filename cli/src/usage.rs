//! What pods and their containers use: read from their shims, or from containerd where a pod has another shim.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use loment_cri::v1;
use loment_shim::pod::api::{StatsResponse, Usage};

use crate::pod;
use crate::select::selector::Labels;
use crate::session::{Found, Session};

/// A pod and what it uses at a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodUse {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Id of its sandbox.
    pub(crate) sandbox: String,
    /// Its own cgroup; empty when it has none, or when nobody tells.
    pub(crate) cgroup: String,
    /// When it was read: since 1970.
    pub(crate) at: Duration,
    /// All of it: also what belongs to the sandbox, to containers that are gone, and to none.
    pub(crate) total: Usage,
    /// Containers that exist, by name; the sandbox is not among them.
    pub(crate) containers: Vec<ContainerUse>,
    /// The sandbox, when it is known what it uses.
    pub(crate) own: Option<ContainerUse>,
}

/// A container and what it uses at a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContainerUse {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) image: String,
    /// Empty when nobody tells.
    pub(crate) cgroup: String,
    pub(crate) usage: Usage,
}

/// Which pods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Which<'a> {
    /// Of this namespace; `None` is all.
    pub(crate) namespace: Option<&'a str>,
    /// With these names; empty is all.
    pub(crate) names: &'a [String],
    /// With labels like these; `None` is all.
    pub(crate) labels: Option<&'a Labels>,
}

/// The labels of pods by their uids, as they are now: containerd knows those that a pod was made with.
type Current = HashMap<String, BTreeMap<String, String>>;

impl Which<'_> {
    /// The labels that are needed to choose by them.
    async fn current(&self, session: &Session) -> anyhow::Result<Current> {
        if self.labels.is_none() {
            return Ok(Current::new());
        }
        let labels = |found: &Found| (found.uid().to_owned(), found.pod.metadata.labels.clone().unwrap_or_default());
        Ok(session.pods(self.namespace).await?.iter().map(labels).collect())
    }

    /// Whether a sandbox has the labels. Pods of other clients have those that containerd knows.
    fn are_like(&self, sandbox: &v1::PodSandbox, current: &Current) -> bool {
        let Some(labels) = self.labels else { return true };
        let uid = sandbox.metadata.as_ref().map_or("", |metadata| metadata.uid.as_str());
        match current.get(uid) {
            Some(now) => labels.match_labels(Some(now)),
            None => labels.match_labels(Some(&sandbox.labels.clone().into_iter().collect())),
        }
    }

    fn includes(&self, metadata: &v1::PodSandboxMetadata) -> bool {
        self.namespace.is_none_or(|namespace| namespace == metadata.namespace)
            && (self.names.is_empty() || self.names.contains(&metadata.name))
    }
}

/// The pods of any client that run, by namespace and name. One that ends meanwhile is left out.
pub(crate) async fn read(session: &Session, which: Which<'_>) -> anyhow::Result<Vec<PodUse>> {
    let sandboxes = session.client.list_pod_sandboxes(None).await?;
    let containers = session.client.list_containers(None).await?;
    let current = which.current(session).await?;
    let mut pods = Vec::new();
    for sandbox in sandboxes {
        let Some(metadata) = sandbox.metadata.as_ref().filter(|metadata| which.includes(metadata)) else { continue };
        if sandbox.state() != v1::PodSandboxState::SandboxReady || !which.are_like(&sandbox, &current) {
            continue;
        }
        let mine: HashMap<&str, &v1::Container> = containers
            .iter()
            .filter(|container| container.pod_sandbox_id == sandbox.id)
            .map(|container| (container.id.as_str(), container))
            .collect();
        let described = PodUse {
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            sandbox: sandbox.id.clone(),
            ..PodUse::default()
        };
        match pod::stats(session, &metadata.name, &sandbox.id).await {
            Ok(answer) => pods.push(of_shim(described, answer, &mine)),
            // Another runtime's.
            Err(_) => pods.push(of_containerd(described, session, &mine).await?),
        }
    }
    pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(pods)
}

fn of_shim(mut pod: PodUse, answer: StatsResponse, known: &HashMap<&str, &v1::Container>) -> PodUse {
    pod.at = Duration::from_nanos(u64::try_from(answer.at_unix_nanos).unwrap_or_default());
    pod.total = answer.pod.unwrap_or_default();
    pod.cgroup = answer.cgroup;
    for container in answer.containers {
        let cri = known.get(container.id.as_str());
        let used = ContainerUse {
            image: cri.map(|cri| image_of(cri)).unwrap_or_default(),
            name: container.name,
            id: container.id,
            cgroup: container.cgroup,
            usage: container.usage.unwrap_or_default(),
        };
        if container.sandbox {
            pod.own = Some(used);
        } else {
            pod.containers.push(used);
        }
    }
    pod
}

fn image_of(container: &v1::Container) -> String {
    container.image.as_ref().map(|image| image.image.clone()).unwrap_or_default()
}

/// What CRI says of the containers; of the pod, what they make together.
async fn of_containerd(
    mut pod: PodUse,
    session: &Session,
    known: &HashMap<&str, &v1::Container>,
) -> anyhow::Result<PodUse> {
    let filter = v1::ContainerStatsFilter { pod_sandbox_id: pod.sandbox.clone(), ..Default::default() };
    let value = |wrapped: &Option<v1::UInt64Value>| wrapped.as_ref().map_or(0, |inner| inner.value);
    for stats in session.client.list_container_stats(Some(filter)).await? {
        let attributes = stats.attributes.unwrap_or_default();
        let (cpu, memory) = (stats.cpu.unwrap_or_default(), stats.memory.unwrap_or_default());
        let usage = Usage {
            cpu_nanos: value(&cpu.usage_core_nano_seconds),
            memory_bytes: value(&memory.usage_bytes).max(value(&memory.working_set_bytes)),
            memory_working_set_bytes: value(&memory.working_set_bytes),
            memory_anonymous_bytes: value(&memory.rss_bytes),
            memory_faults: value(&memory.page_faults),
            memory_major_faults: value(&memory.major_page_faults),
            memory_swap_bytes: value(&stats.swap.unwrap_or_default().swap_usage_bytes),
            ..Usage::default()
        };
        pod.total.cpu_nanos += usage.cpu_nanos;
        pod.total.memory_bytes += usage.memory_bytes;
        pod.total.memory_working_set_bytes += usage.memory_working_set_bytes;
        pod.containers.push(ContainerUse {
            name: attributes.metadata.unwrap_or_default().name,
            image: known.get(attributes.id.as_str()).map(|cri| image_of(cri)).unwrap_or_default(),
            id: attributes.id,
            cgroup: String::new(),
            usage,
        });
    }
    pod.containers.sort_by(|a, b| a.name.cmp(&b.name));
    pod.at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(pod)
}

/// What happened between two readings, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    /// Thousandths of a processor.
    pub(crate) millicores: f64,
    /// Of the enforcement periods that passed, those in which the quota ran out, in per cent; `None` without a quota.
    pub(crate) throttled: Option<f64>,
    /// Bytes.
    pub(crate) read: f64,
    /// Bytes.
    pub(crate) written: f64,
}

/// The rates between two readings of the same cgroup. Counts that went back are those of another one.
pub(crate) fn rates(before: &Usage, now: &Usage, apart: Duration) -> Rates {
    let seconds = apart.as_secs_f64();
    let per_second = |before: u64, now: u64| {
        if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
    };
    let periods = now.cpu_periods.saturating_sub(before.cpu_periods);
    let held = now.cpu_throttled_periods.saturating_sub(before.cpu_throttled_periods);
    Rates {
        millicores: per_second(before.cpu_nanos, now.cpu_nanos) / 1e6,
        throttled: now.cpu_quota_micros.map(|_| if periods == 0 { 0.0 } else { held as f64 * 100.0 / periods as f64 }),
        read: per_second(read_bytes(before), read_bytes(now)),
        written: per_second(written_bytes(before), written_bytes(now)),
    }
}

/// Bytes read from all devices.
pub(crate) fn read_bytes(usage: &Usage) -> u64 {
    usage.io.iter().map(|device| device.read_bytes).sum()
}

/// Bytes written to all devices.
pub(crate) fn written_bytes(usage: &Usage) -> u64 {
    usage.io.iter().map(|device| device.written_bytes).sum()
}

#[cfg(test)]
mod tests {
    use loment_shim::pod::api::Device;

    use super::*;

    #[test]
    fn pods_are_chosen_by_the_labels_that_they_have_now_and_those_of_other_clients_by_containerds() {
        let labels = Labels::parse("app=web").unwrap();
        let which = Which { namespace: None, names: &[], labels: Some(&labels) };
        let sandbox = |uid: &str, app: &str| v1::PodSandbox {
            metadata: Some(v1::PodSandboxMetadata { uid: uid.to_owned(), ..v1::PodSandboxMetadata::default() }),
            labels: [("app".to_owned(), app.to_owned())].into(),
            ..v1::PodSandbox::default()
        };
        let current = [("ours".to_owned(), BTreeMap::from([("app".to_owned(), "web".to_owned())]))].into();
        assert!(which.are_like(&sandbox("ours", "db"), &current), "it was labeled anew");
        assert!(which.are_like(&sandbox("theirs", "web"), &current));
        assert!(!which.are_like(&sandbox("theirs", "db"), &current));
        assert!(Which { labels: None, ..which }.are_like(&sandbox("theirs", "db"), &current));
    }

    #[test]
    fn rates_are_per_second_and_never_below_nothing() {
        let device = |read_bytes, written_bytes| Device { read_bytes, written_bytes, ..Device::default() };
        let before = Usage {
            cpu_nanos: 1_000_000_000,
            cpu_periods: 10,
            cpu_throttled_periods: 4,
            io: vec![device(100, 0), device(0, 50)],
            ..Usage::default()
        };
        let now = Usage {
            cpu_nanos: 2_000_000_000,
            cpu_periods: 30,
            cpu_throttled_periods: 9,
            cpu_quota_micros: Some(50_000),
            io: vec![device(300, 0), device(0, 150)],
            ..Usage::default()
        };
        let expected = Rates { millicores: 500.0, throttled: Some(25.0), read: 100.0, written: 50.0 };
        assert_eq!(rates(&before, &now, Duration::from_secs(2)), expected);
        assert_eq!(rates(&now, &before, Duration::from_secs(2)), Rates::default());
        assert_eq!(rates(&before, &now, Duration::ZERO).millicores, 0.0);
    }
}
