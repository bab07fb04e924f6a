//! Gradients: reverse mode on the lowered graph.
//!
//! [`differentiate`] extends a graph to the joint graph: its forward ops, then the backward ones, in the same IR. Every op
//! has one rule (`table`), which builds ordinary ops from the operands, the result and the result's cotangent. The sweep
//! visits the ops from the last to the first and sums the contributions of each value's users.
//!
//! A loop's gradient is the reversed loop, whose states are the cotangents of the forward states. Its body is the
//! forward body, recomputed from the saved entry states, followed by the sweep over that body; nested loops need
//! no further treatment. An attend's gradient is one [`Op::AttendGrad`](crate::lowered::Op), whose body is built in the same way.
//!
//! Cotangents that are 0 are never built, and those that are constant along a dimension are not broadcast along it (see `site`).

mod activity;
mod attend;
mod binary;
mod chunk;
mod cut;
mod layout;
mod learned;
mod loops;
mod over_dims;
mod recompute;
mod site;
mod sweep;
mod table;
#[cfg(test)]
mod tests;
mod time;
mod unary;

pub use recompute::recompute;

use crate::lowered::{Builder, DimId, Lowered, Op, ValueId, remove_dead};
use activity::Activity;
use site::total;
use sweep::{Sweep, copy};

/// Quantity that is differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// The objective.
    Loss,
    /// The sum over outputs of output times [`Op::Cotangent`], for the gradients of a block that stands alone.
    Cotangents,
}

/// Requested gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The differentiated quantity.
    pub seed: Seed,
    /// Whether gradients by the inputs are requested.
    pub inputs: bool,
    /// Whether gradients by the parameters are requested.
    pub params: bool,
    /// Whether the parameters are updated: a training step.
    pub update: bool,
    /// Whether the arithmetic that will run it is f64, else f32: determines the unit roundoff.
    pub exact: bool,
}

/// Extends a lowered graph to the joint graph. Parameters and inputs on which nothing depends have no gradient in it.
pub fn differentiate(lowered: &Lowered, wanted: &Wanted) -> Lowered {
    lowered.largest().into_iter().for_each(crate::work::at);
    let mut dims = lowered.dims.clone();
    let Some(place) = lowered.dag.nodes().first().map(|n| n.place) else { return lowered.clone() };
    let mut b = Builder::new(&mut dims, place);
    if wanted.exact {
        b.unit = f64::EPSILON / 2.0;
    }
    let map = copy(&mut b, &lowered.dag, &mut |_, _| None);
    let at = |id: ValueId| map[id.0 as usize];
    let forward_nodes = b.dag.len();

    let activity = Activity::of(&b.dag, |op| match op {
        Op::Param(_) => wanted.params,
        Op::Input(_) => wanted.inputs,
        _ => false,
    });
    let mut sweep = Sweep::new(activity);
    match wanted.seed {
        Seed::Loss => {
            if let Some((objective, _)) = lowered.objective {
                let one = b.number(1.0);
                sweep.give(at(objective), one);
            }
        }
        Seed::Cotangents => {
            for (i, output) in lowered.outputs.iter().enumerate() {
                let mut all = vec![crate::lowered::BATCH, crate::lowered::TIME];
                all.extend(&output.axes);
                lowered.order(&mut all);
                let dy = b.op(Op::Cotangent(i, all.clone()), &[]);
                let value = at(output.value);
                let over: Vec<DimId> = all.into_iter().filter(|d| !b.has(value, *d)).collect();
                let dy = total(&mut b, dy, &over);
                sweep.give(value, dy);
            }
        }
    }
    sweep.run(&mut b, 0..forward_nodes);

    let mut param_grads: Vec<(crate::graph::ParamId, Vec<ValueId>)> = Vec::new();
    let mut input_grads: Vec<(usize, Vec<ValueId>)> = Vec::new();
    for i in 0..forward_nodes {
        let id = ValueId(i as u32);
        let op = b.dag.node(id).op.clone();
        let Some(dx) = sweep.take(&mut b, id) else { continue };
        let all = b.dims_of(id).to_vec();
        let dx = b.expand(dx, &all);
        match op {
            Op::Param(p) if wanted.params => add_to(&mut param_grads, p, dx),
            Op::Input(n) if wanted.inputs => add_to(&mut input_grads, n, dx),
            _ => {}
        }
    }
    let param_grads = summed(&mut b, param_grads);
    let input_grads = summed(&mut b, input_grads);
    let dag = b.dag;
    let joint = Lowered {
        source: lowered.source.clone(),
        params: lowered.params.clone(),
        dims,
        dag,
        outputs: lowered.outputs.iter().map(|o| crate::lowered::Output { value: at(o.value), ..o.clone() }).collect(),
        objective: lowered.objective.map(|(a, b)| (at(a), at(b))),
        carries: lowered
            .carries
            .iter()
            .map(|c| crate::lowered::Carry { value: at(c.value), low: c.low.map(at), ..c.clone() })
            .collect(),
        param_grads,
        input_grads,
        forward_nodes,
        update: wanted.update,
        careful: lowered.careful,
    };
    remove_dead(joint)
}

/// Adds a contribution to a gradient: a tensor that occurs several times (a shared one) has one gradient.
fn add_to<K: PartialEq>(all: &mut Vec<(K, Vec<ValueId>)>, key: K, value: ValueId) {
    match all.iter_mut().find(|(k, _)| *k == key) {
        Some((_, values)) => values.push(value),
        None => all.push((key, vec![value])),
    }
}

fn summed<K: Ord + Copy>(b: &mut Builder, mut all: Vec<(K, Vec<ValueId>)>) -> Vec<(K, ValueId)> {
    all.sort_by_key(|(k, _)| *k);
    all.into_iter().filter_map(|(k, values)| Some((k, values.into_iter().reduce(|x, y| b.add(x, y))?))).collect()
}
