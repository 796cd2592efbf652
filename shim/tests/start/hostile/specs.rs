//! Specifications that are too long, too deep, too many, or no files at all.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::PathBuf,
    time::Duration,
};

use containerd_shim_protos::{api::StateRequest, ttrpc::Code};
use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::{Map, Value, json};

use super::Victim;
use crate::{Place, task::patience};

/// What reading a specification may take of memory, in bytes, that the shim keeps for a moment.
const KEPT: usize = 64 << 20;

impl Victim {
    fn config(&self) -> PathBuf {
        PathBuf::from(&self.task.create.bundle).join("config.json")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.config()).unwrap()
    }

    /// What is said of the specification that stands there now.
    fn refusal(&self) -> String {
        let before = self.memory();
        let (code, message) = self.refused_while_others_are_served();
        assert!(message.len() < 1000, "{} bytes of an answer", message.len());
        assert!(matches!(code, Code::INVALID_ARGUMENT | Code::UNKNOWN), "{code:?} {message}");
        let grown = self.memory().saturating_sub(before);
        assert!(grown < KEPT, "{grown} bytes are kept");
        message
    }

    /// Nobody waits while the specification is refused.
    fn refused_while_others_are_served(&self) -> (Code, String) {
        std::thread::scope(|scope| {
            // The census compares with the files that there are now.
            let before = super::Census::of(&self.place, self.shim);
            let refused = scope.spawn(|| self.task.created().unwrap_err());
            while !refused.is_finished() {
                self.answers();
                std::thread::sleep(Duration::from_millis(5));
            }
            let error = refused.join().unwrap();
            let now = super::Census::of(&self.place, self.shim);
            assert_eq!((now.files, now.cgroups, now.mounts), (before.files, before.cgroups, before.mounts));
            match error {
                containerd_shim_protos::ttrpc::Error::RpcStatus(status) => (status.code(), status.message),
                other => panic!("{other}"),
            }
        })
    }
}

#[test]
fn a_specification_that_is_no_file_is_refused_and_keeps_nobody_waiting() {
    let victim = Victim::new();
    let (config, good) = (victim.config(), victim.text());
    let make: [(&str, &dyn Fn()); 6] = [
        ("not a file", &|| fs::create_dir(&config).unwrap()),
        ("not a file", &|| mkfifo(&config, Mode::S_IRWXU).unwrap()),
        ("not a file", &|| symlink("/dev/zero", &config).unwrap()),
        ("symbolic links", &|| symlink("config.json", &config).unwrap()),
        ("No such file", &|| symlink("/nonexistent", &config).unwrap()),
        ("32 MiB", &|| File::create(&config).unwrap().set_len(1 << 30).unwrap()),
    ];
    for (reason, make) in make {
        fs::remove_file(&config).unwrap();
        make();
        let message = victim.refusal();
        assert!(message.contains(reason) && message.contains("config.json"), "{message}");
        // As long as that is there.
        if fs::remove_file(&config).is_err() {
            fs::remove_dir(&config).unwrap();
        }
        fs::write(&config, &good).unwrap();
    }
    victim.still_works();
}

#[test]
fn a_shim_is_started_and_deleted_whatever_its_bundle_has_for_a_specification() {
    let place = Place::new();
    mkfifo(&place.directory.join("bundle/config.json"), Mode::S_IRWXU).unwrap();
    let shim = place.started("");
    let task = containerd_shim_protos::shim_sync::TaskClient::new(
        containerd_shim_protos::shim_sync::Client::connect(&format!("unix://{}", place.socket().display())).unwrap(),
    );
    assert!(task.state(patience(), &StateRequest::default()).is_err());
    place.deleted();
    crate::end(shim, nix::sys::signal::Signal::SIGKILL);
    place.deleted();
}

