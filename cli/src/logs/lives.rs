//! The attempts of a container as its pod's timeline tells them. All attempts write to one log; which lines are of which
//! attempt is told by their times.

use jiff::Timestamp;

use crate::pod::Happening;

/// From which time, and until before which time, lines of a log are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

impl Window {
    pub(crate) fn holds(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time >= from) && self.until.is_none_or(|until| time < until)
    }
}

/// Which lines are meant by one attempt of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Those of this time.
    Lines(Window),
    /// None: it has not run yet.
    NotStarted,
    /// None: it has not run before.
    NoPrevious,
}

/// Chooses the lines of the latest attempt that has run, or of the one before it. Without any record of an attempt, all
/// lines are meant when `running` says that the container has run.
pub(crate) fn choose(timeline: &[Happening], container: &str, previous: bool, has_run: bool) -> Choice {
    let own: Vec<&Happening> = timeline.iter().filter(|entry| entry.container.as_deref() == Some(container)).collect();
    let boundaries = boundaries(&own);
    match (boundaries.as_slice(), previous) {
        ([], false) if has_run => Choice::Lines(Window::default()),
        ([], false) => Choice::NotStarted,
        ([.., last], false) => Choice::Lines(Window { from: *last, until: None }),
        ([.., before, last], true) => Choice::Lines(Window { from: *before, until: *last }),
        (_, true) => Choice::NoPrevious,
    }
}

/// The time that separates each attempt's lines from those of the one before; nothing for the first. It lies between the
/// end of the one and the start of the other: the last lines of a process are read after its end, and the first ones of
/// the next may be read before its start is recorded.
fn boundaries(own: &[&Happening]) -> Vec<Option<Timestamp>> {
    let mut boundaries = Vec::new();
    let mut ended: Option<Timestamp> = None;
    for entry in own {
        match entry.reason.as_str() {
            "Started" if entry.attempt == 0 => boundaries.push(None),
            "Started" => boundaries.push(Some(ended.map_or(entry.at, |ended| middle(ended, entry.at)))),
            "Exited" => ended = Some(entry.at),
            _ => {}
        }
    }
    boundaries
}

fn middle(a: Timestamp, b: Timestamp) -> Timestamp {
    let nanos = a.as_nanosecond() + (b.as_nanosecond() - a.as_nanosecond()) / 2;
    Timestamp::from_nanosecond(nanos).unwrap_or(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(time: &str, container: &str, attempt: u32, reason: &str) -> Happening {
        Happening {
            at: time.parse().unwrap(),
            since_start: std::time::Duration::ZERO,
            container: Some(container.into()),
            attempt,
            reason: reason.into(),
            message: String::new(),
            warning: false,
        }
    }

    fn timeline() -> Vec<Happening> {
        vec![
            record("2026-05-01T10:00:00Z", "a", 0, "Started"),
            record("2026-05-01T10:00:01Z", "b", 0, "Started"),
            record("2026-05-01T10:00:10Z", "a", 0, "Exited"),
            record("2026-05-01T10:00:20Z", "a", 1, "Started"),
            record("2026-05-01T10:00:30Z", "a", 1, "Exited"),
            record("2026-05-01T10:00:40Z", "a", 2, "Started"),
        ]
    }

    fn at(time: &str) -> Option<Timestamp> {
        Some(time.parse().unwrap())
    }

    #[test]
    fn the_latest_attempt_is_shown_and_the_one_before_it_on_request() {
        let latest = Window { from: at("2026-05-01T10:00:35Z"), until: None };
        assert_eq!(choose(&timeline(), "a", false, true), Choice::Lines(latest));
        let before = Window { from: at("2026-05-01T10:00:15Z"), until: at("2026-05-01T10:00:35Z") };
        assert_eq!(choose(&timeline(), "a", true, true), Choice::Lines(before));
        assert!(before.holds("2026-05-01T10:00:30Z".parse().unwrap()));
        assert!(!before.holds("2026-05-01T10:00:35Z".parse().unwrap()));
    }

    #[test]
    fn a_container_that_has_not_run_has_no_lines_and_one_that_ran_once_no_previous_ones() {
        assert_eq!(choose(&timeline(), "c", false, false), Choice::NotStarted);
        assert_eq!(choose(&timeline(), "c", false, true), Choice::Lines(Window::default()));
        assert_eq!(choose(&timeline(), "b", true, true), Choice::NoPrevious);
        assert_eq!(choose(&timeline(), "b", false, true), Choice::Lines(Window { from: None, until: None }));
    }
}
