//! The files of a command line: one, several, a directory, standard input; and what is wrong with any of them at once.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::validate::{Rules, validate_at};
use super::{Objects, defaults, load_to};
use crate::args::Filenames;
use crate::error::Said;

/// What a manifest's name ends in, for files that are found in a directory.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// Bytes of a manifest file that are read. An object has at most 1.5 MiB in Kubernetes, and what is read takes many times as
/// much memory.
const LONGEST: u64 = 8 << 20;

impl Objects {
    fn append(&mut self, mut other: Objects) {
        self.pods.append(&mut other.pods);
        self.places.append(&mut other.places);
        self.config_maps.append(&mut other.config_maps);
        self.secrets.append(&mut other.secrets);
    }
}

/// Reads everything that a command was given. ConfigMaps and Secrets may stand in any of the files, in any order. `verb` is
/// the command's, as in "create".
pub(crate) fn read_all(given: &Filenames, verb: &str) -> Result<Objects, Said> {
    let mut all = Objects::default();
    let mut refused = Vec::new();
    for (name, is_pods) in
        given.files.iter().map(|name| (name, true)).chain(given.configmaps.iter().map(|name| (name, false)))
    {
        match read(name, verb) {
            Ok(objects) if !is_pods && !objects.pods.is_empty() => {
                refused.push(format!("error: {name} holds a Pod: give it with --filename"));
            }
            Ok(objects) => all.append(objects),
            Err(Said(lines)) => refused.extend(lines),
        }
    }
    if refused.is_empty() { Ok(all) } else { Err(Said(refused)) }
}

/// Reads a manifest file, every manifest of a directory, or standard input for `-`.
pub(crate) fn read(name: &str, verb: &str) -> Result<Objects, Said> {
    if name == "-" {
        return load_to(verb, "standard input", &text("standard input", std::io::stdin().lock())?);
    }
    if name.starts_with("http://") || name.starts_with("https://") {
        return Err(Said::one(format!(
            "error: {name} is not fetched: a manifest is a file, a directory or \"-\" (curl -fsSL {name} | loment {verb} -f -)"
        )));
    }
    if !Path::new(name).is_dir() {
        return read_file(Path::new(name), verb);
    }
    let mut all = Objects::default();
    let mut refused = Vec::new();
    for path in manifests(name)? {
        match read_file(&path, verb) {
            Ok(objects) => all.append(objects),
            Err(Said(lines)) => refused.extend(lines),
        }
    }
    if refused.is_empty() { Ok(all) } else { Err(Said(refused)) }
}

/// The manifests of a directory by name; those of directories below it are others.
fn manifests(directory: &str) -> Result<Vec<PathBuf>, Said> {
    let failed = |error: std::io::Error| Said::one(format!("error: read {directory}: {error}"));
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if EXTENSIONS.contains(&extension) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Said::one(format!(
            "error: error reading [{directory}]: recognized file extensions are [.json .yaml .yml]"
        )));
    }
    Ok(found)
}

fn read_file(path: &Path, verb: &str) -> Result<Objects, Said> {
    let name = path.display().to_string();
    let file = fs::File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Said::one(format!("error: the path {name:?} does not exist")),
        _ => Said::one(format!("error: read {name}: {error}")),
    })?;
    load_to(verb, &name, &text(&name, file)?)
}

/// All of what may be a file, a pipe, or something that never ends.
fn text(name: &str, from: impl Read) -> Result<String, Said> {
    let mut text = String::new();
    from.take(LONGEST + 1)
        .read_to_string(&mut text)
        .map_err(|error| Said::one(format!("error: read {name}: {error}")))?;
    if text.len() as u64 > LONGEST {
        let most = LONGEST >> 20;
        return Err(Said::one(format!(
            "error: {name} has more than the {most} MiB that are read (divide it into several)"
        )));
    }
    Ok(text)
}

/// The pods of files by their namespaces, where those are said, and names: for verbs that look for what is there.
/// `namespace` is the one that the user has named.
pub(crate) fn named(
    files: &[String],
    namespace: Option<&str>,
    verb: &str,
) -> Result<Vec<(Option<String>, String)>, Said> {
    let (mut named, mut refused) = (Vec::new(), Vec::new());
    for file in files {
        match read(file, verb) {
            Ok(objects) => named
                .extend(objects.pods.into_iter().filter_map(|pod| Some((pod.metadata.namespace, pod.metadata.name?)))),
            Err(Said(lines)) => refused.extend(lines),
        }
    }
    let owns = named.iter().filter_map(|(own, _)| own.as_deref());
    refused.extend(owns.filter_map(|own| contradiction(own, namespace)));
    if refused.is_empty() { Ok(named) } else { Err(Said(refused)) }
}

