//! Images made on this machine: OCI layouts (image-spec `image-layout.md`) in a tar file each, with the distribution's
//! static busybox inside. Nothing is downloaded.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{programs, requirements::BUSYBOX};

/// The sandbox container's image.
pub const PAUSE: &str = "localhost/loment/pause:1";

/// What manifests call `busybox`: this machine's, with every applet, and the probe.
pub const BUSYBOX_IMAGE: &str = "docker.io/library/busybox:latest";

/// A stand-in for the web server image of the example manifest `http-go`: busybox's httpd on port 8080.
pub const HTTP_GO: &str = "docker.io/gasbugs/http-go:latest";

/// The same as [`BUSYBOX_IMAGE`], with a `STOPSIGNAL` of its own: SIGQUIT.
pub const QUITS: &str = "localhost/loment/quits:1";

/// Every image of a lab.
pub const ALL: [&str; 4] = [PAUSE, BUSYBOX_IMAGE, HTTP_GO, QUITS];

/// A file of a layer.
#[derive(Debug)]
enum Node {
    Directory(u32),
    File(Vec<u8>, u32),
    Link(&'static str),
}

/// Writes one layout per image below `directory` and returns their paths. `bin` holds the probe.
pub fn write_all(directory: &Path, bin: &Path) -> Result<Vec<PathBuf>> {
    let busybox = fs::read(BUSYBOX).with_context(|| format!("read {BUSYBOX}"))?;
    let probe = bin.join(programs::PROBE);
    let probe = fs::read(&probe).with_context(|| format!("read {}", probe.display()))?;

    let pause =
        [("bin".to_owned(), Node::Directory(0o755)), ("bin/busybox".to_owned(), Node::File(busybox.clone(), 0o755))];
    let mut tree = base_tree(busybox)?;
    tree.push(("bin/loment-probe".to_owned(), Node::File(probe, 0o755)));
    let busybox_layer = layer(&tree)?;
    tree.push(("www".to_owned(), Node::Directory(0o755)));
    let page = b"<h1>http-go</h1><p>An offline stand-in, served by busybox.</p>\n".to_vec();
    tree.push(("www/index.html".to_owned(), Node::File(page, 0o644)));

    // runc's sandbox needs a program that sleeps; a pause process takes no signal but SIGKILL from CRI.
    let sleep = json!({"Entrypoint": ["/bin/busybox", "sleep", "2147483647"]});
    let shell = json!({"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]});
    let web = json!({"Cmd": ["/bin/httpd", "-f", "-v", "-p", "8080", "-h", "/www"], "ExposedPorts": {"8080/tcp": {}}});
    Ok(vec![
        layout(&directory.join("pause.tar"), PAUSE, &layer(&pause)?, sleep)?,
        layout(&directory.join("busybox.tar"), BUSYBOX_IMAGE, &busybox_layer, shell)?,
        layout(&directory.join("quits.tar"), QUITS, &busybox_layer, json!({"Cmd": ["sh"], "StopSignal": "SIGQUIT"}))?,
        layout(&directory.join("http-go.tar"), HTTP_GO, &layer(&tree)?, web)?,
    ])
}

/// A root directory as in the busybox image: every applet, users and groups, the usual directories.
fn base_tree(busybox: Vec<u8>) -> Result<Vec<(String, Node)>> {
    let output = Command::new(BUSYBOX).arg("--list").output().with_context(|| format!("run {BUSYBOX} --list"))?;
    if !output.status.success() {
        bail!("run {BUSYBOX} --list: {}", output.status);
    }
    let applets = String::from_utf8(output.stdout).context("read the names of busybox's applets")?;
    let directories = [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("proc", 0o555),
        ("root", 0o700),
        ("sys", 0o555),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("usr/bin", 0o755),
        ("var", 0o755),
    ];
    let mut tree: Vec<(String, Node)> =
        directories.into_iter().map(|(path, mode)| (path.to_owned(), Node::Directory(mode))).collect();
    tree.push(("bin/busybox".to_owned(), Node::File(busybox, 0o755)));
    let links = applets.lines().filter(|name| !name.is_empty() && *name != "busybox");
    tree.extend(links.map(|name| (format!("bin/{name}"), Node::Link("busybox"))));
    tree.push(("usr/bin/env".to_owned(), Node::Link("../../bin/busybox")));
    let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
    tree.push(("etc/passwd".to_owned(), Node::File(users.into(), 0o644)));
    tree.push(("etc/group".to_owned(), Node::File("root:x:0:\nnobody:x:65534:\n".into(), 0o644)));
    Ok(tree)
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    // A fixed time makes the same image from the same files.
    header.set_mtime(0);
    header.set_size(size as u64);
    header
}

/// A layer: an uncompressed tar file.
fn layer(tree: &[(String, Node)]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, node) in tree {
        match node {
            Node::Directory(mode) => {
                let mut header = header(tar::EntryType::Directory, *mode, 0);
                builder.append_data(&mut header, format!("{path}/"), io::empty())?;
            }
            Node::File(content, mode) => {
                let mut header = header(tar::EntryType::Regular, *mode, content.len());
                builder.append_data(&mut header, path, content.as_slice())?;
            }
            Node::Link(target) => {
                builder.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), path, target)?;
            }
        }
    }
    builder.into_inner()
}

/// An OCI layout with one image of one layer.
fn layout(file: &Path, name: &str, layer: &[u8], process: Value) -> Result<PathBuf> {
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": process,
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        "history": [{"created_by": "loment-lab, from this machine's busybox"}],
    })
    .to_string()
    .into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    })
    .to_string()
    .into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    // containerd takes a whole reference from its own annotation; OCI's is for a tag.
    entry["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": "latest"});
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string().into_bytes();

    let mut builder = tar::Builder::new(File::create(file).with_context(|| format!("create {}", file.display()))?);
    let mut add = |path: String, content: &[u8]| {
        builder.append_data(&mut header(tar::EntryType::Regular, 0o644, content.len()), path, content)
    };
    add("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#)
        .and_then(|()| add("index.json".to_owned(), &index))
        .and_then(|()| add(blob(&manifest), &manifest))
        .and_then(|()| add(blob(&config), &config))
        .and_then(|()| add(blob(layer), layer))
        .and_then(|()| builder.finish())
        .with_context(|| format!("write {}", file.display()))?;
    Ok(file.to_path_buf())
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(content), "size": content.len()})
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex(content))
}

fn blob(content: &[u8]) -> String {
    format!("blobs/sha256/{}", hex(content))
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_make_the_same_layer() {
        let tree = || vec![("a".to_owned(), Node::Directory(0o755)), ("a/b".to_owned(), Node::File(vec![1], 0o644))];
        assert_eq!(layer(&tree()).ok(), layer(&tree()).ok());
        assert_eq!(digest(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
