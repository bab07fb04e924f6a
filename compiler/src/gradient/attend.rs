//! The gradient of an attend: a second pass over the same tiles.
//!
//! With weights w_ij and emits y_i = sum over j of w_ij e_ij, the cotangents are de_ij = w_ij dy_i and
//! dw_ij = dy_i . e_ij. The gradient of a softmax's score is w_ij (dw_ij - delta_i) with delta_i = sum over j of w_ij dw_ij = y_i . dy_i,
//! which is known without a pass over the tiles. After rounding it differs from the sum of the rounded w_ij dw_ij: scores' gradients, which
//! sum to 0 over j, would not, and where one weight is nearly 1, or all dw_ij are equal, they would consist of that error only. So each row
//! sums w_ij dw_ij while it visits its tiles, and its last tile corrects the excess of the others. w_ij itself is recomputed from the saved
//! largest score and the logarithm of the sum. The sink is a column whose emits are 0: its gradient is -exp(sink_i - logsumexp_i) delta_i,
//! one number for each token.

use super::activity::{Activity, attend_body};
use super::site::{Arithmetic, narrow, product, total};
use super::sweep::{Port, Sweep, copy};
use crate::graph::BinaryOp;
use crate::lowered::{Attend, AttendGrad, Builder, DimId, Op, TIME, ValueId, Weighing};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Cotangents of an attend's captures.
pub(super) fn differentiate(
    b: &mut Builder,
    node: ValueId,
    a: &Arc<Attend>,
    captures: &[ValueId],
    wanted: &[bool],
    ports: &BTreeMap<Port, ValueId>,
) -> Vec<Option<ValueId>> {
    let mut shares: Vec<Vec<ValueId>> = vec![Vec::new(); captures.len()];
    let mut operands = captures.to_vec();
    let mut delta = None;
    if matches!(a.weighing, Weighing::Score(_)) {
        let normal = [0, 1].map(|i| emitted(b, node, a.emits.len() + i));
        let d = inner_products(b, node, a, ports);
        operands.extend(normal);
        operands.push(d);
        delta = Some((normal, d));
    }
    // the cotangents, broadcast along time so that they are tiles
    let given: Vec<Option<Vec<DimId>>> = (0..a.emits.len())
        .map(|e| {
            let dy = match ports.get(&Port::Emit(e)) {
                Some(dy) => b.expand(*dy, &[TIME]),
                None => b.number(0.0),
            };
            operands.push(dy);
            let dims = b.dims_of(dy).iter().copied().filter(|d| !a.map.contains(d));
            let dims = dims.map(|d| if d == TIME { a.rows } else { d }).collect();
            ports.contains_key(&Port::Emit(e)).then_some(dims)
        })
        .collect();

    let activity = attend_body(&a.body, wanted);
    let mut body = b.body();
    let map = copy(&mut body, &a.body, &mut |_, _| None);
    let at = |id: ValueId| map[id.0 as usize];
    let forward = body.dag.len();
    let mut sweep = Sweep::new(activity.copied(&map, forward));
    let weighing = at(a.weighing.value());
    let weight = body.op(Op::Weight(a.rows, a.cols), &[]);
    let mut by_weight: Option<ValueId> = None;
    for (e, dims) in given.iter().enumerate() {
        let Some(dims) = dims else { continue };
        let dy = body.op(Op::Cotangent(e, dims.clone()), &[]);
        let emit = at(a.emits[e].1);
        let own = body.dims_of(emit).to_vec();
        if activity.is_active(a.emits[e].1) {
            let over: Vec<DimId> = [a.rows, a.cols].into_iter().filter(|d| !own.contains(d)).collect();
            let de = product(&mut body, weight, dy, &over);
            sweep.give(emit, de);
        }
        let over: Vec<DimId> = own.into_iter().filter(|d| *d != a.rows && *d != a.cols).collect();
        let dw = product(&mut body, dy, emit, &over);
        by_weight = Some(match by_weight {
            Some(sum) => body.add(sum, dw),
            None => dw,
        });
    }
    let dw = by_weight.unwrap_or_else(|| body.number(0.0));
    let mut running = Vec::new();
    let dw = match a.weighing {
        Weighing::Score(_) => {
            let delta = consistent(&mut body, a, weight, dw, &mut running);
            let distance = body.sub(dw, delta);
            body.mul(weight, distance)
        }
        Weighing::Weight(_) => {
            let visible = body.op(Op::Visible(a.rows, a.cols), &[]);
            body.only_where(visible, dw)
        }
    };
    let own = body.dims_of(weighing).to_vec();
    let over: Vec<DimId> = [a.rows, a.cols].into_iter().filter(|d| !own.contains(d)).collect();
    let dw = total(&mut body, dw, &over);
    sweep.give(weighing, dw);
    sweep.run(&mut body, 0..forward);

    let mut sums: Vec<(usize, ValueId)> = Vec::new();
    for id in a.body.ids() {
        let node = a.body.node(id);
        let (Op::Capture(c, _) | Op::Past(c, _)) = node.op else { continue };
        let Some(dx) = sweep.take(&mut body, at(id)) else { continue };
        // a tile's sum has its rows or columns as dimensions, which tell whose gradient it is
        let tile: Vec<DimId> = node.dims.iter().copied().filter(|d| *d == a.rows || *d == a.cols).collect();
        let dx = body.expand(dx, &tile);
        let same = |body: &Builder, s: &(usize, ValueId)| {
            s.0 == c && [a.rows, a.cols].iter().all(|d| body.has(s.1, *d) == body.has(dx, *d))
        };
        match sums.iter().position(|s| same(&body, s)) {
            Some(i) => sums[i].1 = body.add(sums[i].1, dx),
            None => sums.push((c, dx)),
        }
    }
    let visible = a.visible.map(at);
    let body = body.dag;
    let grad = AttendGrad {
        forward: a.clone(),
        body,
        weighing: a.weighing.with(weighing),
        visible,
        sums: sums.clone(),
        running,
    };
    if !sums.is_empty() {
        let grad = b.op(Op::AttendGrad(Arc::new(grad)), &operands);
        for (i, (c, _)) in sums.iter().enumerate() {
            let dx = b.op(Op::Emit(i), &[grad]);
            shares[*c].push(narrow(b, dx, captures[*c]));
        }
    }
    if let (Some(sink), Some((normal, delta))) = (a.sink, delta)
        && activity.is_active(sink)
    {
        by_sink(b, a, sink, captures, &activity, normal, delta, &mut shares);
    }
    shares.into_iter().map(|s| s.into_iter().reduce(|x, y| b.add(x, y))).collect()
}

