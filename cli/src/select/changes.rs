//! Waiting for pods to change: their shims tell at once what happens to them; that pods come and go, or that a record is
//! changed, is looked for.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::pod;
use crate::session::{Found, Session};

/// How often it is looked for what nobody tells.
const LOOK: Duration = Duration::from_millis(500);
/// How long one question for news may wait for an answer.
const WAIT: Duration = Duration::from_secs(30);

/// The news of pods.
pub(crate) struct Changes {
    session: Session,
    /// Who listens to the shim of a sandbox.
    listeners: HashMap<String, JoinHandle<()>>,
    tell: mpsc::UnboundedSender<()>,
    told: mpsc::UnboundedReceiver<()>,
}

impl Changes {
    pub(crate) fn new(session: &Session) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Changes { session: session.clone(), listeners: HashMap::new(), tell, told }
    }

    /// Returns when something may have changed with these pods or with which pods there are, or at the deadline.
    pub(crate) async fn next(&mut self, pods: &[Found], deadline: Option<Instant>) {
        self.listeners.retain(|sandbox, listener| {
            let wanted = pods.iter().any(|found| found.sandbox.id == *sandbox) && !listener.is_finished();
            if !wanted {
                listener.abort();
            }
            wanted
        });
        for found in pods.iter().filter(|found| found.sandbox.state == 0) {
            if !self.listeners.contains_key(&found.sandbox.id) {
                let listener = tokio::spawn(listen(self.session.clone(), found.clone(), self.tell.clone()));
                self.listeners.insert(found.sandbox.id.clone(), listener);
            }
        }
        let look = Instant::now() + LOOK;
        let until = deadline.map_or(look, |deadline| deadline.min(look));
        // An error would mean that nobody can tell anything any more, and this one can.
        let _ = tokio::time::timeout_at(until, self.told.recv()).await;
        while self.told.try_recv().is_ok() {}
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.listeners.values().for_each(JoinHandle::abort);
    }
}

/// Tells of what happens to a pod until its shim has gone. What has happened before is no news.
async fn listen(session: Session, found: Found, tell: mpsc::UnboundedSender<()>) {
    let Ok(mut watch) = pod::watch(&session, &found).await else { return };
    let mut old = true;
    loop {
        match watch.next(if old { Duration::ZERO } else { WAIT }).await {
            Ok(news) if (old || !news.is_empty()) && tell.send(()).is_err() => return,
            Ok(_) => old = false,
            Err(_) => return,
        }
    }
}
