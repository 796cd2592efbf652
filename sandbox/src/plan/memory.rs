//! `linux.memoryPolicy`: from which memory nodes a container gets its memory. set_mempolicy(2)

use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType, MemoryPolicyModeType};

use super::process::numbers;
use crate::Result;

/// A policy as the kernel takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryPolicy {
    /// Mode and flags.
    pub(crate) mode: u32,
    /// One bit for each node.
    pub(crate) nodes: Vec<u64>,
    /// For messages.
    pub(crate) name: String,
}

/// More nodes than any kernel is built for (`CONFIG_NODES_SHIFT` is 10 at most).
const MOST_NODES: usize = 1 << 10;

/// Checks `linux.memoryPolicy`. Which modes go with which nodes and flags is the kernel's to say, and it depends on its
/// version.
pub(crate) fn memory_policy(policy: &LinuxMemoryPolicy) -> Result<MemoryPolicy> {
    // linux/mempolicy.h
    let mode = match policy.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flag = |flag: &MemoryPolicyFlagType| match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    };
    let list = policy.nodes().as_deref().unwrap_or_default().trim();
    let listed = if list.is_empty() { Vec::new() } else { numbers("linux.memoryPolicy.nodes", list, MOST_NODES)? };
    let mut nodes = vec![0; listed.iter().max().map_or(0, |last| last / u64::BITS as usize + 1)];
    for node in listed {
        if let Some(word) = nodes.get_mut(node / u64::BITS as usize) {
            *word |= 1 << (node % u64::BITS as usize);
        }
    }
    Ok(MemoryPolicy {
        mode: policy.flags().iter().flatten().map(flag).fold(mode, |all, flag| all | flag),
        nodes,
        name: format!("{} of nodes {list:?}", policy.mode()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nodes_become_bits() {
        let policy = |nodes: &str| {
            let policy = json!({"mode": "MPOL_BIND", "nodes": nodes, "flags": ["MPOL_F_STATIC_NODES"]});
            memory_policy(&serde_json::from_value(policy).unwrap())
        };
        let bind = policy("0-2,65").unwrap();
        assert_eq!((bind.mode, bind.nodes.as_slice()), (2 | 1 << 15, &[0b111, 0b10][..]));
        assert!(policy("").unwrap().nodes.is_empty());
        for bad in ["x", "3-", "-1", "1024", "2-1"] {
            assert!(policy(bad).unwrap_err().to_string().contains("linux.memoryPolicy.nodes"), "{bad}");
        }
    }
}
