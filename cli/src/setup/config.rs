//! A configuration of containerd, as far as runtime classes are concerned. docs/install.md says what each version makes of one.

use std::collections::BTreeMap;

use toml_edit::{DocumentMut, Item, TableLike, TomlError};

/// How a file is laid out, by the `version` in it: CRI's plugin has another name in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Schema {
    V1,
    V2,
    /// 3 and later.
    V3,
}

impl Schema {
    /// The plugin that has the runtime classes.
    pub(crate) fn plugin(self) -> &'static str {
        match self {
            Schema::V1 => "cri",
            Schema::V2 => "io.containerd.grpc.v1.cri",
            Schema::V3 => "io.containerd.cri.v1.runtime",
        }
    }

    /// The lowest version with it.
    pub(crate) fn version(self) -> i64 {
        match self {
            Schema::V1 => 1,
            Schema::V2 => 2,
            Schema::V3 => 3,
        }
    }

    fn of(version: i64) -> Self {
        match version {
            ..=1 => Schema::V1,
            2 => Schema::V2,
            _ => Schema::V3,
        }
    }
}

/// What a file, or what containerd prints of all its files, says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) schema: Schema,
    /// What `version` is, where it is said.
    pub(crate) version: Option<i64>,
    pub(crate) imports: Vec<String>,
    pub(crate) disabled: Vec<String>,
    /// Whether there is a table of CRI's plugin.
    pub(crate) has_cri: bool,
    /// Whether there is a table of runtime classes.
    pub(crate) has_runtimes: bool,
    pub(crate) handlers: BTreeMap<String, Handler>,
    /// Where CNI's plugins and its configurations are looked for.
    pub(crate) cni: Cni,
    /// The image of pause containers, where it is said.
    pub(crate) sandbox_image: Option<String>,
}

/// A runtime class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handler {
    pub(crate) runtime_type: String,
    pub(crate) runtime_path: String,
    /// Who makes the sandboxes, if not containerd: `shim`.
    pub(crate) sandboxer: String,
    pub(crate) pod_annotations: Vec<String>,
    pub(crate) container_annotations: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cni {
    pub(crate) bin_dirs: Vec<String>,
    pub(crate) conf_dir: String,
}

impl Config {
    /// Reads TOML. The error has the line, the column and the cause.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::parse_beside(text, None)
    }

    /// The same of a file that is imported: its version is that of the main file where it says none.
    pub(crate) fn parse_beside(text: &str, main: Option<i64>) -> Result<Self, String> {
        let document: DocumentMut = text.parse().map_err(|error| mistake(&error))?;
        let root = document.as_table();
        let version = root.get("version").and_then(Item::as_integer);
        let schema = Schema::of(version.or(main).unwrap_or(1));
        let cri = table(root.get("plugins")).and_then(|plugins| table(plugins.get(schema.plugin())));
        let containerd = cri.and_then(|cri| table(cri.get("containerd")));
        let runtimes = containerd.and_then(|containerd| table(containerd.get("runtimes")));
        let each = runtimes.into_iter().flat_map(TableLike::iter);
        let handlers =
            each.filter_map(|(name, item)| Some((name.to_owned(), handler(item.as_table_like()?)))).collect();
        Ok(Config {
            schema,
            version,
            imports: strings(root.get("imports")),
            disabled: strings(root.get("disabled_plugins")),
            has_cri: cri.is_some(),
            has_runtimes: runtimes.is_some(),
            handlers,
            cni: cri.and_then(|cri| table(cri.get("cni"))).map(cni).unwrap_or_default(),
            sandbox_image: sandbox_image(root, cri),
        })
    }

    /// Whether it turns CRI off, as docker's packages of containerd do.
    pub(crate) fn disables_cri(&self) -> bool {
        let names = [Schema::V1.plugin(), Schema::V2.plugin(), Schema::V3.plugin()];
        self.disabled.iter().any(|name| names.contains(&name.as_str()))
    }
}

/// `line 2, column 9, unclosed table`: the parser itself draws the line below that.
fn mistake(error: &TomlError) -> String {
    let drawn = error.to_string();
    let place = drawn.lines().next().unwrap_or_default();
    let message: Vec<&str> = error.message().lines().collect();
    format!("{}, {}", place.trim_start_matches("TOML parse error at "), message.join(", "))
}

