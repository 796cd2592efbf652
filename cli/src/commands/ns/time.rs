//! `loment ns time`: what each kind of namespace costs.

use clap::Args;
use serde_json::json;

use super::Output;
use crate::commands::print;
use crate::namespaces::cost::{Cost, measure};
use crate::namespaces::kind::Kind;
use crate::print::{show, table};

const EXAMPLES: &str = "\
Examples:
  # All kinds
  loment ns time

  # Networks alone, a thousand times
  loment ns time --type net --rounds 1000 -o json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Time {
    /// Only these kinds
    #[arg(short, long = "type", value_enum, value_delimiter = ',', value_name = "KIND,...")]
    types: Vec<Kind>,
    /// How often each is made, joined and dropped
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// How to print it
    #[arg(short, long)]
    output: Option<Output>,
}

pub(super) fn run(args: &Time) -> anyhow::Result<()> {
    let kinds: Vec<Kind> =
        Kind::ALL.into_iter().filter(|kind| args.types.is_empty() || args.types.contains(kind)).collect();
    let costs = measure(&kinds, args.rounds)?;
    if args.output == Some(Output::Json) {
        return print(&show::json(&json!({ "rounds": args.rounds, "costs": costs }))?);
    }
    print(&format!("{} rounds, microseconds\n{}", args.rounds, table::render(&rows(&costs))))
}

fn rows(costs: &[Cost]) -> Vec<Vec<String>> {
    let header = ["TYPE", "STEP", "MIN", "P50", "P90", "P99", "MAX"].map(str::to_owned).to_vec();
    let row = |cost: &Cost| {
        let figures = [cost.min_us, cost.p50_us, cost.p90_us, cost.p99_us, cost.max_us];
        let names = [cost.kind.to_string(), cost.step.name().to_owned()];
        names.into_iter().chain(figures.map(|figure| format!("{figure:8.1}"))).collect()
    };
    std::iter::once(header).chain(costs.iter().map(row)).collect()
}
