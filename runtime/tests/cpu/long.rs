//! Long sequences: many chunks and tiles, the last one ragged.

use crate::agree::Subject;
use crate::batches::random_batch;
use crate::programs::{files, programs};
use crate::{BOUNDS, device};

/// One mixer for each way in which a sequence is run through: tiles, chunks of every kind of decay and update, element-wise
/// and sequential loops, a filter over lags.
const MIXERS: &[&str] = &[
    "Attention",
    "GLA",
    "Mamba2",
    "HGRN2",
    "DeltaNet",
    "GatedDeltaNet",
    "KDA",
    "RWKV7",
    "MLSTM",
    "RGLRU",
    "SLSTM",
    "Hyena",
];

#[test]
fn hundreds_of_tokens() {
    let subject = Subject { device: &device(), bounds: BOUNDS };
    let mut found = Vec::new();
    for (name, graph) in files("stdlib").iter().flat_map(|f| programs(f)).filter(|p| MIXERS.contains(&p.0.as_str())) {
        for len in [200, 500, 1000] {
            let here = subject.compare(&graph, &random_batch(&graph, 1, len));
            found.extend(here.into_iter().map(|f| format!("{name}, length {len}, {f}")));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
