//! `v1.PodStatus`.

/// A pod's status.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PodStatus {}
