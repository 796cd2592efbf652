//! Task events to containerd: one ordered queue, one connection made when it is needed.
//!
//! Handlers only enqueue. The head of the queue is sent again until containerd has taken it, so that what happened
//! while containerd restarted is told in order afterwards. Only what a client can also ask for is ever dropped.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use containerd_shim_protos::{
    api::ForwardRequest,
    events::task::{
        TaskCheckpointed, TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskOOM, TaskPaused,
        TaskResumed, TaskStart,
    },
    shim::event::Envelope,
    shim_async::{Client, EventsClient},
    topics,
};
use protobuf::{Message, MessageField, well_known_types::any::Any};
use tokio::{net::UnixStream, sync::Notify};
use ttrpc::context;

use crate::time;

/// Longest queue; beyond it, events that only inform are dropped.
const SOFT_LIMIT: usize = 4096;
/// Events that an empty queue has place for; what a pod's start and end send.
const USUAL: usize = 16;
/// First and longest wait before the head is sent again.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// How long containerd may take to acknowledge an event.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Something that happened to a task.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Created, waiting to be started.
    Create(TaskCreate),
    /// Started.
    Start(TaskStart),
    /// A process has ended.
    Exit(TaskExit),
    /// Deleted.
    Delete(TaskDelete),
    /// The kernel killed something for want of memory.
    Oom(TaskOOM),
    /// A further process has been registered.
    ExecAdded(TaskExecAdded),
    /// A further process has started.
    ExecStarted(TaskExecStarted),
    /// Frozen.
    Paused(TaskPaused),
    /// Thawed.
    Resumed(TaskResumed),
    /// Written to disk.
    Checkpointed(TaskCheckpointed),
}

impl Event {
    /// Topic and message. The type's name comes from the generated constant: asking the message for its descriptor
    /// would parse the whole descriptor file into memory that an idle shim then keeps.
    fn parts(&self) -> (&'static str, Any) {
        fn any<M: Message>(message: &M) -> Any {
            let mut any = Any::new();
            any.type_url = format!("containerd.events.{}", M::NAME);
            // Encoding fails only for messages with unset required fields, which proto3 does not have.
            any.value = message.write_to_bytes().unwrap_or_default();
            any
        }
        match self {
            Self::Create(event) => (topics::TASK_CREATE_EVENT_TOPIC, any(event)),
            Self::Start(event) => (topics::TASK_START_EVENT_TOPIC, any(event)),
            Self::Exit(event) => (topics::TASK_EXIT_EVENT_TOPIC, any(event)),
            Self::Delete(event) => (topics::TASK_DELETE_EVENT_TOPIC, any(event)),
            Self::Oom(event) => (topics::TASK_OOM_EVENT_TOPIC, any(event)),
            Self::ExecAdded(event) => (topics::TASK_EXEC_ADDED_EVENT_TOPIC, any(event)),
            Self::ExecStarted(event) => (topics::TASK_EXEC_STARTED_EVENT_TOPIC, any(event)),
            Self::Paused(event) => (topics::TASK_PAUSED_EVENT_TOPIC, any(event)),
            Self::Resumed(event) => (topics::TASK_RESUMED_EVENT_TOPIC, any(event)),
            Self::Checkpointed(event) => (topics::TASK_CHECKPOINTED_EVENT_TOPIC, any(event)),
        }
    }

    /// Whether somebody waits for it and cannot find out otherwise.
    fn must_arrive(&self) -> bool {
        matches!(self, Self::Exit(_) | Self::Delete(_) | Self::Oom(_))
    }
}

/// The queue.
pub(crate) struct Events {
    namespace: String,
    address: String,
    queue: Mutex<VecDeque<Envelope>>,
    grown: Notify,
    drained: Notify,
}

