//! What a client says of the pod: CRI's configuration, from which the sandbox's specification is made.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use protobuf::{Message, MessageField, well_known_types::any::Any};
use serde_json::{Map, Value, json};

pub(crate) use crate::generated::cri::PodSandboxConfig;
use crate::{
    failure::{Failure, Result},
    generated::cri::{IDMapping, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption},
};

/// What CRI calls the message.
const NAME: &str = "runtime.v1.PodSandboxConfig";

/// Parameters that containerd 2 sets in pods with a network of their own when it makes the sandbox itself; it does not tell
/// the shim whether an administrator wants them otherwise. With them a program needs no privilege for a low port, or to
/// ping.
const LOW_PORTS: (&str, &str) = ("net.ipv4.ip_unprivileged_port_start", "0");
const PING: (&str, &str) = ("net.ipv4.ping_group_range", "0 2147483647");

/// Reads the options of CreateSandbox. Without any, which is no client of CRI's, a sandbox has a network, IPC and name of
/// its own, and each container its own processes.
pub(crate) fn read(options: Option<&Any>) -> Result<PodSandboxConfig> {
    match options.filter(|any| !any.type_url.is_empty()) {
        None => {
            let options = NamespaceOption { pid: NamespaceMode::CONTAINER.into(), ..NamespaceOption::default() };
            let security =
                LinuxSandboxSecurityContext { namespace_options: MessageField::some(options), ..Default::default() };
            let linux = LinuxPodSandboxConfig { security_context: MessageField::some(security), ..Default::default() };
            Ok(PodSandboxConfig { linux: MessageField::some(linux), ..PodSandboxConfig::default() })
        }
        Some(any) if any.type_url.rsplit('/').next() == Some(NAME) => PodSandboxConfig::parse_from_bytes(&any.value)
            .map_err(|error| Failure::invalid(format!("read the pod's configuration: {error}"))),
        Some(any) => {
            let kind = &any.type_url;
            Err(Failure::invalid(format!("read the pod's configuration: {kind} is not known ({NAME} is)")))
        }
    }
}

/// What a sandbox is made for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// containerd's id.
    pub(crate) id: &'a str,
    /// Of the pod.
    pub(crate) config: &'a PodSandboxConfig,
    /// Where the pod's network is, if a client has made it.
    pub(crate) network: Option<&'a Path>,
    /// The user namespace that this network belongs to.
    pub(crate) users: Option<&'a Path>,
}

