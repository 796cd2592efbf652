//! Rules for names, resolvers and addresses.

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::lower::hosts;

use super::errors::{Errors, quoted};
use super::names::{check_label, check_subdomain};

/// The longest name that the kernel keeps.
const KERNEL_NAME: usize = 64;

pub(super) fn check_hostname(errors: &mut Errors, pod: &Pod, spec: &PodSpec) {
    for (path, name) in [("spec.hostname", &spec.hostname), ("spec.subdomain", &spec.subdomain)] {
        if let Some(name) = name.as_deref().filter(|name| !name.is_empty()) {
            check_label(errors, path, name);
        }
    }
    let long = hosts::hostname(pod);
    if spec.set_hostname_as_fqdn == Some(true) && spec.hostname_override.is_none() && long.len() > KERNEL_NAME {
        let detail = format!(
            "the FQDN {long} is too long ({KERNEL_NAME} characters is the max, {} characters requested)",
            long.len()
        );
        errors.invalid("spec.setHostnameAsFQDN", true, &detail);
    }
    if let Some(name) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        if name.len() > 64 {
            errors.invalid("spec.hostnameOverride", quoted(name), "must be no more than 64 characters");
        }
        check_subdomain(errors, "spec.hostnameOverride", name);
        if spec.host_network == Some(true) {
            errors.forbidden("spec.hostnameOverride", "may not be set when hostNetwork is true");
        }
        if spec.set_hostname_as_fqdn == Some(true) {
            errors.forbidden("spec.hostnameOverride", "may not be set when setHostnameAsFQDN is true");
        }
    }
}

pub(super) fn check_dns(errors: &mut Errors, spec: &PodSpec) {
    const POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    let policy = spec.dns_policy.as_deref().unwrap_or_default();
    if !POLICIES.contains(&policy) {
        errors.unsupported("spec.dnsPolicy", policy, &POLICIES);
    }
    let servers: Vec<&String> = spec.dns_config.iter().flat_map(|config| config.nameservers.iter().flatten()).collect();
    if policy == "None" && servers.is_empty() {
        let (path, detail) = match spec.dns_config {
            None => ("spec.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None"),
            Some(_) => {
                ("spec.dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")
            }
        };
        errors.required(path, detail);
    }
    if servers.len() > 3 {
        errors.invalid("spec.dnsConfig.nameservers", servers.len(), "must not have more than 3 nameservers");
    }
    let searches: Vec<&str> =
        spec.dns_config.iter().flat_map(|config| config.searches.iter().flatten()).map(String::as_str).collect();
    if searches.len() > 32 {
        errors.invalid("spec.dnsConfig.searches", searches.len(), "must not have more than 32 search paths");
    }
    if searches.join(" ").len() > 2048 {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid("spec.dnsConfig.searches", searches.join(" ").len(), detail);
    }
    for (index, search) in searches.iter().enumerate() {
        // A domain may be written with its final dot, and one label may begin with an underscore.
        let plain = search.strip_suffix('.').unwrap_or(search).replace('_', "");
        if !plain.is_empty() {
            check_subdomain(errors, &format!("spec.dnsConfig.searches[{index}]"), &plain);
        }
    }
    for (index, option) in spec.dns_config.iter().flat_map(|config| config.options.iter().flatten()).enumerate() {
        if option.name.as_deref().unwrap_or_default().is_empty() {
            errors.required(&format!("spec.dnsConfig.options[{index}].name"), "");
        }
    }
    for (index, server) in servers.iter().enumerate() {
        check_address(errors, &format!("spec.dnsConfig.nameservers[{index}]"), server);
    }
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        check_address(errors, &format!("spec.hostAliases[{index}].ip"), &alias.ip);
        for (number, name) in alias.hostnames.iter().flatten().enumerate() {
            check_subdomain(errors, &format!("spec.hostAliases[{index}].hostnames[{number}]"), name);
        }
    }
}

pub(super) fn check_address(errors: &mut Errors, path: &str, address: &str) {
    if address.parse::<std::net::IpAddr>().is_err() {
        errors.invalid(path, quoted(address), "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}
