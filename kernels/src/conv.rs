//! Depthwise causal convolution over time: y_t = sum over w of f_w x_{t - w step}, channel by channel, as long as t - w step lies in the
//! document of t.
//!
//! One call handles one sequence `[len, channels]`, channels contiguous. `pos` holds each token's position in its document; a token whose
//! position is larger than its index belongs to a document that starts in the `past`, the tokens before the sequence.

use crate::isa::{Isa, versions};
use crate::vector::Vector;
use std::ops::Range;

/// The shape of a convolution and its filter.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// Number of filter taps.
    pub taps: usize,
    /// Tokens from one tap to the next (dilation).
    pub step: usize,
    /// Stride between taps: tap w of channel c is at offset `w * by_tap + c * by_channel`, in elements.
    pub by_tap: usize,
    /// Stride between channels: 1, or 0 for one filter that all channels share.
    pub by_channel: usize,
}

/// Tokens before the sequence, the last one at the end; the row stride is that of x.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    /// The first row.
    pub at: *const f32,
    /// Number of rows.
    pub rows: usize,
}

impl Past {
    /// No past tokens.
    pub const NONE: Self = Self { at: std::ptr::null(), rows: 0 };
}

/// Loads the m channels at `p` as one vector.
#[inline(always)]
unsafe fn get<V: Vector>(p: *const f32, m: usize) -> V {
    // SAFETY: the caller's contract.
    unsafe { if m == V::LANES { V::load(p) } else { V::load_part(p, m) } }
}

#[inline(always)]
unsafe fn put<V: Vector>(v: V, p: *mut f32, m: usize) {
    // SAFETY: the caller's contract.
    unsafe { if m == V::LANES { v.store(p) } else { v.store_part(p, m) } }
}

/// Loads tap w of the filter for m channels from c on.
#[inline(always)]
unsafe fn entry<V: Vector>(filter: Filter, f: *const f32, w: usize, c: usize, m: usize) -> V {
    // SAFETY: the caller's contract.
    unsafe {
        let at = f.add(w * filter.by_tap + c * filter.by_channel);
        if filter.by_channel == 0 { V::splat(*at) } else { get(at, m) }
    }
}

/// Tokens per register tile, with [`WIDE`] vectors of channels each: enough sums to hide the latency of a multiply-add, and few enough to
/// fit the registers.
const TOKENS: usize = 6;
/// Vectors of channels per register tile.
const WIDE: usize = 2;
/// Vectors of channels per register tile of a token that is computed alone.
const ALONE: usize = 4;
/// Taps of a filter's gradient per register tile, with [`WIDE`] vectors each.
const TAPS: usize = 4;

/// Rows of tokens: the first row, and the row stride in elements.
#[derive(Clone, Copy)]
struct Rows<P> {
    at: P,
    stride: usize,
}

/// y_r (+)= sum over w of `taps` of `f_w x_r[w]`.
#[derive(Clone, Copy)]
struct TapSum {
    filter: Filter,
    f: *const f32,
    /// First tap and end of the range.
    taps: [usize; 2],
    /// The address that tap 0 would read for the first token; it need not be valid if `taps` starts later.
    x: Rows<*const f32>,
    /// Offset from the row that a tap reads to the row of the next tap, in elements.
    by_tap: isize,
    y: Rows<*mut f32>,
    /// Whether to add to y instead of overwriting it.
    accumulate: bool,
}

impl TapSum {
    /// Computes R tokens, V vectors of channels at a time.
    #[inline(always)]
    unsafe fn tokens<I: Isa, const R: usize, const V: usize>(self, channels: usize) {
        let lanes = I::V::LANES;
        let mut c = 0;
        // SAFETY: the caller's contract.
        unsafe {
            while c + V * lanes <= channels {
                self.block::<I, R, V>(c, lanes);
                c += V * lanes;
            }
            while c < channels {
                let m = lanes.min(channels - c);
                self.block::<I, R, 1>(c, m);
                c += m;
            }
        }
    }

