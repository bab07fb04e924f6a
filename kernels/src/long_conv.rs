//! Causal convolution with a filter as long as the sequence, channel by channel: the direct sum for short documents, the Fourier transform
//! for long ones.
//!
//! A document is independent of those before it, so each is convolved alone: y = h * x, cut to its length. The length of the transform is
//! at least twice the document's, so that nothing wraps around. It runs in f64: its rounding error is that of the largest elements of the
//! document everywhere, and tokens may be much smaller than those or cancel. Filters and sequences are `[len, channels]`, channels
//! contiguous; each channel is gathered along time, transformed, and scattered back.

use crate::conv::{Filter, Past, conv, conv_back, conv_filter};
use realfft::num_complex::Complex64;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::cell::RefCell;
use std::sync::Arc;

/// Number of tokens from which on a document goes through the transform. Measured with 64 channels (AVX-512, microseconds, direct and
/// transform): 137 and 185 at 192 tokens, 184 and 240 at 224, 247 and 233 at 256, 560 and 297 at 384.
pub const TRANSFORM_FROM: usize = 240;

/// The transforms of one length, and memory for a sequence, two spectra and scratch.
struct Transform {
    len: usize,
    to: Arc<dyn RealToComplex<f64>>,
    back: Arc<dyn ComplexToReal<f64>>,
    time: Vec<f64>,
    spectra: [Vec<Complex64>; 2],
    scratch: Vec<Complex64>,
}

thread_local! {
    /// Transforms of the lengths that this thread has used, few of them.
    static TRANSFORMS: RefCell<Vec<Transform>> = const { RefCell::new(Vec::new()) };
}

/// The shortest length of at least n that is a power of two or three times one: both are fast to transform.
fn fast_length(n: usize) -> usize {
    let power = n.next_power_of_two();
    let three = power / 4 * 3;
    if three >= n { three } else { power }
}

fn with_transform<T>(len: usize, f: impl FnOnce(&mut Transform) -> T) -> T {
    TRANSFORMS.with_borrow_mut(|all| {
        let at = all.iter().position(|t| t.len == len).unwrap_or_else(|| {
            let mut planner = RealFftPlanner::new();
            let (to, back) = (planner.plan_fft_forward(len), planner.plan_fft_inverse(len));
            let scratch = vec![Complex64::default(); to.get_scratch_len().max(back.get_scratch_len())];
            let spectra = [to.make_output_vec(), to.make_output_vec()];
            all.push(Transform { len, to, back, time: vec![0.0; len], spectra, scratch });
            all.len() - 1
        });
        f(&mut all[at])
    })
}

impl Transform {
    /// Computes the spectrum of a column of n elements with this stride, from the last one to the first if `reverse`.
    unsafe fn spectrum(&mut self, which: usize, x: *const f32, stride: usize, n: usize, reverse: bool) {
        for (t, v) in self.time[..n].iter_mut().enumerate() {
            // SAFETY: the caller's contract.
            *v = f64::from(unsafe { *x.add(if reverse { n - 1 - t } else { t } * stride) });
        }
        self.time[n..].fill(0.0);
        let done = self.to.process_with_scratch(&mut self.time, &mut self.spectra[which], &mut self.scratch);
        assert!(done.is_ok(), "archc bug: buffers are made for the transform");
    }

    /// Convolves the two sequences; the result, in `time`, is not yet divided by the length.
    fn convolve(&mut self) {
        let [a, b] = &mut self.spectra;
        for (a, b) in a.iter_mut().zip(b.iter()) {
            *a *= b;
        }
        // Both ends of a real sequence's spectrum are real; rounding may have left an imaginary part.
        let last = a.len() - 1;
        a[0].im = 0.0;
        if self.len.is_multiple_of(2) {
            a[last].im = 0.0;
        }
        let done = self.back.process_with_scratch(a, &mut self.time, &mut self.scratch);
        assert!(done.is_ok(), "archc bug: buffers are made for the transform");
    }
}

/// Largest ratio of a sequence's elements to its first nonzero one at which the transform is used.
const WIDENS: f32 = 1e8;

/// Whether the rounding of a transform would be visible: it spreads the rounding error of the largest elements (in f64) over all tokens,
/// those before them included, which may hold much smaller elements.
unsafe fn widens(x: *const f32, stride: usize, n: usize, reverse: bool) -> bool {
    // SAFETY: the caller's contract.
    let at = |t: usize| unsafe { *x.add(if reverse { n - 1 - t } else { t } * stride) }.abs();
    let Some(first) = (0..n).map(at).find(|x| *x != 0.0) else { return false };
    !(0..n).map(at).all(|x| x <= WIDENS * first)
}

