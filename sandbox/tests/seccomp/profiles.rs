//! Profiles that are refused, flags, and filters kept as bytes.

use loment_sandbox::seccomp::Filter;
use loment_sys::seccomp::Flags;
use oci_spec::runtime::LinuxSeccomp;

use super::default_profile;

fn compile(json: &str) -> loment_sandbox::Result<Option<Filter>> {
    let profile: LinuxSeccomp = serde_json::from_str(json).expect("a profile");
    Filter::compile(&profile)
}

fn refusal(json: &str) -> String {
    compile(json).expect_err("refused").to_string()
}

fn flags(json: &str) -> Flags {
    compile(json).expect("a good profile").expect("something to load").flags()
}

#[test]
fn a_profile_that_allows_everything_needs_no_filter() {
    assert_eq!(compile(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).expect("good"), None);
    assert_eq!(compile(r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}"#).expect("good"), None);
    assert!(compile(r#"{"defaultAction": "SCMP_ACT_LOG"}"#).expect("good").is_some());
}

#[test]
fn what_cannot_be_honoured_is_refused_by_its_field() {
    let rule = |rule: &str| refusal(&format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{rule}]}}"#));
    assert_eq!(
        refusal(r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}"#),
        "linux.seccomp.defaultErrnoRet 4096: SCMP_ACT_ERRNO carries at most 4095"
    );
    assert_eq!(
        rule(r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1}"#),
        "linux.seccomp.syscalls[0].errnoRet 1: SCMP_ACT_ALLOW does not carry a value \
         (only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do)"
    );
    assert_eq!(
        rule(
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}"#
        ),
        "linux.seccomp.syscalls[0].args[0].index 6: a syscall has the arguments 0 to 5"
    );
    assert_eq!(
        rule(r#"{"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}"#),
        "linux.seccomp.syscalls[0].names write: a listener cannot be asked about write \
         (runc hands the listener over by a write and refuses it, so no profile has it)"
    );
    let everything = refusal(r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#);
    assert!(everything.starts_with("linux.seccomp.defaultAction SCMP_ACT_NOTIFY: "), "{everything}");
}

#[test]
fn more_rules_than_fit_in_a_program_are_refused() {
    let argument =
        |index: u64| format!(r#"{{"index": {}, "value": {}, "op": "SCMP_CMP_GT"}}"#, index % 6, (index << 33) | 1);
    let rules = (0..1000)
        .map(|index| format!(r#"{{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{}]}}"#, argument(index)));
    let rules = rules.collect::<Vec<_>>().join(",");
    let refusal = refusal(&format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{rules}]}}"#));
    assert!(refusal.starts_with("linux.seccomp.syscalls (5"), "{refusal}");
}

#[test]
fn flags_are_those_of_the_profile() {
    let with = |flags: &str, action: &str| {
        self::flags(&format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO" {flags}, "syscalls": [{{"names": ["read"], "action": "{action}"}}]}}"#
        ))
    };
    assert_eq!(with("", "SCMP_ACT_ALLOW"), Flags::SPEC_ALLOW);
    assert_eq!(with(r#", "flags": []"#, "SCMP_ACT_ALLOW"), Flags::default());
    assert_eq!(with(r#", "flags": ["SECCOMP_FILTER_FLAG_LOG"]"#, "SCMP_ACT_ALLOW"), Flags::LOG);
    assert_eq!(with(r#", "flags": ["SECCOMP_FILTER_FLAG_TSYNC"]"#, "SCMP_ACT_ALLOW"), Flags::default());
    let killable = r#", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]"#;
    assert_eq!(with(killable, "SCMP_ACT_ALLOW"), Flags::default());
    assert_eq!(with(killable, "SCMP_ACT_NOTIFY"), Flags::WAIT_KILLABLE_RECV | Flags::NEW_LISTENER);
}

#[test]
fn a_filter_kept_as_bytes_is_the_same_filter() {
    let filter = Filter::compile(&default_profile()).expect("good").expect("with rules");
    let bytes = filter.to_bytes();
    assert_eq!(Filter::from_bytes(&bytes), Some(filter));
    for length in [0, 3, 4, 5, bytes.len() - 1] {
        assert_eq!(Filter::from_bytes(&bytes[..length]), None, "{length}");
    }
    let mut unknown_flag = bytes;
    unknown_flag[3] ^= 0x40;
    assert_eq!(Filter::from_bytes(&unknown_flag), None);
}
