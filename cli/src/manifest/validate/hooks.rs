//! Rules for what is done when a container has started and before it is stopped.

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, PodSpec};
use loment_sandbox::lifecycle::manifest::signal as number_of;

use super::errors::{Errors, quoted};
use super::probes::{Handlers, check_handlers};

pub(super) fn check(errors: &mut Errors, path: &str, container: &Container, spec: &PodSpec) {
    let Some(lifecycle) = &container.lifecycle else { return };
    let path = format!("{path}.lifecycle");
    for (name, hook) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
        if let Some(hook) = hook {
            check_handlers(errors, &format!("{path}.{name}"), handlers(hook), spec);
        }
    }
    if let Some(signal) = lifecycle.stop_signal.as_deref() {
        check_signal(errors, &format!("{path}.stopSignal"), signal, spec.os.is_some());
    }
}

fn handlers(hook: &LifecycleHandler) -> Handlers<'_> {
    Handlers {
        exec: hook.exec.as_ref(),
        http_get: hook.http_get.as_ref(),
        tcp_socket: hook.tcp_socket.as_ref(),
        sleep: hook.sleep.as_ref().map(|sleep| sleep.seconds),
        ..Handlers::default()
    }
}

fn check_signal(errors: &mut Errors, path: &str, signal: &str, has_os: bool) {
    if !has_os {
        errors.forbidden(path, "may not be set for containers with empty `spec.os.name`");
    }
    if number_of(signal).is_none() {
        errors.invalid(path, quoted(signal), "must be the name of a signal, as in SIGTERM or SIGRTMIN+3");
    }
}