impl Wanted<'_> {
    fn namespaces(&self) -> NamespaceOption {
        let security = self.config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        security.and_then(|security| security.namespace_options.as_ref()).cloned().unwrap_or_default()
    }

    fn has_own(&self, mode: impl Fn(&NamespaceOption) -> NamespaceMode) -> bool {
        mode(&self.namespaces()) != NamespaceMode::NODE
    }

    /// Whether the pod has a network of its own.
    pub(crate) fn has_network(&self) -> bool {
        self.has_own(|options| options.network.enum_value_or_default())
    }

    /// Whether it has a System V and POSIX IPC of its own.
    pub(crate) fn has_ipc(&self) -> bool {
        self.has_own(|options| options.ipc.enum_value_or_default())
    }

    /// Whether its containers see each other's processes, which takes a first process for them. So it is in CRI where nothing
    /// is said.
    pub(crate) fn shares_pids(&self) -> bool {
        self.namespaces().pid.enum_value_or_default() == NamespaceMode::POD
    }

    /// Whether each container has processes of its own.
    pub(crate) fn has_private_pids(&self) -> bool {
        !self.shares_pids() && self.has_own(|options| options.pid.enum_value_or_default())
    }

    /// Maps of users and groups, where the pod has its own.
    pub(crate) fn maps(&self) -> Option<(Vec<IDMapping>, Vec<IDMapping>)> {
        let options = self.namespaces().userns_options.into_option()?;
        let is_own = options.mode.enum_value_or_default() == NamespaceMode::POD && !options.uids.is_empty();
        is_own.then_some((options.uids, options.gids))
    }

    /// The host's user and group that are root in the pod.
    pub(crate) fn root(&self) -> (u32, u32) {
        let zero = |maps: &[IDMapping]| {
            maps.iter().find(|map| map.container_id == 0 && map.length > 0).map_or(0, |map| map.host_id)
        };
        self.maps().map_or((0, 0), |(users, groups)| (zero(&users), zero(&groups)))
    }

    /// The cgroup above those of its containers, if the client names one.
    pub(crate) fn cgroup_parent(&self) -> Option<&Path> {
        let parent = self.config.linux.as_ref()?.cgroup_parent.as_str();
        (!parent.is_empty()).then(|| Path::new(parent))
    }

    /// The sandbox's specification: as containerd writes one for a sandbox that it makes itself, as far as a shim needs it.
    pub(crate) fn spec(&self) -> Result<Spec> {
        let mut linux = Map::new();
        linux.insert("namespaces".into(), self.namespace_list());
        linux.insert("sysctl".into(), json!(self.sysctls()));
        // What containerd gives to a sandbox that it makes.
        linux.insert("resources".into(), json!({"cpu": {"shares": 2}}));
        if let Some(parent) = self.cgroup_parent() {
            linux.insert("cgroupsPath".into(), json!(cgroups_path(parent, self.id)));
        }
        if let Some((users, groups)) = self.maps() {
            linux.insert("uidMappings".into(), mappings(&users));
            linux.insert("gidMappings".into(), mappings(&groups));
        }
        let hostname = if self.has_network() { self.config.hostname.as_str() } else { "" };
        let spec = json!({
            "ociVersion": loment_sandbox::OCI_VERSION,
            "hostname": hostname,
            "process": {"args": ["/pause"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "noNewPrivileges": true},
            "annotations": self.annotations(),
            "linux": linux,
        });
        serde_json::from_value(spec).map_err(|error| Failure::invalid(format!("read the pod's configuration: {error}")))
    }

    fn namespace_list(&self) -> Value {
        let mut list = vec![json!({"type": "mount"})];
        if self.has_ipc() {
            list.push(json!({"type": "ipc"}));
        }
        if self.has_network() {
            list.push(json!({"type": "uts"}));
            list.push(json!({"type": "network", "path": self.network}));
        }
        if self.shares_pids() {
            list.push(json!({"type": "pid"}));
        }
        if self.maps().is_some() {
            list.push(json!({"type": "user", "path": self.users}));
        }
        Value::Array(list)
    }

    fn sysctls(&self) -> Map<String, Value> {
        let given = self.config.linux.iter().flat_map(|linux| &linux.sysctls);
        let mut all: Map<_, _> = given.map(|(name, value)| (name.clone(), json!(value))).collect();
        if self.has_network() {
            all.entry(LOW_PORTS.0).or_insert_with(|| json!(LOW_PORTS.1));
            if self.maps().is_none() {
                all.entry(PING.0).or_insert_with(|| json!(PING.1));
            }
        }
        all
    }

    fn annotations(&self) -> Map<String, Value> {
        let metadata = self.config.metadata.clone().unwrap_or_default();
        let own = [
            ("container-type", "sandbox"),
            ("sandbox-id", self.id),
            ("sandbox-name", &metadata.name),
            ("sandbox-namespace", &metadata.namespace),
            ("sandbox-uid", &metadata.uid),
            ("sandbox-log-directory", &self.config.log_directory),
        ];
        let given = self.config.annotations.iter().map(|(name, value)| (name.clone(), json!(value)));
        given.chain(own.into_iter().map(|(name, value)| (format!("io.kubernetes.cri.{name}"), json!(value)))).collect()
    }
}

/// Below its parent; in a slice, a scope of systemd's as containerd names it.
fn cgroups_path(parent: &Path, id: &str) -> PathBuf {
    let slice = parent.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".slice"));
    slice.map_or_else(|| parent.join(id), |slice| format!("{slice}:cri-containerd:{id}").into())
}

