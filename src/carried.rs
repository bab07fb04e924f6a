//! What the binary carries, so that it works anywhere: texts for the task `text`, and seeds for the search.

use crate::output::Stop;
use archc_compiler::stdlib;
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

const DOCUMENTS: &[(&str, &str)] = texts![
    "README.md",
    "ARCHITECTURE.md",
    "docs/language.md",
    "examples/01_first_block.arch",
    "examples/02_gated_delta_net.arch",
    "examples/03_router.arch",
    "examples/04_hybrid_model.arch",
    "examples/05_mixture_of_experts.arch",
    "examples/06_hypernetwork.arch",
    "examples/07_grouped_queries.arch",
    "examples/08_long_convolution.arch",
    "examples/09_multi_hop.arch",
    "examples/10_shared_weights.arch",
    "examples/11_losses.arch",
    "examples/12_prefix_and_packing.arch",
    "examples/13_state_tracking.arch",
    "examples/14_recurrent_network.arch",
    "examples/15_functions.arch",
    "examples/16_several_outputs.arch",
];

/// The text that the task `text` reads where no corpus is given: documentation, library, examples.
pub fn text() -> String {
    let documents = DOCUMENTS.iter().map(|(_, text)| *text);
    documents.chain(stdlib::FILES.iter().map(|f| f.text)).collect::<Vec<_>>().join("\n\n")
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
