//! Fusion: partition of the element-wise ops into loops.
//!
//! Values are visited in order. A fusible value joins the loops that make its operands, where
//! - one of the two iteration spaces contains the other, so that nothing is computed more often than its largest member needs;
//! - both run over the same tokens (or rows and columns), or all of it is one block: an op over a part of the
//!   axes is computed once a block, but one without the tokens would be computed once a block for nothing;
//! - no value that is reduced over tokens is read again in the same loop, because it is complete only at its end;
//! - both are forward, or both backward: values that `recompute` has the backward pass compute again would otherwise be computed early, and
//!   kept;
//! - joining makes no cycle: no path leads from the operand's loop through another kernel back to the value. A reader of the weights of an
//!   attend's tile depends on everything that the device computes them from.
//!
//! Then it joins loops over the same space that read one of its operands, so that this is read once. Sums over tokens stay apart: they are
//! added up in a fixed order, while loops without them may be shared by threads.

use crate::lowered::{Dag, DimId, Lowered, ValueId};
use crate::target::Target;
use std::collections::BTreeMap;

/// A kernel under planning: values that are computed together.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// Values of the unit, in order.
    pub members: Vec<ValueId>,
    /// Iteration space of a fused loop.
    pub dims: Vec<DimId>,
    /// Whether other values may join.
    pub fused: bool,
}

/// Partition of a DAG's values into units.
pub(super) struct Units {
    pub units: Vec<Unit>,
    /// The unit of each value that has one.
    pub of: Vec<Option<usize>>,
    /// For each unit the last member of it and of all units it depends on.
    latest: Vec<ValueId>,
}

impl Units {
    fn push(&mut self, unit: Unit) {
        for m in &unit.members {
            self.of[m.0 as usize] = Some(self.units.len());
            self.latest.push(*m);
        }
        self.units.push(unit);
    }
}

/// Kind of work that computes a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Role {
    /// Not needed, a leaf, a constant, or another name for its operand.
    None,
    /// A part of a fused loop with this iteration space.
    Fused(Vec<DimId>),
    /// A kernel of its own.
    Kernel,
}

/// Inputs of the fusion pass.
pub(super) struct Fusion<'a> {
    pub graph: &'a Lowered,
    pub target: &'a Target,
    /// The first backward value.
    pub backward: ValueId,
    pub dag: &'a Dag,
    pub sizes: &'a [usize],
    pub roles: &'a [Role],
    /// For each value the earlier values with roles on which it depends, aliases looked through.
    pub needs: &'a [Vec<ValueId>],
    /// Operands of fused values that are read directly (not through an alias), so that they can stay inside of a loop.
    pub direct: &'a [Vec<ValueId>],
    /// Operands of fused values, aliases with equal elements looked through.
    pub reads: &'a [Vec<ValueId>],
    /// Group number of each value that shares a kernel.
    pub grouped: &'a BTreeMap<ValueId, usize>,
}

