//! What the binary carries, so that it works anywhere: a text for the task `text`, and seeds for the search.

use crate::output::Stop;
use archc_train::corpus::Corpus;
use std::path::Path;
use std::sync::Arc;

macro_rules! texts {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../", $path)))),*] };
}

/// Programs to start a search from.
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

/// The text that the task `text` reads where no corpus is given.
pub fn text() -> String {
    TEXT.to_owned()
}

/// The corpus at a path, or the text that is carried.
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
