//! What keeps pods from running on this machine, or some of what they may ask for. docs/doctor.md lists what is looked at.
//!
//! | file | subject |
//! |---|---|
//! | `look` | a look at the machine: makes a `survey` |
//! | `survey` | what was seen, as values |
//! | `machine`, `runtime` | the checks: functions of a survey |

pub(crate) mod look;
mod machine;
mod runtime;
pub(crate) mod survey;
#[cfg(test)]
mod tests;

use serde::Serialize;

use survey::Survey;

/// How a check ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Pass,
    /// Pods run; some of what they may ask for does not.
    Warn,
    /// Pods do not run.
    Fail,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    pub(crate) check: &'static str,
    #[serde(rename = "result")]
    pub(crate) level: Level,
    /// What was found.
    pub(crate) found: String,
    /// What to do; nothing where it passes.
    pub(crate) remedy: Option<String>,
}

/// What a check says: nothing where it does not apply.
type Said = Option<(Level, String, String)>;
type Check = (&'static str, fn(&Survey) -> Said);

/// The order is that in which one thing needs the other.
const CHECKS: &[Check] = &[
    ("root", machine::root),
    ("kernel", machine::kernel),
    ("namespaces", machine::namespaces),
    ("cgroups", machine::cgroups),
    ("capabilities", machine::capabilities),
    ("security modules", machine::security_modules),
    ("seccomp", machine::seccomp),
    ("user namespaces", machine::user_namespaces),
    ("overlay", machine::overlay),
    ("disk", machine::disk),
    ("shim", runtime::shim),
    ("prober", runtime::prober),
    ("containerd", runtime::containerd),
    ("CRI", runtime::cri),
    ("configuration", runtime::configuration),
    ("runtime class", runtime::class),
    ("annotations", runtime::annotations),
    ("sandboxer", runtime::sandboxer),
    ("default class", runtime::default_class),
    ("restart", runtime::restart),
    ("CNI plugins", runtime::cni_plugins),
    ("CNI network", runtime::cni_network),
    ("leftovers", runtime::leftovers),
];

/// All checks that apply.
pub(crate) fn judge(survey: &Survey) -> Vec<Line> {
    let line = |(check, judge): &Check| {
        let (level, found, remedy) = judge(survey)?;
        Some(Line { check, level, found, remedy: Some(remedy).filter(|_| level != Level::Pass) })
    };
    CHECKS.iter().filter_map(line).collect()
}

fn pass(found: impl Into<String>) -> Said {
    Some((Level::Pass, found.into(), String::new()))
}

fn warn(found: impl Into<String>, remedy: impl Into<String>) -> Said {
    Some((Level::Warn, found.into(), remedy.into()))
}

fn fail(found: impl Into<String>, remedy: impl Into<String>) -> Said {
    Some((Level::Fail, found.into(), remedy.into()))
}
