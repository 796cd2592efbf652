//! The meaning of a list, and that both versions keep it.

use oci_spec::runtime::LinuxDeviceCgroup;
use proptest::prelude::*;
use serde_json::json;

use super::*;

#[derive(Debug, Clone, Copy)]
struct Request {
    node: Node,
    major: u32,
    minor: u32,
    access: u8,
}

fn list(rules: &serde_json::Value) -> Vec<LinuxDeviceCgroup> {
    serde_json::from_value(rules.clone()).unwrap()
}

/// The definition at the head of this module, letter by letter.
fn meaning(list: &[LinuxDeviceCgroup], request: Request) -> bool {
    [('r', READ), ('w', WRITE), ('m', MKNOD)].iter().filter(|(_, bit)| request.access & bit != 0).all(
        |(letter, bit)| {
            let in_default = DEFAULT_DEVICES.iter().any(|(node, major, minor, access)| {
                *node == request.node
                    && major.is_none_or(|m| m == request.major)
                    && minor.is_none_or(|m| m == request.minor)
                    && access & bit != 0
            });
            let decides = |rule: &&LinuxDeviceCgroup| {
                let typ = match rule.typ().unwrap_or_default() {
                    LinuxDeviceType::A => true,
                    LinuxDeviceType::B => request.node == Node::Block,
                    _ => request.node == Node::Char,
                };
                let number = |rule: Option<i64>, n: u32| rule.is_none_or(|r| r == -1 || r == i64::from(n));
                typ && number(rule.major(), request.major)
                    && number(rule.minor(), request.minor)
                    && rule.access().as_deref().unwrap_or("").contains(*letter)
            };
            in_default || list.iter().rev().find(decides).is_some_and(LinuxDeviceCgroup::allow)
        },
    )
}

fn v1_plan(rules: &Rules) -> Result<Vec<crate::plan::Group>> {
    v1::State::of(rules).map(|state| state.plan())
}

/// The lines with which one list becomes another, on v1.
fn v1_change(present: &serde_json::Value, wanted: &serde_json::Value) -> Vec<String> {
    let state = |rules_of: &serde_json::Value| v1::State::of(&rules(&list(rules_of)).unwrap()).unwrap();
    let groups = state(wanted).plan_from(&state(present));
    groups.concat().iter().map(|write| format!("{} {}", write.file, write.value)).collect()
}

/// What the v1 kernel makes of a default and exceptions (security/device_cgroup.c).
fn v1_kernel(groups: &[crate::plan::Group], request: Request) -> bool {
    let lines: Vec<_> = groups.iter().flatten().collect();
    let (first, exceptions) = lines.split_first().unwrap();
    assert_eq!(first.value, "a");
    let allow_by_default = first.file == "devices.allow";
    let hits = exceptions.iter().any(|line| {
        assert_eq!(line.file == "devices.deny", allow_by_default);
        let words: Vec<&str> = line.value.split([' ', ':']).collect();
        let number = |word: &str, n: u32| word == "*" || word == n.to_string();
        let access = words[3].chars().fold(0, |a, c| {
            a | if c == 'r' {
                READ
            } else if c == 'w' {
                WRITE
            } else {
                MKNOD
            }
        });
        let accesses = match allow_by_default {
            true => access & request.access != 0,
            false => access & request.access == request.access,
        };
        words[0] == (if request.node == Node::Block { "b" } else { "c" })
            && number(words[1], request.major)
            && number(words[2], request.minor)
            && accesses
    });
    hits != allow_by_default
}

#[test]
fn a_usual_container_is_denied_all_but_the_usual_devices() {
    let rules = rules(&list(&json!([{"allow": false, "access": "rwm"}]))).unwrap();
    let lines: Vec<String> =
        v1_plan(&rules).unwrap().concat().iter().map(|w| format!("{} {}", w.file, w.value)).collect();
    assert_eq!(lines[0], "devices.deny a");
    assert_eq!(lines.len(), 11);
    for expected in ["c 1:3 rwm", "c 136:* rwm", "c *:* m", "b *:* m"] {
        assert!(lines.contains(&format!("devices.allow {expected}")), "{lines:?}");
    }
}

#[test]
fn a_privileged_container_is_one_line_and_no_program_rules() {
    let rules = rules(&list(&json!([{"allow": false, "access": "rwm"}, {"allow": true, "access": "rwm"}]))).unwrap();
    assert_eq!(rules, Rules { allow_by_default: true, rules: vec![] });
    assert_eq!(v1_plan(&rules).unwrap().concat().len(), 1);
}

#[test]
fn rules_that_cannot_be_right_are_refused() {
    for rule in [
        json!({"allow": true, "type": "c", "access": "rx"}),
        json!({"allow": true, "type": "p", "access": "rwm"}),
        json!({"allow": true, "type": "c", "major": -2, "access": "r"}),
        json!({"allow": true, "type": "c", "major": 4_294_967_296_i64, "access": "r"}),
    ] {
        assert!(rules(&list(&json!([rule]))).is_err(), "{rule}");
    }
}

#[test]
fn a_rule_without_accesses_never_allows() {
    let lowered = rules(&list(&json!([{"allow": true}, {"allow": true, "type": "c", "access": ""}]))).unwrap();
    assert_eq!(lowered.rules.len(), DEFAULT_DEVICES.len());
    assert!(!lowered.allow_by_default);
}

