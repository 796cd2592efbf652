//! The files of a command line: one, several, a directory, standard input; and what is wrong with any of them at once.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::validate::{Rules, validate_at};
use super::{Objects, defaults, load};
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

/// Reads everything that a command was given. ConfigMaps and Secrets may stand in any of the files, in any order.
pub(crate) fn read_all(given: &Filenames) -> Result<Objects, Said> {
    let mut all = Objects::default();
    let mut refused = Vec::new();
    for (name, is_pods) in
        given.files.iter().map(|name| (name, true)).chain(given.configmaps.iter().map(|name| (name, false)))
    {
        match read(name) {
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
pub(crate) fn read(name: &str) -> Result<Objects, Said> {
    if name == "-" {
        return load("standard input", &text("standard input", std::io::stdin().lock())?);
    }
    if !Path::new(name).is_dir() {
        return read_file(Path::new(name));
    }
    let mut all = Objects::default();
    let mut refused = Vec::new();
    for path in manifests(name)? {
        match read_file(&path) {
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

fn read_file(path: &Path) -> Result<Objects, Said> {
    let name = path.display().to_string();
    let file = fs::File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Said::one(format!("error: the path {name:?} does not exist")),
        _ => Said::one(format!("error: read {name}: {error}")),
    })?;
    load(&name, &text(&name, file)?)
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
        if let Some(flag) = namespace.filter(|flag| *flag != own) {
            refused.push(format!(
                "error: the namespace from the provided object {own:?} does not match the namespace {flag:?}. You must pass \
                 '--namespace={own}' to perform this operation."
            ));
        }
    }
    if refused.is_empty() { Ok(warnings) } else { Err(Said(refused)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::Scratch;

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
            read_all(&given(&[&scratch.0], &[])).unwrap().pods.into_iter().map(|p| p.metadata.name).collect();
        assert_eq!(names, [Some("a".into()), Some("b".into()), Some("c".into())]);
        let empty = scratch.0.join("empty");
        fs::create_dir(&empty).unwrap();
        let said = read_all(&given(&[&empty], &[])).unwrap_err().to_string();
        assert!(said.ends_with("recognized file extensions are [.json .yaml .yml]"), "{said}");
    }

    #[test]
    fn a_file_of_ten_megabytes_and_one_that_never_ends_are_refused() {
        let scratch = Scratch::new("long");
        let long = scratch.0.join("long.yaml");
        fs::write(&long, pod("a") + &"#".repeat(10 << 20)).unwrap();
        // NULs are characters.
        for file in [long.as_path(), Path::new("/dev/zero")] {
            let said = read_all(&given(&[file], &[])).unwrap_err().to_string();
            assert!(said.ends_with("has more than the 8 MiB that are read (divide it into several)"), "{said}");
        }
        fs::write(&long, pod("a") + &"#".repeat(7 << 20)).unwrap();
        assert_eq!(read_all(&given(&[&long], &[])).unwrap().pods.len(), 1);
    }

    #[test]
    fn what_pods_refer_to_may_stand_in_files_of_its_own() {
        let scratch = Scratch::new("configmaps");
        let (pods, configs) = (scratch.0.join("pod.yaml"), scratch.0.join("config.yaml"));
        fs::write(&pods, pod("a")).unwrap();
        fs::write(&configs, CONFIG).unwrap();
        let objects = read_all(&given(&[&pods], &[&configs])).unwrap();
        assert_eq!((objects.pods.len(), objects.config_maps.len()), (1, 1));
        let said = read_all(&given(&[&configs], &[&pods])).unwrap_err().to_string();
        assert!(said.ends_with("holds a Pod: give it with --filename"), "{said}");
    }

    #[test]
    fn every_file_is_read_before_anything_is_said() {
        let scratch = Scratch::new("mistakes");
        let (one, two) = (scratch.0.join("one.yaml"), scratch.0.join("two.yaml"));
        fs::write(&one, pod("a").replace("spec", "spce")).unwrap();
        fs::write(&two, pod("b").replace("image", "imgae")).unwrap();
        let said = read_all(&given(&[&one, &two], &[])).unwrap_err();
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
            let mut objects = read_file(&file).unwrap_or_else(|said| panic!("{said}"));
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
