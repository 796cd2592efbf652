//! How long the default seccomp profile takes to compile, and how long its program is, beside libseccomp.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use loment_sandbox::seccomp::{Filter, Machine};
use oci_spec::runtime::LinuxSeccomp;

#[allow(dead_code)]
#[path = "../tests/seccomp/kernel.rs"]
mod kernel;
#[allow(dead_code)]
#[path = "../tests/seccomp/oracle.rs"]
mod oracle;

/// The median of `count` runs.
fn median(count: usize, mut run: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..count)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times.get(count / 2).copied().unwrap_or_default()
}

fn main() {
    let profile: LinuxSeccomp =
        serde_json::from_str(include_str!("../tests/seccomp/default.json")).expect("the fixture is a profile");
    let ours = Filter::compile(&profile).expect("good").expect("with rules").len();
    let theirs = oracle::compile(&profile, Machine::X86_64).expect("libseccomp takes it").len();
    let our_time = median(1000, || drop(black_box(Filter::compile(black_box(&profile)))));
    let kept = Filter::cached(&profile).expect("good");
    let found_time = median(1000, || drop(black_box(Filter::cached(black_box(&profile)))));
    drop(kept);
    let their_time = median(50, || drop(black_box(oracle::compile(black_box(&profile), Machine::X86_64))));
    println!("default profile: compiled in {our_time:?} to {ours} instructions");
    println!("once more:       found in {found_time:?}");
    println!("libseccomp:      compiled in {their_time:?} to {theirs} instructions");
}
