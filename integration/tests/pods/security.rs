//! Every field of CRI's security contexts, and what else a pod may ask the node for, looked at from inside.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, bail, ensure};
use loment_cri::v1::{
    self, MountPropagation, NamespaceMode,
    security_profile::ProfileType::{Localhost, RuntimeDefault, Unconfined},
};
use loment_integration::{
    config,
    pod::{ContainerBuilder, Node, PodBuilder, shell},
    results::LeftOut,
};
use nix::mount::{MsFlags, mount, umount};
use serde_json::json;

use super::ctr::field;

const STATUS: &str = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status";

fn profile(kind: v1::security_profile::ProfileType, localhost_ref: &str) -> Option<v1::SecurityProfile> {
    Some(v1::SecurityProfile { profile_type: kind.into(), localhost_ref: localhost_ref.to_owned() })
}

fn number(value: i64) -> Option<v1::Int64Value> {
    Some(v1::Int64Value { value })
}

/// A container of its own name, because a pod's containers of one name share a log.
fn once(script: &str) -> ContainerBuilder {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    shell(&format!("c{}", COUNT.fetch_add(1, Ordering::Relaxed)), script)
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// A pod whose containers have these namespaces of the node or of the pod.
fn with_namespaces<'a>(pod: PodBuilder<'a>, change: impl FnOnce(&mut v1::NamespaceOption)) -> PodBuilder<'a> {
    pod.with_linux(|linux| {
        change(linux.security_context.get_or_insert_default().namespace_options.get_or_insert_default());
    })
}

pub(crate) async fn users_groups_and_a_readonly_root_are_the_given_ones(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("users").run().await?;
    let look = format!("{STATUS}; id -u; id -g; touch /x 2>&1; touch /tmp/x 2>&1; echo $HOME");
    let container = once(&look).security(|security| {
        security.run_as_user = number(1000);
        security.run_as_group = number(3000);
        security.supplemental_groups = vec![4000, 5000];
        security.readonly_rootfs = true;
        security.no_new_privs = true;
    });
    let text = pod.output_of(container).await?;
    ensure!(field(&text, "Uid")? == "1000\t1000\t1000\t1000", "{text}");
    ensure!(field(&text, "Gid")? == "3000\t3000\t3000\t3000", "{text}");
    // The primary group is among them: a file that is closed to a group is closed to it (CVE-2022-36109, -2023-25173).
    ensure!(field(&text, "Groups")? == "3000 4000 5000", "{text}");
    ensure!(field(&text, "NoNewPrivs")? == "1" && field(&text, "CapEff")? == "0000000000000000", "{text}");
    ensure!(text.contains("1000\n3000\ntouch: /x: Read-only file system\ntouch: /tmp/x: Read-only"), "{text}");
    pod.remove().await
}

/// What is closed to a group stays closed to its members, in a container's first process and in others.
pub(crate) async fn a_file_that_is_closed_to_a_group_is_closed_to_its_members(node: &Node<'_>) -> Result<()> {
    let volume = node.lab.directory("volumes", "negative")?;
    let file = volume.join("file");
    fs::write(&file, "not for group 3000")?;
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o604))?;
    std::os::unix::fs::chown(&file, Some(0), Some(3000))?;
    let pod = node.pod("negative").run().await?;
    let container = once("cat /v/file 2>&1; exec sleep 1000").volume(&volume, "/v").security(|security| {
        security.run_as_user = number(1000);
        security.run_as_group = number(3000);
    });
    let container = pod.start(container).await?;
    let output = container.exec(&["cat", "/v/file"]).await?;
    ensure!(output.code == 1 && output.stderr.contains("denied"), "{output:?}");
    let output = container.exec(&["grep", "Groups", "/proc/1/status"]).await?;
    ensure!(output.stdout.trim() == "Groups:\t3000", "{output:?}");
    ensure!(!container.logs()?.iter().any(|line| line.text.contains("not for group")), "{:?}", container.logs()?);
    fs::remove_dir_all(&volume)?;
    pod.remove().await
}

