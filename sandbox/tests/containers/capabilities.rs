//! Capabilities that the runtime lacks itself.

use loment_cgroups::Layout;
use loment_sandbox::container::{Container, Creating};
use loment_sys::credentials::{self, CapabilitySets};
use serde_json::{Value, json};

use crate::{ambient::in_another_process, create::capability_line, support::*, users};

pub(crate) const TESTS: &[(&str, fn())] = tests![
    a_capability_that_the_runtime_lacks_is_left_out_and_told,
    in_a_user_namespace_a_container_has_what_the_runtime_lacks,
    an_exec_goes_without_what_the_runtime_lacks,
    a_capability_that_does_not_exist_is_an_error,
];

const SETS: [&str; 5] = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"];
const KILL: u64 = 1 << 5;
const SYS_TIME: u64 = 1 << 25;

/// What a runtime is whose starter has taken CAP_SYS_TIME from it.
fn without_time(runtime: impl FnOnce()) {
    in_another_process(|| {
        let left = credentials::grantable(u64::MAX).unwrap() & !SYS_TIME;
        credentials::limit_bounding_set(left).unwrap();
        credentials::capset(CapabilitySets { effective: left, permitted: left, inheritable: 0 }).unwrap();
        assert_eq!(credentials::grantable(u64::MAX).unwrap(), left);
        runtime();
    });
}

fn kill_and_time() -> Value {
    let both = json!(["CAP_KILL", "CAP_SYS_TIME"]);
    json!({"bounding": both, "permitted": both, "effective": both, "inheritable": both, "ambient": both})
}

/// What its program says of its capabilities, and what is told on the way.
fn run(bundle: &Bundle) -> (String, Vec<String>) {
    let (io, output) = output();
    let mut creating = Creating::begin(bundle.request(io), &Layout::detect().unwrap()).unwrap();
    let warnings = creating.take_warnings().iter().map(ToString::to_string).collect();
    let mut container: Container = creating.finish().unwrap();
    container.start().unwrap().finish().unwrap();
    let text = read(output);
    container.delete().unwrap();
    (text, warnings)
}

fn a_capability_that_the_runtime_lacks_is_left_out_and_told() {
    without_time(|| {
        let mut bundle = Bundle::new("cat /proc/self/status");
        bundle.spec["process"]["capabilities"] = kill_and_time();
        let (text, warnings) = run(&bundle);
        for set in SETS {
            assert_eq!(capability_line(&text, set), KILL, "{set}");
        }
        let [warning] = warnings.as_slice() else { panic!("one warning: {warnings:?}") };
        assert!(warning.contains("process.capabilities CAP_SYS_TIME"), "{warning}");
        for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
            bundle.spec["process"]["capabilities"][set] = json!(["CAP_KILL"]);
        }
        assert_eq!(run(&bundle).1, Vec::<String>::new(), "what can be granted is nothing to be told");
    });
}

fn in_a_user_namespace_a_container_has_what_the_runtime_lacks() {
    without_time(|| {
        let mut bundle = users::bundle("cat /proc/self/status");
        bundle.spec["process"]["capabilities"] = kill_and_time();
        let (text, warnings) = run(&bundle);
        for set in SETS {
            assert_eq!(capability_line(&text, set), KILL | SYS_TIME, "{set}");
        }
        assert_eq!(warnings, Vec::<String>::new());
    });
}

fn an_exec_goes_without_what_the_runtime_lacks() {
    without_time(|| {
        let container = Bundle::new("sleep 1000");
        let container = (container.started(), container);
        let (io, output) = output();
        let process = json!({"args": ["/bin/cat", "/proc/self/status"], "cwd": "/", "user": {}, "env": [PATH],
            "capabilities": kill_and_time()});
        let mut executing = container.0.0.exec(&serde_json::from_value(process).unwrap(), io).unwrap();
        let warnings = executing.take_warnings();
        assert!(warnings.iter().any(|warning| warning.to_string().contains("CAP_SYS_TIME")), "{warnings:?}");
        let (mut process, _) = executing.finish().unwrap();
        let text = read(output);
        assert_eq!(wait(&mut process).code, 0);
        for set in SETS {
            assert_eq!(capability_line(&text, set), KILL, "{set}");
        }
    });
}

fn a_capability_that_does_not_exist_is_an_error() {
    let mut bundle = Bundle::new("true");
    bundle.spec["process"]["capabilities"]["bounding"] = json!(["CAP_TO_FLY"]);
    let parsed: Result<oci_spec::runtime::Spec, _> = serde_json::from_value(bundle.spec.clone());
    assert!(parsed.is_err());
}
