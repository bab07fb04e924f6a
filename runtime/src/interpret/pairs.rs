//! Attends and their gradients, tile by tile.
//!
//! A tile's rows are some tokens of the piece; its columns are known tokens. The forward pass processes all columns at
//! once, with one softmax; the gradient, whose weights are known beforehand, processes them in tiles.

use super::loops::with_all;
use super::{Frame, Scope, TILE, evaluate, name};
use crate::reference::binary::binary;
use crate::reference::contract::contract;
use crate::reference::kernels::host;
use crate::reference::value::{Dim, Value};
use archc_compiler::graph::BinaryOp;
use archc_compiler::lowered::{Attend, AttendGrad, BATCH, Op, TIME, ValueId, Weighing};
use candle_core::{Result, Tensor, bail};
use std::ops::Range;

/// The values that the leaves of a tile's body read beside captures.
#[derive(Default)]
pub(super) struct Tile {
    lag: Option<Value>,
    weight: Option<Value>,
    visible: Option<Value>,
    delta: Option<Value>,
    /// Values carried from the previous tile of columns.
    sofar: Vec<Value>,
    last: Option<Value>,
    cotangents: Vec<Value>,
}

impl Tile {
    pub fn leaf(&self, op: &Op) -> Result<Value> {
        let value = match op {
            Op::Lag(..) => &self.lag,
            Op::Weight(..) => &self.weight,
            Op::Visible(..) => &self.visible,
            Op::Sofar(_, i) => return self.sofar.get(*i).cloned().ok_or_else(|| missing(op)),
            Op::Last => &self.last,
            _ => &self.delta,
        };
        match value {
            Some(value) => Ok(value.clone()),
            None => Err(missing(op)),
        }
    }

    pub fn cotangent(&self, emit: usize) -> Result<Value> {
        match self.cotangents.get(emit) {
            Some(value) => Ok(value.clone()),
            None => bail!("no cotangent {emit}"),
        }
    }
}

fn missing(op: &Op) -> candle_core::Error {
    candle_core::Error::Msg(format!("a tile has no {op:?} here"))
}

/// A tile: tokens `rows` of the piece with known tokens `cols`.
#[derive(Clone)]
struct Span {
    rows: Range<usize>,
    cols: Range<usize>,
}

/// The state shared by the tiles of one attend.
struct Tiles<'a> {
    frame: &'a Frame<'a>,
    scope: &'a Scope<'a>,
    attend: &'a Attend,
    rows: Dim,
    cols: Dim,
}

impl Tiles<'_> {
    /// The number of tokens before the piece that there is room for.
    fn carried(&self) -> usize {
        self.known() - self.frame.shape.len
    }

    fn known(&self) -> usize {
        self.frame.size(self.scope, self.attend.past)
    }

    fn row_blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        blocks(self.frame.shape.len)
    }

    /// The token dimension of a capture, and the number of its tokens before the piece.
    fn time(&self, x: &Value) -> Option<(Dim, usize)> {
        let dim = x.dims.iter().copied().find(|d| self.frame.is_time(*d))?;
        Some((dim, x.size(dim) - self.frame.shape.len))
    }

    /// A capture at the tokens of the rows.
    fn at_rows(&self, x: &Value, rows: &Range<usize>) -> Result<Value> {
        match self.time(x) {
            None => Ok(x.clone()),
            Some((dim, before)) => part(x, dim, before + rows.start..before + rows.end, self.rows),
        }
    }

    /// A capture at the tokens of the columns.
    fn at_cols(&self, x: &Value, cols: &Range<usize>) -> Result<Value> {
        match self.time(x) {
            None => Ok(x.clone()),
            Some((dim, before)) if before == self.carried() => part(x, dim, cols.clone(), self.cols),
            Some(_) => bail!("a capture lacks the tokens before the piece"),
        }
    }

    /// The scope of a tile's body.
    fn scope<'s>(&self, span: &Span, captures: &'s [Value], pasts: &'s [Value], tile: &'s Tile) -> Scope<'s> {
        let own = [(self.attend.rows, span.rows.len()), (self.attend.cols, span.cols.len())];
        Scope {
            map: self.scope.map.iter().chain(&self.attend.map).copied().collect(),
            at: self.scope.at.clone(),
            sizes: self.scope.sizes.iter().copied().chain(own).collect(),
            states: &[],
            captures,
            pasts,
            tile: Some(tile),
        }
    }

    /// The lags of a tile: positions of rows minus positions of columns. They are arbitrary for pairs that are never visible.
    fn lag(&self, span: &Span) -> Result<Value> {
        let carried = self.carried();
        let each = |t: usize| span.cols.clone().map(move |s| (carried + t) as f64 - s as f64);
        let data = span.rows.clone().flat_map(each).collect();
        let shape = vec![span.rows.len(), span.cols.len()];
        Value::constant(data, shape, vec![self.rows, self.cols], self.frame.dtype)
    }

    /// The mask of a tile: 1 where the column belongs to the row's document, is not after the row, and `visible` is not 0.
    fn mask(&self, span: &Span, visible: Option<&Value>) -> Result<Value> {
        let (shape, carried) = (self.frame.shape, self.carried());
        let mut data = Vec::with_capacity(shape.batch * span.rows.len() * span.cols.len());
        for b in 0..shape.batch {
            for t in span.rows.clone() {
                let now = carried + t;
                let first = now.saturating_sub(self.frame.leaves.pos[b * shape.len + t] as usize);
                data.extend(span.cols.clone().map(|s| if s >= first && s <= now { 1.0 } else { 0.0 }));
            }
        }
        let lengths = vec![shape.batch, span.rows.len(), span.cols.len()];
        let same = Value::constant(data, lengths, vec![name(BATCH), self.rows, self.cols], self.frame.dtype)?;
        match visible {
            Some(v) => binary(BinaryOp::Mul, &same, &binary(BinaryOp::Ne, v, &Value::scalar(0.0, self.frame.dtype)?)?),
            None => Ok(same),
        }
    }
}

