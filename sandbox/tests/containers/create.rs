//! Create and start.

use crate::support::*;

pub(crate) const TESTS: &[(&str, fn())] =
    &[("a_program_runs_and_its_exit_code_comes_back", a_program_runs_and_its_exit_code_comes_back)];

fn a_program_runs_and_its_exit_code_comes_back() {
    let (code, text) = Bundle::new("echo hello; cat /proc/mounts; ls -l /dev /proc/self/fd; id; exit 7").run();
    println!("{text}");
    assert_eq!(code, 7);
    assert!(text.starts_with("hello\n"), "{text}");
}