/// Documents of a sequence: first token and length of each.
fn documents(pos: &[u32]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut from = 0;
    std::iter::from_fn(move || {
        if from == pos.len() {
            return None;
        }
        let more = pos[from + 1..].iter().take_while(|p| **p != 0).count();
        let document = (from, more + 1);
        from += more + 1;
        Some(document)
    })
}

fn direct(taps: usize, sh: usize) -> Filter {
    Filter { taps, step: 1, by_tap: sh, by_channel: 1 }
}

/// y_t = sum over lags within the document of h_lag x_{t - lag}. h has `lags` rows, as many as the longest document. The first document may
/// continue from `past`.
pub unsafe fn long_conv(
    channels: usize,
    h: *const f32,
    lags: usize,
    sh: usize,
    x: *const f32,
    sx: usize,
    past: Past,
    pos: &[u32],
    y: *mut f32,
    sy: usize,
) {
    for (from, n) in documents(pos) {
        // SAFETY: documents lie inside of the sequence.
        unsafe {
            let (x, y) = (x.add(from * sx), y.add(from * sy));
            let goes_on = from == 0 && pos[0] > 0 && past.rows > 0;
            if n < TRANSFORM_FROM || goes_on {
                let past = if goes_on { past } else { Past::NONE };
                conv(n, channels, direct(lags, sh), h, x, sx, past, pos[from..].as_ptr(), y, sy);
                continue;
            }
            with_transform(fast_length(2 * n), |f| {
                let scale = 1.0 / f.len as f64;
                for c in 0..channels {
                    if widens(x.add(c), sx, n, false) {
                        let (h, x, y) = (h.add(c), x.add(c), y.add(c));
                        conv(n, 1, direct(lags, sh), h, x, sx, Past::NONE, pos[from..].as_ptr(), y, sy);
                        continue;
                    }
                    f.spectrum(0, h.add(c), sh, n.min(lags), false);
                    f.spectrum(1, x.add(c), sx, n, false);
                    f.convolve();
                    for (t, v) in f.time[..n].iter().enumerate() {
                        *y.add(t * sy + c) = (v * scale) as f32;
                    }
                }
            });
        }
    }
}

/// The gradient with respect to x: dx_s = sum over t >= s of the same document of h_{t - s} dy_t.
pub unsafe fn long_conv_back(
    channels: usize,
    h: *const f32,
    lags: usize,
    sh: usize,
    dy: *const f32,
    sdy: usize,
    pos: &[u32],
    dx: *mut f32,
    sdx: usize,
) {
    for (from, n) in documents(pos) {
        // SAFETY: documents lie inside of the sequence.
        unsafe {
            let (dy, dx) = (dy.add(from * sdy), dx.add(from * sdx));
            if n < TRANSFORM_FROM {
                conv_back(n, channels, direct(lags, sh), h, dy, sdy, pos[from..].as_ptr(), dx, sdx);
                continue;
            }
            // Reversed in time it is the same convolution.
            with_transform(fast_length(2 * n), |f| {
                let scale = 1.0 / f.len as f64;
                for c in 0..channels {
                    if widens(dy.add(c), sdy, n, true) {
                        let (h, dy, dx) = (h.add(c), dy.add(c), dx.add(c));
                        conv_back(n, 1, direct(lags, sh), h, dy, sdy, pos[from..].as_ptr(), dx, sdx);
                        continue;
                    }
                    f.spectrum(0, h.add(c), sh, n.min(lags), false);
                    f.spectrum(1, dy.add(c), sdy, n, true);
                    f.convolve();
                    for (t, v) in f.time[..n].iter().enumerate() {
                        *dx.add((n - 1 - t) * sdx + c) = (v * scale) as f32;
                    }
                }
            });
        }
    }
}

