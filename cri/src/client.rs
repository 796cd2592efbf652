//! One method for each request, over one connection to a Unix socket.

use std::{error::Error as _, path::Path, time::Duration};

use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::{
    error::{Error, Result},
    removal::insistently,
    v1::{self, image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient},
};

/// Answers larger than this are refused: the kubelet's own limit, for lists on a full node.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How long to wait for the socket to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a runtime's CRI socket. Cloning shares the connection.
#[derive(Debug, Clone)]
pub struct Client {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    channel: Channel,
}

/// Sends one request and names it in the error, should there be one.
macro_rules! call {
    ($self:ident.$service:ident.$method:ident($request:expr), $operation:literal, $object:expr) => {
        $self
            .$service
            .clone()
            .$method($request)
            .await
            .map(tonic::Response::into_inner)
            .map_err(|status| failed($operation, $object, &status))
    };
}

impl Client {
    /// Connects to the socket, as in `/run/containerd/containerd.sock`. Fails when nobody listens there.
    pub async fn connect(socket: &Path) -> Result<Self> {
        let refused = |cause| Error::Connect { socket: socket.to_path_buf(), cause };
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .map_err(|error| refused(with_sources(&error)))?
            .connect_timeout(CONNECT_TIMEOUT);
        let channel = endpoint.connect().await.map_err(|error| refused(with_sources(&error)))?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES),
            images: ImageServiceClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES),
            channel,
        })
    }

    /// The connection itself.
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Name and version of the runtime.
    pub async fn version(&self) -> Result<v1::VersionResponse> {
        call!(self.runtime.version(v1::VersionRequest { version: "v1".into() }), "Version", "of the runtime")
    }

    /// Whether runtime and network are ready; `verbose` adds the configuration as JSON.
    pub async fn status(&self, verbose: bool) -> Result<v1::StatusResponse> {
        call!(self.runtime.status(v1::StatusRequest { verbose }), "Status", "of the runtime")
    }

    /// Makes a pod's sandbox and returns its id. An empty `handler` means the runtime's default.
    pub async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String> {
        let object = pod_name(&config);
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        let answer = call!(self.runtime.run_pod_sandbox(request), "RunPodSandbox", object)?;
        Ok(answer.pod_sandbox_id)
    }

    /// Stops every container of the pod and takes its network down. A second call does nothing.
    pub async fn stop_pod_sandbox(&self, pod: &str) -> Result<()> {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: pod.to_owned() };
        let ask = || async {
            let request = request.clone();
            call!(self.runtime.stop_pod_sandbox(request), "StopPodSandbox", format!("pod {pod}")).map(|_| ())
        };
        insistently(ask).await
    }

    /// Removes the pod with its containers. A pod that does not exist is removed.
    pub async fn remove_pod_sandbox(&self, pod: &str) -> Result<()> {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: pod.to_owned() };
        let ask = || async {
            let request = request.clone();
            call!(self.runtime.remove_pod_sandbox(request), "RemovePodSandbox", format!("pod {pod}")).map(|_| ())
        };
        insistently(ask).await
    }

    /// State, address and annotations of a pod; `verbose` adds the runtime's own view as JSON in `info`.
    pub async fn pod_sandbox_status(&self, pod: &str, verbose: bool) -> Result<v1::PodSandboxStatusResponse> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: pod.to_owned(), verbose };
        call!(self.runtime.pod_sandbox_status(request), "PodSandboxStatus", format!("pod {pod}"))
    }

    /// The pods that the filter lets through; all without one.
    pub async fn list_pod_sandboxes(&self, filter: Option<v1::PodSandboxFilter>) -> Result<Vec<v1::PodSandbox>> {
        let request = v1::ListPodSandboxRequest { filter };
        Ok(call!(self.runtime.list_pod_sandbox(request), "ListPodSandbox", "of the node")?.items)
    }

    /// Makes a container in a pod and returns its id. `sandbox` is the configuration that made the pod.
    pub async fn create_container(
        &self,
        pod: &str,
        config: v1::ContainerConfig,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String> {
        let name = config.metadata.as_ref().map_or("without a name", |metadata| metadata.name.as_str());
        let object = format!("container {name} of pod {}", pod_name(&sandbox));
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox),
        };
        Ok(call!(self.runtime.create_container(request), "CreateContainer", object)?.container_id)
    }

    /// Starts a container that was created.
    pub async fn start_container(&self, container: &str) -> Result<()> {
        let request = v1::StartContainerRequest { container_id: container.to_owned() };
        call!(self.runtime.start_container(request), "StartContainer", format!("container {container}")).map(|_| ())
    }

    /// Sends the stop signal, waits `grace`, then kills. Whole seconds count; zero kills at once.
    pub async fn stop_container(&self, container: &str, grace: Duration) -> Result<()> {
        let request = v1::StopContainerRequest { container_id: container.to_owned(), timeout: whole_seconds(grace) };
        let ask = || async {
            let request = request.clone();
            call!(self.runtime.stop_container(request), "StopContainer", format!("container {container}")).map(|_| ())
        };
        insistently(ask).await
    }

    /// Removes a container, killing it when it runs. A container that does not exist is removed.
    pub async fn remove_container(&self, container: &str) -> Result<()> {
        let request = v1::RemoveContainerRequest { container_id: container.to_owned() };
        let ask = || async {
            let (request, object) = (request.clone(), format!("container {container}"));
            call!(self.runtime.remove_container(request), "RemoveContainer", object).map(|_| ())
        };
        insistently(ask).await
    }

    /// The containers that the filter lets through; all without one.
    pub async fn list_containers(&self, filter: Option<v1::ContainerFilter>) -> Result<Vec<v1::Container>> {
        let request = v1::ListContainersRequest { filter };
        Ok(call!(self.runtime.list_containers(request), "ListContainers", "of the node")?.containers)
    }

    /// State, times, exit code and reason of a container.
    pub async fn container_status(&self, container: &str) -> Result<v1::ContainerStatus> {
        let object = format!("container {container}");
        let answer = self.container_status_verbose(container, false).await?;
        answer.status.ok_or(Error::Incomplete { operation: "ContainerStatus", object, missing: "status" })
    }

    /// Like [`Client::container_status`]; `verbose` adds the runtime's own view (pid, OCI spec) as JSON in `info`.
    pub async fn container_status_verbose(
        &self,
        container: &str,
        verbose: bool,
    ) -> Result<v1::ContainerStatusResponse> {
        let request = v1::ContainerStatusRequest { container_id: container.to_owned(), verbose };
        call!(self.runtime.container_status(request), "ContainerStatus", format!("container {container}"))
    }

    /// Sets other limits for a container that exists. Fields left at zero stay as they are.
    pub async fn update_container_resources(
        &self,
        container: &str,
        resources: v1::LinuxContainerResources,
    ) -> Result<()> {
        let object = format!("container {container}");
        let request = v1::UpdateContainerResourcesRequest {
            container_id: container.to_owned(),
            linux: Some(resources),
            ..Default::default()
        };
        call!(self.runtime.update_container_resources(request), "UpdateContainerResources", object).map(|_| ())
    }

    /// Makes the runtime open the container's log file anew, after it was moved away.
    pub async fn reopen_container_log(&self, container: &str) -> Result<()> {
        let request = v1::ReopenContainerLogRequest { container_id: container.to_owned() };
        let object = format!("container {container}");
        call!(self.runtime.reopen_container_log(request), "ReopenContainerLog", object).map(|_| ())
    }

    /// Runs a command in a container and returns its output (at most 16 MiB a stream) and exit code. Zero `limit`
    /// means no limit; whole seconds count.
    pub async fn exec_sync<S: AsRef<str>>(
        &self,
        container: &str,
        command: &[S],
        limit: Duration,
    ) -> Result<v1::ExecSyncResponse> {
        let cmd: Vec<String> = command.iter().map(|word| word.as_ref().to_owned()).collect();
        let object = format!("{cmd:?} in container {container}");
        let request = v1::ExecSyncRequest { container_id: container.to_owned(), cmd, timeout: whole_seconds(limit) };
        call!(self.runtime.exec_sync(request), "ExecSync", object)
    }

    /// Prepares a command whose streams are then reached at the URL that is returned (SPDY or WebSocket).
    pub async fn exec(&self, request: v1::ExecRequest) -> Result<String> {
        let object = format!("{:?} in container {}", request.cmd, request.container_id);
        Ok(call!(self.runtime.exec(request), "Exec", object)?.url)
    }

    /// Prepares a connection to the streams of a running container and returns its URL.
    pub async fn attach(&self, request: v1::AttachRequest) -> Result<String> {
        let object = format!("to container {}", request.container_id);
        Ok(call!(self.runtime.attach(request), "Attach", object)?.url)
    }

    /// Prepares a connection to ports of a pod and returns its URL.
    pub async fn port_forward(&self, pod: &str, ports: &[u16]) -> Result<String> {
        let port = ports.iter().copied().map(i32::from).collect();
        let request = v1::PortForwardRequest { pod_sandbox_id: pod.to_owned(), port };
        Ok(call!(self.runtime.port_forward(request), "PortForward", format!("pod {pod}"))?.url)
    }

    /// What a container uses now.
    pub async fn container_stats(&self, container: &str) -> Result<v1::ContainerStats> {
        let object = format!("container {container}");
        let request = v1::ContainerStatsRequest { container_id: container.to_owned() };
        let answer = call!(self.runtime.container_stats(request), "ContainerStats", object.clone())?;
        answer.stats.ok_or(Error::Incomplete { operation: "ContainerStats", object, missing: "stats" })
    }

    /// What the running containers that the filter lets through use now.
    pub async fn list_container_stats(
        &self,
        filter: Option<v1::ContainerStatsFilter>,
    ) -> Result<Vec<v1::ContainerStats>> {
        let request = v1::ListContainerStatsRequest { filter };
        Ok(call!(self.runtime.list_container_stats(request), "ListContainerStats", "of the node")?.stats)
    }

    /// What a pod uses now, its containers included.
    pub async fn pod_sandbox_stats(&self, pod: &str) -> Result<v1::PodSandboxStats> {
        let object = format!("pod {pod}");
        let request = v1::PodSandboxStatsRequest { pod_sandbox_id: pod.to_owned() };
        let answer = call!(self.runtime.pod_sandbox_stats(request), "PodSandboxStats", object.clone())?;
        answer.stats.ok_or(Error::Incomplete { operation: "PodSandboxStats", object, missing: "stats" })
    }

    /// The images on this node.
    pub async fn list_images(&self) -> Result<Vec<v1::Image>> {
        let request = v1::ListImagesRequest { filter: None };
        Ok(call!(self.images.list_images(request), "ListImages", "of the node")?.images)
    }

    /// The image of this name (as in `busybox` or `docker.io/library/busybox:1.36`), when it is on this node.
    pub async fn image_status(&self, image: &str) -> Result<Option<v1::Image>> {
        let request = v1::ImageStatusRequest { image: Some(image_spec(image)), verbose: false };
        Ok(call!(self.images.image_status(request), "ImageStatus", format!("image {image}"))?.image)
    }

    /// Like [`Client::image_status`], with the runtime's own view as JSON in `info`.
    pub async fn image_status_verbose(&self, image: &str) -> Result<v1::ImageStatusResponse> {
        let request = v1::ImageStatusRequest { image: Some(image_spec(image)), verbose: true };
        call!(self.images.image_status(request), "ImageStatus", format!("image {image}"))
    }

    /// Fetches an image from its registry and returns the reference of what was fetched.
    pub async fn pull_image(&self, image: &str) -> Result<String> {
        let request = v1::PullImageRequest { image: Some(image_spec(image)), auth: None, sandbox_config: None };
        Ok(call!(self.images.pull_image(request), "PullImage", format!("image {image}"))?.image_ref)
    }

    /// Removes an image. One that does not exist is removed.
    pub async fn remove_image(&self, image: &str) -> Result<()> {
        let request = v1::RemoveImageRequest { image: Some(image_spec(image)) };
        call!(self.images.remove_image(request), "RemoveImage", format!("image {image}")).map(|_| ())
    }
}

