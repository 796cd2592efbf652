//! What happened to the pod, numbered, for those who ask from where they have come to.

use std::{collections::VecDeque, time::Duration};

use loment_sandbox::lifecycle::Entry;

use super::{api, host::Host, host::START};

/// Entries kept, of about 150 bytes each. A crash loop at the longest delay makes some five of them in 300 s.
const KEPT: usize = 1000;

/// The newest entries, numbered from the pod's beginning.
#[derive(Default)]
pub(super) struct Timeline {
    first: u64,
    entries: VecDeque<Entry>,
}

impl Timeline {
    /// One that goes on where another one has ended.
    pub(super) fn from(first: u64) -> Self {
        Self { first, entries: VecDeque::new() }
    }

    pub(super) fn add(&mut self, entry: Entry) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
            self.first += 1;
        }
        self.entries.push_back(entry);
    }

    /// Entries from number `since` on, with their numbers.
    fn since(&self, since: u64) -> impl Iterator<Item = (u64, &Entry)> {
        (self.first..).zip(&self.entries).skip_while(move |(index, _)| *index < since)
    }
}

impl Host {
    /// Number of the first entry that there is.
    pub(super) fn first_entry(&self) -> u64 {
        crate::lock(&self.timeline).first
    }

    /// Entries from number `since` on, as they are told.
    pub(super) fn described(&self, since: u64) -> Vec<api::Entry> {
        crate::lock(&self.timeline).since(since).map(|(index, entry)| self.describe(index, entry)).collect()
    }

    /// Entries from number `since` on, and the number to ask for next. Waits up to `wait` for one.
    pub(super) async fn news(&self, since: u64, wait: Duration) -> (Vec<api::Entry>, u64) {
        let mut steps = self.steps().subscribe();
        let news = async {
            loop {
                let found = self.described(since);
                if !found.is_empty() || steps.changed().await.is_err() {
                    return found;
                }
            }
        };
        let entries = tokio::time::timeout(wait, news).await.unwrap_or_else(|_| self.described(since));
        let next = entries.last().map_or_else(|| since.max(self.first_entry()), |last| last.index + 1);
        (entries, next)
    }

    fn describe(&self, index: u64, entry: &Entry) -> api::Entry {
        api::Entry {
            index,
            at_unix_nanos: self.unix_nanos(entry.at),
            since_start_nanos: u64::try_from(entry.at.since(START).as_nanos()).unwrap_or(u64::MAX),
            container: entry.container.map_or_else(String::new, |container| self.name(container)),
            attempt: entry.attempt,
            reason: entry.what.reason().to_owned(),
            message: entry.what.to_string(),
            warning: entry.what.is_warning(),
            ..api::Entry::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use loment_sandbox::lifecycle::Moment;

    use super::*;

    #[test]
    fn the_newest_thousand_entries_are_kept_with_their_numbers() {
        let mut timeline = Timeline::from(7);
        for attempt in 0..1500 {
            timeline.add(Entry { at: START, container: None, attempt, what: Moment::Started });
        }
        let kept: Vec<_> = timeline.since(0).map(|(index, entry)| (index, entry.attempt)).collect();
        assert_eq!(kept, (500..1500).map(|attempt| (7 + u64::from(attempt), attempt)).collect::<Vec<_>>());
    }
}
