//! `loment version`: of this program and of containerd.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::print;
use crate::args::Global;
use crate::print::show;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  # Of this program and of the containerd that it works with
  loment version

  # Only of this program: containerd is not asked
  loment version --client";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Version {
    /// Only of this program
    #[arg(long)]
    client: bool,
    /// How to print it
    #[arg(short, long)]
    output: Option<VersionOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VersionOutput {
    Json,
    Yaml,
}

/// Prints also what is known when containerd does not answer, which is an error then.
pub(crate) async fn run(global: &Global, args: &Version) -> anyhow::Result<()> {
    let runtime = if args.client { Ok(None) } else { of_containerd(global).await.map(Some) };
    let known = document(runtime.as_ref().ok().and_then(Option::as_ref));
    match args.output {
        None => print(&text(&known))?,
        Some(VersionOutput::Json) => print(&show::json(&known)?)?,
        Some(VersionOutput::Yaml) => print(&show::yaml(&known)?)?,
    }
    runtime.map(drop)
}

/// Its name and its version, as in `containerd` and `v2.2.0`.
async fn of_containerd(global: &Global) -> anyhow::Result<(String, String)> {
    let answer = Session::open(global).await?.client.version().await?;
    Ok((answer.runtime_name, answer.runtime_version))
}

fn document(runtime: Option<&(String, String)>) -> Value {
    let runtime = runtime.map(|(name, version)| json!({ "name": name, "version": version }));
    json!({ "version": env!("CARGO_PKG_VERSION"), "runtime": runtime })
}

fn text(known: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let runtime = match &known["runtime"] {
        Value::Null => String::new(),
        runtime => format!("{} {}\n", word(&runtime["name"]), word(&runtime["version"])),
    };
    format!("loment {}\n{runtime}", word(&known["version"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_stands_on_a_line_of_its_own() {
        let own = env!("CARGO_PKG_VERSION");
        let both = document(Some(&("containerd".to_owned(), "v2.2.0".to_owned())));
        assert_eq!(text(&both), format!("loment {own}\ncontainerd v2.2.0\n"));
        assert_eq!(both["runtime"]["version"], "v2.2.0");
        assert_eq!(text(&document(None)), format!("loment {own}\n"));
    }
}