pub(crate) async fn capabilities_are_added_and_dropped_down_to_none(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("capabilities").run().await?;
    let text_of = async |add: &[&str], drop: &[&str]| {
        let container = once(STATUS).security(|security| {
            let capabilities = security.capabilities.get_or_insert_default();
            (capabilities.add_capabilities, capabilities.drop_capabilities) = (names(add), names(drop));
        });
        pod.output_of(container).await
    };
    let own = field(&fs::read_to_string("/proc/self/status")?, "CapBnd")?;
    let cases: [(&[&str], &[&str], &str); 5] = [
        (&[], &[], "00000000a80425fb"),
        (&[], &["ALL"], "0000000000000000"),
        (&["NET_ADMIN", "SYS_TIME"], &["ALL"], "0000000002001000"),
        (&["NET_ADMIN"], &["CHOWN", "MKNOD"], "00000000a00435fa"),
        (&["ALL"], &[], &own),
    ];
    for (add, drop, expected) in cases {
        let text = text_of(add, drop).await?;
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            ensure!(field(&text, set)? == expected, "+{add:?} -{drop:?}: {set} in {text}");
        }
        for set in ["CapInh", "CapAmb"] {
            // CVE-2022-24769, CVE-2022-29162
            ensure!(field(&text, set)? == "0000000000000000", "+{add:?} -{drop:?}: {set} in {text}");
        }
    }
    pod.remove().await
}

/// An exec is as free and as bound as its container; with a filter, with a user, without capabilities.
pub(crate) async fn an_exec_has_the_security_of_its_container(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("exec-security").run().await?;
    for (index, filtered) in [false, true].into_iter().enumerate() {
        let container = shell(&format!("c{index}"), "exec sleep 1000").security(|security| {
            security.run_as_user = number(1000);
            security.run_as_group = number(2000);
            security.supplemental_groups = vec![3000];
            security.no_new_privs = filtered;
            security.seccomp = profile(if filtered { RuntimeDefault } else { Unconfined }, "");
            security.capabilities.get_or_insert_default().drop_capabilities = names(&["MKNOD"]);
        });
        let container = pod.start(container).await?;
        let of = async |pid: &str| container.exec(&["sh", "-c", &STATUS.replace("self", pid)]).await;
        let (own, init) = (of("self").await?, of("1").await?);
        ensure!(own.code == 0 && own.stdout == init.stdout, "{own:?} is not as {init:?}");
        ensure!(field(&own.stdout, "Seccomp")? == if filtered { "2" } else { "0" }, "{own:?}");
        ensure!(field(&own.stdout, "CapBnd")? == "00000000a00425fb", "{own:?}");
    }
    pod.remove().await
}

pub(crate) async fn seccomp_is_unconfined_the_runtimes_default_or_a_file(node: &Node<'_>) -> Result<()> {
    let file = node.lab.directory("volumes", "cri-seccomp")?.join("profile.json");
    let no_directories = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]
    });
    fs::write(&file, no_directories.to_string())?;
    let path = file.display().to_string();
    let pod = node.pod("seccomp").with_linux(|linux| {
        linux.security_context.get_or_insert_default().seccomp = profile(RuntimeDefault, "");
    });
    let pod = pod.run().await?;
    let look = "grep Seccomp: /proc/self/status; mkdir /made 2>&1; unshare -U true 2>&1; true";
    let text_of = async |profile| pod.output_of(once(look).security(|security| security.seccomp = profile)).await;
    let (none, default) = (text_of(profile(Unconfined, "")).await?, text_of(profile(RuntimeDefault, "")).await?);
    let own = text_of(profile(Localhost, &path)).await?;
    fs::remove_file(&file)?;
    ensure!(field(&none, "Seccomp")? == "0" && !none.contains("mkdir"), "{none}");
    // Without CAP_SYS_ADMIN the default profile lets nobody make a user namespace.
    ensure!(
        field(&default, "Seccomp")? == "2" && default.contains("unshare") && !default.contains("mkdir"),
        "{default}"
    );
    ensure!(field(&own, "Seccomp")? == "2" && own.contains("not supported"), "{own}");
    pod.remove().await
}

