//! Decays, solves and long convolutions: core dimensions to the kernels' layouts.

use super::memory::Bases;
use super::single::SingleStep;
use archc_compiler::lowered::{BATCH, DimId, Op, Pairs, TIME};

/// exp of the decay between each pair that is meant, by running sums in f64: `f(i, j, decay)`.
fn decays(g: &[f32], pairs: &Pairs, mut f: impl FnMut(usize, usize, f64)) {
    let n = g.len();
    let mut sums = Vec::with_capacity(n + 1);
    sums.push(0.0f64);
    for x in g {
        sums.push(sums[sums.len() - 1] + f64::from(*x));
    }
    for i in 0..n {
        let end = if pairs.strict || pairs.before { i } else { i + 1 };
        let upto = if pairs.before { i } else { i + 1 };
        for j in 0..end {
            f(i, j, (sums[upto] - sums[j + 1]).exp());
        }
    }
}

impl SingleStep {
    pub(super) unsafe fn solve(&self, bases: &Bases, rows: DimId, cols: DimId, transpose: bool) {
        let (a, x, y) = (&self.inputs[0], &self.inputs[1], &self.output);
        let n = a.axis(rows).map_or(1, |v| v.size);
        let (ar, ac) = (a.stride(rows), a.stride(cols));
        let (xr, yr) = (x.stride(rows), y.stride(rows));
        // SAFETY: the plan's views lie inside of their buffers
        unsafe {
            self.around(bases, &[rows, cols], |at| {
                for k in 0..n {
                    let i = if transpose { n - 1 - k } else { k };
                    let mut sum = f64::from(*at[1].offset(i as isize * xr));
                    let others = if transpose { i + 1..n } else { 0..i };
                    for j in others {
                        let entry = if transpose {
                            at[0].offset(j as isize * ar + i as isize * ac)
                        } else {
                            at[0].offset(i as isize * ar + j as isize * ac)
                        };
                        sum += f64::from(*entry) * f64::from(*at[2].offset(j as isize * yr));
                    }
                    *at[2].offset(i as isize * yr) = sum as f32;
                }
            });
        }
    }

    pub(super) unsafe fn pair_decay(&self, bases: &Bases, pairs: &Pairs) {
        let (g, y) = (&self.inputs[0], &self.output);
        let n = y.axis(pairs.rows).map_or(1, |v| v.size);
        let (yr, yc) = (y.stride(pairs.rows), y.stride(pairs.cols));
        let mut row = vec![0.0; n];
        // SAFETY: as for `solve`
        unsafe {
            self.around(bases, &[pairs.rows, pairs.cols], |at| {
                super::single::gather(at[0], g.stride(pairs.rows), &mut row);
                for i in 0..n as isize {
                    for j in 0..n as isize {
                        *at[1].offset(i * yr + j * yc) = 0.0;
                    }
                }
                decays(&row, pairs, |i, j, d| *at[1].offset(i as isize * yr + j as isize * yc) = d as f32);
            });
        }
    }

    pub(super) unsafe fn pair_decay_grad(&self, bases: &Bases, pairs: &Pairs) {
        let (e, y) = (&self.inputs[0], &self.output);
        let n = y.axis(pairs.rows).map_or(1, |v| v.size);
        let (er, ec) = (e.stride(pairs.rows), e.stride(pairs.cols));
        // SAFETY: as for `solve`
        unsafe {
            self.around(bases, &[pairs.rows, pairs.cols], |at| {
                let mut change = vec![0.0f64; n + 1];
                for i in 0..n {
                    let end = if pairs.strict || pairs.before { i } else { i + 1 };
                    let upto = if pairs.before { i } else { i + 1 };
                    for j in 0..end {
                        let x = f64::from(*at[0].offset(i as isize * er + j as isize * ec));
                        // entries j < l < upto
                        change[j + 1] += x;
                        change[upto] -= x;
                    }
                }
                let mut sum = 0.0;
                for l in 0..n {
                    sum += change[l];
                    *at[1].offset(l as isize * y.stride(pairs.rows)) = sum as f32;
                }
            });
        }
    }