fn mappings(maps: &[IDMapping]) -> Value {
    maps.iter().map(|map| json!({"hostID": map.host_id, "containerID": map.container_id, "size": map.length})).collect()
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxNamespaceType;
    use protobuf::EnumOrUnknown;

    use super::*;
    use crate::generated::cri::{PodSandboxMetadata, UserNamespace};

    fn config(change: impl FnOnce(&mut NamespaceOption)) -> PodSandboxConfig {
        let mut options = NamespaceOption { pid: NamespaceMode::CONTAINER.into(), ..NamespaceOption::default() };
        change(&mut options);
        let security =
            LinuxSandboxSecurityContext { namespace_options: MessageField::some(options), ..Default::default() };
        PodSandboxConfig {
            metadata: MessageField::some(PodSandboxMetadata {
                name: "web".into(),
                uid: "u1".into(),
                ..Default::default()
            }),
            hostname: "web".into(),
            linux: MessageField::some(LinuxPodSandboxConfig {
                cgroup_parent: "/kubepods/podu1".into(),
                security_context: MessageField::some(security),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn wanted<'a>(config: &'a PodSandboxConfig, network: Option<&'a str>) -> Wanted<'a> {
        Wanted { id: "ab", config, network: network.map(Path::new), users: None }
    }

    fn kinds(spec: &Spec) -> Vec<(LinuxNamespaceType, Option<String>)> {
        let namespaces = spec.linux().as_ref().unwrap().namespaces().as_ref().unwrap();
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        namespaces
            .iter()
            .map(|one| (one.typ(), path(one.path())))
            .filter(|(kind, _)| *kind != LinuxNamespaceType::Mount)
            .collect()
    }

    #[test]
    fn a_pod_has_a_network_that_was_made_for_it_and_names_of_its_own() {
        use LinuxNamespaceType::{Ipc, Network, Uts};
        let config = config(|_| ());
        let spec = wanted(&config, Some("/var/run/netns/x")).spec().unwrap();
        assert_eq!(kinds(&spec), [(Ipc, None), (Uts, None), (Network, Some("/var/run/netns/x".into()))]);
        assert_eq!(spec.hostname().as_deref(), Some("web"));
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.cgroups_path().as_deref(), Some(Path::new("/kubepods/podu1/ab")));
        assert_eq!(linux.sysctl().as_ref().unwrap()["net.ipv4.ip_unprivileged_port_start"], "0");
    }

    #[test]
    fn on_the_hosts_network_a_pod_has_the_hosts_name_and_no_parameters_of_networks() {
        let config = config(|options| {
            options.network = NamespaceMode::NODE.into();
            options.ipc = NamespaceMode::NODE.into();
        });
        let spec = wanted(&config, None).spec().unwrap();
        assert_eq!(kinds(&spec), []);
        assert_eq!(spec.hostname().as_deref().unwrap_or_default(), "");
        assert!(spec.linux().as_ref().unwrap().sysctl().as_ref().is_none_or(std::collections::HashMap::is_empty));
    }

    #[test]
    fn only_processes_that_are_shared_take_a_first_process() {
        let shared = config(|options| options.pid = NamespaceMode::POD.into());
        assert!(wanted(&shared, None).shares_pids());
        for mode in [NamespaceMode::CONTAINER, NamespaceMode::NODE] {
            let config = config(|options| options.pid = mode.into());
            assert!(!wanted(&config, None).shares_pids(), "{mode:?}");
        }
        assert!(wanted(&PodSandboxConfig::new(), None).shares_pids(), "CRI's default");
        assert!(!wanted(&read(None).unwrap(), None).shares_pids(), "nobody has said anything");
    }

    #[test]
    fn users_of_a_pods_own_are_those_of_its_network() {
        let map = IDMapping { host_id: 65536, container_id: 0, length: 65536, ..Default::default() };
        let config = config(|options| {
            let users = UserNamespace { uids: vec![map.clone()], gids: vec![map.clone()], ..Default::default() };
            options.userns_options = MessageField::some(users);
        });
        let users = Path::new("/proc/1/fd/9");
        let wanted = Wanted { users: Some(users), ..wanted(&config, Some("/n")) };
        let spec = wanted.spec().unwrap();
        assert!(kinds(&spec).contains(&(LinuxNamespaceType::User, Some("/proc/1/fd/9".into()))));
        assert_eq!(spec.linux().as_ref().unwrap().uid_mappings().as_ref().unwrap()[0].host_id(), 65536);
        assert_eq!(wanted.root(), (65536, 65536));
        assert!(!wanted.sysctls().contains_key(PING.0), "the groups are others there");
    }

    #[test]
    fn a_slice_is_systemds() {
        assert_eq!(cgroups_path(Path::new("/a.slice/a-b.slice"), "x"), Path::new("a-b.slice:cri-containerd:x"));
        assert_eq!(cgroups_path(Path::new("/pods"), "x"), Path::new("/pods/x"));
    }

    #[test]
    fn what_is_no_configuration_of_a_pod_is_refused_by_name() {
        let any =
            |type_url: &str, value: &[u8]| Any { type_url: type_url.into(), value: value.into(), ..Any::default() };
        assert!(read(Some(&any("example/Other", b""))).unwrap_err().message.contains("example/Other"));
        assert!(read(Some(&any("runtime.v1.PodSandboxConfig", b"\xff"))).is_err());
        let unknown = NamespaceOption { ipc: EnumOrUnknown::from_i32(77), ..NamespaceOption::default() };
        assert_eq!(unknown.ipc.enum_value_or_default(), NamespaceMode::POD, "what is not known is the pod's own");
    }
}
