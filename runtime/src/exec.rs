//! `exec`: another program in a container.

use std::{collections::HashSet, fs, path::Path};

use loment_cgroups::Layout;
use loment_sandbox::container::Extras;
use oci_spec::runtime::{Capability, LinuxCapabilities, Process};

use crate::{
    args::{Changes, Exec},
    attend::Attendant,
    failure::{Context, Failure, Result},
    store::{Status, Store, status},
    streams::{self, Preserved},
};

/// Runs a program in a container; answers with its exit status, or 0 when it is left running.
pub(crate) fn exec(store: &Store, exec: &Exec, preserved: &Preserved) -> Result<u32> {
    if let Some(cgroup) = &exec.cgroup {
        return Err(Failure::new(format!(
            "--cgroup {cgroup}: is not supported: an exec runs in the container's cgroup"
        )));
    }
    let place = store.find(&exec.id)?;
    let adopted = place.created(&Layout::detect()?)?;
    match status(&adopted)? {
        Status::Paused if exec.ignore_paused => {}
        Status::Created | Status::Running => {}
        status => {
            let hint = if status == Status::Paused { " (--ignore-paused would wait)" } else { "" };
            return Err(Failure::new(format!("exec in container {:?}: it is {}{hint}", exec.id, status.name())));
        }
    }
    let state = place.state()?.ok_or_else(|| Failure::new(format!("container {:?} does not exist", exec.id)))?;
    let request = place.request(&state)?;
    let mut process = match &exec.process {
        Some(path) => read_process(path)?,
        None => process_like(request.spec.process().as_ref(), exec)?,
    };
    let terminal = process.terminal().unwrap_or(false);
    streams::check_terminal(terminal, exec.detach, &exec.handover)?;
    preserved.tell(&mut process);
    if terminal && !exec.detach {
        streams::give_size(&mut process);
    }
    let attendant = if exec.detach { None } else { Some(Attendant::new(false)?) };
    let extras = Extras { preserve: preserved.count, ..Extras::default() };
    let mut executing = adopted.exec(&request, &process, streams::io(terminal)?, extras)?;
    executing.take_warnings().iter().for_each(crate::log::warn);
    let (mut process, terminal) = executing.finish()?;
    if let Err(failure) = streams::hand_over(&exec.handover, process.pid(), terminal.as_ref()) {
        process.signal(nix::libc::SIGKILL)?;
        return Err(failure);
    }
    let terminal = terminal.filter(|_| exec.handover.console_socket.is_none());
    attendant.map_or(Ok(0), |attendant| attendant.attend(&mut process, terminal))
}

fn read_process(path: &Path) -> Result<Process> {
    let text = fs::read_to_string(path).at("read", path.display())?;
    serde_json::from_str(&text).at("understand", path.display())
}

/// The container's own process with another program and what the command line changes.
fn process_like(container: Option<&Process>, exec: &Exec) -> Result<Process> {
    if exec.command.is_empty() {
        return Err(Failure::new("exec: no program is given (name one, or give --process)"));
    }
    let mut process = container.cloned().unwrap_or_default();
    process.set_args(Some(exec.command.clone()));
    change(&mut process, &exec.changes)?;
    Ok(process)
}

fn change(process: &mut Process, changes: &Changes) -> Result<()> {
    process.set_terminal(Some(changes.tty));
    if let Some(cwd) = &changes.cwd {
        process.set_cwd(cwd.clone());
    }
    if !changes.env.is_empty() {
        let env = process.env().iter().flatten().chain(&changes.env).cloned().collect();
        process.set_env(Some(env));
    }
    if let Some(user) = &changes.user {
        let (uid, gid) = parse_user(user)?;
        process.user_mut().set_uid(uid);
        if let Some(gid) = gid {
            process.user_mut().set_gid(gid);
        }
    }
    if !changes.additional_gids.is_empty() {
        let gids = process.user().additional_gids().iter().flatten().chain(&changes.additional_gids).copied();
        let gids = gids.collect();
        process.user_mut().set_additional_gids(Some(gids));
    }
    if !changes.cap.is_empty() {
        let capabilities = with_capabilities(process.capabilities().clone(), &changes.cap)?;
        process.set_capabilities(Some(capabilities));
    }
    if let Some(profile) = &changes.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(label) = &changes.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if changes.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    Ok(())
}

/// Numbers only: names would have to be looked up in a file that the container can change.
fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |text: &str| {
        text.parse::<u32>().map_err(|_| Failure::new(format!("--user {text:?}: is not a number (it takes UID[:GID])")))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}

/// Adds capabilities to those that the process may use; the inheritable ones stay (CVE-2022-29162).
fn with_capabilities(sets: Option<LinuxCapabilities>, names: &[String]) -> Result<LinuxCapabilities> {
    let mut sets = sets.unwrap_or_else(|| {
        let mut none = LinuxCapabilities::default();
        none.set_bounding(None).set_effective(None).set_inheritable(None).set_permitted(None).set_ambient(None);
        none
    });
    let mut more = HashSet::new();
    for name in names {
        let full = name.to_uppercase();
        let capability: Capability = serde_json::from_value(serde_json::Value::String(full)).map_err(|_| {
            Failure::new(format!("--cap {name:?}: there is no such capability (they are named like CAP_NET_ADMIN)"))
        })?;
        more.insert(capability);
    }
    let with = |set: &Option<HashSet<Capability>>| Some(set.iter().flatten().chain(&more).copied().collect());
    let (bounding, effective, permitted) = (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_numbers() {
        assert_eq!(parse_user("7").unwrap(), (7, None));
        assert_eq!(parse_user("7:8").unwrap(), (7, Some(8)));
        for text in ["", "root", "7:", ":8", "-1", "7:8:9", "4294967296"] {
            assert!(parse_user(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_added_capability_is_not_inheritable() {
        let sets = with_capabilities(None, &["CAP_NET_ADMIN".into()]).unwrap();
        assert_eq!(sets.effective().as_ref().unwrap().len(), 1);
        assert_eq!((sets.inheritable(), sets.ambient()), (&None, &None));
        assert!(with_capabilities(None, &["CAP_FLY".into()]).is_err());
    }

    #[test]
    fn the_process_is_the_containers_with_what_was_changed() {
        let container: Process = serde_json::from_str(
            r#"{"terminal":true,"cwd":"/","user":{"uid":1,"gid":2,"additionalGids":[3]},"args":["a"],"env":["A=1"]}"#,
        )
        .unwrap();
        let mut process = container;
        let changes = Changes {
            env: vec!["B=2".into()],
            user: Some("5".into()),
            additional_gids: vec![6],
            no_new_privs: true,
            ..Changes::default()
        };
        change(&mut process, &changes).unwrap();
        assert_eq!(process.env().as_deref().unwrap(), ["A=1", "B=2"]);
        assert_eq!((process.user().uid(), process.user().gid()), (5, 2));
        assert_eq!(process.user().additional_gids().as_deref().unwrap(), [3, 6]);
        assert_eq!((process.terminal(), process.no_new_privileges()), (Some(false), Some(true)));
    }
}
