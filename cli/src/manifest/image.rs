//! Image names.

/// The tag of an image name, and whether it is pinned by a digest.
pub(crate) fn tag_of(image: &str) -> (Option<&str>, bool) {
    let (name, digest) = match image.split_once('@') {
        Some((name, _)) => (name, true),
        None => (image, false),
    };
    let last = name.rsplit('/').next().unwrap_or(name);
    (last.split_once(':').map(|(_, tag)| tag), digest)
}

/// The pull policy of a container that names none: images that may change under the same name are pulled each time.
pub(crate) fn default_pull_policy(image: &str) -> &'static str {
    match tag_of(image) {
        (None | Some("latest"), false) | (Some("latest"), true) => "Always",
        _ => "IfNotPresent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_image_without_a_fixed_tag_is_pulled_always() {
        for image in ["busybox", "busybox:latest", "r.example:5000/a/b", "docker.io/library/busybox"] {
            assert_eq!(default_pull_policy(image), "Always", "{image}");
        }
        for image in ["busybox:1.36", "r.example:5000/a/b:v1", "busybox@sha256:00"] {
            assert_eq!(default_pull_policy(image), "IfNotPresent", "{image}");
        }
    }
}
