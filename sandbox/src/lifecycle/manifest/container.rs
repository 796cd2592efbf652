//! A container out of a manifest.

use std::str::FromStr;

use nix::sys::signal::Signal;

use super::{
    Lowered,
    handlers::Context,
    plain, policy, quoted, required,
    resources::amounts,
    written::{self, Rule},
};
use crate::{
    Error, Result,
    lifecycle::{
        restart::{RestartRule, RuleAction},
        spec::{ContainerSpec, Kind, RestartPolicy, TerminationMessage},
    },
};

pub(super) fn lower(
    path: &str,
    container: written::Container,
    kind: fn(Option<RestartPolicy>) -> Kind,
) -> Result<Lowered> {
    let own = container.restart_policy.map(|name| policy(&format!("{path}.restartPolicy"), &name)).transpose()?;
    let rules = container.restart_policy_rules.unwrap_or_default().into_iter().enumerate();
    let lifecycle = container.lifecycle.unwrap_or_default();
    let resources = amounts(&format!("{path}.resources"), &container.resources.unwrap_or_default())?;
    let context = Context::new(container.ports.unwrap_or_default(), container.env.unwrap_or_default());
    let probe = |name: &str, probe: Option<written::Probe>| {
        probe.map(|probe| context.probe(&format!("{path}.{name}"), probe)).transpose()
    };
    let hook = |name: &str, hook: Option<written::Handler>| {
        hook.map(|hook| context.hook(&format!("{path}.lifecycle.{name}"), hook)).transpose()
    };
    let spec = ContainerSpec {
        name: plain(format!("{path}.name"), required(format!("{path}.name"), container.name)?)?,
        image: container.image.unwrap_or_default(),
        kind: kind(own),
        restart_policy: own,
        restart_rules: rules
            .map(|(place, written)| rule(&format!("{path}.restartPolicyRules[{place}]"), written))
            .collect::<Result<_>>()?,
        stop_signal: match lifecycle.stop_signal {
            Some(name) => signal(&name).ok_or_else(|| {
                Error::invalid(format!("{path}.lifecycle.stopSignal"), quoted(&name), "is not a signal")
                    .hint("write it like SIGTERM or SIGRTMIN+3")
            })?,
            None => ContainerSpec::default().stop_signal,
        },
        post_start: hook("postStart", lifecycle.post_start)?,
        pre_stop: hook("preStop", lifecycle.pre_stop)?,
        startup: probe("startupProbe", container.startup_probe)?,
        liveness: probe("livenessProbe", container.liveness_probe)?,
        readiness: probe("readinessProbe", container.readiness_probe)?,
        termination_message: termination_message(
            path,
            container.termination_message_path,
            container.termination_message_policy,
        )?,
    };
    Ok((spec, resources))
}

fn termination_message(path: &str, file: Option<String>, policy: Option<String>) -> Result<TerminationMessage> {
    Ok(TerminationMessage {
        path: file.filter(|file| !file.is_empty()).unwrap_or_else(|| TerminationMessage::default().path),
        fall_back_to_logs: match policy.as_deref() {
            None | Some("" | "File") => false,
            Some("FallbackToLogsOnError") => true,
            Some(policy) => {
                let known = "supported values: \"File\", \"FallbackToLogsOnError\"";
                return Err(Error::invalid(format!("{path}.terminationMessagePolicy"), quoted(policy), known));
            }
        },
    })
}

fn rule(path: &str, rule: Rule) -> Result<RestartRule> {
    let action = rule.action.unwrap_or_default();
    let action = match action.as_str() {
        "Restart" => RuleAction::Restart,
        "RestartAllContainers" => RuleAction::RestartAllContainers,
        _ => {
            let known = "supported values: \"Restart\", \"RestartAllContainers\"";
            return Err(Error::invalid(format!("{path}.action"), quoted(&action), known));
        }
    };
    let codes = rule.exit_codes.unwrap_or_default();
    let operator = codes.operator.unwrap_or_default();
    let negated = match operator.as_str() {
        "In" => false,
        "NotIn" => true,
        _ => {
            let path = format!("{path}.exitCodes.operator");
            return Err(Error::invalid(path, quoted(&operator), "supported values: \"In\", \"NotIn\""));
        }
    };
    Ok(RestartRule { action, negated, codes: codes.values.unwrap_or_default() })
}

/// A signal by name, as in `SIGTERM` or `SIGRTMIN+3`; real-time signals count from either end, as glibc and musl number them for programs.
pub fn signal(name: &str) -> Option<i32> {
    let number = |base: i32, sign: i32, tail: &str| match tail {
        "" => Some(base),
        _ => {
            let step = tail.strip_prefix(if sign < 0 { '-' } else { '+' })?.parse::<u8>().ok()?;
            Some(base + sign * i32::from(step)).filter(|number| (34..=64).contains(number))
        }
    };
    if let Some(tail) = name.strip_prefix("SIGRTMIN") {
        return number(34, 1, tail);
    }
    if let Some(tail) = name.strip_prefix("SIGRTMAX") {
        return number(64, -1, tail);
    }
    Signal::from_str(name).ok().map(|signal| signal as i32)
}
