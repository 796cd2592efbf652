//! `loment cp`: trees there and back, whose files they are, and links that lead nowhere.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{images, loment::Loment, pod::Node};
use serde_json::json;

use super::manifest::{Manifest, RUNS};

/// A directory of this machine for a test.
fn directory(node: &Node<'_>, name: &str) -> Result<PathBuf> {
    node.lab.directory("copies", name)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Runs a script in the pod's container; it must succeed.
async fn inside(loment: &Loment<'_>, pod: &str, script: &str) -> Result<String> {
    loment.ok(&["exec", pod, "--", "sh", "-c", script]).await
}

pub(crate) async fn a_tree_comes_back_as_it_went(node: &Node<'_>) -> Result<()> {
    let fields = json!({ "command": ["sh", "-c", RUNS], "workingDir": "/home" });
    let loment = Manifest::new(node, "trees")?.app_with("app", fields).create(node).await?;
    loment.phase("trees", "Running").await?;
    let tree = directory(node, "tree")?;
    fs::create_dir_all(tree.join("deep/er"))?;
    fs::create_dir(tree.join("empty"))?;
    fs::set_permissions(tree.join("empty"), Permissions::from_mode(0o1755))?;
    let content: Vec<u8> = (0..8_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(tree.join("deep/er/large"), &content)?;
    fs::write(tree.join("deep/program"), "#!/bin/sh\n")?;
    fs::set_permissions(tree.join("deep/program"), Permissions::from_mode(0o750))?;
    chown(tree.join("deep/program"), Some(1234), Some(567))?;
    symlink("../deep/program", tree.join("empty/link"))?;
    symlink("/no/such/file", tree.join("dangling"))?;

    // A new name, and a directory that is there.
    loment.ok(&["cp", &text(&tree), "trees:/tmp/new"]).await?;
    loment.ok(&["cp", &text(&tree), "default/trees:/tmp", "-c", "app"]).await?;
    let script = "cd /tmp/new; stat -c '%n %u:%g %a' deep/program empty; readlink empty/link; readlink dangling; ls /tmp/new /tmp/tree";
    let seen = inside(&loment, "trees", script).await?;
    let names = "dangling\ndeep\nempty\n";
    let expected = format!(
        "deep/program 1234:567 750\nempty 0:0 1755\n../deep/program\n/no/such/file\n/tmp/new:\n{names}\n/tmp/tree:\n{names}"
    );
    ensure!(seen == expected, "in the container it is {seen}");
    let back = directory(node, "back")?.join("a/b");
    loment.ok(&["cp", "trees:/tmp/new", &text(&back)]).await?;
    ensure!(fs::read(back.join("deep/er/large"))? == content, "a large file came back as another one");
    let program = fs::metadata(back.join("deep/program"))?;
    ensure!(program.mode() & 0o777 == 0o750 && program.uid() == 0, "it came back as {program:?}");
    ensure!(fs::read_link(back.join("empty/link"))? == Path::new("../deep/program"), "a link came back as another one");
    ensure!(back.join("dangling").is_symlink() && back.join("empty").is_dir(), "something did not come back");

    // A file: with a name, into a directory, below the working directory, without owner and permissions, and over a file
    // of the pod's that is a mount.
    let file = text(&tree.join("deep/program"));
    loment.ok(&["cp", &file, "trees:named"]).await?;
    loment.ok(&["cp", "--no-preserve", &file, "trees:/var/"]).await?;
    let seen = inside(&loment, "trees", "stat -c '%u:%g %a' /home/named /var/program").await?;
    ensure!(seen == "1234:567 750\n0:0 644\n", "in the container they are {seen}");
    loment.ok(&["cp", "trees:named", &text(&back)]).await?;
    ensure!(back.join("named").is_file(), "it was not put into the directory");
    fs::write(tree.join("hosts"), "127.0.0.1 changed\n")?;
    loment.ok(&["cp", &text(&tree.join("hosts")), "trees:/etc/hosts"]).await?;
    ensure!(inside(&loment, "trees", "cat /etc/hosts").await? == "127.0.0.1 changed\n", "it was not written over");
    let left = inside(&loment, "trees", "find / -xdev -name '.loment*'").await?;
    ensure!(left.is_empty(), "there is left {left}");
    loment.delete("trees").await
}

pub(crate) async fn files_belong_to_the_user_of_the_container_who_may_write_only_its_own(
    node: &Node<'_>,
) -> Result<()> {
    let user = json!({ "runAsUser": 1234, "runAsGroup": 567 });
    let fields = json!({ "command": ["sh", "-c", RUNS], "securityContext": user });
    let loment = Manifest::new(node, "owned")?.app_with("app", fields).create(node).await?;
    loment.phase("owned", "Running").await?;
    let file = directory(node, "file")?.join("secret");
    fs::write(&file, "of root\n")?;
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    loment.ok(&["cp", &text(&file), "owned:/tmp/mine"]).await?;
    let seen = inside(&loment, "owned", "stat -c '%u:%g %a' /tmp/mine; cat /tmp/mine").await?;
    ensure!(seen == "1234:567 600\nof root\n", "in the container it is {seen}");
    let back = file.with_file_name("back");
    loment.ok(&["cp", "owned:/tmp/mine", &text(&back)]).await?;
    ensure!(fs::read_to_string(&back)? == "of root\n", "it came back as another one");
    let closed = loment.refused(&["cp", "owned:/root/any", &text(&back)], "").await?;
    ensure!(closed.contains("Permission denied"), "it says {closed:?}");
    let refused = loment.refused(&["cp", &text(&file), "owned:/etc/mine"], "").await?;
    ensure!(refused.contains("write /etc/mine") && refused.contains("Permission denied"), "it says {refused:?}");
    let refused = loment.refused(&["cp", "owned:/proc/1/mem", &text(&file)], "").await?;
    ensure!(!refused.is_empty() && fs::read_to_string(&file)? == "of root\n", "it says {refused:?}");
    loment.delete("owned").await
}

pub(crate) async fn what_is_read_only_for_the_container_is_not_written(node: &Node<'_>) -> Result<()> {
    let given = directory(node, "given")?;
    let fields = json!({
        "command": ["sh", "-c", RUNS],
        "securityContext": { "readOnlyRootFilesystem": true },
        "volumeMounts": [
            { "name": "shared", "mountPath": "/shared" },
            { "name": "given", "mountPath": "/given", "readOnly": true },
        ],
    });
    let loment = Manifest::new(node, "frozen")?.volume("given", &given).app_with("app", fields).create(node).await?;
    loment.phase("frozen", "Running").await?;
    let file = directory(node, "new")?.join("file");
    fs::write(&file, "new\n")?;
    for path in ["/given/file", "/tmp/file"] {
        let refused = loment.refused(&["cp", &text(&file), &format!("frozen:{path}")], "").await?;
        ensure!(refused.contains(path) && refused.contains("Read-only file system"), "it says {refused:?}");
    }
    ensure!(fs::read_dir(&given)?.next().is_none(), "something was written");
    loment.ok(&["cp", &text(&file), "frozen:/shared/file"]).await?;
    ensure!(inside(&loment, "frozen", "cat /shared/file").await? == "new\n", "it was not written");
    loment.delete("frozen").await
}

pub(crate) async fn no_link_leads_out_of_the_container_or_of_the_directory_that_was_named(
    node: &Node<'_>,
) -> Result<()> {
    let loment = Manifest::new(node, "links")?.app("app", RUNS).create(node).await?;
    loment.phase("links", "Running").await?;
    let (outside, here) = (directory(node, "outside")?, directory(node, "here")?);
    fs::write(outside.join("secret"), "of the node\n")?;
    fs::write(here.join("file"), "new\n")?;
    let (file, outside_text) = (text(&here.join("file")), text(&outside));
    // Into the container: the links are the container's, and lead to what it has.
    let script = format!(
        "mkdir /d; ln -s {outside_text} /d/absolute; ln -s ../../../../../../../..{outside_text} /d/relative; \
         ln -s /proc/1/root/tmp /d/magic; ln -s {outside_text}/secret /d/leaf"
    );
    inside(&loment, "links", &script).await?;
    for path in ["/d/absolute/file", "/d/relative/file", "/d/magic/file"] {
        let refused = loment.refused(&["cp", &file, &format!("links:{path}")], "").await?;
        ensure!(refused.contains("of the container"), "{path}: it says {refused:?}");
    }
    loment.ok(&["cp", &file, "links:/d/leaf"]).await?;
    ensure!(inside(&loment, "links", "test ! -L /d/leaf && cat /d/leaf").await? == "new\n", "a link was not replaced");
    inside(&loment, "links", &format!("mkdir -p {outside_text}")).await?;
    loment.ok(&["cp", &file, "links:/d/absolute/file"]).await?;
    ensure!(
        inside(&loment, "links", &format!("cat {outside_text}/file")).await? == "new\n",
        "it is not in the container"
    );
    ensure!(fs::read_dir(&outside)?.count() == 1, "something was written on the node");
    // A directory there in the place of a link is not entered.
    symlink("/tmp", here.join("link"))?;
    inside(&loment, "links", "mkdir -p /d2/here; ln -s /etc /d2/here/link").await?;
    fs::remove_file(here.join("link"))?;
    fs::create_dir(here.join("link"))?;
    fs::write(here.join("link/passwd"), "mine\n")?;
    let refused = loment.refused(&["cp", &text(&here), "links:/d2"], "").await?;
    ensure!(refused.contains("a link is not followed"), "it says {refused:?}");
    ensure!(inside(&loment, "links", "cat /etc/passwd").await?.starts_with("root:"), "it went through the link");

    // Out of it: a link stays a link, and what is later sent in its place does not go through it.
    let copy = directory(node, "copy")?;
    inside(&loment, "links", &format!("mkdir /out; ln -s {outside_text} /out/way")).await?;
    loment.ok(&["cp", "links:/out", &text(&copy)]).await?;
    ensure!(copy.join("way").is_symlink(), "the link did not come");
    inside(&loment, "links", "rm /out/way; mkdir /out/way; echo bad > /out/way/secret").await?;
    let refused = loment.refused(&["cp", "links:/out", &text(&copy)], "").await?;
    ensure!(refused.contains("a link is not followed"), "it says {refused:?}");
    ensure!(fs::read_to_string(outside.join("secret"))? == "of the node\n", "it went through the link");
    loment.delete("links").await
}

/// The container exchanges a directory and a link all the time.
pub(crate) async fn a_link_that_comes_and_goes_leads_nowhere(node: &Node<'_>) -> Result<()> {
    let outside = directory(node, "elsewhere")?;
    fs::write(outside.join("word"), "of the node\n")?;
    let script = format!(
        "mkdir -p /t/a; echo inside > /t/a/word; ln -s {} /t/b; touch /shared/up; exec loment-probe exchange /t/a /t/b",
        outside.display()
    );
    let pod = Manifest::new(node, "racing")?.app("app", &script);
    let loment = pod.create(node).await?;
    loment.phase("racing", "Running").await?;
    loment_integration::pod::eventually("the exchange", async || Ok(pod.has("up").then_some(()))).await?;
    let file = directory(node, "source")?.join("word");
    fs::write(&file, "new\n")?;
    for round in 0..30 {
        let copy = directory(node, &format!("round-{round}"))?;
        // It may fail: what counts is what has been read and written.
        loment.run(&["cp", "racing:/t/", &text(&copy)], "").await?;
        loment.run(&["cp", "racing:/t/a/word", &text(&copy.join("word"))], "").await?;
        loment.run(&["cp", &text(&file), "racing:/t/a/word"], "").await?;
        for found in ["a/word", "b/word", "word"].map(|name| copy.join(name)) {
            // Through a link of the copy this test would read what is outside.
            if found.parent().is_some_and(|parent| !parent.is_symlink()) {
                let text = fs::read_to_string(&found).unwrap_or_default();
                ensure!(text != "of the node\n", "{} is of the node", found.display());
            }
        }
        ensure!(fs::read_to_string(outside.join("word"))? == "of the node\n", "it was written on the node");
    }
    loment.ok(&["delete", "pod", "racing", "--now"]).await.map(drop)
}

pub(crate) async fn an_image_without_any_tool_is_copied_to_and_from(node: &Node<'_>) -> Result<()> {
    // Its only program is busybox, without any applet's name: there is neither sh nor tar.
    let fields = json!({ "image": images::PAUSE, "command": ["/bin/busybox", "sleep", "1000"] });
    let loment = Manifest::new(node, "bare")?.app_with("app", fields).create(node).await?;
    loment.phase("bare", "Running").await?;
    let here = directory(node, "bare")?;
    fs::write(here.join("file"), "hello\n")?;
    loment.ok(&["cp", &text(&here.join("file")), "bare:/file"]).await?;
    loment.ok(&["cp", "bare:/file", &text(&here.join("back"))]).await?;
    ensure!(fs::read_to_string(here.join("back"))? == "hello\n", "it came back as another one");
    let missing = loment.refused(&["cp", "bare:/no/such", &text(&here)], "").await?;
    ensure!(missing.contains("open /no/such of the container"), "it says {missing:?}");
    let missing = loment.refused(&["cp", "/no/such", "bare:/"], "").await?;
    ensure!(missing == "error: /no/such doesn't exist in local filesystem\n", "it says {missing:?}");
    let absent = loment.refused(&["cp", "other/bare:/file", &text(&here)], "").await?;
    ensure!(absent.contains("(NotFound)"), "it says {absent:?}");
    fs::metadata(here.join("file")).context("what was copied")?;
    loment.ok(&["delete", "pod", "bare", "--now"]).await.map(drop)
}
