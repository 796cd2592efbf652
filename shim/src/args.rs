//! The command line that containerd gives a shim.

use containerd_shim::Flags;

use crate::failure::{Failure, Result};

/// Flags that take a value; see containerd's `pkg/shim/shim.go`.
const WITH_VALUE: [&str; 7] = ["namespace", "id", "socket", "debug-socket", "bundle", "address", "publish-binary"];
/// Flags that stand alone.
const ALONE: [&str; 4] = ["debug", "v", "version", "info"];

/// Parses the command line without the program's name. A flag that this version does not know is passed over: a later
/// containerd may send more than we need, and a shim that refuses to start takes the node's pods with it.
pub(crate) fn parse(args: &[String]) -> Result<Flags> {
    containerd_shim::parse(&known(args)).map_err(|error| Failure::invalid(format!("read the command line: {error}")))
}

/// Leaves out unknown flags, each with the value that seems to belong to it. `debug-socket` is known to containerd
/// and of no use here, so it goes too.
fn known(args: &[String]) -> Vec<String> {
    let mut kept = Vec::with_capacity(args.len());
    let mut rest = args.iter().peekable();
    while let Some(arg) = rest.next() {
        let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
            kept.push(arg.clone());
            continue;
        };
        let (name, has_value) = flag.split_once('=').map_or((flag, false), |(name, _)| (name, true));
        let takes_value = WITH_VALUE.contains(&name) && !has_value;
        let keep = name != "debug-socket" && (WITH_VALUE.contains(&name) || ALONE.contains(&name));
        if keep {
            kept.push(arg.clone());
        }
        let next_is_value = |next: &&String| !next.starts_with('-') && !matches!(next.as_str(), "start" | "delete");
        let value = if takes_value {
            rest.next()
        } else if keep || has_value {
            None
        } else {
            rest.next_if(next_is_value)
        };
        if keep {
            kept.extend(value.cloned());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn args(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn containerds_command_line_is_understood() {
        let flags = parse(&args(
            "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id a1 -bundle /b -debug start",
        ))
        .unwrap();
        assert_eq!((flags.namespace.as_str(), flags.id.as_str()), ("k8s.io", "a1"));
        assert_eq!((flags.bundle.as_str(), flags.action.as_str()), ("/b", "start"));
        assert!(flags.debug);
    }

    #[test]
    fn a_flag_from_the_future_is_passed_over() {
        let flags = parse(&args("-new-thing 7 -other -id a1 --wide=yes -debug-socket /x delete")).unwrap();
        assert_eq!((flags.id.as_str(), flags.action.as_str()), ("a1", "delete"));
    }

    #[test]
    fn no_arguments_at_all_do_not_crash() {
        assert_eq!(parse(&[]).unwrap().action, "");
    }
}
