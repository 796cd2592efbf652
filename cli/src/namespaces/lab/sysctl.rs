//! Kernel parameters of a sandbox: only those that belong to one of its namespaces.

use std::path::PathBuf;

use loment_sandbox::sysctl::{Owner, owner, path};

use super::super::kind::Kind;

/// One parameter, by its file below `/proc/sys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sysctl {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) value: String,
}

/// Reads `NAME=VALUE`. `kinds` are those of the sandbox: every other parameter would be the machine's.
pub(crate) fn parse(text: &str, kinds: &[Kind]) -> Result<Sysctl, String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!("--sysctl {text:?} has no value: say NAME=VALUE, as in net.ipv4.ip_forward=1"));
    };
    let Some(path) = path(name) else {
        return Err(format!("--sysctl {name:?} is no kernel parameter: sysctl -a lists them"));
    };
    let kind = match owner(&path) {
        Owner::Namespace(flag) => Kind::of_flag(flag.bits()),
        Owner::HostName => return Err(format!("--sysctl {name} is set by --hostname NAME")),
        Owner::Machine => None,
    };
    match kind {
        None => Err(format!("--sysctl {name} belongs to no namespace: sysctl -w sets it for the machine")),
        Some(kind) if !kinds.contains(&kind) => Err(format!("--sysctl {name} would be the machine's: add --{kind}")),
        Some(_) => {
            Ok(Sysctl { name: name.to_owned(), path: PathBuf::from("/proc/sys").join(path), value: value.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_that_of_a_namespace_which_the_sandbox_has() {
        let of_net = |text| parse(text, &[Kind::Net]);
        let path = |text| of_net(text).unwrap().path;
        assert_eq!(path("net.ipv4.ip_forward=1"), PathBuf::from("/proc/sys/net/ipv4/ip_forward"));
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding=1"), path("net/ipv4/conf/eth0.1/forwarding=1"));
        assert_eq!(of_net("net.ipv4.ping_group_range=0 7").unwrap().value, "0 7");
        assert!(parse("fs.mqueue.msg_max=7", &[Kind::Ipc]).is_ok() && parse("kernel.shmmax=7", &[Kind::Ipc]).is_ok());
        for (text, told) in [
            ("kernel.shmmax=7", "add --ipc"),
            ("kernel.domainname=x", "add --uts"),
            ("kernel.hostname=x", "--hostname"),
            ("kernel.panic=1", "sysctl -w"),
            ("net.ipv4.ip_forward", "NAME=VALUE"),
            ("net.ipv4//../../x=1", "sysctl -a"),
            ("net..x=1", "sysctl -a"),
            ("=1", "sysctl -a"),
        ] {
            let said = of_net(text).unwrap_err();
            assert!(said.contains(told), "{text}: {said}");
        }
    }
}
