//! The reverse sweep: visits ops from the last to the first and applies each one's rule to the sum of its users' contributions.

use super::activity::Activity;
use super::site::Site;
use super::table::{Rule, rule};
use super::{attend, loops};
use crate::graph::BinaryOp;
use crate::lowered::{Builder, Dag, DimId, Extent, Op, ValueId};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A value pasted at an offset: the offset, its dimension, the value.
type Pasted = (usize, DimId, ValueId);

/// Copies a DAG into a builder and returns the new id of each value. `leaf` may replace an op.
///
/// Loops additionally emit their states before each iteration, and attends their normalisers, from which their gradients start. Those that
/// no gradient uses are removed in the end.
pub(super) fn copy(
    b: &mut Builder,
    dag: &Dag,
    leaf: &mut dyn FnMut(&mut Builder, &Op) -> Option<ValueId>,
) -> Vec<ValueId> {
    let mut map: Vec<ValueId> = Vec::with_capacity(dag.len());
    for id in dag.ids() {
        let node = dag.node(id);
        b.name.clone_from(&node.name);
        b.place = node.place;
        let operands: Vec<ValueId> = dag.operands(id).iter().map(|o| map[o.0 as usize]).collect();
        let id = match &node.op {
            op @ (Op::Param(_) | Op::Input(_)) => b.leaf(op.clone(), node.dims.clone()),
            Op::Loop(l) => {
                let mut l = l.clone();
                let entries = loops::emit_entries(Arc::make_mut(&mut l));
                let id = b.op(Op::Loop(l), &operands);
                b.name.clear();
                for i in entries {
                    b.op(Op::Emit(i), &[id]);
                }
                id
            }
            Op::Attend(a) => {
                let id = b.op(node.op.clone(), &operands);
                b.name.clear();
                for i in 0..a.statistics() {
                    b.op(Op::Emit(a.emits.len() + i), &[id]);
                }
                id
            }
            op => match leaf(b, op) {
                Some(id) => id,
                None => b.op(op.clone(), &operands),
            },
        };
        map.push(id);
    }
    b.name.clear();
    map
}

/// An output of a loop or an attend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Port {
    Emit(usize),
    Final(usize),
}

/// Cotangents collected so far.
pub(super) struct Sweep {
    activity: Activity,
    given: BTreeMap<ValueId, Vec<ValueId>>,
    ports: BTreeMap<ValueId, BTreeMap<Port, ValueId>>,
}

impl Sweep {
    /// A sweep without contributions.
    pub fn new(activity: Activity) -> Self {
        Self { activity, given: BTreeMap::new(), ports: BTreeMap::new() }
    }

    /// Adds to a value's cotangent, if a gradient passes through the value.
    pub fn give(&mut self, value: ValueId, cotangent: ValueId) {
        if self.activity.is_active(value) {
            self.given.entry(value).or_default().push(cotangent);
        }
    }

    /// Takes a value's cotangent, summed.
    pub fn take(&mut self, b: &mut Builder, value: ValueId) -> Option<ValueId> {
        let given = self.given.remove(&value)?;
        Some(sum(b, &given))
    }

