//! The part of a `v1.Pod` that is read.

use super::spec::PodSpec;
use crate::Result;

pub(super) fn read(_json: &str) -> Result<PodSpec> {
    todo!()
}