/// The delta of a tile: the given one, or one computed from the tile's own values where only these matter.
///
/// - Where the weights so far sum to 1 up to rounding, it is the sum of all w dw so far divided by that sum: then the gradient of a score
///   whose weight is nearly 1 is the remainder that the other pairs leave.
/// - In the last tile, the total that all tiles subtract is set to the sum of all w dw times the sum of the weights: the tile corrects, by
///   its share of the weights, the deviation of the earlier ones.
///
/// `running`: the sums of w dw, of w, and of the subtracted amounts.
fn consistent(b: &mut Builder, a: &Attend, weight: ValueId, dw: ValueId, running: &mut Vec<ValueId>) -> ValueId {
    let given = b.op(Op::Delta(a.rows), &[]);
    let [before, weighed, subtracted] = [0, 1, 2].map(|i| b.op(Op::Sofar(a.rows, i), &[]));
    let own = product(b, weight, dw, &[a.cols]);
    let own = b.expand(own, &[a.rows]);
    let here = b.sum(weight, &[a.cols]);
    let total = b.add(before, own);
    let all = b.add(weighed, here);
    let whole = b.above(all, 1.0 - ROUNDED * b.unit);
    let mean = b.div(total, all);
    let delta = b.select(whole, mean, given);
    // the last tile: (total * all - subtracted) / here
    let due = b.mul(total, weighed);
    let missed = b.sub(due, subtracted);
    let change = b.div(missed, here);
    let closing = b.add(total, change);
    let counts = b.above(here, LEAST_SHARE);
    let last = b.op(Op::Last, &[]);
    let close = b.binary(BinaryOp::Min, last, counts);
    let delta = b.select(close, closing, delta);
    let taken = b.mul(delta, here);
    let taken = b.add(subtracted, taken);
    running.extend([total, all, taken]);
    delta
}

