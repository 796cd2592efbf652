//! What people type with kubectl, word by word, with `loment` in its place.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    loment::Loment,
    pod::{Node, eventually},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    manifest::{Manifest, RUNS, example},
    screen::Screen,
};

/// Each command of the notes in which a pod is made, looked at, reached, annotated and deleted.
pub(crate) async fn each_command_of_the_notes_works_as_written(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    // kubectl create -f http-go-pod.yaml
    let said = loment.ok(&["create", "-f", &example("http-go-pod.yaml")]).await?;
    ensure!(said == "pod/http-go created\n", "create says {said:?}");
    // kubectl get pod http-go -o yaml
    loment.phase("http-go", "Running").await?;
    let yaml = loment.ok(&["get", "pod", "http-go", "-o", "yaml"]).await?;
    for line in ["apiVersion: v1", "kind: Pod", "  name: http-go", "  phase: Running", "    image: gasbugs/http-go"] {
        ensure!(yaml.contains(line), "{line:?} is not in\n{yaml}");
    }
    // kubectl explain pods
    let explained = loment.ok(&["explain", "pods"]).await?;
    for word in ["KIND:", "Pod", "VERSION:", "v1", "spec", "status"] {
        ensure!(explained.contains(word), "{word:?} is not in\n{explained}");
    }
    // kubectl port-forward http-go 8080:8080, in the background, and curl 127.0.0.1:8080; then another local port.
    for (ports, local) in [("8080:8080", 8080), ("8888:8080", 8888)] {
        let page = through(&loment, "http-go", ports, local).await?;
        ensure!(page.starts_with("HTTP/1.") && page.contains("http-go"), "the page is {page:?}");
    }
    // kubectl logs http-go
    loment.ok(&["logs", "http-go"]).await?;
    // kubectl annotate pod http-go key="test1234"
    let said = loment.ok(&["annotate", "pod", "http-go", "key=test1234"]).await?;
    ensure!(said == "pod/http-go annotated\n", "annotate says {said:?}");
    let yaml = loment.ok(&["get", "pod", "http-go", "-o", "yaml"]).await?;
    ensure!(yaml.contains("    key: test1234"), "the annotation is not in\n{yaml}");
    // kubectl describe pods http-go
    let described = loment.ok(&["describe", "pods", "http-go"]).await?;
    for word in ["Name:", "http-go", "Annotations:", "key: test1234", "Status:", "Running", "Events:", "Started"] {
        ensure!(described.contains(word), "{word:?} is not in\n{described}");
    }
    // kubectl delete pod http-go; kubectl get pod
    let said = loment.ok(&["delete", "pod", "http-go", "--now"]).await?;
    ensure!(said.starts_with("pod \"http-go\" deleted"), "delete says {said:?}");
    let none = loment.run(&["get", "pod"], "").await?;
    ensure!(none.code == 0 && none.stderr.contains("No resources found in default namespace."), "get says {none:?}");
    Ok(())
}

pub(crate) async fn exec_and_delete_all_work_as_written(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "my-nginx-pod")?.app("nginx", RUNS).app(
        "prometheus",
        &format!("mkdir -p /etc/prometheus; echo 'global: {{}}' > /etc/prometheus/prometheus.yml; {RUNS}"),
    );
    let loment = pod.create(node).await?;
    loment.phase("my-nginx-pod", "Running").await?;
    // kubectl exec -it my-nginx-pod bash: without the dashes.
    let mut screen = Screen::start(loment.command(&["exec", "-it", "my-nginx-pod", "sh"]), 24, 80)?;
    screen.types("echo in $(host''name)\n")?;
    screen.shows("in my-nginx-pod").await?;
    screen.types("exit\n")?;
    let status = screen.ended().await?;
    ensure!(status.success(), "it ended with {status}");
    // kubectl exec my-nginx-pod -c prometheus -- cat /etc/prometheus/prometheus.yml
    eventually("the file", async || {
        let words = ["exec", "my-nginx-pod", "-c", "prometheus", "--", "cat", "/etc/prometheus/prometheus.yml"];
        Ok((loment.run(&words, "").await?.stdout == "global: {}\n").then_some(()))
    })
    .await?;
    // kubectl delete pod --all
    loment.ok(&["delete", "pod", "--all"]).await?;
    let none = loment.run(&["get", "pods"], "").await?;
    ensure!(none.stderr.contains("No resources found"), "get says {none:?}");
    Ok(())
}

/// What a client gets that asks for `/` at the local end of a forwarded port.
async fn through(loment: &Loment<'_>, pod: &str, ports: &str, local: u16) -> Result<String> {
    let mut forward =
        loment.command(&["port-forward", pod, ports]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let page = eventually("an answer through the forwarded port", async || {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", local)) else { return Ok(None) };
        stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut page = String::new();
        let read = stream.read_to_string(&mut page);
        Ok(read.is_ok().then_some(page).filter(|page| !page.is_empty()))
    })
    .await;
    let pid = Pid::from_raw(i32::try_from(forward.id())?);
    kill(pid, Signal::SIGINT).context("end port-forward")?;
    forward.wait()?;
    page
}
