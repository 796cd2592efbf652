//! How long the containers of a pod may take to end.

use std::time::Duration;

use anyhow::bail;

use super::Delete;
use crate::session::Found;

/// How long the containers of a pod may take to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grace {
    /// What the pod says.
    Pod,
    /// So many seconds.
    Seconds(u64),
    /// None at all.
    Force,
}

impl Grace {
    pub(super) fn of(args: &Delete) -> anyhow::Result<Self> {
        if args.now && args.grace_period >= 0 {
            bail!("--now and --grace-period cannot be specified together");
        }
        if args.force && args.grace_period > 0 {
            bail!("--force and --grace-period greater than 0 cannot be specified together");
        }
        Ok(match (args.force, args.now) {
            (true, false) => Grace::Force,
            (_, true) => Grace::Seconds(1),
            (false, false) => Grace::of_seconds(args.grace_period),
        })
    }

    /// What `--grace-period` alone says: negative is what the pod says, and nothing is killed unasked, so that 0 means the
    /// shortest one.
    pub(crate) fn of_seconds(seconds: i64) -> Self {
        u64::try_from(seconds).map_or(Grace::Pod, |seconds| Grace::Seconds(seconds.max(1)))
    }

    pub(super) fn duration(self, found: &Found) -> Duration {
        let own = found.pod.spec.as_ref().and_then(|spec| u64::try_from(spec.termination_grace_period_seconds?).ok());
        Duration::from_secs(match self {
            Grace::Pod => own.unwrap_or(30),
            Grace::Seconds(seconds) => seconds,
            Grace::Force => 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parsed;
    use super::*;

    #[test]
    fn the_grace_follows_kubectl() {
        let grace = |words: &[&str]| Grace::of(&parsed(words)).map_err(|error| error.to_string());
        assert_eq!(grace(&["pod", "a"]), Ok(Grace::Pod));
        assert_eq!(grace(&["pod", "a", "--grace-period=0"]), Ok(Grace::Seconds(1)));
        assert_eq!(grace(&["pod", "a", "--grace-period", "-1"]), Ok(Grace::Pod));
        assert_eq!(grace(&["pod", "a", "--now"]), Ok(Grace::Seconds(1)));
        assert_eq!(grace(&["pod", "a", "--force"]), Ok(Grace::Force));
        assert_eq!(grace(&["pod", "a", "--force", "--grace-period=0"]), Ok(Grace::Force));
        assert!(grace(&["pod", "a", "--now", "--grace-period=5"]).is_err());
        assert!(grace(&["pod", "a", "--force", "--grace-period=5"]).is_err());
    }
}
