//! Data embedded in the binary, so that it works anywhere: a text for the task `text`, and seeds for the search.

use crate::output::Stop;
use archc_train::corpus::Corpus;
use std::path::Path;
use std::sync::Arc;

macro_rules! texts {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../", $path)))),*] };
}

/// Seed programs for a search.
pub const SEEDS: &[(&str, &str)] = texts![
    "seeds/delta_net.arch",
    "seeds/gated_delta_net.arch",
    "seeds/gla.arch",
    "seeds/router.arch",
    "seeds/ssm.arch",
    "seeds/window_memory.arch",
];

/// Jules Verne, Around the World in Eighty Days, translated by G. M. Towle, 1873; see train/data/README.md.
const TEXT: &str = include_str!("../train/data/eighty_days.txt");

/// Default text of the task `text`, used without a corpus.
pub fn text() -> String {
    TEXT.to_owned()
}

/// Corpus at a path, or the embedded text.
///
/// # Errors
/// E0904, E0905.
pub fn corpus(path: Option<&Path>) -> Result<Option<Arc<Corpus>>, Stop> {
    let corpus = match path {
        Some(path) => Some(Corpus::read(path)?),
        None => Corpus::carried(&text())?,
    };
    Ok(corpus.map(Arc::new))
}
