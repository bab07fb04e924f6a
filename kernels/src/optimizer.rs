//! The update of parameters: the gradient's norm and AdamW (arXiv 1711.05101).

use crate::isa::{Isa, versions};

/// The coefficients of one AdamW update, computed once for all parameters.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Factor on the gradients: clipping.
    pub scale: f32,
    /// Decay of the running mean.
    pub beta1: f32,
    /// 1 - beta1, computed in f64 and rounded once.
    pub rest1: f32,
    /// Decay of the running mean of squares.
    pub beta2: f32,
    /// 1 - beta2.
    pub rest2: f32,
    /// Factor on the parameter: 1 - learning rate times weight decay, or 1.
    pub shrink: f32,
    /// Bias-corrected learning rate: learning rate / (1 - beta1^number).
    pub rate: f32,
    /// Bias correction of the mean of squares: 1 / (1 - beta2^number).
    pub correct: f32,
    /// Epsilon, added to the root of the mean of squares.
    pub eps: f32,
}

/// AdamW's settings at one update of a training run, in the memory layout that kernels read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay of the running mean.
    pub beta1: f64,
    /// Decay of the running mean of squares.
    pub beta2: f64,
    /// Epsilon, added to the root of the mean of squares.
    pub eps: f64,
    /// Decoupled decay, times the learning rate.
    pub weight_decay: f64,
    /// Gradients are scaled so that their norm is at most this.
    pub clip: f64,
    /// Number of the update, from 1.
    pub number: u64,
    /// Padding to 64 bytes.
    pub unused: u64,
}

impl Rule {
    /// The update for gradients of this norm; none where objective, norm or rate is not finite.
    pub fn update(&self, objective: f64, norm: f64, decays: bool) -> Option<Update> {
        let finite = objective.is_finite() && norm.is_finite() && self.learning_rate.is_finite();
        let scale = if norm > self.clip { self.clip / norm } else { 1.0 };
        let decay = if decays { self.weight_decay } else { 0.0 };
        let betas = (self.beta1, self.beta2);
        finite.then(|| Update::new(self.learning_rate, betas, self.eps, decay, self.number, scale))
    }
}

impl Update {
    /// Update `number` (from 1) with these settings.
    pub fn new(rate: f64, (beta1, beta2): (f64, f64), eps: f64, decay: f64, number: u64, scale: f64) -> Self {
        Self {
            scale: scale as f32,
            beta1: beta1 as f32,
            rest1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            rest2: (1.0 - beta2) as f32,
            shrink: (1.0 - rate * decay) as f32,
            rate: (rate / (1.0 - beta1.powf(number as f64))) as f32,
            correct: (1.0 / (1.0 - beta2.powf(number as f64))) as f32,
            eps: eps as f32,
        }
    }
}

#[inline(always)]
unsafe fn adamw_body<I: Isa>(_: I, update: Update, n: usize, p: *mut f32, m: *mut f32, v: *mut f32, g: *const f32) {
    let Update { scale, beta1, rest1, beta2, rest2, shrink, rate, correct, eps } = update;
    // SAFETY: all four have n entries and do not overlap.
    unsafe {
        let (p, m, v) = (
            std::slice::from_raw_parts_mut(p, n),
            std::slice::from_raw_parts_mut(m, n),
            std::slice::from_raw_parts_mut(v, n),
        );
        for (i, ((p, m), v)) in p.iter_mut().zip(m).zip(v).enumerate() {
            let g = *g.add(i) * scale;
            *m = I::fma(beta1, *m, rest1 * g);
            *v = I::fma(beta2, *v, rest2 * g * g);
            *p = *p * shrink - rate * *m / ((*v * correct).sqrt() + eps);
        }
    }
}

#[inline(always)]
unsafe fn sum_squares_body<I: Isa>(_: I, x: *const f32, n: usize) -> f64 {
    const LANES: usize = 16;
    let mut acc = [0.0f64; LANES];
    // SAFETY: x has n entries.
    unsafe {
        let mut i = 0;
        while i + LANES <= n {
            for (l, acc) in acc.iter_mut().enumerate() {
                let v = f64::from(*x.add(i + l));
                *acc += v * v;
            }
            i += LANES;
        }
        for (l, acc) in acc.iter_mut().enumerate().take(n - i) {
            let v = f64::from(*x.add(i + l));
            *acc += v * v;
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        for l in 0..half {
            acc[l] += acc[l + half];
        }
        half /= 2;
    }
    acc[0]
}

versions! {
    /// Updates n parameters p with their running means m (of the gradient) and v (of its square). The four do not overlap.
    pub unsafe fn adamw(update: Update, n: usize, p: *mut f32, m: *mut f32, v: *mut f32, g: *const f32) = adamw_body;
    unsafe fn squares(x: *const f32, n: usize) -> f64 = sum_squares_body;
}

/// The sum of squares in f64.
pub fn sum_squares(x: &[f32]) -> f64 {
    // SAFETY: pointer and length are those of a slice.
    unsafe { squares(x.as_ptr(), x.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::at_each_level;

    #[test]
    fn follows_the_formula() {
        at_each_level(|_| {
            let n = 37;
            let at = |i: usize, k: usize| ((i * 7919 + k * 331) % 1009) as f32 / 504.0 - 1.0;
            let g: Vec<f32> = (0..n).map(|i| at(i, 1)).collect();
            let mut p: Vec<f32> = (0..n).map(|i| at(i, 2)).collect();
            let mut m: Vec<f32> = (0..n).map(|i| at(i, 3)).collect();
            let mut v: Vec<f32> = (0..n).map(|i| at(i, 4).abs()).collect();
            let before = (p.clone(), m.clone(), v.clone());
            let update = Update::new(0.01, (0.9, 0.95), 1e-8, 0.1, 3, 0.5);
            // SAFETY: n entries each.
            unsafe { adamw(update, n, p.as_mut_ptr(), m.as_mut_ptr(), v.as_mut_ptr(), g.as_ptr()) };
            for i in 0..n {
                let g = f64::from(g[i]) * 0.5;
                let wm = 0.9 * f64::from(before.1[i]) + 0.1 * g;
                let wv = 0.95 * f64::from(before.2[i]) + 0.05 * g * g;
                let (c1, c2) = (1.0 - 0.9f64.powi(3), 1.0 - 0.95f64.powi(3));
                let wp = f64::from(before.0[i]) * (1.0 - 0.001) - 0.01 * (wm / c1) / ((wv / c2).sqrt() + 1e-8);
                for (got, want) in [(m[i], wm), (v[i], wv), (p[i], wp)] {
                    assert!((f64::from(got) - want).abs() < 3e-7, "{got} {want}");
                }
            }
            let want: f64 = g.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            assert!((sum_squares(&g) - want).abs() < 1e-12);
        });
    }
}
