//! Every kind of volume, looked at from inside its container.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    loment::{Loment, container_status},
    pod::Node,
};
use nix::mount::{MsFlags, mount, umount};

use super::content::{container, output_of, pod};

/// The one container of a pod that mounts `mounts` and ends with this script.
fn looks(script: &str, mounts: &str) -> String {
    container("app", script, &format!("volumeMounts: [{mounts}]"))
}

pub(crate) async fn v1_an_empty_volume_survives_a_crash_and_in_memory_it_has_a_size(node: &Node<'_>) -> Result<()> {
    let script = "stat -c %a:%u /disk /memory; grep -c ' /memory tmpfs .*size=1024k' /proc/mounts; if [ ! -e /disk/seen ]; \
                  then touch /disk/seen /memory/seen; exit 1; fi; ls /disk /memory; dd if=/dev/zero of=/memory/large bs=64k \
                  count=32 2>&1 | grep -o 'No space left on device'";
    let text = pod(
        "empty",
        "restartPolicy: OnFailure, volumes: [{name: disk, emptyDir: {sizeLimit: 1Gi}}, {name: memory, emptyDir: {medium: \
         Memory, sizeLimit: 1Mi}}]",
        &[looks(script, "{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}")],
    );
    let said = output_of(node, "empty", &text).await?;
    let expected = "777:0\n777:0\n1\n/disk:\nseen\n\n/memory:\nseen\nNo space left on device\n";
    ensure!(said == expected, "it says {said:?}");
    Ok(())
}

pub(crate) async fn v2_a_host_path_is_made_or_refused_by_its_type(node: &Node<'_>) -> Result<()> {
    let directory = node.lab.directory("volumes", "host-path")?;
    let with = |path: &Path, kind: &str| {
        pod(
            "typed",
            &format!("volumes: [{{name: v, hostPath: {{path: {}, type: {kind}}}}}]", path.display()),
            &[looks("ls -ld /v | cut -c 1-10", "{name: v, mountPath: /v}")],
        )
    };
    let said = output_of(node, "typed", &with(&directory.join("made/below"), "DirectoryOrCreate")).await?;
    ensure!(said == "drwxr-xr-x\n", "it says {said:?}");
    let said = output_of(node, "typed", &with(&directory.join("file"), "FileOrCreate")).await?;
    ensure!(said == "-rw-r--r--\n", "it says {said:?}");
    let said = output_of(node, "typed", &with(Path::new("/dev/null"), "CharDevice")).await?;
    ensure!(said.starts_with('c'), "it says {said:?}");
    let said =
        Loment::new(node.lab).refused(&["create", "-f", "-"], &with(&directory.join("file"), "Directory")).await?;
    let expected = format!("hostPath type check failed: {} is not a directory", directory.join("file").display());
    ensure!(said.contains(&expected), "create says {said:?}");
    Ok(())
}

const OBJECTS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: one, b: two}\n---\napiVersion: v1\nkind: \
                       Secret\nmetadata: {name: s}\nstringData: {p: secret}\n---\n";

pub(crate) async fn v3_keys_are_files_behind_one_link_that_nobody_writes_to(node: &Node<'_>) -> Result<()> {
    let script = "cd /c; readlink a; cat a d/x; stat -Lc %a a d/x; cd /s; cat p; stat -Lc %a p; touch /c/new 2>&1 | \
                  grep -o Read-only; touch /s/new 2>&1 | grep -o Read-only; grep -c ' /s tmpfs ' /proc/mounts; grep -c ' /c \
                  tmpfs ' /proc/mounts; ls -A /c | grep -c '^[.][.]20'";
    let text = pod(
        "keys",
        "volumes: [{name: c, configMap: {name: c, items: [{key: a, path: a}, {key: b, path: d/x, mode: 0600}]}}, {name: s, \
         secret: {secretName: s, defaultMode: 0400}}, {name: o, secret: {secretName: none, optional: true}}]",
        &[looks(script, "{name: c, mountPath: /c}, {name: s, mountPath: /s}, {name: o, mountPath: /o}")],
    );
    let said = output_of(node, "keys", &format!("{OBJECTS}{text}")).await?;
    let expected = "..data/a\nonetwo644\n600\nsecret400\nRead-only\nRead-only\n1\n0\n1\n";
    ensure!(said == expected, "it says {said:?}");
    let said = Loment::new(node.lab).refused(&["create", "-f", "-"], &text).await?;
    ensure!(said.contains("volume \"c\": configmap \"c\" not found"), "create says {said:?}");
    Ok(())
}