    /// Applies the rules of these ops, from the last to the first. Leaves keep their cotangents.
    pub fn run(&mut self, b: &mut Builder, range: Range<usize>) {
        for id in range.rev().map(|i| ValueId(i as u32)) {
            let has_ports = self.ports.contains_key(&id);
            if !has_ports && !self.given.contains_key(&id) {
                continue;
            }
            let node = b.dag.node(id);
            let (op, operands) = (node.op.clone(), b.dag.operands(id).to_vec());
            b.place = node.place;
            let wanted: Vec<bool> = operands.iter().map(|o| self.activity.is_active(*o)).collect();
            let cotangents = match rule(&op) {
                Rule::Leaf => continue,
                Rule::None => Vec::new(),
                Rule::BackwardOnly => panic!("archc bug: {op:?} has no gradient"),
                Rule::Port => {
                    let port = match op {
                        Op::Final(i) => Port::Final(i),
                        Op::Emit(i) => Port::Emit(i),
                        _ => panic!("archc bug: {op:?} is no port"),
                    };
                    if let Some(dy) = self.take(b, id) {
                        let ports = self.ports.entry(operands[0]).or_default();
                        let dy = match ports.get(&port) {
                            Some(other) => b.add(*other, dy),
                            None => dy,
                        };
                        ports.insert(port, dy);
                    }
                    continue;
                }
                Rule::Many => {
                    let ports = self.ports.remove(&id).unwrap_or_default();
                    match &op {
                        Op::Loop(l) => loops::differentiate(b, id, l, &operands, &wanted, &ports),
                        Op::Attend(a) => attend::differentiate(b, id, a, &operands, &wanted, &ports),
                        _ => panic!("archc bug: {op:?} gives out one value"),
                    }
                }
                Rule::One(f) => {
                    let Some(dy) = self.take(b, id) else { continue };
                    f(&mut Site { b, op: &op, operands: &operands, result: id, dy, wanted: &wanted })
                }
            };
            for (operand, cotangent) in operands.into_iter().zip(cotangents) {
                if let Some(cotangent) = cotangent {
                    self.give(operand, cotangent);
                }
            }
        }
    }
}

/// Sum of the users' contributions. Entries along a dimension that were picked one by one, and parts of one, are stacked or concatenated
/// instead of being padded with zeros and added.
fn sum(b: &mut Builder, given: &[ValueId]) -> ValueId {
    let mut rest = Vec::new();
    let mut puts: Vec<(DimId, Vec<(usize, ValueId)>)> = Vec::new();
    let mut pastes: Vec<(DimId, Vec<Pasted>)> = Vec::new();
    for &id in given {
        let operand = || b.dag.operands(id)[0];
        match b.dag.node(id).op {
            Op::Put(dim, i) => match puts.iter_mut().find(|p| p.0 == dim) {
                Some((_, of)) if of.iter().all(|o| o.0 != i) => of.push((i, operand())),
                Some(_) => rest.push(id),
                None => puts.push((dim, vec![(i, operand())])),
            },
            Op::Paste { from, offset, into } => match pastes.iter_mut().find(|p| p.0 == into) {
                Some((_, of)) => of.push((offset, from, operand())),
                None => pastes.push((into, vec![(offset, from, operand())])),
            },
            _ => rest.push(id),
        }
    }
    for (dim, mut of) in puts {
        of.sort_unstable();
        if of.len() == 1 {
            let (i, x) = of[0];
            rest.push(b.op(Op::Put(dim, i), &[x]));
            continue;
        }
        let fixed = match b.dims[dim.0 as usize].extent {
            Extent::Fixed(n) => n,
            extent => panic!("archc bug: entries of a dimension of {extent:?}"),
        };
        let zero = b.number(0.0);
        let entries: Vec<ValueId> = (0..fixed).map(|i| of.iter().find(|o| o.0 == i).map_or(zero, |o| o.1)).collect();
        rest.push(b.op(Op::Stack(dim), &entries));
    }
    for (into, mut of) in pastes {
        of.sort_unstable();
        let len = |b: &Builder, dim: DimId| match b.dims[dim.0 as usize].extent {
            Extent::Fixed(n) => n,
            extent => panic!("archc bug: a part of a dimension of {extent:?}"),
        };
        let mut end = 0;
        let whole = of.iter().all(|&(offset, from, _)| {
            let fits = offset == end;
            end = offset + len(b, from);
            fits
        });
        if whole && end == len(b, into) {
            let (parts, values): (Vec<DimId>, Vec<ValueId>) = of.iter().map(|&(_, from, x)| (from, x)).unzip();
            rest.push(b.op(Op::Cat(parts, into), &values));
        } else {
            rest.extend(of.iter().map(|&(offset, from, x)| b.op(Op::Paste { from, offset, into }, &[x])));
        }
    }
    rest.into_iter().reduce(|x, y| b.binary(BinaryOp::Add, x, y)).expect("a cotangent was given")
}