#[test]
fn v1_says_what_it_cannot_express() {
    let wide_then_narrow = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "access": "rw"},
        {"allow": false, "type": "c", "major": 10, "minor": 200, "access": "w"},
    ]);
    let rules = rules(&list(&wide_then_narrow)).unwrap();
    let error = v1_plan(&rules).unwrap_err().to_string();
    assert!(error.contains("c 10:200 w") && error.contains("c 10:* rw"), "{error}");
    let program = v2::tests::compile(&rules);
    assert!(v2::tests::verdict(&program, Node::Char, 10, 200, READ));
    assert!(!v2::tests::verdict(&program, Node::Char, 10, 200, WRITE));
    assert!(v2::tests::verdict(&program, Node::Char, 10, 201, READ | WRITE));
}

#[test]
fn what_is_in_force_on_v1_is_not_written_again() {
    let deny = json!({"allow": false, "access": "rwm"});
    let tun = |access: &str| json!({"allow": true, "type": "c", "major": 10, "minor": 200, "access": access});
    let disk = json!({"allow": true, "type": "b", "major": 8, "access": "r"});
    let (present, wanted) = (json!([deny, tun("rw"), disk]), json!([deny, disk, tun("w"), tun("m")]));
    assert_eq!(v1_change(&present, &present), Vec::<String>::new());
    assert_eq!(v1_change(&wanted, &wanted), Vec::<String>::new());
    assert_eq!(v1_change(&json!([deny]), &json!([deny, tun("rw")])), ["devices.allow c 10:200 rwm"]);
    // mknod is of all devices, and stays with the narrower rule.
    assert_eq!(v1_change(&present, &wanted), ["devices.deny c 10:200 r"]);
    let all = json!([{"allow": true, "access": "rwm"}]);
    assert_eq!(v1_change(&all, &all), Vec::<String>::new());
    assert_eq!(v1_change(&present, &all), ["devices.allow a"]);
    assert_eq!(v1_change(&all, &json!([deny]))[0], "devices.deny a");
    assert_eq!(v1_change(&json!([deny, disk]), &json!([deny])), ["devices.deny b 8:* rm"]);
}

#[test]
fn the_list_of_the_kernel_is_understood() {
    let shown =
        "c 1:3 rwm\nc *:* m\nb *:* m\nc 1:5 rwm\nc 1:7 rwm\nc 1:8 rwm\nc 1:9 rwm\nc 5:0 rwm\nc 5:2 rwm\nc 136:* rwm\n";
    let usual = v1::State::of(&rules(&list(&json!([{"allow": false, "access": "rwm"}]))).unwrap()).unwrap();
    assert_eq!(v1::State::parse(shown), Some(usual));
    let open = Rules { allow_by_default: true, rules: vec![] };
    assert_eq!(v1::State::parse("a *:* rwm\n"), v1::State::of(&open).ok());
    for nonsense in ["c 1:3", "x 1:3 rwm", "c 1 rwm", "c 1:-3 rwm"] {
        assert_eq!(v1::State::parse(nonsense), None, "{nonsense}");
    }
}

fn any_rule() -> impl Strategy<Value = serde_json::Value> {
    let number = prop_oneof![Just(-1i64), 0..4i64];
    let access = prop::sample::select(vec!["r", "w", "m", "rw", "rm", "wm", "rwm"]);
    (any::<bool>(), prop::sample::select(vec!["a", "b", "c", "u"]), number.clone(), number, access).prop_map(
        |(allow, typ, major, minor, access)| {
            // Nested patterns only: v1 cannot join accesses of patterns that cross.
            let minor = if major == -1 { -1 } else { minor };
            json!({"allow": allow, "type": typ, "major": major, "minor": minor, "access": access})
        },
    )
}

fn any_request() -> impl Strategy<Value = Request> {
    (any::<bool>(), 0..6u32, 0..6u32, 1..=7u8).prop_map(|(block, major, minor, access)| Request {
        node: if block { Node::Block } else { Node::Char },
        major,
        minor,
        access,
    })
}

proptest! {
    #[test]
    fn a_v2_program_decides_as_the_list_does(
        given in prop::collection::vec(any_rule(), 1..12),
        requests in prop::collection::vec(any_request(), 40),
    ) {
        let given = list(&json!(given));
        let lowered = rules(&given).unwrap();
        let program = v2::tests::compile(&lowered);
        let open = lowered.allow_by_default && lowered.rules.is_empty();
        for r in requests {
            let expected = open || meaning(&given, r);
            prop_assert_eq!(v2::tests::verdict(&program, r.node, r.major, r.minor, r.access), expected, "{:?}", r);
        }
    }

    #[test]
    fn from_one_list_to_another_v1_writes_what_leads_there(
        present in prop::collection::vec(any_rule(), 1..6),
        wanted in prop::collection::vec(any_rule(), 1..6),
    ) {
        let state = |given: Vec<_>| v1::State::of(&rules(&list(&json!(given))).unwrap());
        if let (Ok(present), Ok(wanted)) = (state(present), state(wanted)) {
            let lines: Vec<_> = wanted.plan_from(&present).concat();
            let found = lines.iter().fold(present, |state, line| state.after(&line.file, &line.value));
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn v1_decides_as_the_list_does_or_refuses_it(
        given in prop::collection::vec(any_rule(), 1..6),
        requests in prop::collection::vec(any_request(), 40),
    ) {
        let given = list(&json!(given));
        if let Ok(groups) = v1_plan(&rules(&given).unwrap()) {
            for r in requests {
                prop_assert_eq!(v1_kernel(&groups, r), meaning(&given, r), "{:?} of {:?}", r, groups);
            }
        }
    }
}