pub(crate) fn failed(operation: &'static str, object: impl Into<String>, status: &Status) -> Error {
    Error::Request { operation, object: object.into(), code: status.code(), message: status.message().to_owned() }
}

fn image_spec(image: &str) -> v1::ImageSpec {
    v1::ImageSpec { image: image.to_owned(), ..Default::default() }
}

/// `namespace/name`, as people write it.
fn pod_name(config: &v1::PodSandboxConfig) -> String {
    match &config.metadata {
        Some(metadata) if metadata.namespace.is_empty() => metadata.name.clone(),
        Some(metadata) => format!("{}/{}", metadata.namespace, metadata.name),
        None => "without a name".to_owned(),
    }
}

/// CRI counts in whole seconds; what is longer than its type can say is as good as for ever.
fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// The transport's own message says only `transport error`; the reason is in its sources.
fn with_sources(error: &tonic::transport::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause: &&dyn std::error::Error| (*cause).source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    // Each layer of the library says again what the one below it has said, and its own word for all of them says nothing.
    texts.dedup();
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_period_is_counted_in_whole_seconds() {
        assert_eq!(whole_seconds(Duration::from_millis(2900)), 2);
        assert_eq!(whole_seconds(Duration::MAX), i64::MAX);
    }

    #[test]
    fn a_pod_is_named_with_its_namespace() {
        let metadata = v1::PodSandboxMetadata { name: "web".into(), namespace: "shop".into(), ..Default::default() };
        let config = v1::PodSandboxConfig { metadata: Some(metadata), ..Default::default() };
        assert_eq!(pod_name(&config), "shop/web");
    }
}