pub(crate) async fn v4_a_projected_volume_tells_about_the_pod_and_has_keys_beside_it(node: &Node<'_>) -> Result<()> {
    let fields = "{path: name, fieldRef: {fieldPath: metadata.name}}, {path: notes, fieldRef: {fieldPath: metadata.annotations}}, \
                  {path: cpu, resourceFieldRef: {containerName: app, resource: limits.cpu, divisor: 1m}}";
    let script =
        "cd /all; cat name notes cpu p; echo; stat -Lc %a name; grep -c ' /all tmpfs ' /proc/mounts; cat /alone/name";
    let app = container(
        "app",
        script,
        "resources: {limits: {cpu: 250m}}, volumeMounts: [{name: all, mountPath: /all}, {name: alone, mountPath: /alone}]",
    );
    let text = pod(
        "projected",
        &format!(
            "volumes: [{{name: all, projected: {{defaultMode: 0440, sources: [{{secret: {{name: s}}}}, {{downwardAPI: {{items: \
             [{fields}]}}}}]}}}}, {{name: alone, downwardAPI: {{items: [{fields}]}}}}]"
        ),
        &[app],
    );
    // A label's value has no quotes in it: an annotation's may.
    let text = text.replace("annotations: {", "annotations: {x: 'say \"hi\"', ");
    let said = output_of(node, "projected", &format!("{OBJECTS}{text}")).await?;
    ensure!(
        said == "projectedio.loment.pod.backoff-initial=\"20ms\"\nx=\"say \\\"hi\\\"\"250secret\n440\n1\nprojected",
        "it says {said:?}"
    );
    Ok(())
}

pub(crate) async fn v4_what_a_pod_is_labelled_with_is_followed_by_its_files_and_not_by_its_variables(
    node: &Node<'_>,
) -> Result<()> {
    let env = "env: [{name: COLOR, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['color']\"}}}]";
    let mounts = "volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /one, subPath: labels}]";
    let fields = "{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: note, fieldRef: {fieldPath: \
                  \"metadata.annotations['note']\"}}";
    let text = pod(
        "labelled",
        &format!(
            "terminationGracePeriodSeconds: 1, volumes: [{{name: v, projected: {{sources: [{{secret: {{name: s}}}}, \
             {{downwardAPI: {{items: [{fields}]}}}}]}}}}]"
        ),
        &[container("app", "exec sleep 1000", &format!("{env}, {mounts}"))],
    );
    let text = text.replace("metadata: {name: labelled", "metadata: {labels: {color: red}, name: labelled");
    let loment = Loment::new(node.lab);
    loment.create(&format!("{OBJECTS}{text}")).await?;
    loment.phase("labelled", "Running").await?;
    let look = "cat /v/labels /v/note /v/p /one; echo $COLOR; ls -A /v | grep -c '^[.][.]20'";
    let words = ["exec", "labelled", "--", "sh", "-c", look];
    let said = loment.ok(&words).await?;
    ensure!(said == "color=\"red\"secretcolor=\"red\"red\n1\n", "at first it says {said:?}");
    loment.ok(&["label", "pod", "labelled", "color=blue", "--overwrite"]).await?;
    loment.ok(&["annotate", "pod", "labelled", "note=new"]).await?;
    let said = loment.ok(&words).await?;
    ensure!(said == "color=\"blue\"newsecretcolor=\"red\"red\n1\n", "then it says {said:?}");
    loment.delete("labelled").await
}

