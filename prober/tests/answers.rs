//! The program as the shim runs it, against servers: what it asks and what it makes of the answers.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use serde_json::{Value, json};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring, pki_types::PrivateKeyDer};

/// Asks; answers with the exit code and what was said.
fn ask(question: &Value) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loment-prober"));
    // As the shim starts it, it has no environment.
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    (output.status.code().unwrap(), serde_json::from_str(&text).unwrap())
}

fn get(port: u16, path: &str) -> Value {
    json!({"http": {"host": "127.0.0.1", "port": port, "path": path}, "timeoutMs": 10_000})
}

/// A server that answers each request with what `answer` makes of its head. Lives as long as the test.
fn server(answer: impl Fn(&str) -> String + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = head(&stream);
            // One that has hung up is the next test's business.
            let _gone = stream.write_all(answer(&head).as_bytes());
        }
    });
    port
}

/// A request up to its empty line.
fn head(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head).is_ok_and(|length| length > 2) {}
    head
}

fn status(code: u16) -> String {
    format!("HTTP/1.1 {code} Because\r\nContent-Length: 5\r\n\r\nhello")
}

fn to(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 5\r\n\r\nthere")
}

#[test]
fn p6_200_to_399_is_success_and_everything_else_failure() {
    let port = server(|head| status(head.split(['/', ' ']).nth(2).unwrap().parse().unwrap()));
    for code in [200, 204, 299] {
        assert_eq!(ask(&get(port, &format!("/{code}"))).0, 0, "{code}");
    }
    for code in [400, 404, 500, 503] {
        let (exit, answer) = ask(&get(port, &format!("/{code}")));
        let expected = json!({"outcome": "failure", "message": format!("HTTP probe failed with statuscode: {code}")});
        assert_eq!((exit, answer), (1, expected));
    }
}

#[test]
fn p6_a_request_has_the_headers_of_the_kubelet_and_those_of_the_manifest() {
    let port = server(|head| {
        assert!(head.starts_with("GET /a?b HTTP/1.1\r\n"), "{head}");
        let missing = ["User-Agent: kube-probe/1.36", "Accept: */*", "Connection: close", "X-Own: 1", "X-Own: 2"]
            .into_iter()
            .find(|line| !head.contains(line));
        match missing {
            Some(line) => panic!("{line} is not in {head}"),
            None => status(if head.contains("Host: own.test\r\n") { 200 } else { 500 }),
        }
    });
    let mut question = get(port, "/a?b");
    question["http"]["headers"] = json!([["Host", "own.test"], ["X-Own", "1"], ["X-Own", "2"]]);
    assert_eq!(ask(&question).0, 0);
}

#[test]
fn p6_redirects_of_the_same_host_are_followed_up_to_ten() {
    let port = server(|head| {
        let path = head.split(' ').nth(1).unwrap();
        match path.trim_start_matches('/').parse::<u32>() {
            Ok(0) => status(200),
            Ok(number) => to(&format!("/{}", number - 1)),
            Err(_) => status(404),
        }
    });
    assert_eq!(ask(&get(port, "/10")).0, 0);
    let (exit, answer) = ask(&get(port, "/11"));
    assert_eq!(exit, 1);
    assert!(answer["message"].as_str().unwrap().contains("stopped after 10 redirects"), "{answer}");
}

#[test]
fn p6_a_redirect_to_another_host_is_success_with_a_warning() {
    let port = server(|_| to("http://elsewhere.test/"));
    let expected = json!({"outcome": "warning", "message": "Probe terminated redirects, Response body: there"});
    assert_eq!(ask(&get(port, "/")), (0, expected));
}

#[test]
fn p6_no_more_of_a_body_is_read_than_10_kib() {
    let port = server(|_| {
        let length = 1 << 20;
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length))
    });
    let (exit, answer) = ask(&get(port, "/"));
    assert_eq!((exit, answer["message"].as_str().unwrap().len()), (0, 10 << 10));
}

#[test]
fn p6_what_is_no_answer_is_failure() {
    let port = server(|_| "SMTP ready\r\n".into());
    assert_eq!(ask(&get(port, "/")).0, 1);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (exit, answer) = ask(&get(closed, "/x"));
    let message =
        format!("Get \"http://127.0.0.1:{closed}/x\": dial tcp 127.0.0.1:{closed}: connect: connection refused");
    assert_eq!((exit, answer), (1, json!({"outcome": "failure", "message": message})));
}

#[test]
fn p6_a_server_that_says_nothing_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = [
        get(port, "/"),
        json!({"grpc": {"host": "127.0.0.1", "port": port}}),
        json!({"http": {"host": "127.0.0.1", "port": port, "https": true}}),
    ];
    for mut question in asked {
        question["timeoutMs"] = json!(200);
        let (exit, answer) = ask(&question);
        assert_eq!((exit, &answer["outcome"]), (1, &json!("failure")), "{answer}");
    }
}

