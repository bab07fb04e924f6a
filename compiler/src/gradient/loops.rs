//! Gradient of a loop: the reversed loop.
//!
//! For `S' = f(S, c)` with emits `e = h(S, c)`, the cotangent dS of a state before an iteration follows from that after
//! it and from those of the emits by the sweep over the body. So the reverse loop's states are the cotangents of the
//! forward states. Its captures are the forward captures, the saved entry states and the cotangents of the emits; parts of the body that
//! the sweep does not need are removed afterwards, and with them the saving of states that occur only linearly.
//!
//! Captures that differ between iterations get their cotangents as emits. Those of the others are summed in a
//! further state. If such a sum is of products, as for the weight of a recurrent map, one contraction after the loop replaces many inside
//! it, if the factors are known outside anyway (a capture, an entry state, a cotangent that is emitted) or are smaller than the product.

use super::activity::LoopActivity;
use super::site::{narrow, product, total};
use super::sweep::{Port, Sweep, copy};
use crate::graph::{BinaryOp, ReduceOp};
use crate::lowered::{Builder, Dim, DimId, Extent, Loop, LoopState, Op, ValueId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Makes a loop emit its states before each iteration, if its body reads them. Returns the numbers of these emits.
pub(super) fn emit_entries(l: &mut Loop) -> Vec<usize> {
    let mut numbers = Vec::new();
    for s in 0..l.states.len() {
        let Some(leaf) = leaf_of(l, s) else { continue };
        let known = l.emits.iter().position(|(_, e)| *e == leaf);
        numbers.push(known.unwrap_or_else(|| {
            l.emits.push((format!("entry {}", l.states[s].name), leaf));
            l.emits.len() - 1
        }));
    }
    numbers
}

fn leaf_of(l: &Loop, state: usize) -> Option<ValueId> {
    l.body.ids().find(|id| matches!(l.body.node(*id).op, Op::State(s, _) if s == state))
}

/// The value that emits state s before each iteration.
fn entry_of(b: &Builder, node: ValueId, l: &Loop, state: usize) -> Option<ValueId> {
    let leaf = leaf_of(l, state)?;
    let emit = l.emits.iter().position(|(_, e)| *e == leaf)?;
    let is_it = |id: &ValueId| matches!(b.dag.node(*id).op, Op::Emit(i) if i == emit) && b.dag.operands(*id)[0] == node;
    b.dag.ids().skip(node.0 as usize + 1).find(is_it)
}

/// Location of a capture's cotangent after the sweep over the body.
enum Share {
    /// Emit i: one entry for each iteration.
    Emitted(usize),
    /// State i: the sum over all iterations.
    Summed(usize),
    /// Sum of a value known outside, over these of its dimensions and over all iterations.
    Total(Outside, Vec<DimId>),
    /// Sum of the product of two values known outside, likewise.
    Factors(Outside, Outside, Vec<DimId>),
}

/// Location of a value of the reverse body after the loop, up to renamed dimensions.
struct Outside {
    place: Place,
    /// Pairs (from, to), in order of application.
    renames: Vec<(DimId, DimId)>,
}

#[derive(Clone, Copy)]
enum Place {
    /// Capture i of the reverse loop.
    Capture(usize),
    /// Emit i of the reverse loop.
    Emit(usize),
}

/// Cotangents of a loop's operands.
pub(super) fn differentiate(
    b: &mut Builder,
    node: ValueId,
    l: &Loop,
    operands: &[ValueId],
    wanted: &[bool],
    ports: &BTreeMap<Port, ValueId>,
) -> Vec<Option<ValueId>> {
    let (initial, captures) = operands.split_at(l.states.len());
    let activity = LoopActivity::of(l, wanted);
    let emitted = |p: &Port| matches!(p, Port::Emit(_));
    let reached = reached(l, &activity, ports);

    // captures of the reverse loop: the forward ones, then entry states, then cotangents
    let mut outer: Vec<ValueId> = captures.to_vec();
    let capture = |outer: &mut Vec<ValueId>, value: ValueId| {
        outer.push(value);
        outer.len() - 1
    };
    let entry: Vec<Option<usize>> =
        (0..l.states.len()).map(|s| entry_of(b, node, l, s).map(|value| capture(&mut outer, value))).collect();
    let given: Vec<(usize, usize, Vec<DimId>)> = ports
        .iter()
        .filter(|(p, _)| emitted(p))
        .map(|(p, value)| {
            let Port::Emit(e) = *p else { unreachable!("filtered") };
            let dims = inner(b.dims_of(*value), l);
            (e, capture(&mut outer, *value), dims)
        })
        .collect();
    let varies: Vec<bool> = captures.iter().map(|c| b.has(*c, l.over)).collect();

    let mut body = b.body();
    let map = copy(&mut body, &l.body, &mut |body, op| match op {
        Op::State(s, dims) => {
            let entry = entry[*s].expect("a state that the body reads is given out");
            Some(body.op(Op::Capture(entry, dims.clone()), &[]))
        }
        _ => None,
    });
    let at = |id: ValueId| map[id.0 as usize];
    let forward = body.dag.len();
    let mut sweep = Sweep::new(activity.body.copied(&map, forward));
    let mut states: Vec<LoopState> = Vec::new();
    let mut first: Vec<ValueId> = Vec::new();
    let mut number: Vec<Option<usize>> = vec![None; l.states.len()];
    for (s, state) in l.states.iter().enumerate().filter(|(s, _)| reached[*s]) {
        number[s] = Some(states.len());
        let dy = body.op(Op::State(states.len(), state.dims.clone()), &[]);
        sweep.give(at(l.next[s]), dy);
        states.push(LoopState { name: format!("d {}", state.name), dims: state.dims.clone() });
    }
    for (e, capture, dims) in given {
        let dy = body.op(Op::Capture(capture, dims), &[]);
        sweep.give(at(l.emits[e].1), dy);
    }
    sweep.run(&mut body, 0..forward);

    // cotangents of the leaves
    let mut next: Vec<ValueId> = Vec::new();
    let mut to_state: Vec<Vec<ValueId>> = vec![Vec::new(); l.states.len()];
    let mut to_capture: Vec<Vec<ValueId>> = vec![Vec::new(); captures.len()];
    for id in l.body.ids() {
        let into = match l.body.node(id).op {
            Op::State(s, _) if reached[s] => &mut to_state[s],
            Op::Capture(c, _) if wanted[l.states.len() + c] => &mut to_capture[c],
            _ => continue,
        };
        into.extend(sweep.take(&mut body, at(id)));
    }
    for (s, parts) in to_state.into_iter().enumerate().filter(|(s, _)| reached[*s]) {
        let sum = parts.into_iter().reduce(|x, y| body.add(x, y)).unwrap_or_else(|| body.number(0.0));
        next.push(body.expand(sum, &l.states[s].dims));
    }
    let mut emits: Vec<(String, ValueId)> = Vec::new();
    let mut shares: Vec<Vec<Share>> = captures.iter().map(|_| Vec::new()).collect();
    for (c, parts) in to_capture.iter_mut().enumerate().filter(|(c, _)| varies[*c]) {
        if let Some(sum) = std::mem::take(parts).into_iter().reduce(|x, y| body.add(x, y)) {
            shares[c].push(Share::Emitted(emits.len()));
            emits.push((format!("d {}", body.dag.node(sum).name).trim_end().to_string(), sum));
        }
    }
    for (c, parts) in to_capture.into_iter().enumerate() {
        let mut rest: Vec<ValueId> = Vec::new();
        for part in parts.into_iter().flat_map(|p| terms(&body, p)) {
            match after(&body, &mut emits, part) {
                Some(share) => shares[c].push(share),
                None => rest.push(part),
            }
        }
        if let Some(sum) = rest.into_iter().reduce(|x, y| body.add(x, y)) {
            let dims = body.dims_of(sum).to_vec();
            let before = body.op(Op::State(states.len(), dims.clone()), &[]);
            shares[c].push(Share::Summed(states.len()));
            next.push(body.add(before, sum));
            states.push(LoopState { name: format!("sum {c}"), dims });
        }
    }
    let body = body.dag;

    for (s, _) in l.states.iter().enumerate().filter(|(s, _)| reached[*s]) {
        first.push(match ports.get(&Port::Final(s)) {
            Some(dy) => *dy,
            None => b.number(0.0),
        });
    }
    while first.len() < states.len() {
        first.push(b.number(0.0));
    }
    first.extend(&outer);
    let back = Loop { over: l.over, reverse: !l.reverse, map: l.map.clone(), states, body, next, emits };
    let back = b.op(Op::Loop(Arc::new(back)), &first);

    let mut cotangents = Vec::new();
    for (s, &x) in initial.iter().enumerate() {
        cotangents.push(match number[s] {
            Some(i) if wanted[s] => {
                let dx = b.op(Op::Final(i), &[back]);
                Some(narrow(b, dx, x))
            }
            _ => None,
        });
    }
    for (c, here) in shares.into_iter().enumerate() {
        let x = captures[c];
        let mut parts = Vec::new();
        for share in here {
            parts.push(match share {
                Share::Emitted(i) => {
                    let dx = b.op(Op::Emit(i), &[back]);
                    narrow(b, dx, x)
                }
                Share::Summed(i) => {
                    let dx = b.op(Op::Final(i), &[back]);
                    narrow(b, dx, x)
                }
                Share::Total(p, mut over) => {
                    let p = outside(b, &p, &outer, back);
                    over.push(l.over);
                    over.extend(l.map.iter().filter(|d| !b.has(x, **d)));
                    total(b, p, &over)
                }
                Share::Factors(p, q, mut over) => {
                    let (p, q) = (outside(b, &p, &outer, back), outside(b, &q, &outer, back));
                    over.push(l.over);
                    over.extend(l.map.iter().filter(|d| !b.has(x, **d)));
                    product(b, p, q, &over)
                }
            });
        }
        cotangents.push(parts.into_iter().reduce(|x, y| b.add(x, y)));
    }
    cotangents
}

/// Dimensions of a value inside of the body.
fn inner(dims: &[DimId], l: &Loop) -> Vec<DimId> {
    dims.iter().copied().filter(|d| *d != l.over && !l.map.contains(d)).collect()
}

/// Marks the states with a nonzero cotangent: from after the loop, through an emit, or through another such state.
fn reached(l: &Loop, activity: &LoopActivity, ports: &BTreeMap<Port, ValueId>) -> Vec<bool> {
    let mut reached: Vec<bool> =
        (0..l.states.len()).map(|s| activity.states[s] && ports.contains_key(&Port::Final(s))).collect();
    loop {
        let emits = ports.keys().filter_map(|p| match p {
            Port::Emit(e) => Some(l.emits[*e].1),
            Port::Final(_) => None,
        });
        let next = l.next.iter().zip(&reached).filter(|(_, r)| **r).map(|(n, _)| *n);
        let roots: Vec<ValueId> = emits.chain(next).collect();
        let seen = activity.body.between(&l.body, &roots);
        let mut grown = reached.clone();
        for id in l.body.ids().filter(|id| seen[id.0 as usize]) {
            if let Op::State(s, _) = l.body.node(id).op {
                grown[s] |= activity.states[s];
            }
        }
        if grown == reached {
            return reached;
        }
        reached = grown;
    }
}

/// Terms of a sum.
fn terms(b: &Builder, x: ValueId) -> Vec<ValueId> {
    let (node, operands) = (b.dag.node(x), b.dag.operands(x));
    match node.op {
        // a broadcast term would be summed over fewer dimensions
        Op::Binary(BinaryOp::Add) if operands.iter().all(|o| b.dims_of(*o) == node.dims) => {
            operands.iter().flat_map(|o| terms(b, *o)).collect()
        }
        _ => vec![x],
    }
}

/// Location after the loop of a term of a capture's cotangent: values known there, or newly emitted factors of a product that has more
/// elements than they have.
fn after(b: &Builder, emits: &mut Vec<(String, ValueId)>, x: ValueId) -> Option<Share> {
    if let Some(known) = known(b, emits, x) {
        return Some(Share::Total(known, Vec::new()));
    }
    let operands = b.dag.operands(x);
    let over = match &b.dag.node(x).op {
        Op::Reduce(ReduceOp::Sum, over) => {
            return Some(Share::Total(known(b, emits, operands[0])?, over.clone()));
        }
        Op::Binary(BinaryOp::Mul) => Vec::new(),
        Op::Contract(over) => over.clone(),
        _ => return None,
    };
    let size = |id: ValueId| -> f64 { b.dims_of(id).iter().map(|d| nominal(&b.dims[d.0 as usize])).product() };
    let (p, q) = (operands[0], operands[1]);
    let new: f64 = [p, q].iter().filter(|f| known(b, emits, **f).is_none()).map(|f| size(*f)).sum();
    if new >= size(x) {
        return None;
    }
    let mut give = |f: ValueId| {
        known(b, emits, f).unwrap_or_else(|| {
            emits.push((String::new(), f));
            Outside { place: Place::Emit(emits.len() - 1), renames: Vec::new() }
        })
    };
    Some(Share::Factors(give(p), give(q), over))
}

/// Location outside of a value that is a capture or emitted, possibly renamed.
fn known(b: &Builder, emits: &[(String, ValueId)], mut x: ValueId) -> Option<Outside> {
    let mut renames = Vec::new();
    let place = loop {
        if let Some(i) = emits.iter().position(|(_, e)| *e == x) {
            break Place::Emit(i);
        }
        match b.dag.node(x).op {
            Op::Capture(i, _) => break Place::Capture(i),
            Op::Rename(from, to) => {
                renames.push((from, to));
                x = b.dag.operands(x)[0];
            }
            _ => return None,
        }
    };
    renames.reverse();
    Some(Outside { place, renames })
}

/// Builds the value at a location.
fn outside(b: &mut Builder, x: &Outside, captures: &[ValueId], node: ValueId) -> ValueId {
    let value = match x.place {
        Place::Capture(i) => captures[i],
        Place::Emit(i) => b.op(Op::Emit(i), &[node]),
    };
    x.renames.iter().fold(value, |x, (from, to)| b.rename(x, *from, *to))
}

/// Length of a dimension for comparisons.
fn nominal(dim: &Dim) -> f64 {
    match dim.extent {
        Extent::Fixed(n) => n as f64,
        _ => 64.0,
    }
}