    pub(super) unsafe fn decay_dot(&self, bases: &Bases, over: DimId, pairs: &Pairs) {
        let (q, k, g, y) = (&self.inputs[0], &self.inputs[1], &self.inputs[2], &self.output);
        let n = y.axis(pairs.rows).map_or(1, |v| v.size);
        let width = [q, k, g].iter().find_map(|v| v.axis(over)).map_or(1, |a| a.size);
        let (yr, yc) = (y.stride(pairs.rows), y.stride(pairs.cols));
        let mut row = vec![0.0; n];
        // SAFETY: as for `solve`
        unsafe {
            self.around(bases, &[pairs.rows, pairs.cols, over], |at| {
                for i in 0..n as isize {
                    for j in 0..n as isize {
                        *at[3].offset(i * yr + j * yc) = 0.0;
                    }
                }
                for c in 0..width as isize {
                    super::single::gather(at[2].offset(c * g.stride(over)), g.stride(pairs.rows), &mut row);
                    decays(&row, pairs, |i, j, d| {
                        let (i, j) = (i as isize, j as isize);
                        let a = *at[0].offset(i * q.stride(pairs.rows) + c * q.stride(over));
                        let b = *at[1].offset(j * k.stride(pairs.cols) + c * k.stride(over));
                        *at[3].offset(i * yr + j * yc) += a * b * d as f32;
                    });
                }
            });
        }
    }

    pub(super) unsafe fn decay_mix(&self, bases: &Bases, over: DimId, pairs: &Pairs, by_cols: bool) {
        let (da, x, g, y) = (&self.inputs[0], &self.inputs[1], &self.inputs[2], &self.output);
        let (own, other) = if by_cols { (pairs.cols, pairs.rows) } else { (pairs.rows, pairs.cols) };
        let n = y.axis(own).map_or(1, |v| v.size);
        let width = y.axis(over).map_or(1, |a| a.size);
        let mut row = vec![0.0; n];
        // SAFETY: as for `solve`
        unsafe {
            self.around(bases, &[pairs.rows, pairs.cols, over], |at| {
                for c in 0..width as isize {
                    super::single::gather(at[2].offset(c * g.stride(over)), g.stride(pairs.rows), &mut row);
                    let mut sums = vec![0.0f64; n];
                    decays(&row, pairs, |i, j, d| {
                        let a = *at[0].offset(i as isize * da.stride(pairs.rows) + j as isize * da.stride(pairs.cols));
                        let (mine, theirs) = if by_cols { (j, i) } else { (i, j) };
                        let b = *at[1].offset(theirs as isize * x.stride(other) + c * x.stride(over));
                        sums[mine] += f64::from(a) * f64::from(b) * d;
                    });
                    for (i, s) in sums.iter().enumerate() {
                        *at[3].offset(i as isize * y.stride(own) + c * y.stride(over)) = *s as f32;
                    }
                }
            });
        }
    }

    pub(super) unsafe fn long_conv(&self, bases: &Bases, lag: DimId) {
        let (f, x) = (&self.inputs[0], &self.inputs[1]);
        let y = &self.output;
        // SAFETY: lags stay inside of the document, which starts in this piece
        unsafe {
            match self.op {
                Op::LongConv { .. } => self.tokens(bases, &[lag], |_, pos, at| {
                    for (t, p) in pos.iter().enumerate() {
                        let mut sum = 0.0f64;
                        for l in 0..=(*p as usize).min(t) {
                            let a = *at[0].offset(l as isize * f.stride(lag));
                            sum += f64::from(a) * f64::from(*at[1].offset((t - l) as isize * x.stride(TIME)));
                        }
                        *at[3].offset(t as isize * y.stride(TIME)) = sum as f32;
                    }
                }),
                Op::LongConvBack { .. } => self.tokens(bases, &[lag], |_, pos, at| {
                    for s in 0..pos.len() {
                        let mut sum = 0.0f64;
                        for t in (s..pos.len()).filter(|t| t - s <= pos[*t] as usize) {
                            let a = *at[0].offset((t - s) as isize * f.stride(lag));
                            sum += f64::from(a) * f64::from(*at[1].offset(t as isize * x.stride(TIME)));
                        }
                        *at[3].offset(s as isize * y.stride(TIME)) = sum as f32;
                    }
                }),
                _ => {
                    // x and dy: the filter's gradient, summed over the batch
                    let n = y.axis(lag).map_or(1, |a| a.size);
                    self.tokens(bases, &[lag], |b, pos, at| {
                        for l in 0..n {
                            let mut sum = 0.0f64;
                            for t in (l..pos.len()).filter(|t| l <= pos[*t] as usize) {
                                let a = *at[0].offset((t - l) as isize * f.stride(TIME));
                                sum += f64::from(a) * f64::from(*at[1].offset(t as isize * x.stride(TIME)));
                            }
                            let to = at[3].offset(l as isize * y.stride(lag));
                            *to = if b == 0 { sum as f32 } else { *to + sum as f32 };
                        }
                    });
                }
            }
        }
        debug_assert!(y.axis(BATCH).is_some() || !matches!(self.op, Op::LongConv { .. }));
    }
}