/// Largest deviation of a sum of weights from 1, in units of roundoff, that counts as rounding.
const ROUNDED: f64 = 3.0;

/// Smallest share of the weights of a tile that corrects earlier ones: the few pairs of a smaller share would get the whole correction.
const LEAST_SHARE: f64 = 0.05;

/// Emit i of a node: an emit with a cotangent, or a normaliser added by `copy`, is always read.
fn emitted(b: &Builder, node: ValueId, emit: usize) -> ValueId {
    let is_it = |id: &ValueId| matches!(b.dag.node(*id).op, Op::Emit(i) if i == emit) && b.dag.operands(*id)[0] == node;
    b.dag.ids().skip(node.0 as usize + 1).find(is_it).expect("a port that something reads")
}

/// Computes delta `[map, T]`: the inner products of the emits with their cotangents.
fn inner_products(b: &mut Builder, node: ValueId, a: &Attend, ports: &BTreeMap<Port, ValueId>) -> ValueId {
    let mut delta: Option<ValueId> = None;
    for (port, dy) in ports {
        let Port::Emit(e) = *port else { continue };
        let y = emitted(b, node, e);
        let over: Vec<DimId> = b.dims_of(y).iter().copied().filter(|d| *d != TIME && !a.map.contains(d)).collect();
        let term = product(b, y, *dy, &over);
        delta = Some(match delta {
            Some(sum) => b.add(sum, term),
            None => term,
        });
    }
    let delta = delta.unwrap_or_else(|| b.number(0.0));
    let mut all = a.map.clone();
    all.push(TIME);
    b.expand(delta, &all)
}

/// Adds the sink's part, at the tokens: the ops that compute it from the present captures, and the sweep over them.
#[expect(clippy::too_many_arguments, reason = "all of what the pass over tiles had")]
fn by_sink(
    b: &mut Builder,
    a: &Attend,
    sink: ValueId,
    captures: &[ValueId],
    activity: &Activity,
    [top, log]: [ValueId; 2],
    delta: ValueId,
    shares: &mut [Vec<ValueId>],
) {
    // ops of the sink only, over tokens instead of rows, including mapped dimensions
    let needed = a.body.reachable(&[sink]);
    let start = b.dag.len();
    let mut map: Vec<Option<ValueId>> = vec![None; a.body.len()];
    for id in a.body.ids().filter(|id| needed[id.0 as usize]) {
        let node = a.body.node(id);
        let operands: Vec<ValueId> =
            a.body.operands(id).iter().map(|o| map[o.0 as usize].expect("operands come first")).collect();
        map[id.0 as usize] = Some(match &node.op {
            Op::Capture(c, _) => captures[*c],
            Op::Expand(new) => {
                let new: Vec<DimId> = new.iter().map(|d| if *d == a.rows { TIME } else { *d }).collect();
                b.expand(operands[0], &new)
            }
            op => b.op(op.clone(), &operands),
        });
    }
    let end = b.dag.len();
    let moved: Vec<(ValueId, ValueId)> = a.body.ids().filter_map(|id| Some((id, map[id.0 as usize]?))).collect();
    let sink = map[sink.0 as usize].expect("a root is reached");
    let below = b.sub(sink, top);
    let distance = b.sub(below, log);
    let share = b.exp(distance);
    let back = b.mul(share, delta);
    let dsink = b.neg(back);
    let dsink = narrow(b, dsink, sink);
    let mut sweep = Sweep::new(activity.moved(&moved, end));
    sweep.give(sink, dsink);
    sweep.run(b, start..end);
    for (c, value) in captures.iter().enumerate() {
        shares[c].extend(sweep.take(b, *value));
    }
}