/// Up to layout 2 CRI's plugin has it, afterwards one of its own for images.
fn sandbox_image(root: &dyn TableLike, cri: Option<&dyn TableLike>) -> Option<String> {
    let images = table(root.get("plugins")).and_then(|plugins| table(plugins.get("io.containerd.cri.v1.images")));
    let pinned = images.and_then(|images| table(images.get("pinned_images"))).map(|pinned| text(pinned, "sandbox"));
    pinned.or(cri.map(|cri| text(cri, "sandbox_image"))).filter(|image| !image.is_empty())
}

fn table(item: Option<&Item>) -> Option<&dyn TableLike> {
    item.and_then(Item::as_table_like)
}

fn handler(table: &dyn TableLike) -> Handler {
    // containerd 1.7 has another word for who makes the sandbox. That it does so itself need not be said.
    let said = [text(table, "sandboxer"), text(table, "sandbox_mode")];
    let sandboxer = said.into_iter().find(|one| !one.is_empty() && one != "podsandbox");
    Handler {
        runtime_type: text(table, "runtime_type"),
        runtime_path: text(table, "runtime_path"),
        sandboxer: sandboxer.unwrap_or_default(),
        pod_annotations: strings(table.get("pod_annotations")),
        container_annotations: strings(table.get("container_annotations")),
    }
}

fn cni(table: &dyn TableLike) -> Cni {
    let mut bin_dirs = strings(table.get("bin_dirs"));
    bin_dirs.extend(Some(text(table, "bin_dir")).filter(|one| !one.is_empty()));
    Cni { bin_dirs, conf_dir: text(table, "conf_dir") }
}

fn text(table: &dyn TableLike, key: &str) -> String {
    table.get(key).and_then(Item::as_str).unwrap_or_default().to_owned()
}

fn strings(item: Option<&Item>) -> Vec<String> {
    let all = item.and_then(Item::as_array).into_iter().flatten();
    all.filter_map(|one| one.as_str()).map(str::to_owned).collect()
}

/// A version of containerd. `None` of a text that names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Version {
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Version { major, minor }
    }

    /// Of `1.6.20~ds1`, `v2.1.4-k3s1`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
        Some(Version { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_class_is_found_under_the_name_that_the_files_version_has_for_cri() {
        for (version, plugin) in [("", "cri"), ("version = 2\n", "\"io.containerd.grpc.v1.cri\"")].into_iter().chain([
            ("version = 3\n", "'io.containerd.cri.v1.runtime'"),
            ("version = 4\n", "'io.containerd.cri.v1.runtime'"),
        ]) {
            let text =
                format!("{version}[plugins.{plugin}.containerd.runtimes.x]\nruntime_type = \"t\"\nsandboxer = 's'\n");
            let config = Config::parse(&text).unwrap();
            assert_eq!(config.handlers["x"].runtime_type, "t", "{version:?}");
            assert_eq!(config.handlers["x"].sandboxer, "s");
            let other = text.replace("[plugins.", "[others.");
            assert!(Config::parse(&other).is_ok_and(|config| config.handlers.is_empty() && !config.has_cri));
        }
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let error = Config::parse("version = 2\n[plugins\n").unwrap_err();
        assert!(error.starts_with("line 2, column 9, ") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn cri_is_disabled_under_any_of_its_names() {
        for name in ["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"] {
            assert!(Config::parse(&format!("disabled_plugins = [\"{name}\"]")).unwrap().disables_cri());
        }
        assert!(!Config::parse("disabled_plugins = [\"aufs\"]").unwrap().disables_cri());
    }

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        for (text, expected) in [("1.6.20~ds1", (1, 6)), ("v2.1.4-k3s1", (2, 1)), ("2.0.0-rc.1", (2, 0))] {
            assert_eq!(Version::parse(text), Some(Version::new(expected.0, expected.1)));
        }
        assert_eq!(Version::parse("unknown"), None);
        assert!(Version::new(1, 7) < Version::new(2, 0));
    }
}