/// Adds the gradient with respect to the filter: dh_lag += sum over t of dy_t x_{t - lag} within documents.
pub unsafe fn long_conv_filter(
    channels: usize,
    x: *const f32,
    sx: usize,
    past: Past,
    dy: *const f32,
    sdy: usize,
    pos: &[u32],
    dh: *mut f32,
    lags: usize,
    sdh: usize,
) {
    for (from, n) in documents(pos) {
        // SAFETY: documents lie inside of the sequence.
        unsafe {
            let (x, dy) = (x.add(from * sx), dy.add(from * sdy));
            let goes_on = from == 0 && pos[0] > 0 && past.rows > 0;
            if n < TRANSFORM_FROM || goes_on {
                let (past, known) = if goes_on { (past, n + past.rows) } else { (Past::NONE, n) };
                conv_filter(n, channels, direct(lags.min(known), sdh), x, sx, past, pos[from..].as_ptr(), dy, sdy, dh);
                continue;
            }
            // A correlation: the convolution with x reversed, from its last entry on.
            with_transform(fast_length(2 * n), |f| {
                let scale = 1.0 / f.len as f64;
                for c in 0..channels {
                    f.spectrum(0, x.add(c), sx, n, true);
                    f.spectrum(1, dy.add(c), sdy, n, false);
                    f.convolve();
                    for (lag, v) in f.time[n - 1..].iter().take(n.min(lags)).enumerate() {
                        *dh.add(lag * sdh + c) += (v * scale) as f32;
                    }
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transform_matches_the_sum() {
        let (len, channels, s) = (700, 3, 4);
        let numbers = |seed: usize| -> Vec<f32> {
            (0..len * s).map(|i| ((i * 7919 + seed * 331) % 1009) as f32 / 504.0 - 1.0).collect()
        };
        let (h, x, dy) = (numbers(1), numbers(2), numbers(3));
        // Documents of 20, 300 and 380 tokens: one by the sum, two by the transform.
        let pos: Vec<u32> = (0..len as u32)
            .map(|t| {
                if t < 20 {
                    t
                } else if t < 320 {
                    t - 20
                } else {
                    t - 320
                }
            })
            .collect();
        let (mut y, mut dx, mut dh) = (vec![0.0; len * s], vec![0.0; len * s], vec![1.0; len * s]);
        // SAFETY: len rows of s.
        unsafe {
            long_conv(channels, h.as_ptr(), len, s, x.as_ptr(), s, Past::NONE, &pos, y.as_mut_ptr(), s);
            long_conv_back(channels, h.as_ptr(), len, s, dy.as_ptr(), s, &pos, dx.as_mut_ptr(), s);
            long_conv_filter(channels, x.as_ptr(), s, Past::NONE, dy.as_ptr(), s, &pos, dh.as_mut_ptr(), len, s);
        }
        let (mut wy, mut wx, mut wh) = (vec![0.0f64; len * s], vec![0.0f64; len * s], vec![1.0f64; len * s]);
        for t in 0..len {
            for lag in 0..=pos[t] as usize {
                for c in 0..channels {
                    let (h, x) = (f64::from(h[lag * s + c]), f64::from(x[(t - lag) * s + c]));
                    let d = f64::from(dy[t * s + c]);
                    wy[t * s + c] += h * x;
                    wx[(t - lag) * s + c] += h * d;
                    wh[lag * s + c] += d * x;
                }
            }
        }
        for (got, want) in [(y, wy), (dx, wx), (dh, wh)] {
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                if i % s < channels {
                    // Hundreds of terms of size up to 1; the transform spreads rounding over all entries.
                    assert!((f64::from(*got) - want).abs() < 1e-4, "{i}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn large_tokens_leave_those_before_them_alone() {
        let n = 300;
        let h: Vec<f32> = (0..n).map(|i| 1.0 / (1.0 + i as f32)).collect();
        let x: Vec<f32> = (0..n).map(|t| if t < 200 { 1.0 } else { 1e30 }).collect();
        let pos: Vec<u32> = (0..n as u32).collect();
        let mut y = vec![0.0; n];
        // SAFETY: n rows of one channel.
        unsafe { long_conv(1, h.as_ptr(), n, 1, x.as_ptr(), 1, Past::NONE, &pos, y.as_mut_ptr(), 1) };
        let want: f64 = (0..200).map(|i| 1.0 / (1.0 + f64::from(i))).sum();
        // 200 terms, the largest one 1
        assert!((f64::from(y[199]) - want).abs() < 1e-5, "{} {want}", y[199]);
    }

    #[test]
    fn lengths() {
        assert_eq!([fast_length(512), fast_length(600), fast_length(800), fast_length(400)], [512, 768, 1024, 512]);
    }
}
