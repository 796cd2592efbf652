//! Compiled profiles of this process, by content: the containers of a pod mostly have the same one.
//!
//! What is kept of a profile is 16 bytes, and its program as long as a container uses it. Telling the default profile
//! apart takes a sixth of the time of compiling it (10 µs of 59 µs, `benches/seccomp.rs`).

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use oci_spec::runtime::LinuxSeccomp;

use super::Filter;
use crate::Result;

/// Two hashes with secret keys: nobody can write a profile that is taken for another one.
type Digest = [u64; 2];

static FILTERS: Mutex<Vec<(Digest, Weak<Filter>)>> = Mutex::new(Vec::new());

impl Filter {
    /// [`Filter::compile`], or the filter of an equal profile that is still in use.
    ///
    /// # Errors
    /// As [`Filter::compile`].
    pub fn cached(profile: &LinuxSeccomp) -> Result<Option<Arc<Self>>> {
        // What cannot be written as JSON has not been read from it either, and is not worth a place.
        let Some(digest) = digest(profile) else { return Ok(Self::compile(profile)?.map(Arc::new)) };
        let mut filters = FILTERS.lock().unwrap_or_else(PoisonError::into_inner);
        filters.retain(|(_, filter)| filter.strong_count() > 0);
        let known = filters.iter().find(|(known, _)| *known == digest).and_then(|(_, filter)| filter.upgrade());
        if known.is_some() {
            return Ok(known);
        }
        let filter = Self::compile(profile)?.map(Arc::new);
        filters.extend(filter.iter().map(|filter| (digest, Arc::downgrade(filter))));
        Ok(filter)
    }
}

/// The digest of a profile's content.
fn digest(profile: &LinuxSeccomp) -> Option<Digest> {
    static KEYS: OnceLock<[RandomState; 2]> = OnceLock::new();
    let keys = KEYS.get_or_init(|| [RandomState::new(), RandomState::new()]);
    // In one piece: a profile is some hundred names, and each would be hashed by itself.
    let text = serde_json::to_vec(profile).ok()?;
    Some(keys.each_ref().map(|key| key.hash_one(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(call: &str) -> LinuxSeccomp {
        let json =
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["CALL"], "action": "SCMP_ACT_ERRNO"}]}"#;
        serde_json::from_str(&json.replace("CALL", call)).unwrap()
    }

    fn cached(call: &str) -> Arc<Filter> {
        Filter::cached(&profile(call)).unwrap().unwrap()
    }

    #[test]
    fn equal_profiles_share_a_filter_as_long_as_it_is_used() {
        let (one, other) = (cached("mkdir"), cached("rmdir"));
        assert!(Arc::ptr_eq(&one, &cached("mkdir")));
        assert_ne!(one, other);
        assert_eq!(*one, Filter::compile(&profile("mkdir")).unwrap().unwrap());
        let weak = Arc::downgrade(&one);
        drop(one);
        assert!(weak.upgrade().is_none(), "nothing but its users keeps a filter");
        drop(cached("mkdir"));
        let known = digest(&profile("mkdir")).unwrap();
        drop(cached("unlink"));
        let filters = FILTERS.lock().unwrap();
        assert!(filters.iter().all(|(digest, _)| *digest != known), "what is used no more is forgotten");
    }
}