    /// Computes [`Self::tokens`] for V vectors of m channels each, from channel c on.
    #[inline(always)]
    unsafe fn block<I: Isa, const R: usize, const V: usize>(self, c: usize, m: usize) {
        let Self { filter, f, taps: [first, end], x, by_tap, y, accumulate } = self;
        let lanes = I::V::LANES;
        // SAFETY: the caller's contract.
        unsafe {
            let mut sums = [[I::V::splat(0.0); V]; R];
            if accumulate {
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = get(y.at.add(r * y.stride + c + v * lanes), m);
                    }
                }
            }
            let mut row = x.at.wrapping_offset(first as isize * by_tap + c as isize);
            for w in first..end {
                for v in 0..V {
                    let by = entry::<I::V>(filter, f, w, c + v * lanes, m);
                    for (r, sums) in sums.iter_mut().enumerate() {
                        sums[v] = by.fma(get(row.add(r * x.stride + v * lanes), m), sums[v]);
                    }
                }
                row = row.wrapping_offset(by_tap);
            }
            for (r, sums) in sums.into_iter().enumerate() {
                for (v, sum) in sums.into_iter().enumerate() {
                    put(sum, y.at.add(r * y.stride + c + v * lanes), m);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn forward_body<I: Isa>(
    _: I,
    len: usize,
    channels: usize,
    filter: Filter,
    f: *const f32,
    x: *const f32,
    sx: usize,
    past: Past,
    pos: *const u32,
    y: *mut f32,
    sy: usize,
) {
    let farthest = (filter.taps - 1) * filter.step;
    let by_tap = -((filter.step * sx) as isize);
    // SAFETY: the caller's contract.
    unsafe {
        let whole = |t: usize| t >= farthest && *pos.add(t) as usize >= farthest;
        let mut t = 0;
        while t < len {
            let (x, y) = (Rows { at: x.add(t * sx), stride: sx }, Rows { at: y.add(t * sy), stride: sy });
            let sum = TapSum { filter, f, taps: [0, filter.taps], x, by_tap, y, accumulate: false };
            if t + TOKENS <= len && (t..t + TOKENS).all(whole) {
                sum.tokens::<I, TOKENS, WIDE>(channels);
                t += TOKENS;
                continue;
            }
            // the taps within the document and the known past; the first `here` of them read the sequence, the rest the past
            let reach = (*pos.add(t) as usize).min(t + past.rows);
            let taps = filter.taps.min(reach / filter.step + 1);
            let here = taps.min(t / filter.step + 1);
            TapSum { taps: [0, here], ..sum }.tokens::<I, 1, ALONE>(channels);
            if here < taps {
                let x = Rows { at: past.at.wrapping_add((past.rows + t) * sx), stride: sx };
                TapSum { taps: [here, taps], x, accumulate: true, ..sum }.tokens::<I, 1, ALONE>(channels);
            }
            t += 1;
        }
    }
}

#[inline(always)]
unsafe fn back_body<I: Isa>(
    _: I,
    len: usize,
    channels: usize,
    filter: Filter,
    f: *const f32,
    dy: *const f32,
    sdy: usize,
    pos: *const u32,
    dx: *mut f32,
    sdx: usize,
) {
    let farthest = (filter.taps - 1) * filter.step;
    let by_tap = (filter.step * sdy) as isize;
    // SAFETY: the caller's contract.
    unsafe {
        // tokens past the start of a later document no longer read this one
        let sees = |s: usize, lag: usize| s + lag < len && *pos.add(s + lag) as usize >= lag;
        let mut s = 0;
        while s < len {
            let (x, y) = (Rows { at: dy.add(s * sdy), stride: sdy }, Rows { at: dx.add(s * sdx), stride: sdx });
            let sum = TapSum { filter, f, taps: [0, filter.taps], x, by_tap, y, accumulate: false };
            if s + TOKENS <= len && (s..s + TOKENS).all(|s| sees(s, farthest)) {
                sum.tokens::<I, TOKENS, WIDE>(channels);
                s += TOKENS;
                continue;
            }
            let taps = (0..filter.taps).take_while(|w| sees(s, w * filter.step)).count();
            TapSum { taps: [0, taps], ..sum }.tokens::<I, 1, ALONE>(channels);
            s += 1;
        }
    }
}

/// The operands of a filter's gradient.
#[derive(Clone, Copy)]
struct FilterGradient {
    len: usize,
    filter: Filter,
    x: Rows<*const f32>,
    past: Past,
    pos: *const u32,
    dy: Rows<*const f32>,
}

impl FilterGradient {
    /// The row `lag` tokens before t, if it belongs to the document of t and lies in the sequence or its past.
    #[inline(always)]
    unsafe fn earlier(self, t: usize, lag: usize) -> Option<*const f32> {
        // SAFETY: the caller's contract.
        unsafe {
            if lag > *self.pos.add(t) as usize {
                None
            } else if lag <= t {
                Some(self.x.at.add((t - lag) * self.x.stride))
            } else if lag - t <= self.past.rows {
                Some(self.past.at.add((self.past.rows + t - lag) * self.x.stride))
            } else {
                None
            }
        }
    }

    /// The sums over `tokens` for W taps from `first` on and V vectors of m channels each, from channel c on.
    #[inline(always)]
    unsafe fn sums<I: Isa, const W: usize, const V: usize>(
        self,
        tokens: Range<usize>,
        first: usize,
        c: usize,
        m: usize,
    ) -> [[I::V; V]; W] {
        let lanes = I::V::LANES;
        let farthest = (first + W - 1) * self.filter.step;
        // SAFETY: the caller's contract.
        unsafe {
            let mut sums = [[I::V::splat(0.0); V]; W];
            for t in tokens {
                let dy: [I::V; V] = std::array::from_fn(|v| get(self.dy.at.add(t * self.dy.stride + c + v * lanes), m));
                let mut add = |w: usize, row: *const f32| {
                    for v in 0..V {
                        sums[w][v] = dy[v].fma(get(row.add(c + v * lanes), m), sums[w][v]);
                    }
                };
                if t >= farthest && *self.pos.add(t) as usize >= farthest {
                    for w in 0..W {
                        add(w, self.x.at.add((t - (first + w) * self.filter.step) * self.x.stride));
                    }
                } else {
                    for w in 0..W {
                        if let Some(row) = self.earlier(t, (first + w) * self.filter.step) {
                            add(w, row);
                        }
                    }
                }
            }
            sums
        }
    }

    /// Adds the gradient of W taps from `first` on.
    #[inline(always)]
    unsafe fn entries<I: Isa, const W: usize>(self, channels: usize, first: usize, df: *mut f32) {
        let (lanes, filter) = (I::V::LANES, self.filter);
        let mut shared = [0.0f64; W];
        let mut c = 0;
        // SAFETY: the caller's contract.
        unsafe {
            while c + WIDE * lanes <= channels {
                self.pieces::<I, W, WIDE>(first, c, lanes, &mut shared, df);
                c += WIDE * lanes;
            }
            while c < channels {
                let m = lanes.min(channels - c);
                self.pieces::<I, W, 1>(first, c, m, &mut shared, df);
                c += m;
            }
            if filter.by_channel == 0 {
                for (w, sum) in shared.into_iter().enumerate() {
                    *df.add((first + w) * filter.by_tap) += sum as f32;
                }
            }
        }
    }

    /// Adds [`Self::sums`] over all tokens to the gradient, or to `shared` if the channels share the filter.
    #[inline(always)]
    unsafe fn pieces<I: Isa, const W: usize, const V: usize>(
        self,
        first: usize,
        c: usize,
        m: usize,
        shared: &mut [f64; W],
        df: *mut f32,
    ) {
        /// Tokens that are summed in registers before the sum is added to the gradient.
        const PIECE: usize = 1024;
        let filter = self.filter;
        // SAFETY: the caller's contract.
        unsafe {
            let mut from = 0;
            while from < self.len {
                let to = self.len.min(from + PIECE);
                let sums = self.sums::<I, W, V>(from..to, first, c, m);
                for (w, sums) in sums.into_iter().enumerate() {
                    for (v, sum) in sums.into_iter().enumerate() {
                        if filter.by_channel == 0 {
                            shared[w] += f64::from(sum.sum());
                        } else {
                            let at = df.add((first + w) * filter.by_tap + c + v * I::V::LANES);
                            put(sum.add(get(at, m)), at, m);
                        }
                    }
                }
                from = to;
            }
        }
    }
}

#[inline(always)]
unsafe fn filter_body<I: Isa>(
    _: I,
    len: usize,
    channels: usize,
    filter: Filter,
    x: *const f32,
    sx: usize,
    past: Past,
    pos: *const u32,
    dy: *const f32,
    sdy: usize,
    df: *mut f32,
) {
    let (x, dy) = (Rows { at: x, stride: sx }, Rows { at: dy, stride: sdy });
    let gradient = FilterGradient { len, filter, x, past, pos, dy };
    // SAFETY: the caller's contract.
    unsafe {
        let mut first = 0;
        while first + TAPS <= filter.taps {
            gradient.entries::<I, TAPS>(channels, first, df);
            first += TAPS;
        }
        match filter.taps - first {
            3 => gradient.entries::<I, 3>(channels, first, df),
            2 => gradient.entries::<I, 2>(channels, first, df),
            1 => gradient.entries::<I, 1>(channels, first, df),
            _ => {}
        }
    }
}

versions! {
    /// y_t = sum over w of f_w x_{t - w step}.
    pub unsafe fn conv(
        len: usize, channels: usize, filter: Filter, f: *const f32, x: *const f32, sx: usize, past: Past, pos: *const u32, y: *mut f32,
        sy: usize,
    ) = forward_body;
    /// The gradient with respect to x: dx_s = sum over w of f_w dy_{s + w step}.
    pub unsafe fn conv_back(
        len: usize, channels: usize, filter: Filter, f: *const f32, dy: *const f32, sdy: usize, pos: *const u32, dx: *mut f32, sdx: usize,
    ) = back_body;
    /// Adds the gradient with respect to the filter: df_w += sum over t of dy_t x_{t - w step}, over the channels too if they share it.
    pub unsafe fn conv_filter(
        len: usize, channels: usize, filter: Filter, x: *const f32, sx: usize, past: Past, pos: *const u32, dy: *const f32, sdy: usize,
        df: *mut f32,
    ) = filter_body;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::at_each_level;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 331) % 1009) as f32 / 504.0 - 1.0).collect()
    }

    #[test]
    fn matches_the_sum() {
        at_each_level(|_| {
            for (len, channels, taps, step, by_channel, carried) in [
                (1, 1, 4, 1, 1, 0),
                (20, 5, 4, 1, 1, 0),
                (20, 9, 3, 2, 0, 0),
                (33, 40, 4, 3, 1, 9),
                (12, 16, 12, 1, 1, 3),
                (40, 77, 5, 1, 1, 0),
                (40, 33, 6, 2, 0, 2),
                (40, 16, 7, 1, 1, 40),
                (1100, 19, 5, 1, 0, 0),
                (1100, 19, 5, 1, 1, 0),
            ] {
                let filter = Filter { taps, step, by_tap: if by_channel == 1 { channels } else { 1 }, by_channel };
                let s = channels + 1;
                let (f, x, before, dy) =
                    (numbers(taps * channels, 1), numbers(len * s, 2), numbers(carried * s, 3), numbers(len * s, 4));
                // The first document continues that of the past; others start at 7 and 9.
                let pos: Vec<u32> = (0..len).map(|t| if t < 7 { t + carried } else if t < 9 { t - 7 } else { t - 9 } as u32).collect();
                let past = Past { at: before.as_ptr(), rows: carried };
                let (mut y, mut dx, mut df) = (vec![7.0; len * s], vec![7.0; len * s], vec![1.0; taps * channels]);
                // SAFETY: rows as long as the strides.
                unsafe {
                    conv(len, channels, filter, f.as_ptr(), x.as_ptr(), s, past, pos.as_ptr(), y.as_mut_ptr(), s);
                    conv_back(len, channels, filter, f.as_ptr(), dy.as_ptr(), s, pos.as_ptr(), dx.as_mut_ptr(), s);
                    conv_filter(
                        len,
                        channels,
                        filter,
                        x.as_ptr(),
                        s,
                        past,
                        pos.as_ptr(),
                        dy.as_ptr(),
                        s,
                        df.as_mut_ptr(),
                    );
                }
                let (mut wy, mut wx, mut wf) =
                    (vec![0.0f64; len * s], vec![0.0f64; len * s], vec![1.0f64; taps * channels]);
                // the sum of the magnitudes of the terms: 1024 successive roundings of 6e-8, up and down, are 2e-6 of it, and a missing
                // token would be 1e-3; short sums are held to an absolute bound
                let mut sizes = vec![0.0f64; taps * channels];
                for t in 0..len {
                    for w in 0..taps {
                        let lag = w * step;
                        if lag > pos[t] as usize {
                            continue;
                        }
                        for c in 0..channels {
                            let at = w * filter.by_tap + c * by_channel;
                            let d = f64::from(dy[t * s + c]);
                            let v = if lag <= t {
                                wx[(t - lag) * s + c] += f64::from(f[at]) * d;
                                x[(t - lag) * s + c]
                            } else {
                                before[(carried + t - lag) * s + c]
                            };
                            wy[t * s + c] += f64::from(f[at]) * f64::from(v);
                            wf[at] += d * f64::from(v);
                            sizes[at] += (d * f64::from(v)).abs();
                        }
                    }
                }
                for t in 0..len {
                    for c in 0..channels {
                        assert!((f64::from(y[t * s + c]) - wy[t * s + c]).abs() < 2e-6);
                        assert!((f64::from(dx[t * s + c]) - wx[t * s + c]).abs() < 2e-6);
                    }
                    assert_eq!(y[t * s + channels], 7.0);
                }
                let used = if by_channel == 1 { taps * channels } else { taps };
                for ((got, want), size) in df.iter().zip(&wf).zip(&sizes).take(used) {
                    let bound = if len > 40 { 5e-6 * size } else { 2e-5 };
                    assert!((f64::from(*got) - want).abs() < bound, "{got} {want}");
                }
            }
        });
    }
}