/// Nothing is covered unless the lists say so: `procMount: Unmasked` of a kubelet is two empty lists.
pub(crate) async fn paths_are_masked_and_read_only_as_the_lists_say(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("paths").run().await?;
    let look = "wc -c < /proc/keys; ls /sys/firmware | wc -l; (: > /proc/sys/kernel/shm_rmid_forced) 2>&1; \
                grep -cE ' /(proc|sys)/[^ ]+ ' /proc/self/mountinfo; true";
    let masked = once(look).security(|security| {
        security.masked_paths = names(&["/proc/keys", "/sys/firmware", "/proc/not-there"]);
        security.readonly_paths = names(&["/proc/sys", "/proc/not-there"]);
    });
    let text = pod.output_of(masked).await?;
    ensure!(text.starts_with("0\n0\n") && text.contains("Read-only file system"), "{text}");
    let text = pod.output_of(once(look)).await?;
    ensure!(!text.starts_with("0\n") && !text.contains("Read-only"), "{text}");
    // The cgroups' own mounts are below /sys.
    let text = pod.output_of(once("grep -cE ' /proc/[^ ]+ ' /proc/self/mountinfo; true")).await?;
    ensure!(text == "0\n", "{text}");
    // Any path of the image.
    let look = "wc -c < /etc/passwd; ls -A /usr | wc -l; touch /var/x 2>&1; true";
    let given = once(look).security(|security| {
        security.masked_paths = names(&["/etc/passwd", "/usr"]);
        security.readonly_paths = names(&["/var"]);
    });
    let text = pod.output_of(given).await?;
    ensure!(text == "0\n0\ntouch: /var/x: Read-only file system\n", "{text}");
    pod.remove().await
}

pub(crate) async fn apparmor_is_unconfined_or_refused_where_the_kernel_has_none(node: &Node<'_>) -> Result<()> {
    if Path::new("/sys/module/apparmor").exists() {
        bail!(LeftOut("about a kernel without AppArmor; this one has it".to_owned()));
    }
    let pod = node.pod("apparmor").run().await?;
    let free = once("echo runs").security(|security| security.apparmor = profile(Unconfined, ""));
    ensure!(pod.output_of(free).await? == "runs\n", "an unconfined container does not run");
    let bound = once("true").security(|security| security.apparmor = profile(Localhost, "of-nobody"));
    let Err(error) = pod.create(bound).await else { bail!("a profile is enforced by nobody") };
    let text = format!("{error:#}");
    ensure!(text.to_lowercase().contains("apparmor"), "it says {text}");
    pod.remove().await
}

pub(crate) async fn kernel_parameters_of_the_pod_are_set_and_those_of_the_node_refused(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("sysctls").with_linux(|linux| {
        let safe = [
            ("net.ipv4.ping_group_range", "0 7"),
            ("net.ipv4.ip_unprivileged_port_start", "81"),
            ("net.ipv4.tcp_syncookies", "0"),
            ("kernel.shm_rmid_forced", "1"),
            ("net/ipv4/ip_local_port_range", "20000 20010"),
        ];
        linux.sysctls = safe.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    });
    let pod = pod.run().await?;
    let look = "cd /proc/sys; cat net/ipv4/ping_group_range net/ipv4/ip_unprivileged_port_start \
                net/ipv4/tcp_syncookies kernel/shm_rmid_forced net/ipv4/ip_local_port_range";
    let text = pod.output_of(once(look)).await?;
    ensure!(text == "0\t7\n81\n0\n1\n20000\t20010\n", "{text}");
    pod.remove().await?;
    for name in ["kernel.panic", "vm.swappiness", "fs.file-max", "kernel.core_pattern"] {
        let own = Path::new("/proc/sys").join(name.replace('.', "/"));
        let before = fs::read_to_string(&own)?;
        let pod = node.pod("sysctl").with_linux(|linux| {
            linux.sysctls = [(name.to_owned(), before.trim().to_owned())].into();
        });
        let Err(error) = pod.run().await else { bail!("{name} of the node was set") };
        ensure!(format!("{error:#}").contains(name), "it says {error:#}");
    }
    Ok(())
}

