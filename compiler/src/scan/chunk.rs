//! `lower_chunk`: a form as a loop over chunks, whose body is a graph over the chunk's rows.

use super::Form;
use crate::graph::{Dag, NodeId};
use crate::lowered::{Builder, ValueId};

/// The surroundings of a chunked scan.
#[derive(Clone, Copy, Debug)]
pub struct ChunkEnv {
    /// Tokens a chunk.
    pub chunk: usize,
    /// Documents may start inside of the sequence: the state is `fresh` before their first token.
    pub resets: bool,
    /// The state at a document's start: `[heads, K, V]` or fewer dimensions.
    pub fresh: ValueId,
}

/// What a chunked scan gives.
#[derive(Clone, Debug)]
pub struct ChunkResult {
    /// The emits, `[B, T, axes]`.
    pub reads: Vec<ValueId>,
    /// The state after the last token, `[B, heads, K, V]`.
    pub state: ValueId,
}

/// Lowers a form. `operand` gives the value of a node of the form's DAG at the outer level, `[B, T, axes]` or without time;
/// `init` is the state before the first token.
pub fn lower_chunk(
    b: &mut Builder,
    form: &Form,
    operand: &mut dyn FnMut(&mut Builder, &Dag, NodeId) -> ValueId,
    init: ValueId,
    env: &ChunkEnv,
) -> ChunkResult {
    let _ = (b, form, operand, env);
    ChunkResult { reads: Vec::new(), state: init }
}
