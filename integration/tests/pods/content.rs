//! What a manifest says, looked at from inside: environment, security, resources, names.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use loment_integration::{hierarchy, loment::Loment, pod::Node};
use serde_json::Value;

use super::manifest;

/// A container that runs a script, with more fields in YAML's flow style.
pub(crate) fn container(name: &str, script: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    let script = Value::from(script);
    format!("{{name: {name}, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, {script}]{comma}{more}}}")
}

/// A pod of these containers that runs once unless its fields say otherwise; what fails is retried at once.
pub(crate) fn pod(name: &str, fields: &str, containers: &[String]) -> String {
    let once = if fields.contains("restartPolicy: OnFailure") { "" } else { "restartPolicy: Never, " };
    let comma = if fields.is_empty() { "" } else { ", " };
    let containers = containers.join(", ");
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, annotations: {{io.loment.pod.backoff-initial: 20ms}}}}\nspec: \
         {{{once}{fields}{comma}containers: [{containers}]}}\n"
    )
}

/// Makes a pod, waits until it has succeeded, and returns what its container `app` has written.
pub(crate) async fn output_of(node: &Node<'_>, name: &str, text: &str) -> Result<String> {
    let loment = Loment::new(node.lab);
    loment.create(text).await?;
    let succeeded = loment.phase(name, "Succeeded").await;
    let said = loment.ok(&["logs", name, "-c", "app"]).await?;
    succeeded.with_context(|| format!("the container has written {said:?}"))?;
    loment.delete(name).await?;
    Ok(said)
}

pub(crate) async fn c1_the_environment_is_resolved_in_its_order(node: &Node<'_>) -> Result<()> {
    let objects = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {A: one, B: two}\n---\n";
    let env = "envFrom: [{prefix: X_, configMapRef: {name: c}}, {secretRef: {name: none, optional: true}}], env: [{name: EARLY, \
               value: $(LATE)}, {name: LATE, value: $(X_A)-$$(X_A)}, {name: X_B, value: new}, {name: X_B, value: last}, {name: \
               NONE, valueFrom: {configMapKeyRef: {name: c, key: Z, optional: true}}}, {name: CPU, valueFrom: \
               {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}, {name: MEMORY, valueFrom: {resourceFieldRef: \
               {resource: requests.memory, divisor: 1Ki}}}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}], \
               resources: {limits: {cpu: 250m, memory: 16Mi}}";
    let script =
        "echo $HOSTNAME $EARLY $LATE $X_A $X_B $CPU $MEMORY ${NONE-unset}; ip -o -4 addr show eth0 | grep -c \" $IP/\"";
    let text = pod("environment", "", &[container("app", script, env)]);
    let said = output_of(node, "environment", &format!("{objects}{text}")).await?;
    ensure!(said == "environment $(LATE) one-$(X_A) one last 250 16384 unset\n1\n", "it says {said:?}");
    Ok(())
}

pub(crate) async fn c3_what_a_variable_needs_must_be_there(node: &Node<'_>) -> Result<()> {
    let all = "env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}], envFrom: [{configMapRef: {name: c}}]";
    let text = pod("lacking", "volumes: [{name: v, secret: {secretName: t}}]", &[container("app", "true", all)]);
    let said = Loment::new(node.lab).refused(&["create", "-f", "-"], &text).await?;
    for missing in
        ["configmap \"c\" not found", "secret \"s\" not found", "FailedMount: volume \"v\": secret \"t\" not found"]
    {
        ensure!(said.contains(missing), "create says {said:?}");
    }
    let env = "env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]";
    let text = pod("incomplete", "", &[container("app", "true", env)]);
    let loment = Loment::new(node.lab);
    let said = loment.refused(&["create", "-f", "-"], &text).await?;
    ensure!(
        said.contains("CreateContainerConfigError") && said.contains("secret \"s\" not found"),
        "create says {said:?}"
    );
    let file = node.lab.directory("manifests", "configmap")?.join("secret.yaml");
    fs::write(&file, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: v}\n")?;
    let given = loment.run(&["create", "-f", "-", "--configmap", &file.display().to_string()], &text).await?;
    ensure!(given.code == 0, "create says {given:?}");
    loment.phase("incomplete", "Succeeded").await?;
    loment.delete("incomplete").await
}

