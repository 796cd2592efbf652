//! Checks of containerd, of its configuration, and of what pods need beside it.

use super::survey::{Program, Survey};
use super::{Said, fail, pass, warn};
use crate::setup::config::{Handler, Version};
use crate::setup::plan::{ANNOTATIONS, RUNTIME_TYPE};

/// What a network of a pod takes at least, beside what its configuration names.
const LOOPBACK: &str = "loopback";

pub(super) fn shim(survey: &Survey) -> Said {
    let Some(shim) = &survey.shim else {
        return fail(
            "containerd-shim-loment-v2 is in no directory where containerd looks for it, nor where runtime_path says",
            "run \"loment install\", which puts it into /usr/local/bin",
        );
    };
    program(shim, &survey.own_version, true)
}

pub(super) fn prober(survey: &Survey) -> Said {
    let Some(prober) = &survey.prober else {
        return warn(
            "loment-prober is not beside the shim: probes of pods without Kubernetes fail",
            "run \"loment install\", which puts it there",
        );
    };
    program(prober, &survey.own_version, false)
}

fn program(program: &Program, own: &str, tells_version: bool) -> Said {
    let path = program.path.display();
    if !program.is_executable {
        return fail(format!("{path} is not executable"), format!("make it so: chmod 755 {path}"));
    }
    match &program.version {
        _ if !tells_version => pass(format!("{path}")),
        Some(version) if version == own => pass(format!("{path} {version}")),
        Some(version) => warn(
            format!("{path} is of version {version}, this command of {own}"),
            "run \"loment install\" with the newer one; pods that run keep their shim",
        ),
        None => fail(
            format!("{path} does not run on this machine (another architecture, a file system mounted noexec?)"),
            "build it here with scripts/build, or mount that file system with exec, and run \"loment install\"",
        ),
    }
}

pub(super) fn containerd(survey: &Survey) -> Said {
    let containerd = &survey.containerd;
    let release = match containerd.found.as_ref()? {
        Ok(release) => release,
        Err(error) => return split(error),
    };
    match (containerd.version, containerd.answer.as_ref()?) {
        (_, Err(error)) => fail(
            format!("{release} does not answer at {}: {error}", containerd.socket.display()),
            format!("start it (systemctl start {}), or name its socket with --address", containerd.units),
        ),
        (Some(version), _) if version < Version::new(1, 6) => {
            fail(format!("{release} is too old"), "install containerd 1.6 or later")
        }
        (Some(Version { major: 2, minor: 0 }), Ok(_)) => warn(
            format!("{release}: 2.0 loses sandboxes of shims when it is restarted"),
            "use 1.7, or 2.1 and later (docs/sandboxes.md)",
        ),
        (_, Ok(answer)) => {
            if survey
                .containerd
                .found
                .as_ref()
                .is_some_and(|found| found.as_ref().is_ok_and(|text| text.contains(answer)))
            {
                pass(release.clone())
            } else {
                pass(format!("{release}; {answer} answers at {}", containerd.socket.display()))
            }
        }
    }
}

pub(super) fn cri(survey: &Survey) -> Said {
    let containerd = &survey.containerd;
    if containerd.config.as_ref().is_some_and(crate::setup::config::Config::disables_cri) {
        return fail(
            format!("{} disables CRI: there are no pods and no runtime classes", containerd.config_path.display()),
            format!("remove CRI from disabled_plugins in it, and restart containerd{}", restart_of(survey)),
        );
    }
    match containerd.classes.as_ref()? {
        Ok(_) => pass("answers"),
        Err(error) => fail(
            format!("containerd runs, and CRI does not answer: {error}"),
            "see containerd's log: journalctl -u containerd",
        ),
    }
}

/// How containerd is started again, in brackets.
fn restart_of(survey: &Survey) -> String {
    survey.containerd.restart.as_ref().map_or_else(String::new, |command| format!(" ({command})"))
}

/// What `loment install` makes of the files tells what is wrong with them.
pub(super) fn configuration(survey: &Survey) -> Said {
    let path = survey.containerd.config_path.display();
    match survey.containerd.plan.as_ref()? {
        Ok(_) => pass(format!("{path}")),
        Err(error) => split(error),
    }
}

/// Errors of [`crate::setup`] say what is wrong, and behind a colon what to do.
fn split(error: &str) -> Said {
    let (found, remedy) = error.split_once(": ").unwrap_or((error, "see docs/install.md"));
    fail(found, remedy)
}

/// The class in the files.
fn handler(survey: &Survey) -> Option<&Handler> {
    survey.containerd.config.as_ref()?.handlers.get(&survey.handler)
}

pub(super) fn class(survey: &Survey) -> Said {
    survey.containerd.config.as_ref()?;
    let name = &survey.handler;
    match handler(survey) {
        None => fail(
            format!("containerd's configuration has no runtime class {name:?}"),
            "run \"loment install --restart\"; another name is given with --runtime-handler",
        ),
        Some(handler) if handler.runtime_type != RUNTIME_TYPE => fail(
            format!("the runtime class {name:?} is another runtime's: {:?}", handler.runtime_type),
            format!("write runtime_type = \"{RUNTIME_TYPE}\" there, or name another class with --runtime-handler"),
        ),
        Some(_) => pass(format!("{name:?} is {RUNTIME_TYPE}")),
    }
}

