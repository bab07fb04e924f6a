//! Preparation of batches for a device: checks, positions from document starts, insertion of learned prefixes.

use crate::errors;
use crate::session::{Batch, Number, Numbers};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use std::sync::Arc;

/// The token grid of a batch: sequences side by side, and positions of tokens in their documents.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    /// Number of sequences.
    pub batch: usize,
    /// Tokens per sequence.
    pub len: usize,
    /// Position of each token in its document, which is the number of tokens it may look back; 0 at a document start.
    pub pos: Arc<[usize]>,
}

impl Grid {
    /// The position that a next token of the last document would have, for each sequence.
    pub fn ends(&self) -> Vec<usize> {
        self.pos.chunks_exact(self.len).map(|row| row.last().map_or(0, |p| p + 1)).collect()
    }
}

/// A batch in the layout of a device. With a prefix, sequences are longer than in the source batch.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub grid: Grid,
    /// Maximum number of tokens of the same documents before this piece.
    pub carried: usize,
    /// Row of the embedding table for each token; prefix token m is row VOCAB + m.
    pub ids: Vec<u32>,
    /// Target of each token (0 where it has none).
    pub targets: Vec<u32>,
    /// 1 / (number of unmasked tokens) for those, 0 for the others.
    pub weights: Vec<f64>,
    /// Places of the batch's tokens, if the prefix moved them.
    pub given: Option<Vec<usize>>,
}

/// Checks a batch against the graph.
///
/// # Errors
/// E0801 to E0805: see the table of codes.
pub(crate) fn check<D: Numbers>(graph: &Graph, batch: &Batch<D>) -> Result<(), Diagnostic> {
    if batch.batch == 0 || batch.len == 0 {
        return Err(errors::empty_batch(batch.batch, batch.len));
    }
    let Some(count) = batch.batch.checked_mul(batch.len).filter(|&n| n <= u32::MAX as usize) else {
        return Err(errors::batch_too_large(batch.batch, batch.len));
    };
    let each = [("reset", batch.reset.len()), ("mask", batch.mask.len()), ("targets", batch.targets.len())];
    for (what, len) in each {
        if len != 0 && len != count {
            return Err(errors::token_count(what, len, batch.batch, batch.len));
        }
    }
    for input in &graph.inputs {
        let Some(tensor) = batch.inputs.get(&input.name) else {
            return Err(errors::missing_input(&input.name, batch.inputs.keys()));
        };
        let axes = input.axes.iter().map(|&a| graph.size(a));
        let shape: Vec<usize> = [batch.batch, batch.len].into_iter().chain(axes).collect();
        let numbers = tensor.data.numbers();
        if !tensor.has(&shape) {
            return Err(errors::input_shape(&input.name, &tensor.shape, numbers.len(), &shape));
        }
        if let Some(i) = numbers.iter().position(|x| !x.finite()) {
            return Err(errors::input_not_finite(&input.name, numbers[i].exact(), i));
        }
    }
    if let Some(unknown) = batch.inputs.keys().find(|k| !graph.inputs.iter().any(|i| i.name == **k)) {
        return Err(errors::unknown_input(unknown, graph.inputs.iter().map(|i| &i.name)));
    }
    let Some(vocab) = graph.vocab else {
        return if batch.tokens.is_empty() { Ok(()) } else { Err(errors::tokens_for_block(&graph.name)) };
    };
    if batch.tokens.len() != count {
        return Err(errors::token_count("tokens", batch.tokens.len(), batch.batch, batch.len));
    }
    let vocab = graph.size(vocab);
    for (what, ids) in [("token", &batch.tokens), ("target", &batch.targets)] {
        if let Some((i, &id)) = ids.iter().enumerate().find(|(_, id)| **id as usize >= vocab) {
            return Err(errors::token_out_of_vocabulary(what, id, i / batch.len, i % batch.len, vocab));
        }
    }
    match batch.mask.iter().position(|m| !m.is_finite() || *m < 0.0) {
        Some(i) => Err(errors::mask_not_finite(f64::from(batch.mask[i]), i)),
        None => Ok(()),
    }
}

/// The number of documents that start in each sequence; sequences with equal numbers have equal lengths after prefixes are inserted.
pub(crate) fn starts<D>(batch: &Batch<D>, continued: bool) -> Vec<usize> {
    (0..batch.batch).map(|b| (0..batch.len).filter(|&t| starts_at(batch, continued, b, t)).count()).collect()
}

fn starts_at<D>(batch: &Batch<D>, continued: bool, b: usize, t: usize) -> bool {
    (t == 0 && !continued) || batch.reset.get(b * batch.len + t).copied().unwrap_or(false)
}

/// Lays out a checked batch; `before` are the positions of the sequences' next tokens, if they continue from a carry.
pub(crate) fn lay_out<D>(graph: &Graph, batch: &Batch<D>, before: Option<&[usize]>) -> Tokens {
    let prefix = graph.prefix.map_or(0, |p| graph.param_shape(p)[0]);
    let vocab = graph.vocab.map_or(0, |v| graph.size(v)) as u32;
    let continued = before.is_some();
    let longest = starts(batch, continued).into_iter().max().unwrap_or(0);
    let len = batch.len + prefix * longest;
    let mut tokens = Tokens {
        grid: Grid { batch: batch.batch, len, pos: Arc::new([]) },
        carried: before.and_then(|b| b.iter().max().copied()).unwrap_or(0),
        ids: Vec::with_capacity(batch.batch * len),
        targets: Vec::with_capacity(batch.batch * len),
        weights: Vec::with_capacity(batch.batch * len),
        given: None,
    };
    let mut pos = Vec::with_capacity(batch.batch * len);
    let mut given = Vec::with_capacity(batch.batch * batch.len);
    for b in 0..batch.batch {
        let mut at = before.map_or(0, |p| p[b]);
        let mut token = |tokens: &mut Tokens, id: u32, target: u32, weight: f64, at: &mut usize| {
            tokens.ids.push(id);
            tokens.targets.push(target);
            tokens.weights.push(weight);
            pos.push(*at);
            *at += 1;
        };
        for t in 0..batch.len {
            let i = b * batch.len + t;
            if starts_at(batch, continued, b, t) {
                at = 0;
                (0..prefix).for_each(|m| token(&mut tokens, vocab + m as u32, 0, 0.0, &mut at));
            }
            given.push(tokens.ids.len());
            let weight = batch.mask.get(i).map_or(1.0, |&m| f64::from(m));
            let id = batch.tokens.get(i).copied().unwrap_or(0);
            token(&mut tokens, id, batch.targets.get(i).copied().unwrap_or(0), weight, &mut at);
        }
        // Sequences with fewer documents end in padding that nothing reads.
        while tokens.ids.len() < (b + 1) * len {
            token(&mut tokens, 0, 0, 0.0, &mut at);
        }
    }
    tokens.grid.pos = pos.into();
    let total: f64 = tokens.weights.iter().sum();
    if total > 0.0 {
        tokens.weights.iter_mut().for_each(|w| *w /= total);
    }
    if prefix > 0 && longest > 0 {
        tokens.given = Some(given);
    }
    tokens
}
