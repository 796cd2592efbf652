//! `loment port-forward`: ports of a pod on this machine, and what a session survives.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    loment::{Loment, container_status},
    pod::{Node, eventually},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use super::manifest::{Manifest, RUNS, container, example};

/// A session, and what it has said.
struct Session {
    child: Child,
    text: Arc<Mutex<String>>,
}

impl Session {
    fn start(loment: &Loment<'_>, words: &[&str]) -> Result<Self> {
        let mut command = loment.command(&[&["port-forward"], words].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let text = Arc::new(Mutex::new(String::new()));
        let outputs: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().context("its output")?),
            Box::new(child.stderr.take().context("its errors")?),
        ];
        for output in outputs {
            let sink = Arc::clone(&text);
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    *sink.lock().unwrap_or_else(PoisonError::into_inner) += &(line + "\n");
                }
            });
        }
        Ok(Self { child, text })
    }

    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn says(&self, what: &str) -> Result<()> {
        let said = eventually(what, async || Ok(self.text().contains(what).then_some(()))).await;
        said.with_context(|| format!("it says {:?}", self.text()))
    }

    /// The local port that leads to `remote`, as it is printed.
    async fn port_to(&self, remote: &str) -> Result<u16> {
        eventually("a line with the port", async || {
            let text = self.text();
            let mut lines = text.lines().filter_map(|line| line.strip_prefix("Forwarding from ")?.split_once(" -> "));
            let found = lines.find(|(_, to)| *to == remote).and_then(|(from, _)| from.parse::<SocketAddr>().ok());
            Ok(found.map(|address| address.port()))
        })
        .await
    }

    async fn interrupted(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGINT)?;
        let status = eventually("the session's end", async || Ok(self.child.try_wait()?)).await?;
        ensure!(status.code() == Some(0), "it ended with {status}: {}", self.text());
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a web server answers.
fn page(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

pub(crate) async fn the_web_server_of_the_manifest_is_reached_at_8080(node: &Node<'_>) -> Result<()> {
    let loment = Loment::new(node.lab);
    let manifest = example("http-go-pod.yaml");
    loment.ok(&["create", "-f", &manifest]).await?;
    let session = Session::start(&loment, &["http-go", "8080:8080", "8888:8080", ":8080"])?;
    session.says("Forwarding from 127.0.0.1:8080 -> 8080\nForwarding from [::1]:8080 -> 8080\n").await?;
    session.says("Forwarding from 127.0.0.1:8888 -> 8080\nForwarding from [::1]:8888 -> 8080\n").await?;
    eventually("the web server", async || Ok(page(local(8080)).ok().filter(|page| page.contains("http-go")))).await?;
    for address in [local(8888), (Ipv6Addr::LOCALHOST, 8080).into()] {
        let page = page(address)?;
        ensure!(page.starts_with("HTTP/1.") && page.contains("<h1>http-go</h1>"), "{address} answers {page:?}");
    }
    session.says("Handling connection for 8888\n").await?;
    // A second session finds one of its ports taken and the other not.
    let second = Session::start(&loment, &["pod/http-go", "8888:8080", "8889:8080"])?;
    second.says("Unable to listen on port 8888: Listeners failed to create with the following errors: ").await?;
    second.says("Forwarding from 127.0.0.1:8889 -> 8080\n").await?;
    second.interrupted().await?;
    let none = loment.refused(&["port-forward", "http-go", "8888:8080"], "").await?;
    ensure!(none.ends_with("error: unable to listen on any of the requested ports: [{8888 8080}]\n"), "{none:?}");
    session.interrupted().await?;
    loment.ok(&["delete", "pod", "http-go", "--now"]).await.map(drop)
}

/// Nothing listens, then somebody does, resets, is killed, and comes back.
pub(crate) async fn a_session_survives_refusals_resets_and_restarts(node: &Node<'_>) -> Result<()> {
    let script = "until [ -e /shared/listen ]; do sleep 0.02; done; nc -ll -p 7000 -e \
                  sh -c 'read word; [ \"$word\" = quit ] && touch /tmp/quit; echo \"got $word\"' & \
                  until [ -e /tmp/quit ]; do sleep 0.02; done; exit 1";
    let pod = Manifest::new(node, "tried")?.restart_policy("Always").app("app", script);
    let loment = pod.create(node).await?;
    let session = Session::start(&loment, &["tried", ":7000"])?;
    let port = session.port_to("7000").await?;
    let mut early = TcpStream::connect(local(port))?;
    let broken = early.read(&mut [0]).map_err(|error| error.kind());
    ensure!(broken == Err(ErrorKind::ConnectionReset), "a refused connection reads {broken:?}");
    session
        .says(&format!("an error occurred forwarding {port} -> 7000: failed to connect to localhost:7000 inside"))
        .await?;
    pod.touch("listen")?;
    let says = |word: &str| -> Result<String> {
        let mut stream = TcpStream::connect(local(port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        writeln!(stream, "{word}")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let answers =
        async || eventually("an answer", async || Ok(says("hello").ok().filter(|text| text == "got hello\n"))).await;
    answers().await?;
    // A client that breaks off.
    let broken = TcpStream::connect(local(port))?;
    nix::sys::socket::setsockopt(
        &broken,
        nix::sys::socket::sockopt::Linger,
        &nix::libc::linger { l_onoff: 1, l_linger: 0 },
    )?;
    drop(broken);
    answers().await?;
    let _ = says("quit");
    loment
        .until("tried", "a restart", |status| {
            container_status(status, "app").is_ok_and(|app| app["restartCount"] == 1 && app["ready"] == true)
        })
        .await?;
    answers().await?;
    loment.ok(&["delete", "pod", "tried", "--now"]).await?;
    session.says("error: lost connection to pod\n").await
}

pub(crate) async fn who_has_only_finished_writing_gets_all_of_the_answer(node: &Node<'_>) -> Result<()> {
    let script = "exec nc -ll -p 7000 -e sh -c 'cat > /tmp/in; wc -c < /tmp/in; cat /tmp/in'";
    let pod = Manifest::new(node, "half")?.app("app", script);
    let loment = pod.create(node).await?;
    let session = Session::start(&loment, &["half", ":7000"])?;
    let port = session.port_to("7000").await?;
    let sent = vec![b'x'; 5_000_000];
    let answer = eventually("an answer", async || {
        let mut stream = TcpStream::connect(local(port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let written = stream.write_all(&sent).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        Ok((written.is_ok() && stream.read_to_end(&mut answer).is_ok()).then_some(answer))
    })
    .await?;
    ensure!(answer.starts_with(b"5000000\n") && answer[8..] == sent, "{} bytes came back", answer.len());
    session.interrupted().await?;
    loment.ok(&["delete", "pod", "half", "--now"]).await.map(drop)
}

/// Sends back what comes to a port inside of a network namespace, until the test ends. The image has no program for it.
fn echo_datagrams(namespace: &str, port: u16) -> Result<()> {
    let namespace = std::fs::File::open(namespace).with_context(|| format!("open {namespace}"))?;
    let bound = std::thread::spawn(move || -> Result<UdpSocket> {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
        Ok(UdpSocket::bind(local(port))?)
    });
    let socket = bound.join().ok().context("the thread in the pod's network")??;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((count, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..count], peer);
        }
    });
    Ok(())
}

pub(crate) async fn ports_have_names_and_datagrams_find_their_way_back(node: &Node<'_>) -> Result<()> {
    let ports = json!([
        { "name": "echo", "containerPort": 7007, "protocol": "UDP" },
        { "name": "web", "containerPort": 7008 },
    ]);
    let script = "exec nc -ll -p 7008 -e echo web";
    let fields = json!({ "command": ["sh", "-c", script], "ports": ports });
    let pod = Manifest::new(node, "named")?.app_with("app", fields);
    let loment = pod.create(node).await?;
    loment.phase("named", "Running").await?;
    let id = container(node, "named", "app").await?.id;
    let info = node.cri.container_status_verbose(&id, true).await?.info;
    let info: serde_json::Value = serde_json::from_str(info.get("info").context("the container's pid")?)?;
    echo_datagrams(&format!("/proc/{}/ns/net", info["pid"]), 7007)?;
    let session = Session::start(&loment, &["named", ":echo", ":web"])?;
    let (udp, tcp) = (session.port_to("7007/udp").await?, session.port_to("7008").await?);
    let web = || -> Result<String> {
        let mut text = String::new();
        TcpStream::connect(local(tcp))?.read_to_string(&mut text)?;
        Ok(text)
    };
    eventually("the answer", async || Ok(web().ok().filter(|text| text == "web\n"))).await?;
    let socket = UdpSocket::bind(local(0))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    socket.connect(local(udp))?;
    eventually("a datagram that comes back", async || {
        let mut buffer = [0; 64];
        socket.send(b"ping")?;
        Ok(socket.recv(&mut buffer).ok().filter(|count| buffer[..*count] == *b"ping"))
    })
    .await?;
    session.interrupted().await?;
    let unknown = loment.refused(&["port-forward", "named", "nothing"], "").await?;
    ensure!(unknown == "error: Pod 'named' does not have a named port 'nothing'\n", "{unknown:?}");
    loment.ok(&["delete", "pod", "named", "--now"]).await.map(drop)
}

pub(crate) async fn a_pod_that_does_not_run_yet_is_waited_for(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "late")?
        .restart_policy("Never")
        .init("before", "until [ -e /shared/go ]; do sleep 0.02; done")
        .app("app", RUNS);
    let loment = pod.create(node).await?;
    let pending = loment.refused(&["port-forward", "late", ":80", "--pod-running-timeout", "100ms"], "").await?;
    let said = "error: unable to forward port because pod is not running. Current status=Pending\n";
    ensure!(pending == said, "{pending:?}");
    let session = Session::start(&loment, &["late", ":80"])?;
    pod.touch("go")?;
    session.port_to("80").await?;
    session.interrupted().await?;
    loment.ok(&["delete", "pod", "late", "--now"]).await.map(drop)
}

/// The lab's containerd is named by the environment: what is typed after the verb is another thing.
pub(crate) async fn the_address_after_the_verb_is_where_to_listen(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "heard")?.app("app", "exec nc -ll -p 7000 -e echo heard");
    let loment = pod.create(node).await?;
    let elsewhere = Ipv4Addr::new(127, 0, 0, 2);
    let session = Session::start(&loment, &["--address", &elsewhere.to_string(), "heard", ":7000"])?;
    let port = session.port_to("7000").await?;
    let answer = || -> Result<String> {
        let mut text = String::new();
        TcpStream::connect((elsewhere, port))?.read_to_string(&mut text)?;
        Ok(text)
    };
    eventually("the answer", async || Ok(answer().ok().filter(|text| text == "heard\n"))).await?;
    let refused = TcpStream::connect(local(port)).map_err(|error| error.kind());
    ensure!(refused.is_err_and(|kind| kind == ErrorKind::ConnectionRefused), "it listens at 127.0.0.1, too");
    session.interrupted().await?;
    for socket in ["-a", "--containerd-address"] {
        let nobody = loment.refused(&["port-forward", socket, "/nowhere.sock", "heard", ":7000"], "").await?;
        ensure!(nobody.contains("/nowhere.sock"), "{socket}: {nobody:?}");
    }
    loment.ok(&["delete", "pod", "heard", "--now"]).await.map(drop)
}
