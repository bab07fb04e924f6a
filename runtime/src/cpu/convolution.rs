//! Depthwise convolutions over time within documents.

use super::memory::{Bases, Slot, layout};
use archc_compiler::lowered::{BATCH, DimId, TIME};
use archc_compiler::plan::{Conv, ConvWork, View};
use archc_kernels::conv::{Filter, Past, conv, conv_back, conv_filter};
use archc_kernels::copy::{add_nd, copy_nd};
use archc_kernels::elementwise::{Binary, Src, binary, mul_add};
use std::cell::Cell;

/// A prepared convolution.
#[derive(Clone, Debug)]
pub(super) struct ConvStep {
    conv: Conv,
    /// Channel dimensions outside of the run, which are iterated over.
    around: Vec<Channel>,
    /// Number of channels that form one contiguous run in the token values.
    run: usize,
    /// Stride of the run's taps in the filter: 1, 0 (shared) or other.
    tap: isize,
    taps: usize,
    tail: Option<(usize, isize)>,
    /// All channels, if their runs are so short that it is faster to copy them side by side.
    apart: Option<Vec<Channel>>,
}

/// Number of channels of a run from which on vectors pay off.
const SHORT: usize = 8;

thread_local! {
    /// Memory for channels copied side by side, reused between calls.
    static ROOM: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// A channel dimension around the run: length, and strides in x, dy, y, the filter and the carried tokens.
#[derive(Clone, Debug)]
struct Channel {
    size: usize,
    strides: [isize; 5],
}

impl ConvStep {
    pub fn new(conv: &Conv) -> Self {
        let token = |d: DimId| d == BATCH || d == TIME;
        let channels: Vec<_> = conv.x.axes.iter().filter(|a| !token(a.dim) && a.size > 1).collect();
        let none = View { axes: Vec::new(), ..conv.x.clone() };
        let others = [conv.dy.as_ref(), conv.y.as_ref(), conv.carried.as_ref()];
        let of = |d: DimId| -> [isize; 5] {
            let [dy, y, carried] = others.map(|v| v.unwrap_or(&none).stride(d));
            [conv.x.stride(d), dy, y, conv.filter.stride(d), carried]
        };
        // the innermost channels that form one run in all views
        let mut run = 1usize;
        let mut first = channels.len();
        let mut tap = None;
        while first > 0 {
            let a = channels[first - 1];
            let s = of(a.dim);
            let dense = |stride: isize, there: bool| !there || stride == run as isize;
            let fits = dense(s[0], true)
                && dense(s[1], conv.dy.is_some())
                && dense(s[2], conv.y.is_some())
                && dense(s[4], conv.carried.is_some());
            let filter = match tap {
                None => true,
                Some(t) => s[3] == t * run as isize,
            };
            if !fits || !filter {
                break;
            }
            tap.get_or_insert(s[3]);
            run *= a.size;
            first -= 1;
        }
        let around = channels[..first].iter().map(|a| Channel { size: a.size, strides: of(a.dim) }).collect();
        let tail = conv
            .carried
            .as_ref()
            .and_then(|c| c.axes.iter().find(|a| conv.x.axis(a.dim).is_none()).map(|a| (a.size, a.stride)));
        // a step beyond all known tokens reads nothing either way, and with this bound no product of steps overflows
        let known = conv.pos.size(TIME) + tail.map_or(0, |t: (usize, isize)| t.0);
        let conv = Conv { step: conv.step.min(known), ..conv.clone() };
        let total: usize = channels.iter().map(|a| a.size).product();
        let alone = run < SHORT && total > run && conv.first == 0 && conv.carried.is_none();
        // the filter's gradient is accumulated in any case, the other results are not
        let alone = alone && (conv.work == ConvWork::Filter || !conv.accumulate);
        let all = || channels.iter().map(|a| Channel { size: a.size, strides: of(a.dim) }).collect();
        Self {
            apart: alone.then(all),
            around,
            run,
            tap: tap.unwrap_or(0),
            taps: conv.filter.size(conv.window),
            tail,
            conv,
        }
    }

    /// Runs the convolution.
    ///
    /// # Safety
    /// As for `Program::run`.
    pub unsafe fn run(&self, bases: &Bases) {
        let c = &self.conv;
        // SAFETY: the plan's views lie inside of their buffers
        unsafe {
            let at = |v: &Option<View>| v.as_ref().map_or(std::ptr::null_mut(), |v| bases.at(Slot::of(v)));
            let start = [bases.at(Slot::of(&c.x)), at(&c.dy), at(&c.y), bases.at(Slot::of(&c.filter)), at(&c.carried)];
            if c.work == ConvWork::Filter && !c.accumulate {
                let zero = 0.0f32;
                let (sizes, strides) = layout(&c.filter);
                copy_nd(start[3], &strides, &zero, &vec![0; sizes.len()], &sizes);
            }
            let pos = std::slice::from_raw_parts(bases.at(Slot::of(&c.pos)).cast::<u32>(), c.pos.len());
            if self.copied(start, pos) {
                return;
            }
            let count: usize = self.around.iter().map(|a| a.size).product();
            for n in 0..count {
                let mut rest = n;
                let mut at = start;
                for channel in self.around.iter().rev() {
                    let i = (rest % channel.size) as isize;
                    rest /= channel.size;
                    for (p, s) in at.iter_mut().zip(channel.strides) {
                        *p = p.wrapping_offset(i * s);
                    }
                }
                if !self.side_by_side(at, pos) {
                    self.channels(at, pos);
                }
            }
        }
    }

    /// Runs the whole convolution on copies in which channels are contiguous, if the step was prepared for that; returns whether it was.
    unsafe fn copied(&self, [x, dy, y, filter, _]: [*mut f32; 5], pos: &[u32]) -> bool {
        let c = &self.conv;
        let Some(channels) = &self.apart else { return false };
        let len = c.pos.size(TIME);
        let n: usize = channels.iter().map(|a| a.size).product();
        // tokens or taps, then channels
        let sizes =
            |first: usize| -> Vec<usize> { [first].into_iter().chain(channels.iter().map(|a| a.size)).collect() };
        let strides = |first: isize, which: usize| -> Vec<isize> {
            [first].into_iter().chain(channels.iter().map(|a| a.strides[which])).collect()
        };
        let mut dense = vec![1isize; channels.len() + 1];
        for i in (1..dense.len()).rev() {
            dense[i - 1] = dense[i] * channels[i - 1].size as isize;
        }
        let stride = |v: &Option<View>, d| v.as_ref().map_or(0, |v| v.stride(d));
        let (tokens, entries) = (sizes(len), sizes(self.taps));
        let lies = strides(c.filter.stride(c.window), 3);
        let (of_x, of_dy, of_y) =
            (strides(c.x.stride(TIME), 0), strides(stride(&c.dy, TIME), 1), strides(stride(&c.y, TIME), 2));
        let mut room = ROOM.take();
        room.resize(room.len().max((2 * len + self.taps) * n), 0.0);
        let of = Filter { taps: self.taps, step: c.step, by_tap: n, by_channel: 1 };
        // SAFETY: the room has two sequences and a filter of n channels; the plan's views lie inside of their buffers
        unsafe {
            let a = room.as_mut_ptr();
            let (b, f) = (a.add(len * n), a.add(2 * len * n));
            if c.work == ConvWork::Filter {
                std::slice::from_raw_parts_mut(f, self.taps * n).fill(0.0);
            } else {
                copy_nd(f, &dense, filter, &lies, &entries);
            }
            for (i, pos) in pos.chunks_exact(len).enumerate() {
                let at = |p: *mut f32, stride: isize| p.wrapping_offset(i as isize * stride);
                copy_nd(a, &dense, at(x, c.x.stride(BATCH)), &of_x, &tokens);
                let p = pos.as_ptr();
                match c.work {
                    ConvWork::Forward => conv(len, n, of, f, a, n, Past::NONE, p, b, n),
                    ConvWork::Backward => conv_back(len, n, of, f, a, n, p, b, n),
                    ConvWork::Filter => {
                        copy_nd(b, &dense, at(dy, stride(&c.dy, BATCH)), &of_dy, &tokens);
                        conv_filter(len, n, of, a, n, Past::NONE, p, b, n, f);
                        continue;
                    }
                }
                copy_nd(at(y, stride(&c.y, BATCH)), &of_y, b, &dense, &tokens);
            }
            if c.work == ConvWork::Filter {
                add_nd(filter, &lies, f, &dense, &entries);
            }
        }
        ROOM.set(room);
        true
    }

    /// Runs one run of channels by the kernels for whole sequences, if the layout suits them; returns whether it does.
    unsafe fn side_by_side(&self, [x, dy, y, filter, carried]: [*mut f32; 5], pos: &[u32]) -> bool {
        let c = &self.conv;
        let len = c.pos.size(TIME);
        let gradient = c.work == ConvWork::Filter;
        let token = |v: Option<&View>| v.map_or(0, |v| v.stride(TIME));
        let tokens = [c.x.stride(TIME), token(c.dy.as_ref()), token(c.y.as_ref())];
        let fits = c.first == 0
            && (gradient || !c.accumulate)
            && tokens.iter().all(|s| *s >= 0)
            && self.tail.is_none_or(|t| t.1 == tokens[0]);
        if !fits {
            return false;
        }
        let [sx, sdy, sy] = tokens.map(isize::unsigned_abs);
        let (n, taps) = (self.run, self.taps);
        // filters `[channels, taps]` are transposed, since the kernels read the taps of neighbouring channels as vectors
        let shared = self.tap == 0;
        let wide = if shared { 1 } else { n };
        let mut entries = vec![0.0f32; wide * taps];
        let (sizes, turned) = ([taps, wide], [wide as isize, 1]);
        let lies = [c.filter.stride(c.window), self.tap];
        if !gradient {
            // SAFETY: the filter has these taps
            unsafe { copy_nd(entries.as_mut_ptr(), &turned, filter, &lies, &sizes) };
        }
        let f = entries.as_mut_ptr();
        let of = Filter { taps, step: c.step, by_tap: wide, by_channel: usize::from(!shared) };
        let stride = |v: &Option<View>| v.as_ref().map_or(0, |v| v.stride(BATCH));
        for (b, pos) in pos.chunks_exact(len).enumerate() {
            let at = |p: *mut f32, stride: isize| p.wrapping_offset(b as isize * stride);
            let (x, dy, y) = (at(x, c.x.stride(BATCH)), at(dy, stride(&c.dy)), at(y, stride(&c.y)));
            let past = match self.tail {
                Some((rows, _)) => Past { at: at(carried, stride(&c.carried)), rows },
                None => Past::NONE,
            };
            let pos = pos.as_ptr();
            // SAFETY: the plan's views lie inside of their buffers; lags stay inside of the document
            unsafe {
                match c.work {
                    ConvWork::Forward => conv(len, n, of, f, x, sx, past, pos, y, sy),
                    ConvWork::Backward => conv_back(len, n, of, f, x, sx, pos, y, sy),
                    ConvWork::Filter => conv_filter(len, n, of, x, sx, past, pos, dy, sdy, f),
                }
            }
        }
        if gradient {
            // SAFETY: as for the copy
            unsafe { add_nd(filter, &lies, f, &turned, &sizes) };
        }
        true
    }

    /// Runs one run of channels in any layout, given the addresses of x, dy, y, the filter and the carried tokens.
    unsafe fn channels(&self, [x, dy, y, filter, carried]: [*mut f32; 5], pos: &[u32]) {
        let c = &self.conv;
        let len = c.pos.size(TIME);
        let stride = |v: &Option<View>, d| v.as_ref().map_or(0, |v| v.stride(d));
        let filter_tap = c.filter.stride(c.window);
        let n = self.run;
        // taps for every channel of the run
        let mut taps = vec![0.0f32; n * self.taps];
        // SAFETY: the plan's views lie inside of their buffers; lags stay inside of the document
        unsafe {
            if c.work != ConvWork::Filter {
                for w in 0..self.taps {
                    let from = filter.offset(w as isize * filter_tap);
                    copy_nd(taps.as_mut_ptr().add(w * n), &[1], from, &[self.tap], &[n]);
                }
            }
            let mut product = vec![0.0f32; n];
            for (b, pos) in (0..).zip(pos.chunks_exact(len)) {
                let row = |p: *mut f32, bs: isize, ts: isize, t: usize| p.wrapping_offset(b * bs + t as isize * ts);
                let xs = |t: usize| row(x, c.x.stride(BATCH), c.x.stride(TIME), t);
                let ys = |t: usize| row(y, stride(&c.y, BATCH), stride(&c.y, TIME), t);
                let dys = |t: usize| row(dy, stride(&c.dy, BATCH), stride(&c.dy, TIME), t);
                let before = |back: usize| {
                    let (tail, step) = self.tail?;
                    let at = carried
                        .wrapping_offset(b * stride(&c.carried, BATCH) + (tail - back.min(tail)) as isize * step);
                    (back <= tail).then_some(at)
                };
                match c.work {
                    ConvWork::Forward => {
                        for (t, p) in pos.iter().enumerate() {
                            let y = ys(t);
                            let mut fresh = !c.accumulate;
                            for w in 0..self.taps {
                                let lag = (c.first + w) * c.step;
                                if lag > *p as usize {
                                    break;
                                }
                                let source = if lag <= t { Some(xs(t - lag)) } else { before(lag - t) };
                                let Some(source) = source else { break };
                                let (a, f) = (Src::Slice(source), Src::Slice(taps.as_ptr().add(w * n)));
                                if fresh {
                                    binary(Binary::Mul, a, f, y, n);
                                    fresh = false;
                                } else {
                                    mul_add(a, f, Src::Slice(y), y, n);
                                }
                            }
                            if fresh {
                                std::slice::from_raw_parts_mut(y, n).fill(0.0);
                            }
                        }
                    }
                    ConvWork::Backward => {
                        for t in 0..len {
                            let y = ys(t);
                            let mut fresh = !c.accumulate;
                            for w in 0..self.taps {
                                let lag = (c.first + w) * c.step;
                                let s = t + lag;
                                if s >= len || lag > pos[s] as usize {
                                    break;
                                }
                                let (a, f) = (Src::Slice(xs(s)), Src::Slice(taps.as_ptr().add(w * n)));
                                if fresh {
                                    binary(Binary::Mul, a, f, y, n);
                                    fresh = false;
                                } else {
                                    mul_add(a, f, Src::Slice(y), y, n);
                                }
                            }
                            if fresh {
                                std::slice::from_raw_parts_mut(y, n).fill(0.0);
                            }
                        }
                    }
                    ConvWork::Filter => {
                        for w in 0..self.taps {
                            let lag = (c.first + w) * c.step;
                            let to = filter.offset(w as isize * filter_tap);
                            product.fill(0.0);
                            for (t, p) in pos.iter().enumerate().skip(lag.min(len)) {
                                if lag <= *p as usize {
                                    let (a, f) = (Src::Slice(xs(t - lag)), Src::Slice(dys(t)));
                                    mul_add(a, f, Src::Slice(product.as_ptr()), product.as_mut_ptr(), n);
                                }
                            }
                            add_nd(to, &[self.tap], product.as_ptr(), &[1], &[n]);
                        }
                    }
                }
            }
        }
    }
}
