//! A pod's `/etc/hosts`, and what the pod is called.

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::{name, namespace};

/// Domain below which a `subdomain` stands; without a cluster it is the default that manifests are written for.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// The hostname of a pod: `spec.hostname` or its name, cut to what the kernel's label allows. `hostnameOverride` wins.
pub(crate) fn hostname(pod: &Pod) -> String {
    let given = |field: &Option<String>| field.clone().filter(|name| !name.is_empty());
    let spec = pod.spec.as_ref();
    if let Some(name) = spec.and_then(|spec| given(&spec.hostname_override)) {
        return name;
    }
    let short = spec.and_then(|spec| given(&spec.hostname)).unwrap_or_else(|| name(pod).to_owned());
    let short: String = short.chars().take(63).collect();
    let short = short.trim_end_matches(['-', '.']).to_owned();
    match spec.filter(|spec| spec.set_hostname_as_fqdn == Some(true)).and_then(|spec| qualified(pod, spec, &short)) {
        Some(long) => long,
        None => short,
    }
}

fn qualified(pod: &Pod, spec: &PodSpec, short: &str) -> Option<String> {
    let subdomain = spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty())?;
    Some(format!("{short}.{subdomain}.{}.svc.{CLUSTER_DOMAIN}", namespace(pod)))
}

/// The text of `/etc/hosts` for a pod with these addresses. On the host's network it starts with the host's file.
pub(crate) fn file(pod: &Pod, addresses: &[String], host_file: &str) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut text = "# Written by loment for this pod.\n".to_owned();
    if spec.host_network == Some(true) {
        text.push_str(host_file);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    } else {
        text.push_str(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\t\
             ip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
        );
        let hostname = hostname(pod);
        let short = hostname.split('.').next().unwrap_or_default();
        let names = match qualified(pod, &spec, short).filter(|_| spec.hostname_override.is_none()) {
            Some(long) => format!("{long}\t{short}"),
            None => hostname.clone(),
        };
        for address in addresses {
            text.push_str(&format!("{address}\t{names}\n"));
        }
    }
    let aliases: Vec<_> = spec.host_aliases.iter().flatten().collect();
    if !aliases.is_empty() {
        text.push_str("\n# From the pod's hostAliases.\n");
    }
    for alias in aliases {
        text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t")));
    }
    text
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::HostAlias;

    use super::*;

    fn pod(name: &str, spec: PodSpec) -> Pod {
        let mut pod = Pod { spec: Some(spec), ..Pod::default() };
        pod.metadata.name = Some(name.into());
        pod
    }

    #[test]
    fn the_hostname_is_the_name_of_the_pod() {
        assert_eq!(hostname(&pod("web", PodSpec::default())), "web");
        let long = format!("{}-x", "a".repeat(62));
        assert_eq!(hostname(&pod(&long, PodSpec::default())), "a".repeat(62), "no trailing hyphen is left");
        let named = PodSpec { hostname: Some("db".into()), ..PodSpec::default() };
        assert_eq!(hostname(&pod("web", named)), "db");
        let forced = PodSpec { hostname_override: Some("a.b".into()), ..PodSpec::default() };
        assert_eq!(hostname(&pod("web", forced)), "a.b");
        let long = PodSpec { subdomain: Some("sub".into()), set_hostname_as_fqdn: Some(true), ..PodSpec::default() };
        assert_eq!(hostname(&pod("web", long)), "web.sub.default.svc.cluster.local");
    }

    #[test]
    fn the_hosts_file_names_the_pod_and_its_aliases() {
        let spec = PodSpec {
            subdomain: Some("sub".into()),
            host_aliases: Some(vec![HostAlias {
                ip: "192.0.2.9".into(),
                hostnames: Some(vec!["a".into(), "b".into()]),
            }]),
            ..PodSpec::default()
        };
        let text = file(&pod("web", spec), &["10.0.0.2".into()], "");
        assert!(text.contains("127.0.0.1\tlocalhost\n"), "{text}");
        assert!(text.contains("10.0.0.2\tweb.sub.default.svc.cluster.local\tweb\n"), "{text}");
        assert!(text.ends_with("192.0.2.9\ta\tb\n"), "{text}");
        let shared = PodSpec { host_network: Some(true), ..PodSpec::default() };
        assert!(file(&pod("web", shared), &["10.0.0.2".into()], "127.0.0.1 here").ends_with("127.0.0.1 here\n"));
    }
}
