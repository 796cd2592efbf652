//! What is copied where: `[[NAMESPACE/]POD:]PATH`.

use anyhow::bail;

/// A file of this machine or of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spec {
    Local(String),
    Remote { namespace: Option<String>, pod: String, path: String },
}

/// Which way to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Into { local: String, namespace: Option<String>, pod: String, path: String },
    OutOf { namespace: Option<String>, pod: String, path: String, local: String },
}

pub(crate) fn parse(word: &str) -> anyhow::Result<Spec> {
    let Some((pod, path)) = word.split_once(':') else { return Ok(Spec::Local(word.to_owned())) };
    // A path of this machine with a colon in it is written with a directory: ./a:b
    if pod.starts_with(['.', '/']) {
        return Ok(Spec::Local(word.to_owned()));
    }
    let (namespace, pod) = match pod.split_once('/') {
        Some((namespace, pod)) => (Some(namespace.to_owned()), pod),
        None => (None, pod),
    };
    if pod.is_empty() || pod.contains('/') || namespace.as_deref() == Some("") {
        bail!("filespec must match the canonical format: [[namespace/]pod:]file/path");
    }
    Ok(Spec::Remote { namespace, pod: pod.to_owned(), path: path.to_owned() })
}

/// One of both must be a pod's.
pub(crate) fn direction(source: &str, destination: &str) -> anyhow::Result<Direction> {
    let (source, destination) = (parse(source)?, parse(destination)?);
    let path = |spec: &Spec| match spec {
        Spec::Local(path) | Spec::Remote { path, .. } => path.is_empty(),
    };
    if path(&source) || path(&destination) {
        bail!("filepath can not be empty");
    }
    match (source, destination) {
        (Spec::Local(local), Spec::Remote { namespace, pod, path }) => {
            Ok(Direction::Into { local, namespace, pod, path })
        }
        (Spec::Remote { namespace, pod, path }, Spec::Local(local)) => {
            Ok(Direction::OutOf { namespace, pod, path, local })
        }
        (Spec::Remote { .. }, Spec::Remote { .. }) => bail!("one of src or dest must be a local file specification"),
        (Spec::Local(_), Spec::Local(_)) => bail!("one of src or dest must be a remote file specification"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_of_a_pod_when_a_pod_is_named_before_a_colon() {
        let remote = |namespace: Option<&str>, pod: &str, path: &str| Spec::Remote {
            namespace: namespace.map(str::to_owned),
            pod: pod.to_owned(),
            path: path.to_owned(),
        };
        assert_eq!(parse("web:/a").unwrap(), remote(None, "web", "/a"));
        assert_eq!(parse("shop/web:a:b").unwrap(), remote(Some("shop"), "web", "a:b"));
        for local in ["a", "/a/b", "./a:b", "/a:b"] {
            assert_eq!(parse(local).unwrap(), Spec::Local(local.to_owned()));
        }
        for wrong in [":/a", "a/b/c:/d", "/:x".trim_start_matches('/'), "a/:x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_side_is_local_and_the_other_is_not() {
        let refused = |source: &str, destination: &str| direction(source, destination).unwrap_err().to_string();
        assert_eq!(refused("a", "b"), "one of src or dest must be a remote file specification");
        assert_eq!(refused("p:a", "q:b"), "one of src or dest must be a local file specification");
        assert_eq!(refused("p:", "b"), "filepath can not be empty");
        assert!(matches!(direction("a", "p:b").unwrap(), Direction::Into { .. }));
        assert!(matches!(direction("p:a", "b").unwrap(), Direction::OutOf { .. }));
    }
}