fn blocks(len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(TILE).map(move |start| start..(start + TILE).min(len))
}

/// Cuts a range out of a dimension and renames it.
fn part(x: &Value, dim: Dim, range: Range<usize>, to: Dim) -> Result<Value> {
    let at = x.index(dim)?;
    Ok(Value::new(x.tensor.narrow(at, range.start, range.len())?, x.dims.clone()).renamed(dim, to))
}

/// Weights `[.., cols]`, 0 where the mask is 0; with a score also its maximum and the logarithm of the sum, `[..]`.
fn weights(
    weighing: &Value,
    kind: Weighing,
    mask: &Value,
    sink: Option<&Value>,
    cols: Dim,
) -> Result<(Value, [Value; 2])> {
    let operands: Vec<&Value> = [Some(mask), Some(weighing), sink].into_iter().flatten().collect();
    let mut order = Value::union(&operands);
    let Some(at) = order.iter().position(|o| o.0 == cols) else { bail!("no columns") };
    let last = order.remove(at);
    let outer = order.clone();
    order.push(last);
    let mut x = host(&weighing.expanded(&order)?.tensor)?;
    let mask = host(&mask.expanded(&order)?.tensor)?;
    let sink = sink.map(|s| host(&s.expanded(&outer)?.tensor)).transpose()?;
    let (mut tops, mut logs) = (Vec::with_capacity(x.len() / last.1), Vec::with_capacity(x.len() / last.1));
    for (r, (x, mask)) in x.chunks_exact_mut(last.1).zip(mask.chunks_exact(last.1)).enumerate() {
        let seen = |i: usize| mask[i] != 0.0;
        if let Weighing::Weight(_) = kind {
            (0..x.len()).filter(|&i| !seen(i)).for_each(|i| x[i] = 0.0);
            tops.push(0.0);
            logs.push(0.0);
            continue;
        }
        let sink = sink.as_ref().map(|s| s[r]);
        let scores = (0..x.len()).filter(|&i| seen(i)).map(|i| x[i]).chain(sink);
        let top = scores.clone().fold(f64::NEG_INFINITY, |m, v| if v > m || v.is_nan() { v } else { m });
        let nothing = top == f64::NEG_INFINITY;
        let sum = if nothing { 1.0 } else { scores.map(|s| (s - top).exp()).sum::<f64>() };
        for (i, x) in x.iter_mut().enumerate() {
            *x = if seen(i) && !nothing { (*x - top).exp() / sum } else { 0.0 };
        }
        tops.push(top);
        logs.push(sum.ln());
    }
    let value = |data: Vec<f64>, order: &[(Dim, usize)]| {
        let (dims, shape) = order.iter().copied().unzip();
        Value::constant(data, shape, dims, weighing.tensor.dtype())
    };
    Ok((value(x, &order)?, [value(tops, &outer)?, value(logs, &outer)?]))
}