#[test]
fn a2_any_answer_to_a_hook_is_success_and_one_in_clear_too() {
    let port = server(|head| {
        assert!(!head.starts_with("GET") || head.contains("User-Agent: kube-lifecycle/1.36"), "{head}");
        status(500)
    });
    let mut question = get(port, "/");
    question["hook"] = json!(true);
    assert_eq!(ask(&question).0, 0);
    question["http"]["https"] = json!(true);
    assert_eq!(ask(&question).0, 0);
    question["hook"] = json!(false);
    let (exit, answer) = ask(&question);
    assert_eq!(exit, 1);
    assert!(answer["message"].as_str().unwrap().ends_with("server gave HTTP response to HTTPS client"), "{answer}");
}

#[test]
fn p6_a_certificate_that_nobody_has_signed_is_taken() {
    let made = rcgen::generate_simple_self_signed(["pod.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        let length = stream.read(&mut [0; 4096]).unwrap();
        assert!(length > 0);
        stream.write_all(status(200).as_bytes()).unwrap();
    });
    let mut question = get(port, "/");
    question["http"]["https"] = json!(true);
    assert_eq!(ask(&question), (0, json!({"outcome": "success", "message": "hello"})));
}

#[test]
fn p6_grpc_is_success_when_the_service_serves() {
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (reporter, service) = tonic_health::server::health_reporter();
            reporter.set_service_status("up", tonic_health::ServingStatus::Serving).await;
            reporter.set_service_status("down", tonic_health::ServingStatus::NotServing).await;
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap().port()).unwrap();
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
    });
    let port = receiver.recv().unwrap();
    let ask = |service: &str| {
        ask(&json!({"grpc": {"host": "127.0.0.1", "port": port, "service": service}, "timeoutMs": 10_000}))
    };
    assert_eq!(ask(""), (0, json!({"outcome": "success", "message": "service healthy"})));
    assert_eq!(ask("up").0, 0);
    let message = "service unhealthy (responded with \"NOT_SERVING\")";
    assert_eq!(ask("down"), (1, json!({"outcome": "failure", "message": message})));
    let (exit, answer) = ask("unknown");
    assert_eq!(exit, 1);
    assert!(answer["message"].as_str().unwrap().contains("status 5"), "{answer}");
}

#[test]
fn p6_a_server_that_speaks_no_grpc_is_failure() {
    let port = server(|_| status(200));
    let (exit, _) = ask(&json!({"grpc": {"host": "127.0.0.1", "port": port}, "timeoutMs": 10_000}));
    assert_eq!(exit, 1);
}

#[test]
fn p6_a_connection_is_success_and_a_name_is_looked_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(ask(&json!({"tcp": {"host": "localhost", "port": port}, "timeoutMs": 10_000})).0, 0);
    let (exit, answer) = ask(&json!({"tcp": {"host": "no.such.host.invalid", "port": port}, "timeoutMs": 10_000}));
    assert_eq!(exit, 1);
    assert!(answer["message"].as_str().unwrap().contains("lookup no.such.host.invalid"), "{answer}");
}

#[test]
fn what_is_no_question_is_an_error() {
    for question in [json!({}), json!({"http": {}}), json!({"smtp": {"host": "x", "port": 1}}), json!("x")] {
        let (exit, answer) = ask(&question);
        assert_eq!((exit, &answer["outcome"]), (2, &json!("error")), "{answer}");
    }
    let header = json!({"http": {"host": "127.0.0.1", "port": 1, "headers": [["a b", "c"]]}});
    assert_eq!(ask(&header).0, 2);
}

/// Needs root.
#[test]
fn a_server_is_asked_by_nobody() {
    let port = server(|_| {
        let process = |entry: std::fs::DirEntry| {
            let comm = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            let mut status = String::new();
            File::open(entry.path().join("status")).ok()?.read_to_string(&mut status).ok()?;
            (comm.trim() == "loment-prober").then_some(status)
        };
        let found: Vec<_> = std::fs::read_dir("/proc").unwrap().flatten().filter_map(process).collect();
        // Those of other tests may not have come so far.
        let is_nobody = |status: &String| {
            status.contains("Uid:\t65534\t65534\t65534\t65534")
                && status.contains("CapPrm:\t0000000000000000")
                && status.contains("NoNewPrivs:\t1")
        };
        status(if found.iter().any(is_nobody) { 200 } else { 500 })
    });
    assert_eq!(ask(&get(port, "/")).0, 0);
}
