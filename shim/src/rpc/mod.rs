//! The services on the shim's socket.

pub(crate) mod create;
pub(crate) mod metrics;
mod options;
mod task;

use std::{collections::HashMap, sync::Arc};

use containerd_shim_protos::shim_async::create_task;
use ttrpc::r#async::Service;

use crate::{pod, sandbox, shim::Shim};

/// Task, under both of its names, Sandbox, and Pod.
pub(crate) fn services(shim: &Arc<Shim>) -> HashMap<String, Service> {
    let mut services = HashMap::new();
    // Versions 2 and 3 differ in nothing but the name of the package.
    for name in ["containerd.task.v2.Task", "containerd.task.v3.Task"] {
        let made = create_task(Arc::new(task::TaskService::new(Arc::clone(shim))));
        services.extend(made.into_values().map(|service| (name.to_owned(), service)));
    }
    services.extend(sandbox::service::create(Arc::clone(shim)));
    services.extend(pod::service::create(Arc::clone(shim)));
    services
}
