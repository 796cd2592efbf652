//! What became of each test in a run: a file of lines for each column of the matrix, written while the tests run.

use std::{
    fmt,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::version::{Sandboxer, Version};

/// What a run of all tests is made on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Column {
    /// The version of containerd.
    pub version: Version,
    /// Who makes the sandboxes.
    pub sandboxer: Sandboxer,
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "containerd {}, {}", self.version, self.sandboxer)
    }
}

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not, as this says.
    Failed(String),
    /// It has not been asked, for this reason.
    LeftOut(String),
}

/// A test and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The module of the test.
    pub module: String,
    /// Its name in the module.
    pub case: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// A test ends with this when the machine lacks what it needs, which is no failure.
#[derive(Debug)]
pub struct LeftOut(pub String);

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LeftOut {}

/// The file of a run that goes on.
#[derive(Debug)]
pub struct Results(Mutex<File>);

impl Results {
    /// Begins the file of a column in this directory, anew.
    pub fn begin(directory: &Path, column: Column) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        let path = file(directory, column);
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let results = Self(Mutex::new(file));
        let (version, sandboxer) = (column.version.to_string(), column.sandboxer.name());
        results.write(&json!({ "containerd": version, "sandboxer": sandboxer }))?;
        Ok(results)
    }

    /// Notes what became of a test, and how long that took.
    pub fn note(&self, record: &Record, took: Duration) -> Result<()> {
        let mut line = record.line();
        line["milliseconds"] = json!(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        self.write(&line)
    }

    fn write(&self, line: &Value) -> Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{line}").context("write what became of a test")
    }
}

impl Record {
    fn line(&self) -> Value {
        let Self { module, case, outcome } = self;
        match outcome {
            Outcome::Passed => json!({ "module": module, "case": case, "outcome": "passed" }),
            Outcome::Failed(why) => json!({ "module": module, "case": case, "outcome": "failed", "why": why }),
            Outcome::LeftOut(why) => json!({ "module": module, "case": case, "outcome": "left out", "why": why }),
        }
    }

    fn parse(line: &Value) -> Option<Self> {
        let text = |key: &str| Some(line[key].as_str()?.to_owned());
        let outcome = match line["outcome"].as_str()? {
            "passed" => Outcome::Passed,
            "failed" => Outcome::Failed(text("why")?),
            "left out" => Outcome::LeftOut(text("why")?),
            _ => return None,
        };
        Some(Self { module: text("module")?, case: text("case")?, outcome })
    }
}

fn file(directory: &Path, column: Column) -> PathBuf {
    directory.join(format!("{}-{}.jsonl", column.version, column.sandboxer))
}

/// Every run of a directory. Other files are nobody's business.
pub fn read_all(directory: &Path) -> Result<Vec<(Column, Vec<Record>)>> {
    let mut runs = Vec::new();
    let entries = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    for path in
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
    {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        runs.push(parse(&text).with_context(|| format!("read {}: it is no file of results", path.display()))?);
    }
    Ok(runs)
}

/// A file of results: which column it is of, then a test in each line.
fn parse(text: &str) -> Option<(Column, Vec<Record>)> {
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).ok());
    let head = lines.next()??;
    let version = head["containerd"].as_str()?.parse().ok()?;
    let sandboxer = head["sandboxer"].as_str()?.parse().ok()?;
    let records = lines.map(|line| Record::parse(&line?)).collect::<Option<Vec<_>>>()?;
    Some((Column { version, sandboxer }, records))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_back() {
        let record = |case: &str, outcome| Record { module: "exec".to_owned(), case: case.to_owned(), outcome };
        let records = [
            record("one", Outcome::Passed),
            record("two", Outcome::Failed("it does not".to_owned())),
            record("three", Outcome::LeftOut("it is \"so\"".to_owned())),
        ];
        let column = Column { version: Version::new(2, 1), sandboxer: Sandboxer::Shim };
        let directory = std::env::temp_dir().join(format!("loment-results-{}", std::process::id()));
        let results = Results::begin(&directory, column).expect("begin");
        for record in &records {
            results.note(record, Duration::from_secs(1)).expect("note");
        }
        let read = read_all(&directory);
        fs::remove_dir_all(&directory).expect("remove the directory");
        assert_eq!(read.expect("read"), [(column, records.to_vec())]);
        assert_eq!(parse("{}\n"), None);
    }
}
