//! What is left of pods and containers: found, attributed, removed. docs/leaks.md says what is taken for one, and what never
//! is.
//!
//! | file | subject |
//! |---|---|
//! | `look` | a look at the machine and at containerd: makes a `survey` |
//! | `processes`, `places`, `mounts`, `cni`, `kept` | what it looks at |
//! | `survey` | what was seen, as values |
//! | `owners`, `judge` | whose it is, and whether it is a leftover: functions of a survey |
//! | `finding` | something that is left |
//! | `remove`, `undo` | its removal, and the steps of it |
//! | `usage` | what containerd and shims use |

pub(crate) mod cni;
pub(crate) mod finding;
mod judge;
#[cfg(test)]
mod judge_properties;
#[cfg(test)]
mod judge_tests;
mod kept;
pub(crate) mod look;
pub(crate) mod mounts;
mod owners;
pub(crate) mod places;
pub(crate) mod processes;
pub(crate) mod remove;
pub(crate) mod survey;
mod undo;
pub(crate) mod usage;

use std::time::Duration;

use finding::{Finding, agreed};
use look::Places;
use survey::Survey;

use crate::session::Session;

/// Between two looks. A pod that is being made or removed is not for so long in a state that looks like a leftover:
/// containerd knows a container before there is anything of it, and until there is nothing any more.
const PAUSE: Duration = Duration::from_secs(2);

/// What two looks have found, and the last of them. What only one has seen was being made or removed.
pub(crate) async fn find(session: &Session, places: &Places) -> anyhow::Result<(Vec<Finding>, Survey)> {
    let (first, survey) = once(session, places).await?;
    if first.is_empty() {
        return Ok((first, survey));
    }
    tokio::time::sleep(PAUSE).await;
    let (second, survey) = once(session, places).await?;
    Ok((agreed(&first, second), survey))
}

async fn once(session: &Session, places: &Places) -> anyhow::Result<(Vec<Finding>, Survey)> {
    let survey = look::look(session, places).await?;
    let address = survey.address.clone();
    let socket_of = |namespace: &str, group: &str| loment_shim::socket_of(&address, namespace, group);
    Ok((judge::judge(&survey, &socket_of), survey))
}