pub(crate) async fn a_privileged_pod_has_all_that_containerd_has(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("privileged").with_linux(|linux| {
        linux.security_context.get_or_insert_default().privileged = true;
    });
    let pod = pod.run().await?;
    let look = format!(
        "{STATUS}; mkdir /m; mount -t tmpfs t /m && echo mounted; : > /dev/kmsg && echo logged; ls /dev/tty0; \
         grep -E ' (/sys|/sys/fs/cgroup) ' /proc/mounts; wc -c < /proc/kcore > /dev/null && echo unmasked; \
         : > /proc/sys/kernel/domainname; grep -cE ' /proc/[^ ]+ ' /proc/self/mountinfo; true"
    );
    let text = pod.output_of(once(&look).security(|security| security.privileged = true)).await?;
    let own = field(&fs::read_to_string("/proc/self/status")?, "CapBnd")?;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        ensure!(field(&text, set)? == own, "{set} in {text}");
    }
    ensure!(text.contains("mounted\nlogged\n/dev/tty0\n"), "{text}");
    // With runc the file system is read-only altogether, because the sandbox's is.
    ensure!(text.contains(" /sys sysfs rw") || node.handler == config::RUNC, "{text}");
    ensure!(text.contains(" /sys/fs/cgroup "), "{text}");
    ensure!(text.ends_with("\n0\n") && field(&text, "Seccomp")? == "0", "{text}");
    // A container of the same pod that is not privileged is not.
    let text = pod.output_of(once(STATUS)).await?;
    ensure!(field(&text, "CapEff")? == "00000000a80425fb", "{text}");
    pod.remove().await
}

pub(crate) async fn a_pod_in_the_nodes_namespaces_is_in_them(node: &Node<'_>) -> Result<()> {
    let pod = with_namespaces(node.pod("of-the-node"), |namespaces| {
        namespaces.set_network(NamespaceMode::Node);
        namespaces.set_pid(NamespaceMode::Node);
        namespaces.set_ipc(NamespaceMode::Node);
    });
    let pod = pod.with(|config| config.hostname.clear()).run().await?;
    let look = "for n in net pid ipc mnt uts; do readlink /proc/self/ns/$n; done; exec sleep 1000";
    let container = pod.start(once(look)).await?;
    let lines = loment_integration::pod::eventually("its namespaces", async || {
        let lines = container.logs()?;
        Ok((lines.len() == 5).then(|| lines.into_iter().map(|line| line.text).collect::<Vec<_>>()))
    })
    .await?;
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).map(|link| link.display().to_string());
    for (line, name) in lines.iter().zip(["net", "pid", "ipc"]) {
        ensure!(*line == own(name)?, "{name} is {line}");
    }
    ensure!(lines[3] != own("mnt")?, "it has the node's mounts");
    // It sees the node's processes, and may look into none that has more capabilities.
    let script = format!("tr '\\0' ' ' < /proc/{}/cmdline | wc -c; ls /proc/{0}/root/ 2>&1", std::process::id());
    let output = container.exec(&["sh", "-c", &script]).await?;
    ensure!(!output.stdout.starts_with("0\n") && output.stdout.contains("denied"), "{output:?}");
    pod.remove().await
}

pub(crate) async fn a_container_may_have_its_own_ipc_only_with_its_pod(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("ipc").run().await?;
    let look = "readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts; readlink /proc/self/ns/net";
    let first = pod.output_of(once(look)).await?;
    let second = pod.output_of(once(look)).await?;
    ensure!(first == second, "{first} {second}");
    for name in ["ipc", "uts", "net"] {
        let own = fs::read_link(format!("/proc/self/ns/{name}"))?.display().to_string();
        ensure!(!first.contains(&own), "{name} is the node's");
    }
    pod.remove().await
}

pub(crate) async fn a_device_has_the_permissions_that_are_given(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("devices").run().await?;
    let look = "stat -c %t:%T /dev/log-of-node; (: < /dev/log-of-node) && echo readable; \
                (: > /dev/log-of-node) 2>&1; mknod /dev/loop c 1 1; (: < /dev/loop) 2>&1; true";
    let device = |permissions: &str| v1::Device {
        container_path: "/dev/log-of-node".to_owned(),
        host_path: "/dev/kmsg".to_owned(),
        permissions: permissions.to_owned(),
    };
    let with = |permissions: &str| {
        once(look).with(|config| config.devices.push(device(permissions))).security(|security| {
            // What the kernel asks of who reads its log.
            security.capabilities.get_or_insert_default().add_capabilities = names(&["SYSLOG", "SYS_RAWIO"]);
        })
    };
    let text = pod.output_of(with("r")).await?;
    ensure!(text.starts_with("1:b\nreadable\n"), "{text}");
    ensure!(text.matches("not permitted").count() == 2, "writing, and the node's memory: {text}");
    let text = pod.output_of(with("rw")).await?;
    ensure!(text.matches("not permitted").count() == 1, "{text}");
    pod.remove().await
}