pub(super) fn annotations(survey: &Survey) -> Said {
    let handler = handler(survey)?;
    let lets = |all: &[String]| all.iter().any(|pattern| pattern == ANNOTATIONS || pattern == "*" || pattern == "io.*");
    let lacks: Vec<&str> =
        [("pod_annotations", &handler.pod_annotations), ("container_annotations", &handler.container_annotations)]
            .into_iter()
            .filter(|(_, all)| !lets(all))
            .map(|(name, _)| name)
            .collect();
    if lacks.is_empty() {
        return pass(format!("{ANNOTATIONS} is let through"));
    }
    fail(
        format!(
            "{} of the runtime class {:?} does not let {ANNOTATIONS} through: `loment create` fails",
            lacks.join(" and "),
            survey.handler
        ),
        format!(
            "write {} = [\"{ANNOTATIONS}\"] there, and restart containerd{}",
            lacks.join(" and "),
            restart_of(survey)
        ),
    )
}

pub(super) fn sandboxer(survey: &Survey) -> Said {
    let handler = handler(survey)?;
    match (handler.sandboxer.as_str(), survey.containerd.version?) {
        ("", _) => pass("containerd makes sandboxes"),
        ("shim", version) if version >= Version::new(2, 1) => pass("the shim makes sandboxes"),
        ("shim", version) if version == Version::new(1, 7) => warn(
            "the shim makes sandboxes, which is an experiment in containerd 1.7: it does not see to what is left of one whose shim was killed",
            "use containerd 2.1 or later, or remove sandbox_mode from the class; `loment gc` removes what is left",
        ),
        ("shim", version) if version == Version::new(2, 0) => fail(
            "the shim makes sandboxes, which containerd 2.0 loses when it is started again",
            "use containerd 2.1 or later, or remove sandboxer from the class",
        ),
        ("shim", Version { major, minor }) => fail(
            format!("sandboxer = \"shim\", which containerd {major}.{minor} has not"),
            "remove that line, or use containerd 2.1 or later",
        ),
        (other, _) => fail(format!("sandboxer = {other:?} is unknown"), "write \"podsandbox\" or \"shim\" there"),
    }
}

pub(super) fn default_class(survey: &Survey) -> Said {
    let config = survey.containerd.config.as_ref()?;
    if config.handlers.is_empty() || config.handlers.contains_key("runc") {
        return pass("runc is there");
    }
    warn(
        "there is no runtime class \"runc\", which is the default: pods without a class fail (up to containerd 1.7 the first class that \
         is written takes the place of all that are built in)",
        "add a table of runtime class runc with runtime_type = \"io.containerd.runc.v2\" beside the other, or name another \
         default_runtime_name",
    )
}

/// What the files say and what runs are two things until containerd is started again.
pub(super) fn restart(survey: &Survey) -> Said {
    handler(survey)?;
    let Ok(classes) = survey.containerd.classes.as_ref()? else { return None };
    if classes.contains(&survey.handler) {
        return pass("the running containerd knows the class");
    }
    fail(
        format!("the configuration has the runtime class {:?}, the running containerd does not", survey.handler),
        format!("start containerd again, which pods survive{}", restart_of(survey)),
    )
}

pub(super) fn cni_plugins(survey: &Survey) -> Said {
    let cni = &survey.cni;
    let places: Vec<String> = cni.plugin_dirs.iter().map(|path| path.display().to_string()).collect();
    let places = places.join(", ");
    if cni.plugins.iter().any(|name| name == LOOPBACK) {
        return pass(format!("{} in {places}", cni.plugins.len()));
    }
    fail(
        format!("no CNI plugin \"loopback\" in {places}: pods get no network, but the host's"),
        "install them (apt-get install containernetworking-plugins), or set bin_dir of CRI's cni to where they are",
    )
}

pub(super) fn cni_network(survey: &Survey) -> Said {
    let cni = &survey.cni;
    let path = cni.conf_dir.display();
    match cni.networks.first() {
        Some(first) => pass(format!("{path}/{first}")),
        None => fail(
            format!("no CNI configuration in {path}: pods get no network, but the host's"),
            format!("write one, 10-containerd-net.conflist for example (containerd's documentation has it), to {path}"),
        ),
    }
}

pub(super) fn leftovers(survey: &Survey) -> Said {
    match survey.leftovers.as_ref()? {
        Ok(0) => pass("nothing is left of pods that are gone"),
        Ok(number) => warn(format!("{number} things are left of pods that are gone"), "see and remove them: loment gc"),
        Err(error) => warn(format!("could not be looked for: {error}"), "run \"loment gc --dry-run\""),
    }
}