pub(crate) async fn c5_a_container_has_its_own_security_context_over_the_pods(node: &Node<'_>) -> Result<()> {
    let script = "id -u; id -g; id -G; grep -E '^(NoNewPrivs|Seccomp|CapBnd):' /proc/self/status | tr '\\t' ' '; touch /x 2>&1 | \
                  grep -o Read-only; cat /proc/sys/net/ipv4/tcp_syncookies /proc/sys/net/core/somaxconn";
    let own = "securityContext: {runAsUser: 1001, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: \
               {drop: [ALL], add: [CHOWN]}, seccompProfile: {type: RuntimeDefault}}";
    let text = pod(
        "secure",
        "securityContext: {runAsNonRoot: true, runAsUser: 1000, runAsGroup: 3000, supplementalGroups: [4000], sysctls: [{name: \
         net.ipv4.tcp_syncookies, value: \"0\"}, {name: net/core/somaxconn, value: \"77\"}]}",
        &[container("app", script, own)],
    );
    let loment = Loment::new(node.lab);
    let said = loment.refused(&["create", "-f", "-"], &text).await?;
    ensure!(said.contains("forbidden sysctl: \"net.core.somaxconn\" not allowlisted"), "create says {said:?}");
    let made = loment.run(&["create", "-f", "-", "--allowed-unsafe-sysctls", "net.core.*"], &text).await?;
    ensure!(made.code == 0, "create says {made:?}");
    loment.phase("secure", "Succeeded").await?;
    let said = loment.ok(&["logs", "secure"]).await?;
    let expected = "1001\n3000\n3000 4000\nCapBnd: 0000000000000001\nNoNewPrivs: 1\nSeccomp: 2\nRead-only\n0\n77\n";
    ensure!(said == expected, "it says {said:?}");
    loment.delete("secure").await
}

pub(crate) async fn c5_a_group_without_a_user_is_that_of_the_images_user(node: &Node<'_>) -> Result<()> {
    let fields = "securityContext: {runAsGroup: 3000}";
    let output = output_of(node, "grouped", &pod("grouped", fields, &[container("app", "id -u; id -g", "")])).await?;
    ensure!(output == "0\n3000\n", "it says {output:?}");
    Ok(())
}

pub(crate) async fn c5_a_container_is_kept_from_what_a_kubelet_keeps_it_from(node: &Node<'_>) -> Result<()> {
    let look = "[ -c /proc/timer_list ] && echo masked; ls /sys/firmware | wc -l; \
                (echo 1 > /proc/sys/kernel/ns_last_pid) 2>/dev/null || echo read-only";
    let output = output_of(node, "masked", &pod("masked", "", &[container("app", look, "")])).await?;
    ensure!(output == "masked\n0\nread-only\n", "a container sees {output:?}");
    let privileged = container("app", "[ -f /proc/timer_list ] && echo open", "securityContext: {privileged: true}");
    let output = output_of(node, "open", &pod("open", "", &[privileged])).await?;
    ensure!(output == "open\n", "a privileged container sees {output:?}");
    Ok(())
}

pub(crate) async fn c5_what_would_run_as_root_or_lose_a_field_is_refused_by_name(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let app = [container("app", "true", "")];
    for (fields, reason) in [
        ("securityContext: {runAsNonRoot: true}", "container has runAsNonRoot and image will run as root"),
        ("securityContext: {runAsNonRoot: true, runAsUser: 0}", "container's runAsUser breaks non-root policy"),
    ] {
        let said = loment.refused(&["create", "-f", "-"], &pod("root", fields, &app)).await?;
        ensure!(said.contains("CreateContainerConfigError") && said.contains(reason), "create says {said:?}");
    }
    if node.cri.version().await?.runtime_version.trim_start_matches('v').starts_with("1.") {
        let strict = pod("strict", "securityContext: {supplementalGroupsPolicy: Strict}", &app);
        let said = loment.refused(&["create", "-f", "-"], &strict).await?;
        ensure!(
            said.contains("spec.securityContext.supplementalGroupsPolicy: Strict is not supported"),
            "it says {said:?}"
        );
    }
    Ok(())
}

/// The first of a cgroup's files that exists: v1's, then v2's.
fn limit(directory: &std::path::Path, files: [&str; 2]) -> Result<String> {
    let text = files.iter().find_map(|file| fs::read_to_string(directory.join(file)).ok());
    Ok(text.with_context(|| format!("read {files:?} in {}", directory.display()))?.trim().to_owned())
}

pub(crate) async fn c9_what_the_pod_may_use_is_in_the_cgroup_files_of_all(node: &Node<'_>) -> Result<()> {
    let stay = "exec sleep 1000";
    let text = pod(
        "shared",
        "terminationGracePeriodSeconds: 1, resources: {requests: {cpu: 500m, memory: 32Mi}, limits: {cpu: 1, memory: 64Mi}}",
        &[
            container("free", stay, ""),
            container("bound", stay, "resources: {requests: {cpu: 250m}, limits: {cpu: 500m, memory: 16Mi}}"),
        ],
    );
    let loment = Loment::new(node.lab);
    loment.create(&text).await?;
    let status = loment.phase("shared", "Running").await?;
    ensure!(status["qosClass"].as_str().is_none_or(|class| class == "Burstable"), "the status is {status}");
    const FILES: [[&str; 2]; 3] =
        [["cpu.shares", "cpu.weight"], ["cpu.cfs_quota_us", "cpu.max"], ["memory.limit_in_bytes", "memory.max"]];
    let expected = [
        ("free", ["1024 100", "100000", "67108864"]),
        ("bound", ["256 35", "50000", "16777216"]),
        ("", ["512 59", "100000", "67108864"]),
    ];
    for (name, values) in expected {
        let of = if name.is_empty() { "free" } else { name };
        let id = manifest::container(node, "shared", of).await?.id;
        let info = node.cri.container_status_verbose(&id, true).await?.info;
        let info: Value = serde_json::from_str(info.get("info").context("a container's verbose status")?)?;
        let pid = i32::try_from(info["pid"].as_i64().context("the pid of a container")?)?;
        for (files, value) in FILES.iter().zip(values) {
            let controller = files[0].split('.').next().unwrap_or_default();
            let mut directory = hierarchy::of_process(pid, controller)?;
            if name.is_empty() {
                directory = directory.parent().context("the cgroup of the pod")?.to_owned();
            }
            let found = limit(&directory, *files)?;
            let found = found.split(' ').next().unwrap_or_default();
            ensure!(value.split(' ').any(|value| value == found), "{name:?}: {files:?} is {found}, not {value}");
        }
    }
    loment.delete("shared").await
}

