//! `archc report`: a search as one HTML page.

use crate::output::{Done, Output};
use archc_search::{report, store};
use serde_json::json;
use std::path::PathBuf;

/// Write the report of a search: one HTML page that needs nothing but itself
#[derive(clap::Args)]
#[command(after_help = "\
The page shows the ranking on fresh seeds, progress, lineage, archive, each winner's program and its
difference from its parent, and every experiment. A search that is running can be looked at too.

Examples:
  archc report                              the newest run under runs/
  archc report runs/20261123-140359-0")]
pub struct Args {
    /// The run's folder [default: the newest under runs/]
    #[arg(value_name = "RUN")]
    run: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let path = report::write(&store::find_run(args.run.as_deref())?)?;
    output.object("report", json!({ "file": path.display().to_string() }))?;
    output.text(&format!("wrote {}\n", path.display()))?;
    Ok(0)
}
