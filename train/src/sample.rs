//! Sampling of tokens from a trained model, one at a time with the state left by the tokens before, as in decoding.

use crate::fault;
use crate::random::Stream;
use archc_compiler::diag::Diagnostic;
use archc_runtime::{Batch, Session};

/// Settings of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Number of tokens to draw.
    pub tokens: usize,
    /// Temperature that divides the logits; at 0 the most likely token is taken.
    pub temperature: f64,
    /// Seed of the draws.
    pub seed: u64,
}

/// Draws the tokens that follow a prompt of at least one token.
///
/// # Errors
/// Errors of the session; E0916 when its logits have the wrong shape, E0921 when they are not finite.
pub fn sample(session: &mut dyn Session, prompt: &[u32], sampling: &Sampling) -> Result<Vec<u32>, Diagnostic> {
    let mut stream = Stream::new(&["sample"], &[sampling.seed]);
    let mut carry = None;
    let mut given = prompt.to_vec();
    let mut drawn = Vec::with_capacity(sampling.tokens);
    while drawn.len() < sampling.tokens {
        let batch = Batch { batch: 1, len: given.len(), tokens: given, ..Batch::default() };
        let outputs = session.advance(&batch, &mut carry)?;
        let logits = outputs.values().next().ok_or_else(|| fault::wrong_logits(&[], [1, batch.len, 0]))?;
        let vocab = logits.shape.last().copied().unwrap_or(0);
        let last = logits.data.len().checked_sub(vocab).and_then(|at| logits.data.get(at..)).unwrap_or_default();
        if last.is_empty() || last.iter().any(|x| !x.is_finite()) {
            return Err(fault::no_token(drawn.len()));
        }
        let token = draw(last, sampling.temperature, &mut stream);
        drawn.push(token);
        given = vec![token];
    }
    Ok(drawn)
}

/// Draws one token from its logits, all of which are present and finite. Ties go to the lowest index.
fn draw(logits: &[f64], temperature: f64, stream: &mut Stream) -> u32 {
    let best = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or(0);
    if temperature == 0.0 {
        return best as u32;
    }
    let weights: Vec<f64> = logits.iter().map(|x| ((x - logits[best]) / temperature).exp()).collect();
    let mut left = stream.unit() * weights.iter().sum::<f64>();
    for (token, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return token as u32;
        }
    }
    // rounding left a remainder
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_logits() {
        let mut stream = Stream::new(&["test"], &[]);
        let logits = [1.0, 3.0, 3.0, f64::ln(2.0)];
        assert_eq!(draw(&logits, 0.0, &mut stream), 1, "ties go to the lowest");
        let mut counts = [0u32; 4];
        let odds = [0.0, 2f64.ln(), 4f64.ln(), -1e9];
        (0..70_000).for_each(|_| counts[draw(&odds, 1.0, &mut stream) as usize] += 1);
        // 10,000, 20,000 and 40,000 expected, standard deviation at most 131; the bound is six standard deviations
        assert!(counts[3] == 0 && counts[0].abs_diff(10_000) < 790 && counts[2].abs_diff(40_000) < 790, "{counts:?}");
        let mut cold = [0u32; 4];
        (0..1000).for_each(|_| cold[draw(&odds, 0.05, &mut stream) as usize] += 1);
        assert_eq!(cold[2], 1000, "four to one, to the twentieth power");
    }
}
