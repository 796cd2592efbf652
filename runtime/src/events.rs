//! `events`: what a container uses, again and again, and when it has run out of memory.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use loment_cgroups::{Cgroup, Layout};
use loment_sandbox::process::Process;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use serde_json::{Value, json};

use crate::{
    args::Events,
    failure::{Context, Failure, Result},
    stats,
    store::Store,
    streams::print,
};

pub(crate) fn events(store: &Store, events: &Events) -> Result<()> {
    let interval = duration(&events.interval)?;
    let place = store.find(&events.id)?;
    let adopted = place.created(&Layout::detect()?)?;
    let not_running = || Failure::new(format!("events of container {:?}: container not running", events.id));
    let init = adopted.init().ok_or_else(not_running)?;
    let tell = || tell(&events.id, "stats", Some(stats::read(adopted.cgroup())?));
    match events.stats {
        true => tell(),
        false => watch(&events.id, init, adopted.cgroup(), interval, tell),
    }
}

/// Until the container has ended.
fn watch(
    id: &str,
    init: &Process,
    cgroup: &Cgroup,
    interval: Duration,
    tell_stats: impl Fn() -> Result<()>,
) -> Result<()> {
    let memory = cgroup.watch_oom().ok();
    let mut kills = cgroup.oom_kills().unwrap_or(0);
    let mut next = Instant::now();
    loop {
        if Instant::now() >= next {
            tell_stats()?;
            next = Instant::now() + interval;
        }
        let mut awaited = vec![PollFd::new(init.as_fd(), PollFlags::POLLIN)];
        awaited.extend(memory.as_ref().map(|memory| PollFd::new(memory.as_fd(), PollFlags::POLLIN)));
        // Rounded up, or the last millisecond would be spent asking.
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        match poll(&mut awaited, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).at("wait for container", id),
        }
        if let Some(memory) = &memory {
            memory.acknowledge();
        }
        let now = cgroup.oom_kills().unwrap_or(kills);
        for _ in kills..now {
            tell(id, "oom", None)?;
        }
        kills = now;
        if init.has_ended() {
            return Ok(());
        }
    }
}

fn tell(id: &str, kind: &str, data: Option<Value>) -> Result<()> {
    let mut event = json!({ "type": kind, "id": id });
    if let Some(data) = data {
        event["data"] = data;
    }
    print(&format!("{event}\n"))
}

/// `5s`, `100ms`, `1.5m`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration> {
    let refuse = || Failure::new(format!("--interval {text:?}: is not a time above 0 (as in 5s, 100ms, 1m)"));
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits).unwrap_or_default() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(refuse()),
    };
    let number: f64 = digits.parse().map_err(|_| refuse())?;
    let duration = Duration::try_from_secs_f64(number * unit).map_err(|_| refuse())?;
    if duration < Duration::from_millis(1) { Err(refuse()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_unit() {
        for (text, milliseconds) in [("5s", 5000), ("100ms", 100), ("1.5m", 90_000), ("2", 2000), ("1h", 3_600_000)] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
        for text in ["", "0s", "-1s", "s", "1y", "NaN", "inf", "1e400s"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }
}
