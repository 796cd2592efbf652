//! What keeps a namespace.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::sync::mpsc;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::gettid;
use serde_json::Value;

use crate::support::{Lab, inode, is_pin_of, namespaces, sleeping_in};

/// Those that hold in this way.
fn by<'a>(holders: &'a [Value], how: &str) -> Vec<&'a Value> {
    holders.iter().filter(|one| one["by"] == how).collect()
}

fn own() -> u64 {
    std::process::id().into()
}

#[test]
fn processes_pins_and_descriptors_are_told_and_nothing_is_left_when_they_are_gone() {
    let lab = Lab::new("kept");
    let made = namespaces(&lab.json("create kept --net"));
    let descriptor = File::open(lab.pins.join("kept/net")).unwrap();
    let stays = lab.stay("exec kept -- sleep 1000", made["net"]);
    let id = made["net"].to_string();
    let holders = lab.holders(&id);
    assert_eq!(holders.len(), 3, "{holders:?}");
    assert_eq!(by(&holders, "process")[0]["pid"].as_i64(), sleeping_in(made["net"]).map(i64::from));
    assert!(is_pin_of(&by(&holders, "pin")[0]["path"], &lab, "kept", "net"));
    let held = by(&holders, "descriptor")[0];
    assert_eq!(
        (held["pid"].as_u64(), held["descriptor"].as_i64()),
        (Some(own()), Some(i64::from(descriptor.as_raw_fd())))
    );
    let text = lab.run(&format!("why {id}"));
    assert!(text.contains("ends with the last of them") && text.contains("loment ns rm kept"), "{text}");
    drop(stays);
    lab.run("rm kept");
    assert_eq!(lab.holders(&id).len(), 1);
    drop(descriptor);
    let told = lab.output(&format!("why {id} -o json"));
    // Another namespace may have the inode by now, but not by this process.
    assert!(!String::from_utf8_lossy(&told.stdout).contains(&format!("\"pid\": {}", own())));
}

#[test]
fn a_thread_that_is_elsewhere_and_a_forgotten_socket_are_told() {
    let lab = Lab::new("thread");
    let (ready, is_ready) = mpsc::channel();
    let (go, goes_on) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let home = File::open("/proc/thread-self/ns/net").unwrap();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let network = inode("thread-self", "net").unwrap();
        ready.send((network, gettid().as_raw())).unwrap();
        goes_on.recv().unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        setns(&home, CloneFlags::CLONE_NEWNET).unwrap();
        ready.send((network, socket.as_raw_fd())).unwrap();
        goes_on.recv().unwrap();
    });
    let (network, tid) = is_ready.recv().unwrap();
    let holders = lab.holders(&format!("net:[{network}]"));
    assert_eq!(holders.len(), 1, "{holders:?}");
    assert_eq!((holders[0]["by"].as_str(), holders[0]["tid"].as_i64()), (Some("thread"), Some(i64::from(tid))));
    go.send(()).unwrap();
    let (network, number) = is_ready.recv().unwrap();
    let holders = lab.holders(&format!("net:[{network}]"));
    assert_eq!(holders.len(), 1, "{holders:?}");
    let told = (holders[0]["by"].as_str(), holders[0]["pid"].as_u64(), holders[0]["descriptor"].as_i64());
    assert_eq!(told, (Some("socket"), Some(own()), Some(i64::from(number))));
    // Without asking the sockets it is not seen, which is why that can be asked for.
    let is_listed =
        |words: &str| lab.json(words)["namespaces"].as_array().unwrap().iter().any(|one| one["inode"] == network);
    assert!(!is_listed("ls --type net") && is_listed("ls --type net --sockets"));
    go.send(()).unwrap();
    thread.join().unwrap();
}

#[test]
fn a_user_namespace_is_kept_by_what_belongs_to_it() {
    let lab = Lab::new("owned");
    let made = namespaces(&lab.json("create owned --user --uts"));
    // The pin of the user namespace itself goes.
    nix::mount::umount(&lab.pins.join("owned/user")).unwrap();
    let holders = lab.holders(&made["user"].to_string());
    assert_eq!(holders.len(), 1, "{holders:?}");
    assert_eq!(holders[0]["by"], "owned");
    assert_eq!(holders[0]["namespace"].as_str(), Some(format!("uts:[{}]", made["uts"]).as_str()));
    lab.run("rm owned");
    lab.is_gone();
}

#[test]
fn a_pin_of_others_is_told_with_its_path() {
    let lab = Lab::new("others");
    let made = namespaces(&lab.json("create a --uts"));
    let place = std::env::temp_dir().join(format!("loment ns pin {}", std::process::id()));
    File::create(&place).unwrap();
    let none: Option<&str> = None;
    nix::mount::mount(Some(&lab.pins.join("a/uts")), &place, none, nix::mount::MsFlags::MS_BIND, none).unwrap();
    lab.run("rm a");
    let holders = lab.holders(&made["uts"].to_string());
    let by_path = lab.output(&format!("why {}", made["uts"]));
    nix::mount::umount(&place).unwrap();
    fs::remove_file(&place).unwrap();
    assert_eq!(holders.len(), 1, "{holders:?}");
    assert_eq!((holders[0]["by"].as_str(), holders[0]["path"].as_str()), (Some("pin"), place.to_str()));
    assert!(String::from_utf8_lossy(&by_path.stdout).contains(&format!("umount {}", place.display())));
}

#[test]
fn what_two_share_is_what_the_kernel_says() {
    let lab = Lab::new("diff");
    let made = namespaces(&lab.json("create a --net --pid --user"));
    let _stays = lab.stay("exec a -- sleep 1000", made["net"]);
    let pid = sleeping_in(made["net"]).unwrap();
    let document = lab.json(&format!("diff self {pid}"));
    let rows = document["namespaces"].as_array().unwrap();
    assert_eq!(rows.len(), 8);
    for row in rows {
        let kind = row["type"].as_str().unwrap();
        assert_eq!((row["a"].as_u64(), row["b"].as_u64()), (inode("self", kind), inode(pid, kind)), "{kind}");
        assert_eq!(row["shared"].as_bool(), Some(inode("self", kind) == inode(pid, kind)), "{kind}");
        if ["pid", "user"].contains(&kind) {
            assert_eq!(row["relation"], "own, B below A", "{kind}");
        }
    }
    let with_sandbox = lab.json(&format!("diff a {pid}"));
    assert!(with_sandbox["namespaces"].as_array().unwrap().iter().all(|row| row["shared"] == true), "{with_sandbox}");
}