pub(crate) async fn v5_a_sub_path_is_made_and_expanded_and_never_leads_out_of_its_volume(
    node: &Node<'_>,
) -> Result<()> {
    let volume = node.lab.directory("volumes", "sub-path")?;
    fs::create_dir_all(volume.join("etc"))?;
    fs::write(volume.join("etc/passwd"), "of the volume\n")?;
    symlink("/etc", volume.join("absolute"))?;
    symlink("../../../../../../../../etc/passwd", volume.join("upwards"))?;
    symlink("/nowhere", volume.join("dangling"))?;
    let with = |mounts: &str, script: &str| {
        let env = "env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]";
        pod(
            "parts",
            &format!(
                "volumes: [{{name: v, hostPath: {{path: {}}}}}, {{name: c, configMap: {{name: c}}}}]",
                volume.display()
            ),
            &[container("app", script, &format!("{env}, volumeMounts: [{mounts}]"))],
        )
    };
    let mounts = "{name: v, mountPath: /a, subPath: absolute}, {name: v, mountPath: /u, subPath: upwards}, {name: v, mountPath: \
                  /m, subPathExpr: of/$(POD)}, {name: c, mountPath: /bin/one, subPath: a}";
    let script = "cat /a/passwd /u /bin/one; echo; echo written > /m/file; touch /bin/one 2>&1 | grep -o Read-only";
    let said = output_of(node, "parts", &format!("{OBJECTS}{}", with(mounts, script))).await?;
    ensure!(said == "of the volume\nof the volume\none\nRead-only\n", "it says {said:?}");
    let written = fs::read_to_string(volume.join("of/parts/file")).context("read what was written into the part")?;
    ensure!(written == "written\n", "the part has {written:?}");
    let mode = fs::metadata(volume.join("of/parts"))?.permissions().mode() & 0o777;
    let expected = fs::metadata(&volume)?.permissions().mode() & 0o777;
    ensure!(mode == expected, "the part has the mode {mode:o}, its volume {expected:o}");
    for (part, why) in
        [("subPath: dangling", "subPath \"dangling\""), ("subPathExpr: $(NONE)", "missing value for \"NONE\"")]
    {
        let text = with(&format!("{{name: v, mountPath: /d, {part}}}"), "true");
        let said = Loment::new(node.lab).refused(&["create", "-f", "-"], &format!("{OBJECTS}{text}")).await?;
        ensure!(said.contains(why), "create says {said:?}");
    }
    ensure!(!Path::new("/nowhere").exists(), "a link that leads nowhere was followed");
    Ok(())
}

pub(crate) async fn v6_a_recursive_read_only_mount_closes_what_is_mounted_below_it(node: &Node<'_>) -> Result<()> {
    let volume = node.lab.directory("volumes", "recursive")?;
    let below = volume.join("below");
    fs::create_dir_all(&below)?;
    mount(Some("tmpfs"), &below, Some("tmpfs"), MsFlags::empty(), None::<&str>).context("mount below the volume")?;
    let script = "for d in /plain /all; do touch $d/f 2>/dev/null || echo $d closed; touch $d/below/f 2>/dev/null || echo \
                  $d/below closed; done";
    let text = pod(
        "recursive",
        &format!("volumes: [{{name: v, hostPath: {{path: {}}}}}]", volume.display()),
        &[looks(
            script,
            "{name: v, mountPath: /plain, readOnly: true}, {name: v, mountPath: /all, readOnly: true, recursiveReadOnly: \
             Enabled}",
        )],
    );
    let said = output_of(node, "recursive", &text).await;
    umount(&below).context("unmount what was below the volume")?;
    let said = said?;
    ensure!(said == "/plain closed\n/all closed\n/all/below closed\n", "it says {said:?}");
    Ok(())
}

