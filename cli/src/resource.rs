//! What a user calls a pod: `pod web`, `pods web db`, `po/web`, `web`.

use anyhow::bail;

use crate::error::Said;

const WORDS: [&str; 3] = ["pod", "pods", "po"];

/// The names in `pods`, `pod NAME ...` or `pod/NAME ...`; none means all pods.
pub(crate) fn names(words: &[String]) -> anyhow::Result<Vec<String>> {
    let Some((first, rest)) = words.split_first() else {
        bail!("Required resource not specified.\nUse \"pods\" or \"pod NAME\".");
    };
    if words.iter().any(|word| word.contains('/')) {
        return words.iter().map(|word| slashed(word)).collect();
    }
    if !is_pod(first) {
        return Err(other_kind(first, words).into());
    }
    Ok(rest.to_vec())
}

/// The name in `NAME` or `pod/NAME`.
pub(crate) fn name(word: &str) -> anyhow::Result<String> {
    if word.contains('/') { slashed(word) } else { Ok(word.to_owned()) }
}

/// The names in `NAME ...` or in any form of [`names`]; none means all pods.
pub(crate) fn names_or_all(words: &[String]) -> anyhow::Result<Vec<String>> {
    match words.first() {
        Some(first) if is_pod(first) => names(words),
        _ => words.iter().map(|word| name(word)).collect(),
    }
}

fn slashed(word: &str) -> anyhow::Result<String> {
    match word.split_once('/') {
        Some((kind, name)) if !name.is_empty() && !name.contains('/') => {
            if !is_pod(kind) {
                return Err(other_kind(kind, &[format!("pod/{name}")]).into());
            }
            Ok(name.to_owned())
        }
        Some(_) => bail!("arguments in resource/name form may not have more than one slash"),
        None => bail!(
            "there is no need to specify a resource type as a separate argument when passing arguments in \
                       resource/name form (e.g. 'loment get resource/<resource_name>' instead of 'loment get resource \
                       resource/<resource_name>'"
        ),
    }
}

fn is_pod(kind: &str) -> bool {
    WORDS.contains(&kind.to_lowercase().as_str())
}

/// What is said of a word that stands where the type of a resource does; `words` are all of them.
fn other_kind(kind: &str, words: &[String]) -> Said {
    let lower = kind.to_lowercase();
    let instead = match lower.as_str() {
        "cm" | "configmap" | "configmaps" | "secret" | "secrets" => {
            "ConfigMaps and Secrets are read from files with each command, and not kept".to_owned()
        }
        _ if words.iter().any(|word| word.contains('/')) => format!("type \"{}\"", words.join(" ")),
        "all" => "type \"pods\"".to_owned(),
        _ if kind.contains(',') || is_of_kubernetes(&lower) => "type \"pods\", or \"pod NAME\"".to_owned(),
        _ => format!("type \"pod {}\"", words.join(" ")),
    };
    Said::one(format!("error: loment doesn't have a resource type {kind:?}, it has pods only: {instead}"))
}

/// Whether it is no name of a pod, but what Kubernetes calls other things by.
fn is_of_kubernetes(word: &str) -> bool {
    const OTHERS: &[&str] = &[
        "no",
        "node",
        "ns",
        "namespace",
        "svc",
        "service",
        "ep",
        "endpoint",
        "deploy",
        "deployment",
        "rs",
        "replicaset",
        "sts",
        "statefulset",
        "ds",
        "daemonset",
        "job",
        "cj",
        "cronjob",
        "pv",
        "persistentvolume",
        "pvc",
        "persistentvolumeclaim",
        "sa",
        "serviceaccount",
        "ing",
        "ingress",
        "ev",
        "event",
        "sc",
        "storageclass",
        "quota",
        "netpol",
        "networkpolicy",
        "networkpolicies",
        "crd",
        "hpa",
        "pdb",
        "lease",
    ];
    OTHERS.contains(&word)
        || ["s", "es"].iter().any(|end| word.strip_suffix(end).is_some_and(|one| OTHERS.contains(&one)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_of(words: &[&str]) -> Result<Vec<String>, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        names(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn singular_plural_short_and_slashed_words_mean_the_same() {
        for words in [["pod", "web"].as_slice(), &["pods", "web"], &["po", "web"], &["pod/web"], &["Pods/web"]] {
            assert_eq!(names_of(words).unwrap(), ["web"], "{words:?}");
        }
        assert_eq!(names_of(&["pods"]).unwrap(), Vec::<String>::new());
        assert_eq!(names_of(&["pod", "a", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(names_of(&["pod/a", "po/b"]).unwrap(), ["a", "b"]);
    }

    #[test]
    fn the_kind_may_be_left_out_where_only_pods_are_meant() {
        for words in [["pod", "web"].as_slice(), &["pods/web"], &["web"], &["po", "web"]] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(names_or_all(&words).unwrap(), ["web"], "{words:?}");
        }
        assert!(names_or_all(&[]).unwrap().is_empty() && names_or_all(&["pods".to_owned()]).unwrap().is_empty());
    }

    #[test]
    fn other_resources_are_refused() {
        for (words, instead) in [
            (["nodes"].as_slice(), "type \"pods\", or \"pod NAME\""),
            (&["services", "a"], "type \"pods\", or \"pod NAME\""),
            (&["pod,cm"], "type \"pods\", or \"pod NAME\""),
            (&["all"], "type \"pods\""),
            (&["cm"], "ConfigMaps and Secrets are read from files with each command, and not kept"),
            (&["web"], "type \"pod web\""),
            (&["web", "db"], "type \"pod web db\""),
            (&["deploy/web"], "type \"pod/web\""),
        ] {
            let kind = words[0].split('/').next().unwrap();
            let expected = format!("error: loment doesn't have a resource type {kind:?}, it has pods only: {instead}");
            assert_eq!(names_of(words).unwrap_err(), expected);
        }
        assert!(names_of(&["node/a"]).is_err());
        assert!(names_of(&["pod", "pod/a"]).is_err());
        assert!(names_of(&["pod/a/b"]).is_err());
        assert!(names_of(&[]).is_err());
    }
}
