//! Depthwise causal convolution over time: y_t = sum over w of f_w x_{t - w step}, channel by channel, as long as t - w step lies in the
//! document of t.
//!
//! One call handles one sequence `[len, channels]`, channels contiguous. `pos` holds each token's position in its document; a token whose
//! position is larger than its index goes on with a document of the `past`, the tokens before the sequence.

use crate::isa::{Isa, versions};
use crate::vector::Vector;

/// The shape of a convolution and its filter.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// Entries of the filter.
    pub taps: usize,
    /// Tokens between two entries.
    pub step: usize,
    /// Entry w of channel c is at `at + w by_tap + c by_channel`.
    pub by_tap: usize,
    /// 1, or 0 for one filter that all channels share.
    pub by_channel: usize,
}

/// Tokens before the sequence, the last one at the end; their rows are as far apart as those of x.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    /// The first of them.
    pub at: *const f32,
    /// How many.
    pub rows: usize,
}

impl Past {
    /// None.
    pub const NONE: Self = Self { at: std::ptr::null(), rows: 0 };
}

/// Channels c to c + m of a row as one vector.
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

/// Entry w of the filter for channels from c.
#[inline(always)]
unsafe fn entry<V: Vector>(filter: Filter, f: *const f32, w: usize, c: usize, m: usize) -> V {
    // SAFETY: the caller's contract.
    unsafe {
        let at = f.add(w * filter.by_tap + c * filter.by_channel);
        if filter.by_channel == 0 { V::splat(*at) } else { get(at, m) }
    }
}

/// The row `lag` tokens before t, if the document and what is known reach so far.
#[inline(always)]
unsafe fn earlier(x: *const f32, sx: usize, past: Past, pos: *const u32, t: usize, lag: usize) -> Option<*const f32> {
    // SAFETY: the caller's contract.
    unsafe {
        if lag > *pos.add(t) as usize {
            None
        } else if lag <= t {
            Some(x.add((t - lag) * sx))
        } else if lag - t <= past.rows {
            Some(past.at.add((past.rows + t - lag) * sx))
        } else {
            None
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
    let lanes = I::V::LANES;
    // SAFETY: the caller's contract.
    unsafe {
        for t in 0..len {
            let mut c = 0;
            while c < channels {
                let m = lanes.min(channels - c);
                let mut acc = I::V::splat(0.0);
                for w in 0..filter.taps {
                    let Some(row) = earlier(x, sx, past, pos, t, w * filter.step) else { break };
                    acc = entry::<I::V>(filter, f, w, c, m).fma(get(row.add(c), m), acc);
                }
                put(acc, y.add(t * sy + c), m);
                c += m;
            }
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
    let lanes = I::V::LANES;
    // SAFETY: the caller's contract.
    unsafe {
        for s in 0..len {
            let mut c = 0;
            while c < channels {
                let m = lanes.min(channels - c);
                let mut acc = I::V::splat(0.0);
                for w in 0..filter.taps {
                    let lag = w * filter.step;
                    // Past a document's start the tokens no longer see this one.
                    if s + lag >= len || lag > *pos.add(s + lag) as usize {
                        break;
                    }
                    acc = entry::<I::V>(filter, f, w, c, m).fma(get(dy.add((s + lag) * sdy + c), m), acc);
                }
                put(acc, dx.add(s * sdx + c), m);
                c += m;
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
    /// Tokens summed in one go.
    const PIECE: usize = 1024;
    let lanes = I::V::LANES;
    // SAFETY: the caller's contract.
    unsafe {
        for w in 0..filter.taps {
            let mut shared = 0.0f64;
            let mut c = 0;
            while c < channels {
                let m = lanes.min(channels - c);
                let mut from = 0;
                while from < len {
                    let to = len.min(from + PIECE);
                    let mut acc = I::V::splat(0.0);
                    for t in from..to {
                        if let Some(row) = earlier(x, sx, past, pos, t, w * filter.step) {
                            acc = get::<I::V>(dy.add(t * sdy + c), m).fma(get(row.add(c), m), acc);
                        }
                    }
                    if filter.by_channel == 0 {
                        shared += f64::from(acc.sum());
                    } else {
                        let at = df.add(w * filter.by_tap + c);
                        put(acc.add(get(at, m)), at, m);
                    }
                    from = to;
                }
                c += m;
            }
            if filter.by_channel == 0 {
                *df.add(w * filter.by_tap) += shared as f32;
            }
        }
    }
}

versions! {
    /// y_t = sum over w of f_w x_{t - w step}.
    pub unsafe fn conv(
        len: usize, channels: usize, filter: Filter, f: *const f32, x: *const f32, sx: usize, past: Past, pos: *const u32, y: *mut f32,
        sy: usize,
    ) = forward_body;
    /// The gradient by x: dx_s = sum over w of f_w dy_{s + w step}.
    pub unsafe fn conv_back(
        len: usize, channels: usize, filter: Filter, f: *const f32, dy: *const f32, sdy: usize, pos: *const u32, dx: *mut f32, sdx: usize,
    ) = back_body;
    /// Adds the gradient by the filter: df_w += sum over t of dy_t x_{t - w step}, over the channels too if they share it.
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
            ] {
                let filter = Filter { taps, step, by_tap: if by_channel == 1 { channels } else { 1 }, by_channel };
                let s = channels + 1;
                let (f, x, before, dy) =
                    (numbers(taps * channels, 1), numbers(len * s, 2), numbers(carried * s, 3), numbers(len * s, 4));
                // The first document goes on; others start at 7 and 9.
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
                for (got, want) in df.iter().zip(&wf).take(used) {
                    assert!((f64::from(*got) - want).abs() < 2e-5, "{got} {want}");
                }
            }
        });
    }
}
