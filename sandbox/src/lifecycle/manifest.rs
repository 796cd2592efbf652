//! The part of a `v1.Pod` that is read, as it is written, and its lowering into a checked [`PodSpec`].
//!
//! Whoever creates a pod validates its manifest strictly. Here every field may be absent or null, and unknown ones are
//! passed over: a shim must run what a newer command made.

use std::{
    collections::{BTreeMap, HashSet},
    str::FromStr,
    time::Duration,
};

use nix::sys::signal::Signal;
use serde::Deserialize;

use super::{
    duration,
    qos::{self, Amounts},
    restart::RestartRule,
    spec::{Backoff, ContainerSpec, Kind, PodSpec, RestartPolicy},
};
use crate::{Error, Result};

/// Annotation: the first delay of a back-off.
pub const BACKOFF_INITIAL: &str = "io.loment.pod.backoff-initial";
/// Annotation: the longest delay of a back-off.
pub const BACKOFF_MAX: &str = "io.loment.pod.backoff-max";
/// Annotation: a run longer than this ends a back-off.
pub const BACKOFF_RESET: &str = "io.loment.pod.backoff-reset";

/// A shorter back-off than this would be a busy loop.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(1);

/// `terminationGracePeriodSeconds` when there is none.
const GRACE: i64 = 30;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Pod {
    kind: Option<String>,
    metadata: Option<Metadata>,
    spec: Option<Spec>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    annotations: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    restart_policy: Option<String>,
    termination_grace_period_seconds: Option<i64>,
    active_deadline_seconds: Option<i64>,
    readiness_gates: Option<Vec<Gate>>,
    init_containers: Option<Vec<Container>>,
    containers: Option<Vec<Container>>,
    resources: Option<Resources>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Gate {
    condition_type: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: Option<String>,
    image: Option<String>,
    restart_policy: Option<String>,
    restart_policy_rules: Option<Vec<Rule>>,
    lifecycle: Option<Lifecycle>,
    resources: Option<Resources>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    action: Option<String>,
    exit_codes: Option<ExitCodes>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ExitCodes {
    operator: Option<String>,
    values: Option<Vec<u32>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Lifecycle {
    stop_signal: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resources {
    requests: Option<BTreeMap<String, Quantity>>,
    limits: Option<BTreeMap<String, Quantity>>,
}

/// JSON allows a bare number where a quantity is meant.
#[derive(Deserialize)]
#[serde(untagged)]
enum Quantity {
    Text(String),
    Number(serde_json::Number),
    Null(()),
}

pub(super) fn read(json: &str) -> Result<PodSpec> {
    let pod: Pod = serde_json::from_str(json)
        .map_err(|error| Error::invalid("pod manifest", "in JSON", format!("is no v1.Pod: {error}")))?;
    let (metadata, spec) = (pod.metadata.unwrap_or_default(), pod.spec.unwrap_or_default());
    if let Some(kind) = pod.kind.filter(|kind| kind != "Pod") {
        return Err(Error::invalid("kind", quoted(&kind), "only a Pod can be run"));
    }
    let inits = containers("spec.initContainers", spec.init_containers, init_kind)?;
    let apps = containers("spec.containers", spec.containers, |_| Kind::App)?;
    if apps.is_empty() {
        return Err(Error::invalid("spec.containers", "[]", "a pod needs at least one container"));
    }
    let resources = match &spec.resources {
        Some(whole) if !whole.is_empty() => vec![amounts("spec.resources", whole)?],
        _ => inits.iter().chain(&apps).map(|(_, resources)| *resources).collect(),
    };
    let plain = |containers: Vec<(ContainerSpec, _)>| containers.into_iter().map(|(spec, _)| spec).collect::<Vec<_>>();
    let (init_containers, containers) = (plain(inits), plain(apps));
    distinct(&init_containers, &containers)?;
    Ok(PodSpec {
        name: required("metadata.name", metadata.name)?,
        namespace: metadata.namespace.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into()),
        uid: metadata.uid.unwrap_or_default(),
        restart_policy: match spec.restart_policy {
            Some(name) => policy("spec.restartPolicy", &name)?,
            None => RestartPolicy::Always,
        },
        grace: seconds(spec.termination_grace_period_seconds.unwrap_or(GRACE)),
        active_deadline: spec.active_deadline_seconds.map(seconds),
        readiness_gates: spec
            .readiness_gates
            .unwrap_or_default()
            .into_iter()
            .filter_map(|gate| gate.condition_type)
            .collect(),
        init_containers,
        containers,
        backoff: backoff(&metadata.annotations.unwrap_or_default())?,
        qos: qos::class(resources),
    })
}

/// A negative grace period means 1 s (pkg/registry/core/pod/strategy.go).
fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(1))
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn required(path: impl Into<String>, value: Option<String>) -> Result<String> {
    value.filter(|text| !text.is_empty()).ok_or_else(|| Error::invalid(path, "\"\"", "is required"))
}

/// `restartPolicy: Always` is what makes an init container a sidecar.
fn init_kind(policy: Option<RestartPolicy>) -> Kind {
    if policy == Some(RestartPolicy::Always) { Kind::Sidecar } else { Kind::Init }
}

type Lowered = (ContainerSpec, (Amounts, Amounts));

fn containers(
    list: &str,
    written: Option<Vec<Container>>,
    kind: fn(Option<RestartPolicy>) -> Kind,
) -> Result<Vec<Lowered>> {
    let written = written.unwrap_or_default().into_iter().enumerate();
    written.map(|(place, container)| lower(&format!("{list}[{place}]"), container, kind)).collect()
}

fn lower(path: &str, container: Container, kind: fn(Option<RestartPolicy>) -> Kind) -> Result<Lowered> {
    let own = container.restart_policy.map(|name| policy(&format!("{path}.restartPolicy"), &name)).transpose()?;
    let rules = container.restart_policy_rules.unwrap_or_default().into_iter().enumerate();
    let stop_signal = container.lifecycle.and_then(|lifecycle| lifecycle.stop_signal);
    let resources = amounts(&format!("{path}.resources"), &container.resources.unwrap_or_default())?;
    let spec = ContainerSpec {
        name: required(format!("{path}.name"), container.name)?,
        image: container.image.unwrap_or_default(),
        kind: kind(own),
        restart_policy: own,
        restart_rules: rules
            .map(|(place, written)| rule(&format!("{path}.restartPolicyRules[{place}]"), written))
            .collect::<Result<_>>()?,
        stop_signal: match stop_signal {
            Some(name) => signal(&name).ok_or_else(|| {
                Error::invalid(format!("{path}.lifecycle.stopSignal"), quoted(&name), "is not a signal")
                    .hint("write it like SIGTERM or SIGRTMIN+3")
            })?,
            None => ContainerSpec::default().stop_signal,
        },
    };
    Ok((spec, resources))
}

fn policy(path: &str, name: &str) -> Result<RestartPolicy> {
    match name {
        "Always" => Ok(RestartPolicy::Always),
        "OnFailure" => Ok(RestartPolicy::OnFailure),
        "Never" => Ok(RestartPolicy::Never),
        _ => Err(Error::invalid(path, quoted(name), "supported values: \"Always\", \"OnFailure\", \"Never\"")),
    }
}

fn rule(path: &str, rule: Rule) -> Result<RestartRule> {
    let action = rule.action.unwrap_or_default();
    if action != "Restart" {
        return Err(Error::invalid(format!("{path}.action"), quoted(&action), "supported values: \"Restart\""));
    }
    let codes = rule.exit_codes.unwrap_or_default();
    let operator = codes.operator.unwrap_or_default();
    let negated = match operator.as_str() {
        "In" => false,
        "NotIn" => true,
        _ => {
            let path = format!("{path}.exitCodes.operator");
            return Err(Error::invalid(path, quoted(&operator), "supported values: \"In\", \"NotIn\""));
        }
    };
    Ok(RestartRule { negated, codes: codes.values.unwrap_or_default() })
}

/// A signal by name; real-time signals count from either end, as glibc and musl number them for programs.
fn signal(name: &str) -> Option<i32> {
    let number = |base: i32, sign: i32, tail: &str| match tail {
        "" => Some(base),
        _ => {
            let step = tail.strip_prefix(if sign < 0 { '-' } else { '+' })?.parse::<u8>().ok()?;
            Some(base + sign * i32::from(step)).filter(|number| (34..=64).contains(number))
        }
    };
    if let Some(tail) = name.strip_prefix("SIGRTMIN") {
        return number(34, 1, tail);
    }
    if let Some(tail) = name.strip_prefix("SIGRTMAX") {
        return number(64, -1, tail);
    }
    Signal::from_str(name).ok().map(|signal| signal as i32)
}

fn distinct(inits: &[ContainerSpec], apps: &[ContainerSpec]) -> Result<()> {
    let mut seen = HashSet::new();
    for (list, containers) in [("initContainers", inits), ("containers", apps)] {
        for (place, container) in containers.iter().enumerate() {
            if !seen.insert(container.name.as_str()) {
                let path = format!("spec.{list}[{place}].name");
                return Err(Error::invalid(path, quoted(&container.name), "is already the name of another container"));
            }
        }
    }
    Ok(())
}

fn backoff(annotations: &BTreeMap<String, Option<String>>) -> Result<Backoff> {
    let read = |name: &str| match annotations.get(name) {
        None | Some(None) => Ok(None),
        Some(Some(text)) => {
            let long_enough = |length: &Duration| *length >= SHORTEST_BACKOFF;
            duration::parse(text).filter(long_enough).map(Some).ok_or_else(|| {
                let path = format!("metadata.annotations[{name}]");
                Error::invalid(path, quoted(text), "must be a duration of at least 1ms")
                    .hint("write it like 200ms or 1m30s")
            })
        }
    };
    let defaults = Backoff::default();
    let (initial, max) = (read(BACKOFF_INITIAL)?, read(BACKOFF_MAX)?);
    let curve = Backoff {
        // A lower maximum takes the initial delay down with it, a higher initial delay the maximum up (KEP-5593).
        initial: initial.unwrap_or_else(|| defaults.initial.min(max.unwrap_or(defaults.max))),
        max: max.unwrap_or_else(|| defaults.max.max(initial.unwrap_or(defaults.initial))),
        reset: read(BACKOFF_RESET)?.unwrap_or(defaults.reset),
    };
    if curve.initial > curve.max {
        let (path, shown) = (format!("metadata.annotations[{BACKOFF_INITIAL}]"), duration::Shown(curve.initial));
        return Err(Error::invalid(path, shown, format!("must not be more than {BACKOFF_MAX}")));
    }
    Ok(curve)
}

impl Resources {
    fn is_empty(&self) -> bool {
        let none = |list: &Option<BTreeMap<_, _>>| list.as_ref().is_none_or(BTreeMap::is_empty);
        none(&self.requests) && none(&self.limits)
    }
}

fn amounts(path: &str, resources: &Resources) -> Result<(Amounts, Amounts)> {
    let of = |list: &str, written: &Option<BTreeMap<String, Quantity>>| {
        let amount = |name: &str| match written.as_ref().and_then(|written| written.get(name)) {
            None | Some(Quantity::Null(())) => Ok(0),
            Some(Quantity::Text(text)) => read_quantity(path, list, name, text),
            Some(Quantity::Number(number)) => read_quantity(path, list, name, &number.to_string()),
        };
        Ok::<_, Error>(Amounts { cpu: amount("cpu")?, memory: amount("memory")? })
    };
    Ok((of("requests", &resources.requests)?, of("limits", &resources.limits)?))
}

fn read_quantity(path: &str, list: &str, name: &str, text: &str) -> Result<u128> {
    qos::quantity(text).ok_or_else(|| {
        Error::invalid(format!("{path}.{list}[{name}]"), quoted(text), "is not a quantity like 100m or 64Mi")
    })
}