#[test]
fn a_specification_that_cannot_be_understood_is_refused_with_its_place() {
    let victim = Victim::new();
    let good = victim.text();
    let deep = |open: &str| format!("{{\"ociVersion\":\"1.0.2\",\"mounts\":{}", open.repeat(100_000));
    let in_front = |text: &str| good.replacen('{', &format!("{{{text},"), 1);
    let bad = [
        String::new(),
        "null".to_owned(),
        good[..good.len() / 2].to_owned(),
        deep("["),
        deep("{\"a\":"),
        good.replace("\"uid\":0", "\"uid\":1e30"),
        good.replace("\"uid\":0", "\"uid\":-1"),
        good.replace("\"uid\":0", "\"uid\":4294967296"),
        in_front("\"root\":{\"path\":\"/\"}"),
        good.replace("\"uid\":0", &format!("\"uid\":{}", "9".repeat(100_000))),
    ];
    for text in bad {
        let shown = text.chars().take(80).collect::<String>();
        fs::write(victim.config(), text).unwrap();
        let message = victim.refusal();
        assert!(message.contains("config.json") && message.contains("line"), "{shown}: {message}");
    }
    // What is passed over may be as deep as it likes.
    let unknown = format!("\"x\":{}{}", "[".repeat(100_000), "]".repeat(100_000));
    fs::write(victim.config(), in_front(&unknown)).unwrap();
    victim.still_works();
    fs::write(victim.config(), good).unwrap();
    victim.still_works();
}

#[test]
fn annotations_may_be_long_and_many() {
    let victim = Victim::new();
    victim.task.change(|spec| spec["annotations"] = json!({"a": "x".repeat(10 << 20)}));
    victim.still_works();
    let many: Map<String, Value> = (0..100_000).map(|number| (format!("a{number}"), json!("b"))).collect();
    victim.task.change(|spec| spec["annotations"] = many.into());
    victim.still_works();
}

#[test]
fn a_manifest_of_ten_megabytes_is_refused() {
    let victim = Victim::new();
    for manifest in ["x".repeat(10 << 20), "[".repeat(100_000)] {
        victim.task.change(|spec| {
            spec["annotations"] =
                json!({"io.kubernetes.cri.container-type": "sandbox", "io.loment.pod.manifest": manifest});
        });
        let message = victim.refusal();
        assert!(message.contains("io.loment.pod.manifest"), "{message}");
    }
}

impl Victim {
    /// Mounts that many more.
    fn mount(&self, count: usize) {
        self.task.change(|spec| {
            let mount = json!({"destination": "/dev/m", "type": "tmpfs", "source": "tmpfs"});
            spec["mounts"].as_array_mut().unwrap().extend(std::iter::repeat_n(mount, count));
        });
    }
}

#[test]
fn more_mounts_than_can_be_made_are_refused_with_their_number() {
    let victim = Victim::new();
    let good = victim.text();
    super::limit_descriptors(victim.shim, "4096:4096");
    victim.mount(100_000);
    let message = victim.refusal();
    assert!(message.contains("Too many open files") && message.contains("one of 100003 mounts"), "{message}");
    fs::write(victim.config(), good).unwrap();
    victim.still_works();
}

/// A service has room for 1024 open files at first; a container that is started by it, too, whatever it took to make it.
#[test]
fn there_is_room_for_a_thousand_mounts_and_the_program_has_the_limits_of_who_started_it() {
    let victim = Victim::new();
    super::limit_descriptors(victim.shim, "1024:");
    victim.mount(2000);
    victim.task.change(|spec| {
        spec["process"]["args"] = json!(["/bin/busybox", "sh", "-c", "test $(ulimit -Sn) = 1024"]);
    });
    victim.task.created().unwrap();
    victim.task.started().unwrap();
    assert_eq!(victim.task.ended(), 0);
    victim.task.deleted().unwrap();
    victim.is_unharmed();
}

#[test]
fn more_environment_than_the_kernel_takes_is_an_error_that_says_so() {
    let victim = Victim::new();
    let good = victim.text();
    victim.task.change(|spec| {
        let all: Vec<String> = (0..1_000_000).map(|number| format!("A{number}=b")).collect();
        spec["process"]["env"] = json!(all);
    });
    victim.task.created().unwrap();
    let message = victim.task.started().unwrap_err().to_string();
    assert!(message.contains("argument list too long"), "{message}");
    let _ended = victim.task.killed();
    victim.task.ended();
    victim.task.deleted().unwrap();
    fs::write(victim.config(), good).unwrap();
    victim.still_works();
}
