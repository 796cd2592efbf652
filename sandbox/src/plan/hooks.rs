//! Programs of the host that want to have a hand in a container's life, checked.

use std::{ffi::CString, os::unix::ffi::OsStrExt, time::Duration};

use oci_spec::runtime::{Hook as HookSpec, Spec};

use super::mounts::c_string;
use crate::{Error, Result, container::Role};

/// The hooks of a container, by the moment at which they run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hooks {
    /// `prestart`, then `createRuntime`: by the runtime, when the namespaces exist and the root is not yet the root.
    pub(crate) runtime: Vec<Hook>,
    /// `createContainer`: the same moment, in the container's namespaces.
    pub(crate) create: Vec<Hook>,
    /// `startContainer`: in the container, before its program.
    pub(crate) start: Vec<Hook>,
    /// `poststart`: by the runtime, when the program runs.
    pub(crate) poststart: Vec<Hook>,
    /// `poststop`: by the runtime, when the container is gone.
    pub(crate) poststop: Vec<Hook>,
}

/// A program to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hook {
    /// Its place in the specification: `hooks.poststop[0]`.
    pub(crate) name: String,
    pub(crate) path: CString,
    /// The program's own name first.
    pub(crate) args: Vec<CString>,
    /// All of its environment.
    pub(crate) env: Vec<CString>,
    /// How long it may take; `None` is as long as it likes.
    pub(crate) timeout: Option<Duration>,
}

impl Hooks {
    /// Whether one of them may look for the root file system in the bundle, or change it there.
    pub(crate) fn see_the_root(&self) -> bool {
        !(self.runtime.is_empty() && self.create.is_empty())
    }
}

/// Checks the hooks of a specification; `None` when there are none.
pub(crate) fn hooks(spec: &Spec, role: Role) -> Result<Option<Hooks>> {
    let Some(hooks) = spec.hooks() else { return Ok(None) };
    #[allow(deprecated, reason = "engines still write them")]
    let prestart = hooks.prestart();
    let mut runtime = list("prestart", prestart)?;
    runtime.extend(list("createRuntime", hooks.create_runtime())?);
    let hooks = Hooks {
        runtime,
        create: list("createContainer", hooks.create_container())?,
        start: list("startContainer", hooks.start_container())?,
        poststart: list("poststart", hooks.poststart())?,
        poststop: list("poststop", hooks.poststop())?,
    };
    match hooks.start.first() {
        Some(hook) if role == Role::Holder => Err(Error::invalid(
            &hook.name,
            hook.path.to_string_lossy(),
            "cannot run in a pod's sandbox: it has no files",
        )),
        _ => Ok(Some(hooks).filter(|hooks| *hooks != Hooks::default())),
    }
}

fn list(kind: &str, hooks: &Option<Vec<HookSpec>>) -> Result<Vec<Hook>> {
    hooks.iter().flatten().enumerate().map(|(index, spec)| hook(format!("hooks.{kind}[{index}]"), spec)).collect()
}

fn hook(name: String, spec: &HookSpec) -> Result<Hook> {
    let field = |part: &str| format!("{name}.{part}");
    if !spec.path().is_absolute() {
        return Err(Error::invalid(field("path"), format!("{:?}", spec.path()), "is not an absolute path"));
    }
    let path = c_string(&field("path"), spec.path().as_os_str().as_bytes())?;
    let strings = |part: &str, strings: &Option<Vec<String>>| {
        strings.iter().flatten().map(|string| c_string(&field(part), string.as_bytes())).collect::<Result<Vec<_>>>()
    };
    let mut args = strings("args", spec.args())?;
    if args.is_empty() {
        args.push(path.clone());
    }
    let env = strings("env", spec.env())?;
    let timeout = match spec.timeout() {
        None => None,
        Some(seconds @ 1..) => Some(Duration::from_secs(seconds.unsigned_abs())),
        Some(seconds) => {
            return Err(Error::invalid(field("timeout"), seconds, "is not a number of seconds greater than zero"));
        }
    };
    Ok(Hook { name, path, args, env, timeout })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn lowered(hooks: Value, role: Role) -> Result<Option<Hooks>> {
        hooks_of(&json!({"ociVersion": "1.2.0", "hooks": hooks}), role)
    }

    fn hooks_of(spec: &Value, role: Role) -> Result<Option<Hooks>> {
        hooks(&serde_json::from_value(spec.clone()).unwrap(), role)
    }

    #[test]
    fn a_hook_without_arguments_is_told_its_own_path() {
        let hooks = lowered(json!({"prestart": [{"path": "/bin/a"}]}), Role::Program).unwrap().unwrap();
        assert_eq!(hooks.runtime[0].args, [c"/bin/a".to_owned()]);
        assert_eq!((hooks.runtime[0].timeout, hooks.runtime[0].env.len()), (None, 0));
    }

    #[test]
    fn prestart_comes_before_create_runtime() {
        let both = json!({"createRuntime": [{"path": "/c"}], "prestart": [{"path": "/p"}, {"path": "/q"}]});
        let hooks = lowered(both, Role::Holder).unwrap().unwrap();
        let names: Vec<_> = hooks.runtime.iter().map(|hook| hook.name.as_str()).collect();
        assert_eq!(names, ["hooks.prestart[0]", "hooks.prestart[1]", "hooks.createRuntime[0]"]);
        assert!(hooks.see_the_root());
    }

    #[test]
    fn empty_lists_are_no_hooks() {
        assert_eq!(lowered(json!({"poststop": [], "prestart": []}), Role::Program).unwrap(), None);
        assert_eq!(hooks_of(&json!({"ociVersion": "1.2.0"}), Role::Program).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_its_field() {
        let cases = [
            (json!({"poststop": [{"path": "/a"}, {"path": "b"}]}), "hooks.poststop[1].path"),
            (json!({"poststop": [{"path": ""}]}), "hooks.poststop[0].path"),
            (json!({"createRuntime": [{"path": "/a", "timeout": 0}]}), "hooks.createRuntime[0].timeout 0:"),
            (json!({"createContainer": [{"path": "/a", "timeout": -7}]}), "hooks.createContainer[0].timeout -7:"),
            (json!({"poststart": [{"path": "/a", "args": ["a", "b\0c"]}]}), "hooks.poststart[0].args"),
            (json!({"startContainer": [{"path": "/a", "env": ["\0"]}]}), "hooks.startContainer[0].env"),
        ];
        for (hooks, expected) in cases {
            let error = lowered(hooks, Role::Program).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let error = lowered(json!({"startContainer": [{"path": "/a"}]}), Role::Holder).unwrap_err().to_string();
        assert!(error.contains("hooks.startContainer[0] /a"), "{error}");
    }
}
