//! One container of the pod.

/// Where a container stands.
#[derive(Debug)]
pub struct ContainerState {}