/// Computes the emits of an attend, and with a score the maximum and logarithm by which they were normalised.
pub(super) fn attend(frame: &Frame<'_>, scope: &Scope<'_>, attend: &Attend, captures: &[Value]) -> Result<Vec<Value>> {
    let tiles = Tiles { frame, scope, attend, rows: name(attend.rows), cols: name(attend.cols) };
    let all = 0..tiles.known();
    let mut read: Vec<usize> = Vec::new();
    for node in attend.body.nodes() {
        if let Op::Past(i, _) = node.op {
            read.push(i);
        }
    }
    let past = |(i, c): (usize, &Value)| if read.contains(&i) { tiles.at_cols(c, &all) } else { Ok(c.clone()) };
    let pasts: Vec<Value> = captures.iter().enumerate().map(past).collect::<Result<_>>()?;
    let kind = attend.weighing;
    let mut wanted: Vec<ValueId> = vec![kind.value()];
    wanted.extend(attend.emits.iter().map(|e| e.1));
    wanted.extend(attend.visible);
    wanted.extend(attend.sink);
    let mut results: Vec<Vec<Value>> = vec![Vec::new(); attend.emits.len() + attend.statistics()];
    for rows in tiles.row_blocks() {
        let span = Span { rows: rows.clone(), cols: all.clone() };
        let here: Vec<Value> = captures.iter().map(|c| tiles.at_rows(c, &rows)).collect::<Result<_>>()?;
        let tile = Tile { lag: Some(tiles.lag(&span)?), ..Tile::default() };
        let values = evaluate(frame, &attend.body, &tiles.scope(&span, &here, &pasts, &tile), &wanted)?;
        let mut values = values.into_iter();
        let mut next = || values.next().ok_or_else(|| candle_core::Error::Msg("a value is missing".into()));
        let weighing = next()?;
        let emits: Vec<Value> = attend.emits.iter().map(|_| next()).collect::<Result<_>>()?;
        let visible = attend.visible.map(|_| next()).transpose()?;
        let sink = attend.sink.map(|_| next()).transpose()?;
        let mask = tiles.mask(&span, visible.as_ref())?;
        let (weights, normal) = weights(&weighing, kind, &mask, sink.as_ref(), tiles.cols)?;
        for (all, emit) in results.iter_mut().zip(&emits) {
            all.push(contract(&weights, emit, &[tiles.cols])?.renamed(tiles.rows, name(TIME)));
        }
        for (all, normal) in results[emits.len()..].iter_mut().zip(normal) {
            all.push(normal.renamed(tiles.rows, name(TIME)));
        }
    }
    let map = frame.order(scope, &attend.map);
    results.iter().map(|parts| with_all(&joined(parts, name(TIME))?, &map)).collect()
}

/// Concatenates parts of a dimension.
fn joined(parts: &[Value], dim: Dim) -> Result<Value> {
    let mut all = Value::union(&parts.iter().collect::<Vec<_>>());
    all.retain(|o| o.0 != dim);
    let tensors: Vec<Tensor> = parts
        .iter()
        .map(|x| Ok(x.expanded(&[&[(dim, x.size(dim))], all.as_slice()].concat())?.tensor))
        .collect::<Result<_>>()?;
    Ok(Value::new(Tensor::cat(&tensors, 0)?, [dim].into_iter().chain(all.iter().map(|o| o.0)).collect()))
}

fn add_to(sum: &mut Option<Value>, term: Value) -> Result<()> {
    *sum = Some(match sum.take() {
        Some(sum) => binary(BinaryOp::Add, &sum, &term)?,
        None => term,
    });
    Ok(())
}

