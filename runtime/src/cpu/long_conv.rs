//! Long convolutions: filters as long as the sequence.

use super::chunk::joined;
use super::memory::{Bases, Slot, layout};
use super::single::SingleStep;
use archc_compiler::lowered::{BATCH, DimId, Op, TIME};
use archc_compiler::plan::View;
use archc_kernels::conv::Past;
use archc_kernels::copy::{DIMS, copy_nd};
use archc_kernels::long_conv::{long_conv, long_conv_back, long_conv_filter};

impl SingleStep {
    pub(super) unsafe fn long_conv(&self, bases: &Bases, lag: DimId) {
        let (f, x) = (&self.inputs[0], &self.inputs[1]);
        let y = &self.output;
        let forward = matches!(self.op, Op::LongConv { .. });
        // with a carry, x holds the carried tokens before those of the piece
        let own = |d: DimId| d == TIME || (d != BATCH && f.axis(d).is_none() && y.axis(d).is_none());
        let known = x.axes.iter().find(|a| forward && own(a.dim)).map_or(TIME, |a| a.dim);
        // channels that are contiguous in all views are processed together, others one by one
        let views = [f, x, y];
        let token = |d: DimId| [BATCH, TIME, lag, known].contains(&d);
        let channels: Vec<DimId> = y.axes.iter().map(|a| a.dim).filter(|d| !token(*d)).collect();
        let mut side = joined(&views, &channels);
        if views.iter().any(|v| v.run(&side).is_none_or(|r| r.0 > 1 && r.1 != 1)) {
            side.clear();
        }
        let width = y.run(&side).map_or(1, |r| r.0);
        let mut core = vec![lag, known];
        core.extend(side);
        let step = |v: &View, d: DimId| v.stride(d).unsigned_abs();
        // SAFETY: the plan's views lie inside of their buffers; no axis of time runs backwards
        unsafe {
            if let Op::LongConvFilter { .. } = self.op {
                let zero = 0.0f32;
                let (sizes, strides) = layout(y);
                copy_nd(bases.at(Slot::of(y)), &strides, &zero, &[0; DIMS][..sizes.len()], &sizes);
            }
            self.tokens(bases, &core, |pos, at| {
                let n = pos.len();
                match self.op {
                    Op::LongConv { .. } => {
                        let (lags, sx) = (f.size(lag), step(x, known));
                        let past = Past { at: at[1], rows: x.size(known) - n };
                        let x = at[1].add(past.rows * sx);
                        long_conv(width, at[0], lags, step(f, lag), x, sx, past, pos, at[3], step(y, TIME));
                    }
                    Op::LongConvBack { .. } => {
                        let lags = f.size(lag);
                        long_conv_back(
                            width,
                            at[0],
                            lags,
                            step(f, lag),
                            at[1],
                            step(x, TIME),
                            pos,
                            at[3],
                            step(y, TIME),
                        );
                    }
                    _ => {
                        let lags = y.size(lag);
                        let (x, dy) = (step(f, TIME), step(x, TIME));
                        long_conv_filter(width, at[0], x, Past::NONE, at[1], dy, pos, at[3], lags, step(y, lag));
                    }
                }
            });
        }
    }
}