fn volume(builder: ContainerBuilder, host: &Path, propagation: MountPropagation) -> ContainerBuilder {
    builder.with(|config| {
        config.mounts.push(v1::Mount {
            host_path: host.display().to_string(),
            container_path: "/volume".to_owned(),
            propagation: propagation.into(),
            ..Default::default()
        });
    })
}

pub(crate) async fn mounts_propagate_as_a_volume_says(node: &Node<'_>) -> Result<()> {
    let host = node.lab.directory("volumes", "propagation")?;
    for name in ["of-node", "of-pod"] {
        fs::create_dir_all(host.join(name))?;
    }
    let pod = node.pod("propagation").with_linux(|linux| {
        linux.security_context.get_or_insert_default().privileged = true;
    });
    let pod = pod.run().await?;
    let cases = [
        ("private", MountPropagation::PropagationPrivate, (false, false)),
        ("to-container", MountPropagation::PropagationHostToContainer, (true, false)),
        ("both", MountPropagation::PropagationBidirectional, (true, true)),
    ];
    let result = async {
        for (name, propagation, expected) in cases {
            let container = volume(shell(name, "exec sleep 1000"), &host, propagation);
            let container = pod.start(container.security(|security| security.privileged = true)).await?;
            let place = host.join("of-node");
            mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
            fs::write(place.join("file"), "")?;
            let seen = container.exec(&["ls", "/volume/of-node"]).await;
            umount(&place)?;
            let arrived = seen?.stdout.contains("file");
            let inside = "mount -t tmpfs t /volume/of-pod && touch /volume/of-pod/file";
            let output = container.exec(&["sh", "-c", inside]).await?;
            ensure!(output.code == 0, "{output:?}");
            let returned = host.join("of-pod/file").exists();
            let output = container.exec(&["umount", "/volume/of-pod"]).await?;
            ensure!(output.code == 0, "{output:?}");
            ensure!((arrived, returned) == expected, "{name}: in {arrived}, out {returned}");
        }
        anyhow::Ok(())
    };
    result.await?;
    pod.remove().await?;
    fs::remove_dir_all(&host)?;
    Ok(())
}

/// A kubelet gives a limit for every size of pages that the node has; containerd leaves it out where it finds no
/// controller for it.
pub(crate) async fn huge_pages_and_the_oom_score_are_limited(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("huge-pages").run().await?;
    let container = once("exec sleep 1000").resources(v1::LinuxContainerResources {
        hugepage_limits: vec![v1::HugepageLimit { page_size: "2MB".to_owned(), limit: 4 << 20 }],
        oom_score_adj: 777,
        ..Default::default()
    });
    let container = pod.start(container).await?;
    let output = container.exec(&["cat", "/proc/1/oom_score_adj", "/proc/self/oom_score_adj"]).await?;
    ensure!(output.stdout == "777\n777\n", "{output:?}");
    if Path::new("/sys/fs/cgroup/hugetlb").is_dir() {
        let limit = container.cgroup_file("hugetlb", "hugetlb.2MB.limit_in_bytes").await?;
        ensure!(limit == "4194304", "{limit}");
    }
    pod.remove().await
}

/// Files of cgroup v2: what this machine cannot do is said at Create.
pub(crate) async fn unified_resources_are_set_or_refused_by_name(node: &Node<'_>) -> Result<()> {
    // containerd's own shim ignores them on v1.
    if node.handler == config::RUNC {
        return Ok(());
    }
    let pod = node.pod("unified").run().await?;
    let container = once("cat /sys/fs/cgroup/memory.high").resources(v1::LinuxContainerResources {
        unified: [("memory.high".to_owned(), "33554432".to_owned())].into(),
        ..Default::default()
    });
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        ensure!(pod.output_of(container).await? == "33554432\n", "memory.high");
    } else {
        let container = match pod.create(container).await {
            Ok(container) => container.start().await.err().context("a unified resource was ignored")?,
            Err(error) => error,
        };
        let text = format!("{container:#}");
        ensure!(text.contains("unified") && text.contains("cgroup v2"), "it says {text}");
    }
    pod.remove().await
}
