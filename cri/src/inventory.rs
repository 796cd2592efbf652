//! What containerd itself knows, in each of its namespaces: containers, their tasks, sandboxes, of whichever client. CRI tells of
//! its own only.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    metadata::{Ascii, MetadataValue},
};
use tonic_prost::ProstCodec;

use crate::{
    client::{Client, failed},
    error::{Code, Error, Result},
};

/// The messages, generated from `proto/inventory.proto`.
#[allow(missing_docs, clippy::all, clippy::cast_lossless, unreachable_pub)]
pub(crate) mod api {
    tonic::include_proto!("loment.inventory");
}

use api::{
    ListContainersRequest, ListContainersResponse, ListNamespacesResponse, ListRequest, ListSandboxesResponse,
    ListTasksResponse,
};

/// A list has the specification of each container, which is some 10 KiB.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// A container as containerd knows it, or a sandbox that a shim has made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// Its labels. CRI copies those of the pod.
    pub labels: HashMap<String, String>,
    /// The runtime, as in `io.containerd.runc.v2`; empty where that is not told.
    pub runtime: String,
    /// The first process of its task, if it has one.
    pub pid: Option<u32>,
    /// When it was made; of containers only.
    pub created: Option<SystemTime>,
}

impl Client {
    /// The namespaces of containerd.
    pub async fn list_namespaces(&self) -> Result<Vec<String>> {
        let answer: ListNamespacesResponse =
            self.ask("/containerd.services.namespaces.v1.Namespaces/List", None, ListRequest::default()).await?;
        Ok(answer.namespaces.into_iter().map(|one| one.name).collect())
    }

    /// All containers and sandboxes of one namespace, with their tasks. A task that containerd has found in its state
    /// directory and whose container it does not know is not among them: no client can reach it, not even to delete it.
    ///
    /// Of a task whose shim does not answer containerd does not tell; of its container it does.
    pub async fn inventory(&self, namespace: &str) -> Result<Vec<Known>> {
        let containers: ListContainersResponse = self
            .ask(
                "/containerd.services.containers.v1.Containers/List",
                Some(namespace),
                ListContainersRequest::default(),
            )
            .await?;
        let tasks: ListTasksResponse =
            self.ask("/containerd.services.tasks.v1.Tasks/List", Some(namespace), ListRequest::default()).await?;
        let known = containers.containers.into_iter().map(|one| Known {
            id: one.id,
            labels: one.labels,
            runtime: one.runtime.unwrap_or_default().name,
            pid: None,
            created: one.created_at.and_then(time),
        });
        let mut known: Vec<Known> = known.collect();
        for task in tasks.tasks {
            if let Some(one) = known.iter_mut().find(|one| one.id == task.id) {
                one.pid = Some(task.pid);
            }
        }
        for id in self.sandboxes(namespace).await? {
            if !known.iter().any(|one| one.id == id) {
                known.push(Known { id, ..Known::default() });
            }
        }
        Ok(known)
    }

    /// Sandboxes of containerd's Sandbox API, which those before 1.7 do not have.
    async fn sandboxes(&self, namespace: &str) -> Result<Vec<String>> {
        let request = ListContainersRequest::default();
        let path = "/containerd.services.sandbox.v1.Store/List";
        let answer: Result<ListSandboxesResponse> = self.ask(path, Some(namespace), request).await;
        match answer {
            Ok(answer) => Ok(answer.list.into_iter().map(|one| one.sandbox_id).collect()),
            Err(error) if error.code() == Some(Code::Unimplemented) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Asks containerd's own services something.
    pub(crate) async fn ask<Q, A>(&self, path: &'static str, namespace: Option<&str>, message: Q) -> Result<A>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let object = || namespace.map_or_else(|| "of the node".to_owned(), |name| format!("of namespace {name:?}"));
        let mut request = Request::new(message);
        if let Some(namespace) = namespace {
            let value: MetadataValue<Ascii> = namespace.parse().map_err(|_| Error::Request {
                operation: path,
                object: object(),
                code: Code::InvalidArgument,
                message: "its name cannot be asked for".to_owned(),
            })?;
            request.metadata_mut().insert("containerd-namespace", value);
        }
        let mut service = Grpc::new(self.channel().clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
        service
            .ready()
            .await
            .map_err(|error| failed(path, object(), &tonic::Status::unavailable(error.to_string())))?;
        let answer = service.unary(request, PathAndQuery::from_static(path), ProstCodec::<Q, A>::default()).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failed(path, object(), &status))
    }
}

/// Nothing for a time that there cannot be.
fn time(stamp: api::Time) -> Option<SystemTime> {
    let since = Duration::new(u64::try_from(stamp.seconds).ok()?, u32::try_from(stamp.nanos).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}