/// What is said when a manifest has another namespace than the user has named.
fn contradiction(own: &str, named: Option<&str>) -> Option<String> {
    let flag = named.filter(|flag| *flag != own)?;
    Some(format!(
        "error: the namespace from the provided object {own:?} does not match the namespace {flag:?}. You must pass \
         '--namespace={own}' to perform this operation."
    ))
}

/// Completes the pods with the API's defaults and checks them: the warnings, or everything that is wrong with any of them.
/// `namespace` is the one that the user has named.
pub(crate) fn complete_and_check(
    objects: &mut Objects,
    namespace: Option<&str>,
    rules: Rules<'_>,
) -> Result<Vec<String>, Said> {
    let (mut warnings, mut refused) = (Vec::new(), Vec::new());
    for (index, pod) in objects.pods.iter_mut().enumerate() {
        defaults::complete(pod, namespace.unwrap_or("default"));
        match validate_at(pod, rules, objects.places.get(index)) {
            Ok(more) => warnings.extend(more),
            Err(Said(lines)) => refused.extend(lines),
        }
        let own = pod.metadata.namespace.as_deref().unwrap_or_default();
        refused.extend(contradiction(own, namespace));
    }
    if refused.is_empty() { Ok(warnings) } else { Err(Said(refused)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::Scratch;
    use crate::manifest::load;

    fn given(files: &[&Path], configmaps: &[&Path]) -> Filenames {
        let names = |paths: &[&Path]| paths.iter().map(|path| path.display().to_string()).collect();
        Filenames { files: names(files), configmaps: names(configmaps), ..Filenames::default() }
    }

    fn pod(name: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, image: i}}]}}\n"
        )
    }

    const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";

    #[test]
    fn a_directory_is_read_by_name_and_only_what_looks_like_a_manifest() {
        let scratch = Scratch::new("manifests");
        for (name, text) in [
            ("b.yaml", pod("b")),
            ("a.yml", pod("a")),
            ("c.json", r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c"}}"#.to_owned()),
            ("README.md", "no manifest".to_owned()),
        ] {
            fs::write(scratch.0.join(name), text).unwrap();
        }
        let names: Vec<_> =
            read_all(&given(&[&scratch.0], &[]), "create").unwrap().pods.into_iter().map(|p| p.metadata.name).collect();
        assert_eq!(names, [Some("a".into()), Some("b".into()), Some("c".into())]);
        let empty = scratch.0.join("empty");
        fs::create_dir(&empty).unwrap();
        let said = read_all(&given(&[&empty], &[]), "create").unwrap_err().to_string();
        assert!(said.ends_with("recognized file extensions are [.json .yaml .yml]"), "{said}");
    }

    #[test]
    fn a_file_of_ten_megabytes_and_one_that_never_ends_are_refused() {
        let scratch = Scratch::new("long");
        let long = scratch.0.join("long.yaml");
        fs::write(&long, pod("a") + &"#".repeat(10 << 20)).unwrap();
        // NULs are characters.
        for file in [long.as_path(), Path::new("/dev/zero")] {
            let said = read_all(&given(&[file], &[]), "create").unwrap_err().to_string();
            assert!(said.ends_with("has more than the 8 MiB that are read (divide it into several)"), "{said}");
        }
        fs::write(&long, pod("a") + &"#".repeat(7 << 20)).unwrap();
        assert_eq!(read_all(&given(&[&long], &[]), "create").unwrap().pods.len(), 1);
    }

    #[test]
    fn what_pods_refer_to_may_stand_in_files_of_its_own() {
        let scratch = Scratch::new("configmaps");
        let (pods, configs) = (scratch.0.join("pod.yaml"), scratch.0.join("config.yaml"));
        fs::write(&pods, pod("a")).unwrap();
        fs::write(&configs, CONFIG).unwrap();
        let objects = read_all(&given(&[&pods], &[&configs]), "create").unwrap();
        assert_eq!((objects.pods.len(), objects.config_maps.len()), (1, 1));
        let said = read_all(&given(&[&configs], &[&pods]), "create").unwrap_err().to_string();
        assert!(said.ends_with("holds a Pod: give it with --filename"), "{said}");
    }

    #[test]
    fn a_file_whose_namespace_is_not_the_one_that_is_named_is_refused_by_every_verb() {
        let scratch = Scratch::new("contradictions");
        let (own, none) = (scratch.0.join("own.yaml"), scratch.0.join("none.yaml"));
        fs::write(&own, pod("a, namespace: shop")).unwrap();
        fs::write(&none, pod("b")).unwrap();
        let files = [&own, &none].map(|path| path.display().to_string());
        let expected = [(Some("shop".to_owned()), "a".to_owned()), (None, "b".to_owned())];
        assert_eq!(named(&files, None, "delete").unwrap(), expected);
        assert_eq!(named(&files, Some("shop"), "delete").unwrap(), expected);
        let said = named(&files, Some("other"), "delete").unwrap_err();
        assert_eq!(said.0.len(), 1, "{said}");
        assert!(said.0[0].contains("\"shop\" does not match the namespace \"other\""), "{said}");
        let mut objects = read(&files[0], "create").unwrap();
        let refused = complete_and_check(&mut objects, Some("other"), Rules::default()).unwrap_err();
        assert!(refused.0.contains(&said.0[0]), "{refused}");
    }

    #[test]
    fn what_is_on_the_net_is_not_fetched_and_it_is_said_how_to() {
        let said = read("https://example.org/pod.yaml", "apply").unwrap_err().to_string();
        assert!(said.ends_with("(curl -fsSL https://example.org/pod.yaml | loment apply -f -)"), "{said}");
    }

    #[test]
    fn every_file_is_read_before_anything_is_said() {
        let scratch = Scratch::new("mistakes");
        let (one, two) = (scratch.0.join("one.yaml"), scratch.0.join("two.yaml"));
        fs::write(&one, pod("a").replace("spec", "spce")).unwrap();
        fs::write(&two, pod("b").replace("image", "imgae")).unwrap();
        let said = read_all(&given(&[&one, &two], &[]), "create").unwrap_err();
        assert_eq!(said.0.len(), 2, "{said}");
        assert!(said.0[1].contains(&format!("{}:4:31: ", two.display())), "{said}");
    }

    #[test]
    fn each_manifest_of_the_examples_is_taken_or_refused_as_it_says() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
        let rules = Rules { runtime_handler: "loment", unsafe_sysctls: &[] };
        let files = manifests(directory).unwrap();
        for name in ["demo", "init-retry", "sidecar", "probes", "shared-memory", "user-namespaces"] {
            assert!(files.iter().any(|file| file.ends_with(format!("{name}.yaml"))), "{name} is not in {files:?}");
        }
        for file in files {
            let mut objects = read_file(&file, "create").unwrap_or_else(|said| panic!("{said}"));
            let taken = complete_and_check(&mut objects, None, rules);
            if file.ends_with("user-namespaces.yaml") {
                let Said(refused) = taken.unwrap_err();
                assert_eq!(refused.len(), 1, "nothing else is wrong with it: {refused:?}");
                assert!(refused[0].contains("spec.hostUsers: Forbidden: not supported by loment"), "{refused:?}");
            } else {
                let warnings = taken.unwrap_or_else(|said| panic!("{said}"));
                assert!(warnings.is_empty(), "{}: {warnings:?}", file.display());
            }
        }
    }

    #[test]
    fn a_problem_of_validation_is_said_with_its_place() {
        let text = pod("a").replace("image: i", "imagePullPolicy: Never") + "---\n" + &pod("b").replace("b}", "B}");
        let mut objects = load("pod.yaml", &text).unwrap();
        let rules = Rules { runtime_handler: "loment", unsafe_sysctls: &[] };
        let said = complete_and_check(&mut objects, None, rules).unwrap_err();
        assert_eq!(said.0[0], "The Pod \"a\" is invalid: pod.yaml:4:21: spec.containers[0].image: Required value");
        assert!(
            said.0[1].starts_with("The Pod \"B\" is invalid: pod.yaml:8:18: metadata.name: Invalid value: \"B\": "),
            "{said}"
        );
    }
}
