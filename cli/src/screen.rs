//! The terminal that is written to, if it is one.

use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;

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