/// Computes the gradients of an attend with respect to its captures.
pub(super) fn gradient(
    frame: &Frame<'_>,
    scope: &Scope<'_>,
    grad: &AttendGrad,
    operands: &[Value],
) -> Result<Vec<Value>> {
    let attend = &*grad.forward;
    let tiles = Tiles { frame, scope, attend, rows: name(attend.rows), cols: name(attend.cols) };
    if frame.shape.carried > 0 {
        bail!("a gradient with a carry");
    }
    let scored = matches!(grad.weighing, Weighing::Score(_));
    let given = attend.emits.len() + if scored { 3 } else { 0 };
    let Some(count) = operands.len().checked_sub(given) else { bail!("an attend gradient lacks operands") };
    let (captures, rest) = operands.split_at(count);
    let (statistics, cotangents) = rest.split_at(given - attend.emits.len());
    let weighed: Vec<ValueId> = [Some(grad.weighing.value()), grad.visible].into_iter().flatten().collect();
    let sums: Vec<ValueId> = grad.sums.iter().map(|s| s.1).collect();
    let column_blocks: Vec<Range<usize>> = blocks(tiles.known()).collect();
    // For each sum: its parts by block of rows, by block of columns, and the total of those without tokens.
    let mut by_rows: Vec<Vec<Value>> = vec![Vec::new(); sums.len()];
    let mut by_cols: Vec<Vec<Option<Value>>> = vec![vec![None; column_blocks.len()]; sums.len()];
    let mut total: Vec<Option<Value>> = vec![None; sums.len()];
    for rows in tiles.row_blocks() {
        let here: Vec<Value> = captures.iter().map(|c| tiles.at_rows(c, &rows)).collect::<Result<_>>()?;
        let row = |x: &Value| tiles.at_rows(x, &rows);
        let cotangents: Vec<Value> = cotangents.iter().map(row).collect::<Result<_>>()?;
        let statistics: Vec<Value> = statistics.iter().map(row).collect::<Result<_>>()?;
        let mut row_sums: Vec<Option<Value>> = vec![None; sums.len()];
        let nothing = Value::constant(vec![0.0; rows.len()], vec![rows.len()], vec![tiles.rows], frame.dtype)?;
        let mut sofar = vec![nothing; grad.running.len()];
        for (block, cols) in column_blocks.iter().enumerate() {
            let span = Span { rows: rows.clone(), cols: cols.clone() };
            let pasts: Vec<Value> = captures.iter().map(|c| tiles.at_cols(c, cols)).collect::<Result<_>>()?;
            let mut tile = Tile { lag: Some(tiles.lag(&span)?), cotangents: cotangents.clone(), ..Tile::default() };
            let found = evaluate(frame, &grad.body, &tiles.scope(&span, &here, &pasts, &tile), &weighed)?;
            let mask = tiles.mask(&span, found.get(1))?;
            tile.weight = Some(weight(&found[0], statistics.get(..2), &mask)?);
            tile.visible = Some(mask);
            tile.delta = statistics.get(2).cloned();
            tile.sofar = sofar;
            let last = block + 1 == column_blocks.len() || column_blocks[block + 1].start >= rows.end;
            tile.last = Some(Value::scalar(f64::from(u8::from(last)), frame.dtype)?);
            let wanted: Vec<ValueId> = sums.iter().chain(&grad.running).copied().collect();
            let mut values = evaluate(frame, &grad.body, &tiles.scope(&span, &here, &pasts, &tile), &wanted)?;
            sofar = values.split_off(sums.len());
            for (i, value) in values.into_iter().enumerate() {
                match (value.has(tiles.rows), value.has(tiles.cols)) {
                    (true, true) => bail!("sum {i} of an attend gradient has rows and columns"),
                    (true, false) => add_to(&mut row_sums[i], value)?,
                    (false, true) => add_to(&mut by_cols[i][block], value)?,
                    (false, false) => add_to(&mut total[i], value)?,
                }
            }
        }
        for (all, sum) in by_rows.iter_mut().zip(row_sums) {
            all.extend(sum.map(|s| s.renamed(tiles.rows, name(TIME))));
        }
    }
    let map = frame.order(scope, &attend.map);
    let mut results = Vec::with_capacity(sums.len());
    for ((rows, cols), total) in by_rows.iter().zip(&by_cols).zip(total) {
        let cols: Vec<Value> = cols.iter().flatten().map(|c| c.clone().renamed(tiles.cols, name(TIME))).collect();
        let value = match (rows.is_empty(), cols.is_empty(), total) {
            (false, true, None) => joined(rows, name(TIME))?,
            (true, false, None) => joined(&cols, name(TIME))?,
            (true, true, Some(total)) => total,
            _ => bail!("a sum of an attend gradient differs in kind between tiles"),
        };
        results.push(with_all(&value, &map)?);
    }
    Ok(results)
}

/// The normalised, masked weight of a tile: with a score exp(score - maximum - logarithm).
fn weight(weighing: &Value, normal: Option<&[Value]>, mask: &Value) -> Result<Value> {
    let operands: Vec<&Value> = [mask, weighing].into_iter().chain(normal.into_iter().flatten()).collect();
    let order = Value::union(&operands);
    let mut x = host(&weighing.expanded(&order)?.tensor)?;
    let mask = host(&mask.expanded(&order)?.tensor)?;
    let values = |i: usize| normal.map(|n| host(&n[i].expanded(&order)?.tensor)).transpose();
    let (tops, logs) = (values(0)?, values(1)?);
    for i in 0..x.len() {
        x[i] = match (tops.as_ref().zip(logs.as_ref()), mask[i] != 0.0) {
            (_, false) => 0.0,
            (None, true) => x[i],
            (Some((tops, _)), true) if tops[i] == f64::NEG_INFINITY => 0.0,
            (Some((tops, logs)), true) => ((x[i] - tops[i]) - logs[i]).exp(),
        };
    }
    let (dims, shape) = order.into_iter().unzip();
    Value::constant(x, shape, dims, weighing.tensor.dtype())
}
