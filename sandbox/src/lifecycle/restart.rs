//! Whether a container that has ended is started again.

use super::spec::{ContainerSpec, Kind, RestartPolicy};

/// A rule of `restartPolicyRules` (KEP-5307): what to do when the exit code is (not) one of those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartRule {
    /// What to do.
    pub action: RuleAction,
    /// `NotIn` instead of `In`.
    pub negated: bool,
    /// Exit codes.
    pub codes: Vec<u32>,
}

/// What a rule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleAction {
    /// Start the container again.
    Restart,
    /// Start every container of the pod again, the init containers first (KEP-5532).
    RestartAllContainers,
}

impl RestartRule {
    fn applies(&self, code: u32) -> bool {
        self.codes.contains(&code) != self.negated
    }
}

/// Whether an attempt of a container counts as failed. An init container that lost a process for memory did not do
/// what the next one relies on, whatever its exit code.
pub fn failed(kind: Kind, code: u32, oom: bool) -> bool {
    code != 0 || (kind == Kind::Init && oom)
}

/// What becomes of a container that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It is started again.
    Again,
    /// Every container of the pod is started again.
    All,
    /// It has ended for good.
    Ended,
}

/// Decides about a container that ended by itself: the first rule that applies, else its own policy, else the pod's. An
/// init container is only run again until it has succeeded, a sidecar always.
pub fn decide(container: &ContainerSpec, pod: RestartPolicy, code: u32, oom: bool) -> Decision {
    let failed = failed(container.kind, code, oom);
    if container.kind == Kind::Init && !failed {
        return Decision::Ended;
    }
    let rule = container.restart_rules.iter().find(|rule| rule.applies(code));
    let again = match (rule.map(|rule| rule.action), container.kind) {
        (Some(RuleAction::RestartAllContainers), _) => return Decision::All,
        (Some(RuleAction::Restart), _) | (None, Kind::Sidecar) => true,
        (None, Kind::Init | Kind::App) => match policy(container, pod) {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => failed,
            RestartPolicy::Never => false,
        },
    };
    if again { Decision::Again } else { Decision::Ended }
}

/// Decides about a container that was ended because a probe failed: only its policy counts, not its rules nor its exit
/// code.
pub fn decide_after_probe(container: &ContainerSpec, pod: RestartPolicy) -> Decision {
    if container.kind == Kind::Sidecar || policy(container, pod) != RestartPolicy::Never {
        Decision::Again
    } else {
        Decision::Ended
    }
}

/// The policy of a container: its own, or its pod's.
pub fn policy(container: &ContainerSpec, pod: RestartPolicy) -> RestartPolicy {
    container.restart_policy.unwrap_or(pod)
}

#[cfg(test)]
mod tests {
    use super::{Decision, RestartRule, RuleAction, decide, decide_after_probe};
    use crate::lifecycle::spec::{
        ContainerSpec, Kind,
        RestartPolicy::{self, Always, Never, OnFailure},
    };

    fn container(kind: Kind, policy: Option<RestartPolicy>, rules: Vec<RestartRule>) -> ContainerSpec {
        ContainerSpec { kind, restart_policy: policy, restart_rules: rules, ..ContainerSpec::default() }
    }

    fn again(container: &ContainerSpec, pod: RestartPolicy, code: u32, oom: bool) -> bool {
        decide(container, pod, code, oom) == Decision::Again
    }

    fn rule(negated: bool, codes: &[u32]) -> RestartRule {
        RestartRule { action: RuleAction::Restart, negated, codes: codes.to_vec() }
    }

    #[test]
    fn a6_an_app_follows_the_policy_of_its_pod() {
        let app = container(Kind::App, None, vec![]);
        let asked = |pod, code| again(&app, pod, code, false);
        assert_eq!([asked(Always, 0), asked(OnFailure, 0), asked(Never, 0)], [true, false, false]);
        assert_eq!([asked(Always, 3), asked(OnFailure, 3), asked(Never, 3)], [true, true, false]);
    }

    #[test]
    fn i3_an_init_container_is_retried_until_it_succeeds_and_no_longer() {
        let init = container(Kind::Init, None, vec![]);
        let asked = |pod, code| again(&init, pod, code, false);
        assert_eq!([asked(Always, 0), asked(OnFailure, 0), asked(Never, 0)], [false, false, false]);
        assert_eq!([asked(Always, 1), asked(OnFailure, 1), asked(Never, 1)], [true, true, false]);
    }

    #[test]
    fn i5_an_init_container_killed_for_memory_has_failed_even_with_exit_code_0() {
        let init = container(Kind::Init, None, vec![]);
        assert!(again(&init, OnFailure, 0, true));
        assert!(!again(&container(Kind::App, None, vec![]), OnFailure, 0, true));
    }

    #[test]
    fn s3_a_sidecar_is_restarted_whatever_its_exit_code_and_the_policy() {
        let sidecar = container(Kind::Sidecar, None, vec![]);
        assert!(
            [Always, OnFailure, Never]
                .into_iter()
                .all(|pod| [0, 1].into_iter().all(|code| again(&sidecar, pod, code, false)))
        );
    }

    #[test]
    fn r1_the_policy_of_a_container_overrides_the_one_of_its_pod() {
        for kind in [Kind::App, Kind::Init] {
            assert!(again(&container(kind, Some(OnFailure), vec![]), Never, 1, false));
            assert!(!again(&container(kind, Some(Never), vec![]), Always, 1, false));
        }
        assert!(!again(&container(Kind::App, Some(OnFailure), vec![]), Always, 0, false));
    }

    #[test]
    fn r1_a_rule_that_applies_restarts_and_without_one_the_policy_decides() {
        let listed = container(Kind::App, Some(Never), vec![rule(false, &[42, 43])]);
        assert!(again(&listed, Never, 43, false));
        assert!(!again(&listed, Never, 1, false));
        let unlisted = container(Kind::Init, Some(Never), vec![rule(true, &[1])]);
        assert!(again(&unlisted, Never, 42, false));
        assert!(!again(&unlisted, Never, 1, false));
        assert!(!again(&unlisted, Never, 0, false), "an init container that succeeded is done, whatever a rule says");
    }

    #[test]
    fn r1_the_first_rule_that_applies_decides() {
        let all = RestartRule { action: RuleAction::RestartAllContainers, negated: false, codes: vec![42] };
        let rules = vec![rule(false, &[1]), all, rule(true, &[2])];
        for kind in [Kind::App, Kind::Sidecar, Kind::Init] {
            let container = container(kind, Some(Never), rules.clone());
            let decided = |code| decide(&container, Never, code, false);
            assert_eq!([decided(1), decided(42), decided(7)], [Decision::Again, Decision::All, Decision::Again]);
            let unruled = if kind == Kind::Sidecar { Decision::Again } else { Decision::Ended };
            assert_eq!(decided(2), unruled);
        }
    }

    #[test]
    fn r2_after_a_failed_probe_only_the_policy_counts() {
        let ruled = |kind, policy| container(kind, policy, vec![rule(true, &[])]);
        assert_eq!(decide_after_probe(&ruled(Kind::App, None), Never), Decision::Ended);
        assert_eq!(decide_after_probe(&ruled(Kind::App, Some(Never)), Always), Decision::Ended);
        assert_eq!(decide_after_probe(&ruled(Kind::Sidecar, Some(Always)), Never), Decision::Again);
        for policy in [OnFailure, Always] {
            assert_eq!(decide_after_probe(&ruled(Kind::App, None), policy), Decision::Again);
        }
    }
}
