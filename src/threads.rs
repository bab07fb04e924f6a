//! Number of threads of a command.

use crate::output::{Output, Stop};

/// Number of cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Number of parallel evaluations: that of `--jobs` ([`capped`]), or one per core for 0.
///
/// # Errors
/// Errors of [`capped`].
pub fn jobs(asked: usize, output: &Output) -> Result<usize, Stop> {
    Ok(if asked == 0 { cores() } else { capped("--jobs", asked, output)? })
}

/// Number of threads of an option, limited to the machine's cores, with a note if limited: more would wait for each other at every
/// kernel. Results do not depend on it.
///
/// # Errors
/// If the note cannot be written.
pub fn capped(option: &str, asked: usize, output: &Output) -> Result<usize, Stop> {
    let cores = cores();
    if asked > cores {
        let plural = if cores == 1 { "" } else { "s" };
        output
            .note(&format!("{option} {asked}: this machine has {cores} core{plural}, and so many threads are used"))?;
    }
    Ok(asked.min(cores))
}
