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
    check_kind(first)?;
    Ok(rest.to_vec())
}

/// The name in `NAME` or `pod/NAME`.
pub(crate) fn name(word: &str) -> anyhow::Result<String> {
    if word.contains('/') { slashed(word) } else { Ok(word.to_owned()) }
}

/// The names in `NAME ...` or in any form of [`names`]; none means all pods.
pub(crate) fn names_or_all(words: &[String]) -> anyhow::Result<Vec<String>> {
    match words.first() {
        Some(first) if WORDS.contains(&first.to_lowercase().as_str()) => names(words),
        _ => words.iter().map(|word| name(word)).collect(),
    }
}

fn slashed(word: &str) -> anyhow::Result<String> {
    match word.split_once('/') {
        Some((kind, name)) if !name.is_empty() && !name.contains('/') => {
            check_kind(kind)?;
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

fn check_kind(kind: &str) -> anyhow::Result<()> {
    if WORDS.contains(&kind.to_lowercase().as_str()) {
        return Ok(());
    }
    Err(Said::one(format!("error: the server doesn't have a resource type {kind:?}")).into())
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
        assert_eq!(names_of(&["nodes"]).unwrap_err(), "error: the server doesn't have a resource type \"nodes\"");
        assert!(names_of(&["node/a"]).is_err());
        assert!(names_of(&["pod", "pod/a"]).is_err());
        assert!(names_of(&["pod/a/b"]).is_err());
        assert!(names_of(&[]).is_err());
    }
}
