//! The resolver configuration of a pod.

use k8s_openapi::api::core::v1::{PodDNSConfig, PodSpec};
use loment_cri::v1::DnsConfig;

const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;

/// The configuration for `dnsPolicy` and `dnsConfig`. Without a cluster there is no cluster DNS, and `ClusterFirst` means
/// what it means to a kubelet that knows none: the machine's own resolver.
pub(crate) fn config(spec: &PodSpec, resolv_conf: &str) -> DnsConfig {
    let mut dns = wanted(spec, resolv_conf);
    dns.servers.truncate(MAX_SERVERS);
    dns.searches.truncate(MAX_SEARCHES);
    while dns.searches.join(" ").len() > MAX_SEARCH_CHARACTERS {
        dns.searches.pop();
    }
    dns
}

/// What a resolver would not read and is left out, as a kubelet says it.
pub(crate) fn left_out(spec: &PodSpec, resolv_conf: &str) -> Vec<String> {
    let (wanted, applied) = (wanted(spec, resolv_conf), config(spec, resolv_conf));
    let mut said = Vec::new();
    if wanted.servers != applied.servers {
        said.push(format!(
            "DNSConfigForming: Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver \
             line is: {}",
            applied.servers.join(" ")
        ));
    }
    if wanted.searches != applied.searches {
        said.push(format!(
            "DNSConfigForming: Search Line limits were exceeded, some search paths have been omitted, the applied search line \
             is: {}",
            applied.searches.join(" ")
        ));
    }
    said
}

fn wanted(spec: &PodSpec, resolv_conf: &str) -> DnsConfig {
    let mut dns = match spec.dns_policy.as_deref() {
        Some("None") => DnsConfig::default(),
        _ => parse(resolv_conf),
    };
    if let Some(more) = &spec.dns_config {
        extend(&mut dns, more);
    }
    dns
}

fn extend(dns: &mut DnsConfig, more: &PodDNSConfig) {
    append_new(&mut dns.servers, more.nameservers.iter().flatten());
    append_new(&mut dns.searches, more.searches.iter().flatten());
    for option in more.options.iter().flatten() {
        let name = option.name.as_deref().unwrap_or_default();
        let line = match option.value.as_deref() {
            Some(value) => format!("{name}:{value}"),
            None => name.to_owned(),
        };
        dns.options.retain(|old| old.split(':').next() != Some(name));
        dns.options.push(line);
    }
}

fn append_new<'a>(list: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

/// Reads resolv.conf(5); of several `search` lines the last one counts.
fn parse(text: &str) -> DnsConfig {
    let mut dns = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            Some("search") => dns.searches = words.map(str::to_owned).collect(),
            Some("options") => append_new(&mut dns.options, words.map(str::to_owned).collect::<Vec<_>>().iter()),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodDNSConfigOption;

    use super::*;

    const HOST: &str = "# comment\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch old\nsearch example.org lan\noptions \
                        edns0 ndots:2\n";

    fn spec(policy: &str) -> PodSpec {
        PodSpec {
            dns_policy: Some(policy.into()),
            dns_config: Some(PodDNSConfig {
                nameservers: Some(vec!["192.0.2.2".into(), "192.0.2.3".into(), "192.0.2.4".into()]),
                searches: Some(vec!["lan".into(), "pod".into()]),
                options: Some(vec![PodDNSConfigOption { name: Some("ndots".into()), value: Some("5".into()) }]),
            }),
            ..PodSpec::default()
        }
    }

    #[test]
    fn the_manifest_adds_to_the_host_within_the_resolver_limits() {
        let dns = config(&spec("ClusterFirst"), HOST);
        assert_eq!(dns.servers, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        assert_eq!(dns.searches, ["example.org", "lan", "pod"]);
        assert_eq!(dns.options, ["edns0", "ndots:5"]);
        let said = left_out(&spec("ClusterFirst"), HOST);
        assert_eq!(said.len(), 1);
        assert!(said[0].ends_with("the applied nameserver line is: 192.0.2.1 192.0.2.2 192.0.2.3"), "{said:?}");
        assert!(left_out(&spec("None"), HOST).is_empty());
    }

    #[test]
    fn policy_none_takes_nothing_from_the_host() {
        let dns = config(&spec("None"), HOST);
        assert_eq!(dns.servers, ["192.0.2.2", "192.0.2.3", "192.0.2.4"]);
        assert_eq!(dns.options, ["ndots:5"]);
    }
}
