//! `loment man`: the manual pages, for packages.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use jiff::{Timestamp, tz::TimeZone};

use super::print;
use crate::args::Arguments;
use crate::manual;

/// Seconds since 1970 that a build that can be repeated takes for its time.
const TIME: &str = "SOURCE_DATE_EPOCH";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # For this user, where no package has put them
  loment man ~/.local/share/man/man1

  # With a date that is the same in every build
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) loment man target/man")]
pub(crate) struct Man {
    /// Where the pages are put; it is made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(crate) fn run(args: &Man) -> anyhow::Result<()> {
    let date = date(std::env::var(TIME).ok().as_deref())?;
    let pages = manual::pages(Arguments::command(), &date).context("write the manual")?;
    fs::create_dir_all(&args.directory).with_context(|| format!("make {}", args.directory.display()))?;
    for page in &pages {
        let path = args.directory.join(&page.name);
        fs::write(&path, &page.text).with_context(|| format!("write {}", path.display()))?;
    }
    print(&format!("{} pages in {}\n", pages.len(), args.directory.display()))
}

/// The day of this time, else of now.
fn date(time: Option<&str>) -> anyhow::Result<String> {
    let time = match time {
        Some(seconds) => {
            let seconds =
                seconds.parse().with_context(|| format!("{TIME} is {seconds:?}: expected seconds since 1970"))?;
            Timestamp::from_second(seconds).with_context(|| format!("read the time in {TIME}"))?
        }
        None => Timestamp::now(),
    };
    Ok(time.to_zoned(TimeZone::UTC).date().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_the_build() {
        assert_eq!(date(Some("1795737600")).unwrap(), "2026-11-27");
        let refused = format!("{:#}", date(Some("today")).unwrap_err());
        assert!(refused.starts_with("SOURCE_DATE_EPOCH is \"today\": expected seconds"), "{refused}");
    }
}