pub(crate) async fn v7_an_image_is_a_read_only_volume(node: &Node<'_>) -> Result<()> {
    let script = "cat /site/www/index.html; cat /page/index.html; touch /site/x 2>&1 | grep -o Read-only";
    let text = pod(
        "image",
        "volumes: [{name: site, image: {reference: docker.io/gasbugs/http-go:latest, pullPolicy: IfNotPresent}}]",
        &[looks(script, "{name: site, mountPath: /site}, {name: site, mountPath: /page, subPath: www}")],
    );
    let said = output_of(node, "image", &text).await?;
    let page = "<h1>http-go</h1><p>An offline stand-in, served by busybox.</p>\n";
    ensure!(said == format!("{page}{page}Read-only\n"), "it says {said:?}");
    let snapshots = node.lab.ctr_output(&["snapshots", "list"], b"").await?;
    let left = String::from_utf8_lossy(&snapshots.stdout).contains("loment-");
    ensure!(snapshots.status.success() && !left, "a view of the image is left: {snapshots:?}");
    let missing = text.replace("gasbugs/http-go:latest", "gasbugs/none:1").replace("IfNotPresent}", "Never}");
    let said = Loment::new(node.lab).refused(&["create", "-f", "-"], &missing).await?;
    ensure!(said.contains("ErrImageNeverPull"), "create says {said:?}");
    Ok(())
}

pub(crate) async fn v8_volumes_belong_to_the_group_of_the_pod(node: &Node<'_>) -> Result<()> {
    let script = "id -G; stat -Lc %a:%g /e /m /c/a /s/p; touch /e/f /m/f; stat -c %u:%g /e/f /m/f; cat /s/p";
    let text = pod(
        "group",
        "securityContext: {runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000, fsGroupChangePolicy: OnRootMismatch}, volumes: \
         [{name: e, emptyDir: {}}, {name: m, emptyDir: {medium: Memory}}, {name: c, configMap: {name: c}}, {name: s, secret: \
         {secretName: s, defaultMode: 0400}}]",
        &[looks(
            script,
            "{name: e, mountPath: /e}, {name: m, mountPath: /m}, {name: c, mountPath: /c}, {name: s, mountPath: /s}",
        )],
    );
    let said = output_of(node, "group", &format!("{OBJECTS}{text}")).await?;
    let expected = "3000 2000\n2777:2000\n2777:2000\n644:2000\n440:2000\n1000:2000\n1000:2000\nsecret";
    ensure!(said == expected, "it says {said:?}");
    Ok(())
}

pub(crate) async fn v9_the_users_mounts_take_the_place_of_the_pods_own(node: &Node<'_>) -> Result<()> {
    let script = "cat /etc/hosts /etc/resolv.conf /etc/hostname; ls /dev/shm; cat /outer/inner/a; ls /outer";
    let text = pod(
        "own",
        "volumes: [{name: c, configMap: {name: c}}, {name: e, emptyDir: {}}]",
        &[looks(
            script,
            "{name: c, mountPath: /outer/inner}, {name: c, mountPath: /etc/hosts, subPath: a}, {name: c, mountPath: \
             /etc/resolv.conf, subPath: b}, {name: c, mountPath: /etc/hostname, subPath: a}, {name: c, mountPath: /dev/shm}, \
             {name: e, mountPath: /outer}",
        )],
    );
    let said = output_of(node, "own", &format!("{OBJECTS}{text}")).await?;
    ensure!(said == "onetwoonea\nb\noneinner\n", "it says {said:?}");
    Ok(())
}

pub(crate) async fn a_pod_that_is_deleted_takes_no_file_of_the_machine_with_it(node: &Node<'_>) -> Result<()> {
    let volume = node.lab.directory("volumes", "kept")?;
    fs::write(volume.join("precious"), "")?;
    let loment = Loment::new(node.lab);
    let text = pod(
        "kept",
        &format!("terminationGracePeriodSeconds: 1, volumes: [{{name: v, hostPath: {{path: {}}}}}]", volume.display()),
        &[looks("exec sleep 1000", "{name: v, mountPath: /v, subPath: .}")],
    );
    loment.create(&text).await?;
    let status = loment.phase("kept", "Running").await?;
    ensure!(container_status(&status, "app")?["restartCount"] == 0, "the status is {status}");
    loment.delete("kept").await?;
    ensure!(volume.join("precious").exists(), "the directory of the machine was emptied");
    Ok(())
}
