//! The user's terminal: what is known of it; handed over to a program in a container, and got back.

use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};

use anyhow::Context as _;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// The terminal that is in raw mode, and how it was before.
static BEFORE: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// Standard input as a terminal that passes every key on, until this is dropped: no echo, no lines, and Ctrl-C is a byte
/// like any other.
#[derive(Debug)]
pub(crate) struct Raw;

impl Raw {
    pub(crate) fn enter() -> anyhow::Result<Self> {
        let terminal = std::io::stdin().as_fd().try_clone_to_owned().context("take the terminal")?;
        let before = tcgetattr(&terminal).context("ask the terminal for its mode")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&terminal, SetArg::TCSANOW, &raw).context("set the terminal to raw mode")?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some((terminal, before));
        restore_on_panic();
        Ok(Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// A panic ends a release build without dropping anything.
fn restore_on_panic() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
    });
}

fn restore() {
    if let Some((terminal, before)) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // A terminal that has gone away needs nothing.
        let _ = tcsetattr(&terminal, SetArg::TCSADRAIN, &before);
    }
}

/// Width and height of the user's terminal in characters, if it knows them.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = loment_sys::terminal::size(std::io::stdin().as_fd()).ok()?;
    (size.0 > 0 && size.1 > 0).then_some(size)
}

/// Whether a program may have the terminal that the user has asked for; says why not, as kubectl does.
pub(crate) fn allowed(stdin: bool, tty: bool, quiet: bool) -> bool {
    if !stdin || !tty {
        return false;
    }
    let is_one = std::io::stdin().is_terminal();
    if !is_one && !quiet {
        crate::commands::note("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    is_one
}

/// How many columns standard output has; nothing when it is no terminal or one that does not know.
pub(crate) fn columns() -> Option<usize> {
    let (width, _) = loment_sys::terminal::size(std::io::stdout().as_fd()).ok()?;
    Some(usize::from(width)).filter(|width| *width > 0)
}

/// Whether colours are wanted on standard output: on a terminal, unless `NO_COLOR` is set (no-color.org).
pub(crate) fn has_color() -> bool {
    wants_color(std::io::stdout().is_terminal())
}

/// The same of standard error.
pub(crate) fn has_color_on_stderr() -> bool {
    wants_color(std::io::stderr().is_terminal())
}

fn wants_color(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
