//! `archc report`: a search, a training, or several trainings side by side, as one HTML page.

use crate::output::{Done, Output};
use crate::trained::idle;
use archc_search::{report, store};
use archc_train::folder::read_run;
use serde_json::json;
use std::path::PathBuf;

/// Write the report of a search or of trainings: one HTML page that needs nothing but itself
#[derive(clap::Args)]
#[command(after_help = "\
The page of a search shows what the finals established, the anchors, the methods, score against cost, progress,
lineage, how far the numbers can be trusted, each leading program with its differences from its parents, and every
experiment. A search that is running can be looked at too: the page is then of the log as it is.

The page of a training shows its scores beside chance, its curves, options and program; that of several
trainings what differs, all curves in one chart, and the scores. `archc train` writes the page of one as
report.html into its folder at every checkpoint.

Examples:
  archc report                              the newest search under runs/
  archc report runs/20261123-140359-0
  archc report runs/train-1
  archc report runs/train-1 runs/train-2 --output compared.html")]
pub struct Args {
    /// The run's folder, or those of several trainings [default: the newest search under runs/]
    #[arg(value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where to write the page of trainings [default: report.html, of several comparison.html, in the first folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let first = args.runs.first();
    let trained = args.runs.len() > 1 || first.map(|run| read_run(run)).transpose()?.flatten().is_some();
    let path = if trained {
        archc_train::report::write(&args.runs, args.output.as_deref())?
    } else if args.output.is_some() {
        return Err(idle("--output", "the page of a search is in its folder", "leave it out").into());
    } else {
        report::write(&store::find_run(first.map(PathBuf::as_path))?)?
    };
    output.object("report", json!({ "file": path.display().to_string() }))?;
    output.text(&format!("wrote {}\n", path.display()))?;
    Ok(0)
}
