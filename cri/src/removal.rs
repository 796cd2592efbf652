//! Stops and removals, asked again as a kubelet does while the runtime has not yet taken notice of an end.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long the runtime may take to notice. containerd 1.7 and newer handle the exits of a shim that was killed when its
/// clean-up is over; that fails the first time, and is tried again after 1 s, 2 s, 4 s.
const PATIENCE: Duration = Duration::from_secs(15);

/// Time between two requests.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks until the answer is not that something still runs, for a bounded time.
pub(crate) async fn insistently<Asked: Future<Output = Result<()>>>(mut ask: impl FnMut() -> Asked) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(error) if is_premature(&error) && Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

/// Whether containerd was overtaken by a container's end. It says so in words, without a code of its own:
///
/// - A removal stops what runs before it removes. When a container still runs then, its end has not been handled.
/// - A stop kills what seems to run. containerd closes its connection to the shim when it handles the end of the
///   container, under the request that is on its way there.
fn is_premature(error: &Error) -> bool {
    let ends = ["container is still running, to stop first", "ttrpc: closed"];
    matches!(error, Error::Request { message, .. } if ends.iter().any(|end| message.ends_with(end)))
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
        let running = "failed to set removing state for container \"x\": container is still running, to stop first";
        let closed = "failed to stop container \"x\": failed to kill container \"x\": ttrpc: closed";
        for premature in [running, closed] {
            let mut asked = 0;
            let noticed = insistently(|| {
                asked += 1;
                std::future::ready(if asked < 3 { Err(refused(premature)) } else { Ok(()) })
            });
            assert!(noticed.await.is_ok());
            assert_eq!(asked, 3);
        }
        let mut asked = 0;
        let refused = insistently(|| {
            asked += 1;
            std::future::ready(Err(refused("no space left on device")))
        });
        assert!(refused.await.is_err());
        assert_eq!(asked, 1);
    }
}