impl Events {
    /// A queue towards containerd's ttrpc socket. [`Events::run`] empties it.
    pub(crate) fn new(namespace: &str, address: &str) -> Self {
        let address = if address.contains("://") { address.to_owned() } else { format!("unix://{address}") };
        Self {
            namespace: namespace.to_owned(),
            address,
            queue: Mutex::default(),
            grown: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// The namespace of everything that is told.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Puts an event at the end. Never waits.
    pub(crate) fn send(&self, event: &Event) {
        let (topic, any) = event.parts();
        let mut queue = crate::lock(&self.queue);
        if queue.len() >= SOFT_LIMIT && !event.must_arrive() {
            log::warn!("drop event {topic}: containerd has not taken {} events before it", queue.len());
            return;
        }
        queue.push_back(Envelope {
            timestamp: MessageField::some(time::now()),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: MessageField::some(any),
            ..Envelope::default()
        });
        drop(queue);
        self.grown.notify_one();
    }

    /// Sends what is queued, for ever.
    pub(crate) async fn run(&self) {
        let mut client = None;
        let mut wait = RETRY.0;
        loop {
            let Some(envelope) = self.head() else {
                self.drained.notify_waiters();
                self.grown.notified().await;
                continue;
            };
            match self.forward(&mut client, envelope).await {
                Ok(()) => {
                    crate::lock(&self.queue).pop_front();
                    wait = RETRY.0;
                }
                Err(ttrpc::Error::RpcStatus(status)) if is_refusal(&status) => {
                    // It would be refused for ever, and everything behind it would never be told.
                    log::error!("send event to {}: refused: {}", self.address, status.message);
                    crate::lock(&self.queue).pop_front();
                }
                Err(error) => {
                    log::warn!("send event to {}: {error}; trying again in {wait:?}", self.address);
                    client = None;
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY.1);
                }
            }
        }
    }

    /// The next event. A queue that was long and is empty gives its place back: it may have been made for a thousand.
    fn head(&self) -> Option<Envelope> {
        let mut queue = crate::lock(&self.queue);
        if queue.is_empty() && queue.capacity() > USUAL {
            queue.shrink_to(USUAL);
        }
        queue.front().cloned()
    }

    async fn forward(&self, client: &mut Option<EventsClient>, envelope: Envelope) -> ttrpc::Result<()> {
        let client = match client {
            Some(client) => client,
            None => client.insert(EventsClient::new(self.connect().await?)),
        };
        let request = ForwardRequest { envelope: MessageField::some(envelope), ..ForwardRequest::default() };
        client.forward(context::with_duration(TIMEOUT), &request).await.map(drop)
    }

    /// A connection, or the reason why there is none now. One that has to wait until containerd accepts it is none: the
    /// library would wait for it with the whole shim.
    async fn connect(&self) -> ttrpc::Result<Client> {
        match self.address.strip_prefix("unix://").filter(|path| !path.starts_with('@')) {
            Some(path) => {
                let connected = UnixStream::connect(path).await;
                Ok(Client::new(connected.map_err(|error| ttrpc::Error::Socket(format!("connect: {error}")))?.into()))
            }
            None => Client::connect(&self.address).await,
        }
    }

    /// Waits until everything has been sent, but not longer than `limit`.
    pub(crate) async fn flush(&self, limit: Duration) {
        let emptied = async {
            loop {
                let drained = self.drained.notified();
                if crate::lock(&self.queue).is_empty() {
                    return;
                }
                drained.await;
            }
        };
        if tokio::time::timeout(limit, emptied).await.is_err() {
            log::warn!("leave with {} events that containerd did not take", crate::lock(&self.queue).len());
        }
    }
}

/// Whether containerd has understood an event and will not take it, now or later.
fn is_refusal(status: &ttrpc::Status) -> bool {
    matches!(status.code(), ttrpc::Code::INVALID_ARGUMENT | ttrpc::Code::UNIMPLEMENTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_carries_its_bare_type_name_and_topic() {
        let (topic, any) = Event::Exit(TaskExit { exit_status: 3, ..TaskExit::default() }).parts();
        assert_eq!((topic, any.type_url.as_str()), ("/tasks/exit", "containerd.events.TaskExit"));
        assert_eq!(TaskExit::parse_from_bytes(&any.value).unwrap().exit_status, 3);
    }

    #[test]
    fn exits_are_kept_when_the_queue_is_long_and_what_only_informs_is_not() {
        let events = Events::new("ns", "/nowhere");
        for _ in 0..SOFT_LIMIT {
            events.send(&Event::Paused(TaskPaused::default()));
        }
        events.send(&Event::Paused(TaskPaused::default()));
        events.send(&Event::Exit(TaskExit::default()));
        assert_eq!(events.queue.lock().unwrap().len(), SOFT_LIMIT + 1);
    }

    #[test]
    fn a_queue_that_was_long_gives_its_place_back_when_it_is_empty() {
        let events = Events::new("ns", "/nowhere");
        for _ in 0..1000 {
            events.send(&Event::Exit(TaskExit::default()));
        }
        for _ in 0..1000 {
            assert!(events.head().is_some());
            events.queue.lock().unwrap().pop_front();
        }
        assert!(events.head().is_none());
        assert!(events.queue.lock().unwrap().capacity() < 2 * USUAL);
    }
}
