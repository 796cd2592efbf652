//! Termination messages: what a container that has ended left to say.

use super::{spec::TerminationMessage, status::PodStatus};

/// Bytes read of a container's message (`kubecontainer.MaxContainerTerminationMessageLength`).
pub const LONGEST: usize = 4096;
/// Bytes that stand in from a container's log, and how many of its last lines they may be.
pub const LONGEST_FROM_LOG: usize = 2048;
/// See [`LONGEST_FROM_LOG`].
pub const LINES_FROM_LOG: usize = 80;
/// Bytes of all messages of a pod together.
pub const LONGEST_OF_POD: usize = 12 * 1024;

/// What a message file says; `None` when it is empty. `bytes`: the file, or its first [`LONGEST`] bytes.
pub fn from_file(bytes: &[u8]) -> Option<String> {
    text(bytes.get(..LONGEST).unwrap_or(bytes))
}

/// Whether the end of the log stands in for a message: the container asks for that, has failed and has left none.
pub fn wants_log(spec: &TerminationMessage, code: u32, left: Option<&str>) -> bool {
    spec.fall_back_to_logs && code != 0 && left.is_none()
}

/// The end of a log in place of a message; `None` when there is none. `lines`: the last lines of the log as the
/// container wrote them, oldest first.
pub fn from_log<'a>(lines: impl DoubleEndedIterator<Item = &'a [u8]>) -> Option<String> {
    let mut last: Vec<_> = lines.rev().take(LINES_FROM_LOG).collect();
    last.reverse();
    let mut whole = last.concat();
    whole.drain(..whole.len().saturating_sub(LONGEST_FROM_LOG));
    text(&whole)
}

fn text(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// Cuts the messages of a pod's containers down to equal shares of [`LONGEST_OF_POD`].
pub fn share(status: &mut PodStatus) {
    let containers = status.init_container_statuses.len() + status.container_statuses.len();
    let Some(share) = LONGEST_OF_POD.checked_div(containers) else { return };
    for container in status.init_container_statuses.iter_mut().chain(&mut status.container_statuses) {
        for state in [&mut container.state, &mut container.last_state] {
            if let Some(message) = state.terminated.as_mut().and_then(|end| end.message.as_mut()) {
                message.truncate(message.floor_char_boundary(share));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, LONGEST_FROM_LOG, from_file, from_log, share, wants_log};
    use crate::lifecycle::{
        spec::TerminationMessage,
        status::{ContainerStatus, PodStatus, State, Terminated},
    };

    #[test]
    fn a11_the_first_4096_bytes_of_the_file_are_the_message() {
        assert_eq!(from_file(b""), None);
        assert_eq!(from_file(b"disk full\n").as_deref(), Some("disk full\n"));
        assert_eq!(from_file(&[b'x'; 5000]).unwrap().len(), LONGEST);
        assert_eq!(from_file(b"a\xffb").as_deref(), Some("a\u{fffd}b"), "what is no UTF-8 does not spoil the rest");
    }

    #[test]
    fn a11_the_log_stands_in_for_the_empty_file_of_a_container_that_failed_and_asks_for_it() {
        let asks = TerminationMessage { fall_back_to_logs: true, ..TerminationMessage::default() };
        assert!(wants_log(&asks, 1, None));
        assert!(!wants_log(&asks, 0, None));
        assert!(!wants_log(&asks, 1, Some("disk full")));
        assert!(!wants_log(&TerminationMessage::default(), 1, None));
    }

    #[test]
    fn a11_the_log_gives_its_last_80_lines_and_of_those_the_last_2048_bytes() {
        let lines: Vec<String> = (0..100).map(|number| format!("{number}\n")).collect();
        let message = from_log(lines.iter().map(String::as_bytes)).unwrap();
        assert_eq!(
            (message.lines().next(), message.lines().last(), message.lines().count()),
            (Some("20"), Some("99"), 80)
        );
        let long = from_log([&[b'a'; 3000][..], b"the end"].into_iter()).unwrap();
        assert_eq!(long.len(), LONGEST_FROM_LOG);
        assert!(long.ends_with("the end"));
        assert_eq!(from_log(std::iter::empty()), None);
    }

    #[test]
    fn a11_the_messages_of_a_pod_share_12_kib_evenly() {
        let said = |length: usize| State {
            terminated: Some(Terminated { message: Some("é".repeat(length / 2)), ..Terminated::default() }),
            ..State::default()
        };
        let container =
            |length| ContainerStatus { state: said(length), last_state: said(length), ..ContainerStatus::default() };
        let mut status = PodStatus {
            init_container_statuses: vec![container(4096)],
            container_statuses: vec![container(4096), container(10), container(4096), container(4096)],
            ..PodStatus::default()
        };
        share(&mut status);
        let length = |state: &State| state.terminated.as_ref().unwrap().message.as_ref().unwrap().len();
        let kept: Vec<_> =
            status.container_statuses.iter().map(|c| (length(&c.state), length(&c.last_state))).collect();
        let share = 12 * 1024 / 5 - 1;
        assert_eq!(kept, [(share, share), (10, 10), (share, share), (share, share)], "and no character is cut in two");
        share_of_nobody();
    }

    fn share_of_nobody() {
        let mut empty = PodStatus::default();
        share(&mut empty);
        assert_eq!(empty, PodStatus::default());
    }
}
