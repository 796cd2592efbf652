//! Removals, asked again as a kubelet does while the runtime has not yet taken notice of an end.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long the runtime may take to notice. containerd 1.7 and newer handle the exits of a shim that was killed when its
/// clean-up is over; that fails the first time, and is tried again after 1 s, 2 s, 4 s.
const PATIENCE: Duration = Duration::from_secs(15);

/// Time between two requests.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks until the answer is not that something still runs, for a bounded time.
pub(crate) async fn insistently(mut ask: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(error) if is_premature(&error) && Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

/// Whether containerd says that a container still runs. A removal stops what runs before: then this is a container whose
/// end has not been handled. There is no code for it.
fn is_premature(error: &Error) -> bool {
    matches!(error, Error::Request { message, .. } if message.ends_with("container is still running, to stop first"))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn refused(message: &str) -> Error {
        Error::Request {
            operation: "RemovePodSandbox",
            object: "pod abc".into(),
            code: Code::Unknown,
            message: message.into(),
        }
    }

    #[tokio::test]
    async fn only_an_end_that_was_not_noticed_is_waited_for() {
        let premature = "failed to set removing state for container \"x\": container is still running, to stop first";
        let mut asked = 0;
        let noticed = insistently(async || {
            asked += 1;
            if asked < 3 { Err(refused(premature)) } else { Ok(()) }
        });
        assert!(noticed.await.is_ok());
        assert_eq!(asked, 3);
        let mut asked = 0;
        let refused = insistently(async || {
            asked += 1;
            Err(refused("no space left on device"))
        });
        assert!(refused.await.is_err());
        assert_eq!(asked, 1);
    }
}
