//! What is written down of a sandbox: for people and for `-o json`. To remove one it is not needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

pub(super) const FILE: &str = "record.json";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) name: String,
    /// RFC 3339.
    pub(crate) created: String,
    /// Whether its making has come to its end.
    pub(crate) complete: bool,
    /// Inodes by kind.
    pub(crate) namespaces: BTreeMap<String, u64>,
    pub(crate) hostname: Option<String>,
    pub(crate) sysctls: BTreeMap<String, String>,
    /// `INSIDE:OUTSIDE:COUNT`, of a user namespace.
    pub(crate) ids: Option<String>,
    /// Seconds that each clock of a time namespace is ahead of the machine's.
    pub(crate) clocks: Option<BTreeMap<String, i64>>,
    /// The first process of its pid namespace.
    pub(crate) holder: Option<i32>,
}

impl Record {
    /// Writes it as a whole or not at all.
    pub(super) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let (path, new) = (directory.join(FILE), directory.join("record.new"));
        let text = serde_json::to_string_pretty(self).context("write a record")?;
        fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("write {}", path.display()))
    }
}
