//! The loss of a model: cross-entropy of each row of logits with its target, weighted.

use crate::isa::{Isa, versions};
use crate::rows::{exp_sum, row_max};

#[inline(always)]
unsafe fn loss_body<I: Isa>(
    _: I,
    x: *const f32,
    n: usize,
    vocab: usize,
    sx: usize,
    targets: *const u32,
    weights: *const f32,
) -> f64 {
    let mut loss = 0.0;
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..n {
            let weight = *weights.add(i);
            if weight != 0.0 {
                let row = x.add(i * sx);
                let max = row_max(row, vocab);
                let lse = f64::from(max) + exp_sum::<I>(row, vocab, max, |_, _| ()).ln();
                loss += f64::from(weight) * (lse - f64::from(*row.add(*targets.add(i) as usize)));
            }
        }
    }
    loss
}

#[inline(always)]
unsafe fn grad_body<I: Isa>(
    _: I,
    factor: f32,
    x: *const f32,
    n: usize,
    vocab: usize,
    sx: usize,
    targets: *const u32,
    weights: *const f32,
    dx: *mut f32,
    sdx: usize,
) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..n {
            let (row, out) = (x.add(i * sx), dx.add(i * sdx));
            let weight = *weights.add(i) * factor;
            if *weights.add(i) == 0.0 {
                std::ptr::write_bytes(out, 0, vocab);
                continue;
            }
            let max = row_max(row, vocab);
            let total = exp_sum::<I>(row, vocab, max, |j, e| *out.add(j) = e);
            let share = (f64::from(weight) / total) as f32;
            for j in 0..vocab {
                *out.add(j) *= share;
            }
            *out.add(*targets.add(i) as usize) -= weight;
        }
    }
}

versions! {
    /// The sum over the n rows of x `[n, vocab]` of weight times (logsumexp of the row - its element at the target), in nats, summed in
    /// f64. Targets of rows of weight 0 are not read.
    pub unsafe fn loss(x: *const f32, n: usize, vocab: usize, sx: usize, targets: *const u32, weights: *const f32) -> f64 = loss_body;
    /// The gradient of [`loss`] times `factor`: dx `[n, vocab]` = factor weight (softmax - one-hot target). dx may be x.
    pub unsafe fn loss_grad(
        factor: f32, x: *const f32, n: usize, vocab: usize, sx: usize, targets: *const u32, weights: *const f32, dx: *mut f32, sdx: usize,
    ) = grad_body;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::at_each_level;

    #[test]
    fn matches_f64() {
        at_each_level(|_| {
            for vocab in [2, 33, 3000] {
                let n = 4;
                let x: Vec<f32> = (0..n * vocab).map(|i| ((i * 7919) % 1009) as f32 / 100.0 - 5.0).collect();
                let targets = [1, vocab as u32 - 1, u32::MAX, 0];
                let weights = [0.25, 0.5, 0.0, 0.25];
                let mut dx = x.clone();
                let mut want = 0.0;
                // SAFETY: n rows of the vocabulary.
                let got = unsafe {
                    loss_grad(
                        2.0,
                        dx.as_ptr(),
                        n,
                        vocab,
                        vocab,
                        targets.as_ptr(),
                        weights.as_ptr(),
                        dx.as_mut_ptr(),
                        vocab,
                    );
                    loss(x.as_ptr(), n, vocab, vocab, targets.as_ptr(), weights.as_ptr())
                };
                for i in 0..n {
                    let row = &x[i * vocab..(i + 1) * vocab];
                    let total: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
                    let w = f64::from(weights[i]);
                    if w > 0.0 {
                        want += w * (total.ln() - f64::from(row[targets[i] as usize]));
                    }
                    for j in 0..vocab {
                        let one = if j as u32 == targets[i] { 1.0 } else { 0.0 };
                        let d = 2.0 * w * (f64::from(row[j]).exp() / total - one);
                        assert!((f64::from(dx[i * vocab + j]) - d).abs() < 2e-7);
                    }
                }
                assert!((got - want).abs() < 1e-6 * want.abs(), "{got} {want}");
            }
        });
    }
}
