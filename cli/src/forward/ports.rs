//! Which ports are meant: `8080`, `8888:8080`, `:8080`, `web`, `8888:web`, `5353:53/udp`.

use std::fmt;

use anyhow::{anyhow, bail};
use k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::lower;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// A port of the pod, and the one of this machine that leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// 0 is any that is free.
    pub(crate) local: u16,
    pub(crate) remote: u16,
    pub(crate) protocol: Protocol,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.local, self.remote)?;
        if self.protocol == Protocol::Udp { f.write_str("/udp") } else { Ok(()) }
    }
}

/// Reads what the user has written; names are those of the pod's container ports.
pub(crate) fn parse(word: &str, pod: &Pod) -> anyhow::Result<Port> {
    let (numbers, given) = match word.rsplit_once('/') {
        None => (word, None),
        Some((numbers, name)) => match name.to_ascii_lowercase().as_str() {
            "tcp" => (numbers, Some(Protocol::Tcp)),
            "udp" => (numbers, Some(Protocol::Udp)),
            _ => bail!("invalid port format '{word}': the protocol is tcp or udp"),
        },
    };
    let (local, remote) = match numbers.split_once(':') {
        None => (None, numbers),
        Some((_, remote)) if remote.contains(':') => bail!("invalid port format '{word}'"),
        Some((local, remote)) => (Some(local), remote),
    };
    let (remote, protocol) = match remote.parse::<u16>() {
        Ok(0) => bail!("remote port must be > 0"),
        Ok(number) => (number, given.unwrap_or(Protocol::Tcp)),
        Err(error) if remote.is_empty() || remote.starts_with(|first: char| first.is_ascii_digit()) => {
            bail!("error parsing remote port '{remote}': {error}")
        }
        Err(_) => named(remote, given, pod)?,
    };
    let local = match local {
        None => remote,
        Some("") => 0,
        Some(local) => local.parse().map_err(|error| anyhow!("error parsing local port '{local}': {error}"))?,
    };
    Ok(Port { local, remote, protocol })
}

fn named(name: &str, wanted: Option<Protocol>, pod: &Pod) -> anyhow::Result<(u16, Protocol)> {
    let no_spec = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let inits = spec.init_containers.iter().flatten();
    let sidecars = inits.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let protocol = |written: &Option<String>| match written.as_deref() {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some(_) => None,
    };
    for port in ports.filter(|port| port.name.as_deref() == Some(name)) {
        let Some(protocol) = protocol(&port.protocol) else {
            bail!("SCTP protocol is not supported for port '{name}'");
        };
        if wanted.is_none_or(|wanted| wanted == protocol) {
            return Ok((u16::try_from(port.container_port)?, protocol));
        }
    }
    bail!("Pod '{}' does not have a named port '{name}'", lower::name(pod))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        let value = json!({ "metadata": { "name": "p" }, "spec": {
            "initContainers": [{ "name": "s", "restartPolicy": "Always", "ports": [{ "name": "metrics", "containerPort": 90 }] }],
            "containers": [{ "name": "a", "ports": [
                { "name": "web", "containerPort": 80 },
                { "name": "dns", "containerPort": 53, "protocol": "UDP" },
            ]}],
        }});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_port_is_a_number_or_a_name_with_a_local_one_before_it() {
        let read = |word: &str| parse(word, &pod()).unwrap().to_string();
        for (word, expected) in [
            ("8080", "8080:8080"),
            ("8888:8080", "8888:8080"),
            (":8080", "0:8080"),
            ("web", "80:80"),
            ("8888:web", "8888:80"),
            ("metrics", "90:90"),
            (":dns", "0:53/udp"),
            ("5353:53/udp", "5353:53/udp"),
            ("53/TCP", "53:53"),
        ] {
            assert_eq!(read(word), expected, "{word}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused() {
        let refused = |word: &str| parse(word, &pod()).unwrap_err().to_string();
        assert_eq!(refused("nothing"), "Pod 'p' does not have a named port 'nothing'");
        assert_eq!(refused("web/udp"), "Pod 'p' does not have a named port 'web'");
        assert_eq!(refused("80:0"), "remote port must be > 0");
        assert_eq!(refused("1:2:3"), "invalid port format '1:2:3'");
        assert!(refused("x:80").starts_with("error parsing local port 'x'"));
        assert!(refused("80:70000").starts_with("error parsing remote port '70000'"));
        assert!(refused("80:").starts_with("error parsing remote port ''"));
        assert!(refused("80/sctp").contains("tcp or udp"));
    }
}
