//! The Sandbox service of containerd's API: `containerd.runtime.sandbox.v1.Sandbox`.
//!
//! As with tasks, what changes something runs to its end in a task of its own, because ttrpc drops a handler whose client
//! has gone away. Status, Wait, Ping and Platform never queue behind a change.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use containerd_shim_protos::{
    sandbox_api::{
        CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, PlatformRequest, PlatformResponse,
        SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest, SandboxStatusResponse,
        ShutdownSandboxRequest, ShutdownSandboxResponse, StartSandboxRequest, StartSandboxResponse, StopSandboxRequest,
        StopSandboxResponse, WaitSandboxRequest, WaitSandboxResponse,
    },
    sandbox_async::{Sandbox, create_sandbox},
    types::platform::Platform,
};
use protobuf::{MessageField, well_known_types::any::Any};
use serde_json::json;
use ttrpc::r#async::{Service, TtrpcContext};

use super::{ENDING, PodSandbox};
use crate::{
    failure::{Failure, Result},
    rpc::metrics,
    shim::Shim,
    time::{now, timestamp},
};

/// What containerd calls a specification in JSON.
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// The service, ready to be registered.
pub(crate) fn create(shim: Arc<Shim>) -> HashMap<String, Service> {
    create_sandbox(Arc::new(SandboxService { shim }))
}

struct SandboxService {
    shim: Arc<Shim>,
}

impl SandboxService {
    fn sandbox(&self, id: &str) -> Result<Arc<PodSandbox>> {
        self.shim.pod_sandbox_of(id).map(Arc::clone)
    }

    /// Runs a change to its end, even when its client goes away.
    async fn to_the_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T>> + Send + 'static,
    ) -> ttrpc::Result<T> {
        self.shim.to_the_end(change).await.map_err(Into::into)
    }
}