impl Fusion<'_> {
    /// Units of all values with roles.
    pub fn units(&self) -> Units {
        let count = self.dag.len();
        let mut all = Units { units: Vec::new(), of: vec![None; count], latest: Vec::new() };
        let mut users: Vec<Vec<ValueId>> = vec![Vec::new(); count];
        for id in self.dag.ids() {
            self.needs[id.0 as usize].iter().for_each(|n| users[n.0 as usize].push(id));
        }
        let mut shared: BTreeMap<usize, usize> = BTreeMap::new();
        // the last reader of each value
        let mut readers: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        for id in self.dag.ids() {
            let i = id.0 as usize;
            match &self.roles[i] {
                Role::None => {}
                Role::Kernel => {
                    if let Some(group) = self.grouped.get(&id) {
                        if let Some(&unit) = shared.get(group) {
                            all.of[i] = Some(unit);
                            all.units[unit].members.push(id);
                            raise(&mut all, &users, unit, id);
                            continue;
                        }
                        shared.insert(*group, all.units.len());
                    }
                    all.push(Unit { members: vec![id], dims: Vec::new(), fused: false });
                }
                Role::Fused(dims) => {
                    all.push(Unit { members: vec![id], dims: dims.clone(), fused: true });
                    let mut operands: Vec<usize> = self.direct[i].iter().filter_map(|o| all.of[o.0 as usize]).collect();
                    operands.sort_by_key(|u| (usize::MAX - self.size(&all.units[*u].dims), *u));
                    operands.dedup();
                    for operand in operands {
                        self.join(&mut all, &users, operand, id);
                    }
                    self.join_readers(&mut all, &users, &mut readers, id);
                }
            }
        }
        all
    }

    /// Joins the loops that read an operand of this value.
    fn join_readers(
        &self,
        all: &mut Units,
        users: &[Vec<ValueId>],
        readers: &mut BTreeMap<ValueId, ValueId>,
        id: ValueId,
    ) {
        for &read in &self.reads[id.0 as usize] {
            let Some(reader) = readers.insert(read, id) else { continue };
            let (Some(other), Some(own)) = (all.of[reader.0 as usize], all.of[id.0 as usize]) else { continue };
            let (a, b) = (&all.units[other], &all.units[own]);
            let whole = a.dims == b.dims && self.dag.node(read).dims == a.dims;
            if whole && !self.sums_tokens(a) && !self.sums_tokens(b) && self.reductions_hold(b, a, false) {
                self.join(all, users, other, id);
            }
        }
    }

    /// Whether a member is a sum over tokens.
    fn sums_tokens(&self, unit: &Unit) -> bool {
        unit.members.iter().any(|m| match &self.roles[m.0 as usize] {
            Role::Fused(space) => self.lead(space) != self.lead(&self.dag.node(*m).dims),
            _ => false,
        })
    }

    fn size(&self, dims: &[DimId]) -> usize {
        dims.iter().map(|d| self.sizes[d.0 as usize]).product()
    }

    fn lead(&self, dims: &[DimId]) -> Vec<DimId> {
        dims.iter().copied().filter(|d| self.graph.dim(*d).rank < 4).collect()
    }

    /// Merges the unit of `value` with the unit that makes an operand of it, if that is allowed.
    fn join(&self, all: &mut Units, users: &[Vec<ValueId>], operand: usize, value: ValueId) {
        let Some(own) = all.of[value.0 as usize] else { return };
        if own == operand || !all.units[operand].fused {
            return;
        }
        let (a, b) = (&all.units[operand], &all.units[own]);
        let backward = |unit: &Unit| unit.members.first().is_some_and(|m| *m >= self.backward);
        if a.members.len() + b.members.len() > self.target.members || backward(a) != backward(b) {
            return;
        }
        let within = |x: &[DimId], y: &[DimId]| x.iter().all(|d| y.contains(d));
        let space = if within(&a.dims, &b.dims) {
            b.dims.clone()
        } else if within(&b.dims, &a.dims) {
            a.dims.clone()
        } else {
            return;
        };
        let one_block = self.size(&space) <= self.target.block;
        if !one_block && self.lead(&a.dims) != self.lead(&b.dims) {
            return;
        }
        if !self.reductions_hold(a, b, one_block) || self.cycle(all, operand, own) {
            return;
        }
        let moved = all.units[own].members.clone();
        for m in &moved {
            all.of[m.0 as usize] = Some(operand);
        }
        let unit = &mut all.units[operand];
        unit.members.extend(moved);
        unit.members.sort_unstable();
        unit.dims = space;
        all.units[own].members.clear();
        all.units[own].fused = false;
        raise(all, users, operand, all.latest[own]);
    }

    /// Whether values reduced in `a` and read in `b` are complete when they are read.
    fn reductions_hold(&self, a: &Unit, b: &Unit, one_block: bool) -> bool {
        let reads = |m: &ValueId| self.direct[m.0 as usize].iter().filter(|o| a.members.contains(o)).copied();
        b.members.iter().flat_map(reads).all(|value| {
            let Role::Fused(space) = &self.roles[value.0 as usize] else { return true };
            let kept = &self.dag.node(value).dims;
            let gone: Vec<DimId> = space.iter().copied().filter(|d| !kept.contains(d)).collect();
            if gone.is_empty() || one_block {
                return true;
            }
            let inner: usize =
                space.iter().filter(|d| self.graph.dim(**d).rank >= 4).map(|d| self.sizes[d.0 as usize]).product();
            gone.iter().all(|d| self.graph.dim(*d).rank >= 4) && inner <= self.target.inner
        })
    }

    /// Whether merging `a` and `b` would create a cyclic dependence: a path from one through other units into the other, or a member that
    /// reads another member through an alias.
    fn cycle(&self, all: &Units, a: usize, b: usize) -> bool {
        self.way(all, a, b) || self.way(all, b, a)
    }

    /// Whether `to` depends on `from` through anything but direct operands.
    fn way(&self, all: &Units, from: usize, to: usize) -> bool {
        let mut seen = vec![false; all.units.len()];
        let mut stack: Vec<usize> = Vec::new();
        // a unit that depends on nothing as late as `from` does not depend on `from`
        let later = |u: usize| all.latest[u] >= all.latest[from];
        for m in &all.units[to].members {
            for need in &self.needs[m.0 as usize] {
                match all.of[need.0 as usize] {
                    Some(u) if u == from && !self.direct[m.0 as usize].contains(need) => return true,
                    Some(u) if u != from && u != to && later(u) && !std::mem::replace(&mut seen[u], true) => {
                        stack.push(u);
                    }
                    _ => {}
                }
            }
        }
        while let Some(unit) = stack.pop() {
            crate::work::spend(all.units[unit].members.len());
            for m in &all.units[unit].members {
                for need in &self.needs[m.0 as usize] {
                    match all.of[need.0 as usize] {
                        Some(u) if u == from => return true,
                        Some(u) if later(u) && !std::mem::replace(&mut seen[u], true) => stack.push(u),
                        _ => {}
                    }
                }
            }
        }
        false
    }
}

/// Raises `latest` of a unit, and of all units that depend on it, to a value. `users`: for each value the values that need it.
fn raise(all: &mut Units, users: &[Vec<ValueId>], unit: usize, latest: ValueId) {
    let mut stack = vec![unit];
    while let Some(u) = stack.pop() {
        if all.latest[u] < latest {
            all.latest[u] = latest;
            let needed = all.units[u].members.iter().flat_map(|m| &users[m.0 as usize]);
            stack.extend(needed.filter_map(|n| all.of[n.0 as usize]).filter(|w| all.latest[*w] < latest));
        }
    }
}