pub(crate) async fn s11_a_sidecar_is_not_killed_before_the_app(node: &Node<'_>) -> Result<()> {
    let score = "cat /proc/self/oom_score_adj";
    let text = pod(
        "scores",
        &format!(
            "terminationGracePeriodSeconds: 1, initContainers: [{}]",
            // It may be told to end before it can hear that.
            container("side", &format!("{score}; {}", manifest::RUNS), "restartPolicy: Always")
        ),
        &[container("app", score, "resources: {requests: {memory: 500Mi}}")],
    );
    let loment = Loment::new(node.lab);
    loment.create(&text).await?;
    loment.phase("scores", "Succeeded").await?;
    let (app, side) =
        (loment.ok(&["logs", "scores", "-c", "app"]).await?, loment.ok(&["logs", "scores", "-c", "side"]).await?);
    let number = |text: &str| text.trim().parse::<i32>().with_context(|| format!("read the score {text:?}"));
    ensure!(number(&side)? <= number(&app)? && number(&app)? < 999, "the app has {app:?}, the sidecar {side:?}");
    loment.delete("scores").await
}

pub(crate) async fn names_6_4_a_pod_is_called_as_it_says_and_its_hosts_file_tells(node: &Node<'_>) -> Result<()> {
    let script = "hostname; cat /etc/hostname; echo $HOSTNAME; grep -v '^#' /etc/hosts; grep -v '^#' /etc/resolv.conf";
    let text = pod(
        "names",
        "hostname: db, subdomain: sub, setHostnameAsFQDN: true, hostAliases: [{ip: 192.0.2.9, hostnames: [a, b]}], dnsPolicy: \
         None, dnsConfig: {nameservers: [192.0.2.53], searches: [example.org], options: [{name: ndots, value: \"3\"}]}",
        &[container("app", script, "")],
    );
    let said = output_of(node, "names", &text).await?;
    let name = "db.sub.default.svc.cluster.local";
    ensure!(said.starts_with(&format!("{name}\n{name}\n{name}\n127.0.0.1\tlocalhost\n")), "it says {said:?}");
    ensure!(said.contains(&format!("\t{name}\tdb\n")), "the hosts file has no name of the pod: {said:?}");
    ensure!(said.contains("192.0.2.9\ta\tb\n"), "the hosts file has no aliases: {said:?}");
    ensure!(said.ends_with("search example.org\nnameserver 192.0.2.53\noptions ndots:3\n"), "it says {said:?}");
    let said =
        output_of(node, "forced", &pod("forced", "hostnameOverride: a.b", &[container("app", "hostname", "")])).await?;
    ensure!(said == "a.b\n", "it says {said:?}");
    Ok(())
}

pub(crate) async fn every_mistake_of_every_file_is_said_with_its_place(node: &Node<'_>) -> Result<()> {
    let directory = node.lab.directory("manifests", "all")?;
    fs::write(directory.join("one.yaml"), pod("one", "", &["{name: a}".to_owned()]))?;
    fs::write(directory.join("two.yaml"), pod("two", "dnsPolicy: Nobody", &[container("b", "true", "")]))?;
    fs::write(directory.join("notes.txt"), "no manifest")?;
    let loment = Loment::new(node.lab);
    let path = directory.display().to_string();
    let said = loment.refused(&["create", "-f", &path], "").await?;
    for (file, problem) in
        [("one", "spec.containers[0].image: Required value"), ("two", "spec.dnsPolicy: Unsupported value")]
    {
        let start = format!("The Pod \"{file}\" is invalid: {path}/{file}.yaml:4:");
        ensure!(said.lines().any(|line| line.starts_with(&start) && line.contains(problem)), "create says {said:?}");
    }
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n";
    let said = loment.refused(&["create", "-f", "-"], deployment).await?;
    ensure!(said.contains("set `runtimeClassName: loment` in its spec.template.spec"), "create says {said:?}");
    Ok(())
}
