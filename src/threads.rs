//! How many threads a command may use.

use crate::output::{Output, Stop};

/// Cores of this machine that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Evaluations side by side: as many as `--jobs` asks for ([`capped`]), or one a core for 0.
///
/// # Errors
/// As [`capped`].
pub fn jobs(asked: usize, output: &Output) -> Result<usize, Stop> {
    Ok(if asked == 0 { cores() } else { capped("--jobs", asked, output)? })
}

/// As many threads as were asked for by an option, or as the machine has cores, with a word where those are fewer: more would wait for
/// each other at every kernel. Results do not depend on it.
///
/// # Errors
/// If the word cannot be written.
pub fn capped(option: &str, asked: usize, output: &Output) -> Result<usize, Stop> {
    let cores = cores();
    if asked > cores {
        let plural = if cores == 1 { "" } else { "s" };
        output
            .note(&format!("{option} {asked}: this machine has {cores} core{plural}, and so many threads are used"))?;
    }
    Ok(asked.min(cores))
}