#[async_trait]
impl Sandbox for SandboxService {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        request: CreateSandboxRequest,
    ) -> ttrpc::Result<CreateSandboxResponse> {
        let shim = Arc::clone(&self.shim);
        self.to_the_end(async move { PodSandbox::create(&shim, request).await }).await?;
        Ok(CreateSandboxResponse::default())
    }

    async fn start_sandbox(
        &self,
        _: &TtrpcContext,
        request: StartSandboxRequest,
    ) -> ttrpc::Result<StartSandboxResponse> {
        let (sandbox, shim) = (self.sandbox(&request.sandbox_id)?, Arc::clone(&self.shim));
        let started = Arc::clone(&sandbox);
        self.to_the_end(async move { started.start(&shim).await }).await?;
        Ok(StartSandboxResponse {
            pid: sandbox.pid().unsigned_abs(),
            created_at: MessageField::some(timestamp(sandbox.created)),
            spec: MessageField::some(Any { type_url: SPEC.to_owned(), value: as_json(&sandbox)?, ..Any::default() }),
            ..StartSandboxResponse::default()
        })
    }

    async fn platform(&self, _: &TtrpcContext, request: PlatformRequest) -> ttrpc::Result<PlatformResponse> {
        self.sandbox(&request.sandbox_id)?;
        let (architecture, variant) = architecture(std::env::consts::ARCH);
        let (os, architecture, variant) = ("linux".to_owned(), architecture.to_owned(), variant.to_owned());
        let platform = MessageField::some(Platform { os, architecture, variant, ..Platform::default() });
        Ok(PlatformResponse { platform, ..PlatformResponse::default() })
    }

    async fn stop_sandbox(&self, _: &TtrpcContext, request: StopSandboxRequest) -> ttrpc::Result<StopSandboxResponse> {
        let (sandbox, shim) = (self.sandbox(&request.sandbox_id)?, Arc::clone(&self.shim));
        let patience = match request.timeout_secs {
            0 => ENDING,
            seconds => Duration::from_secs(seconds.into()),
        };
        self.to_the_end(async move { sandbox.stop(&shim, patience).await }).await?;
        Ok(StopSandboxResponse::default())
    }

    async fn wait_sandbox(&self, _: &TtrpcContext, request: WaitSandboxRequest) -> ttrpc::Result<WaitSandboxResponse> {
        let exit = self.sandbox(&request.sandbox_id)?.exit.wait().await;
        let exited_at = MessageField::some(timestamp(exit.at));
        Ok(WaitSandboxResponse { exit_status: exit.code, exited_at, ..WaitSandboxResponse::default() })
    }

    async fn sandbox_status(
        &self,
        _: &TtrpcContext,
        request: SandboxStatusRequest,
    ) -> ttrpc::Result<SandboxStatusResponse> {
        let sandbox = self.sandbox(&request.sandbox_id)?;
        let stage = *crate::lock(&sandbox.stage);
        let info = if request.verbose { info(&sandbox)? } else { BTreeMap::new() };
        Ok(SandboxStatusResponse {
            sandbox_id: sandbox.id.clone(),
            pid: sandbox.pid().unsigned_abs(),
            state: stage.as_cri().to_owned(),
            info: info.into_iter().collect(),
            created_at: MessageField::some(timestamp(sandbox.created)),
            exited_at: sandbox.exit.get().map(|exit| timestamp(exit.at)).into(),
            ..SandboxStatusResponse::default()
        })
    }

    async fn ping_sandbox(&self, _: &TtrpcContext, request: PingRequest) -> ttrpc::Result<PingResponse> {
        self.sandbox(&request.sandbox_id)?;
        Ok(PingResponse::default())
    }

    async fn shutdown_sandbox(
        &self,
        _: &TtrpcContext,
        request: ShutdownSandboxRequest,
    ) -> ttrpc::Result<ShutdownSandboxResponse> {
        let shim = Arc::clone(&self.shim);
        // Also for a client whose CreateSandbox has failed, or is still under way and sees to the rest then.
        let sandbox = self.sandbox(&request.sandbox_id).ok();
        self.to_the_end(async move {
            match sandbox {
                Some(sandbox) => sandbox.shut_down(&shim).await,
                None => {
                    shim.leave();
                    Ok(())
                }
            }
        })
        .await?;
        Ok(ShutdownSandboxResponse::default())
    }

    async fn sandbox_metrics(
        &self,
        _: &TtrpcContext,
        request: SandboxMetricsRequest,
    ) -> ttrpc::Result<SandboxMetricsResponse> {
        self.sandbox(&request.sandbox_id)?;
        let data = metrics::of_pod(&self.shim)?;
        let mut response = SandboxMetricsResponse::default();
        let metric = response.metrics.mut_or_insert_default();
        (metric.timestamp, metric.id, metric.data) =
            (MessageField::some(now()), request.sandbox_id, MessageField::some(data));
        Ok(response)
    }
}

fn as_json(sandbox: &PodSandbox) -> Result<Vec<u8>> {
    serde_json::to_vec(&sandbox.as_it_is())
        .map_err(|error| Failure::unknown(format!("encode the specification of sandbox {}: {error}", sandbox.id)))
}

/// What people are shown by `crictl inspectp`, in the form in which containerd shows its own sandboxes.
fn info(sandbox: &PodSandbox) -> Result<BTreeMap<String, String>> {
    let info = json!({
        "pid": sandbox.pid(),
        "processStatus": crate::lock(&sandbox.stage).name(),
        "runtimeType": "io.containerd.loment.v2",
        "runtimeSpec": sandbox.as_it_is(),
    });
    Ok([("info".to_owned(), info.to_string())].into())
}

/// Go's name of an architecture, and its variant, as image indices have them.
fn architecture(rust: &str) -> (&str, &str) {
    match rust {
        "x86_64" => ("amd64", ""),
        "x86" => ("386", ""),
        "aarch64" => ("arm64", "v8"),
        "arm" => ("arm", "v7"),
        "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", ""),
        "loongarch64" => ("loong64", ""),
        // riscv64, s390x
        same => (same, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_have_the_names_that_images_have() {
        assert_eq!(architecture("x86_64"), ("amd64", ""));
        assert_eq!(architecture("aarch64"), ("arm64", "v8"));
        assert_eq!(architecture("s390x"), ("s390x", ""));
    }
}
