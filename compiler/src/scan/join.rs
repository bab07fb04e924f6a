//! `join_parts`: joins chunk forms into one loop over chunks if they share the values needed by their pairs of rows.
//!
//! A normaliser is one more value column of the memory beside it: [S | z] <- alpha [S | z] + k [v | 1]^T, read by one q. The values needed
//! by pairs of
//! rows (decays, D * (Q K^T), the triangular matrix of delta steps) are the same for all columns, forward and backward, so parts
//! with the same decay that have a pair of a reader and a key in common become states of one loop, whose body computes them once.
//! The columns themselves stay apart: a normaliser's product with the pair matrix is a sum of its rows, and V + 1 columns in one
//! matrix would have to be copied together and would fill the registers' tiles badly.
//!
//! The operands of parts in one loop are one DAG, in which equal values are one node. No part of a loop may depend on another, not even
//! through other loops.

use super::classify::{Classes, ScanClass};
use super::form::{Decay, Form, Scaled, Seen, Sight};
use crate::graph::{BinaryOp, Dag, Graph, Node, NodeId, Op};
use std::collections::{BTreeMap, BTreeSet};

/// Joins parts into loops; see the module's essay.
pub(super) fn join_parts(graph: &Graph, classes: &mut Classes) {
    let mut numbers = Numbers::default();
    let mut groups: Vec<Group> = Vec::new();
    let mut group_of: BTreeMap<NodeId, usize> = BTreeMap::new();
    let needs = |id: NodeId| {
        let mut all = graph.dag.operands(id).to_vec();
        if let Some(ScanClass::Chunk(form)) = classes.parts.get(&id).map(|p| &p.class) {
            all.extend(form.leaves_used());
        }
        all
    };
    for (id, part) in &classes.parts {
        let ScanClass::Chunk(form) = &part.class else { continue };
        let shared = Shared::of(form, &mut numbers);
        let fits = |g: &usize| {
            let group = &groups[*g];
            let members = [group.members.as_slice(), &[*id]].concat();
            group.shared.fits(&shared) && !depend(&needs, &groups, &group_of, &members)
        };
        match (0..groups.len()).rev().find(fits) {
            Some(g) => {
                groups[g].members.push(*id);
                groups[g].shared.pairs.extend(shared.pairs);
                group_of.insert(*id, g);
            }
            None => {
                group_of.insert(*id, groups.len());
                groups.push(Group { members: vec![*id], shared });
            }
        }
    }
    for group in groups.into_iter().filter(|g| g.members.len() > 1) {
        let mut union = Union::default();
        let mut names: Vec<String> = Vec::new();
        for id in &group.members {
            if let Some(ScanClass::Chunk(form)) = classes.parts.get_mut(id).map(|p| &mut p.class) {
                names.push(form.state.name.clone());
                union.take(form);
            }
        }
        for id in &group.members {
            if let Some(ScanClass::Chunk(form)) = classes.parts.get_mut(id).map(|p| &mut p.class) {
                form.dag = union.dag.clone();
                form.leaves.clone_from(&union.leaves);
                form.beside = names.iter().filter(|n| **n != form.state.name).cloned().collect();
            }
        }
        classes.loops.push(group.members);
    }
}

/// Parts of one loop, in order.
struct Group {
    members: Vec<NodeId>,
    shared: Shared,
}

/// Whether some of the scans depend on each other through `needs`, with scans of one group treated as one.
fn depend(
    needs: &dyn Fn(NodeId) -> Vec<NodeId>,
    groups: &[Group],
    group_of: &BTreeMap<NodeId, usize>,
    members: &[NodeId],
) -> bool {
    let mut seen = BTreeSet::new();
    let mut stack: Vec<NodeId> = members.iter().flat_map(|m| needs(*m)).collect();
    while let Some(id) = stack.pop() {
        if members.contains(&id) {
            return true;
        }
        if !seen.insert(id) {
            continue;
        }
        stack.extend(needs(id));
        if let Some(g) = group_of.get(&id) {
            stack.extend(&groups[*g].members);
        }
    }
    false
}

/// Value numbering: equal values of forms have equal numbers.
#[derive(Default)]
struct Numbers(BTreeMap<(String, Vec<u32>), u32>);

impl Numbers {
    /// Number of each node of a form's DAG.
    fn of(&mut self, form: &Form) -> Vec<u32> {
        let mut numbers: Vec<u32> = Vec::with_capacity(form.dag.len());
        for id in form.dag.ids() {
            let operands = form.dag.operands(id).iter().map(|o| numbers[o.0 as usize]).collect();
            let next = self.0.len() as u32;
            numbers.push(*self.0.entry(key(form.dag.node(id), &form.leaves, operands)).or_insert(next));
        }
        numbers
    }
}

/// Key of a value: op, axes, operands.
fn key(node: &Node, leaves: &[NodeId], mut operands: Vec<u32>) -> (String, Vec<u32>) {
    let op = match &node.op {
        Op::Capture(i) => format!("leaf {}", leaves[*i].0),
        op => format!("{op:?} {:?}", node.ty.axes),
    };
    if let Op::Binary(BinaryOp::Add | BinaryOp::Mul | BinaryOp::Min | BinaryOp::Max) = node.op {
        operands.sort_unstable();
    }
    (op, operands)
}

/// Properties by which a part may share a loop.
struct Shared {
    /// Decay, angle, heads and keys, which must be equal.
    frame: (u8, Option<u32>, bool, Option<u32>, Vec<u32>, Vec<u32>),
    /// Pairs of readers' vectors and events' keys with their visibility, of which one must be common.
    pairs: BTreeSet<(Option<u32>, u32, bool, bool)>,
}

impl Shared {
    fn of(form: &Form, numbers: &mut Numbers) -> Self {
        let number = numbers.of(form);
        let at = |id: NodeId| number[id.0 as usize];
        let kind = match form.decay {
            Decay::None => 0,
            Decay::Scalar(_) => 1,
            Decay::Product(_) => 2,
            Decay::Key(_) => 3,
            Decay::Value(_) => 4,
        };
        let ids = |axes: &[crate::graph::AxisId]| axes.iter().map(|a| a.0).collect::<Vec<u32>>();
        let angle = form.rotation.map(|r| at(r.angle));
        let frame = (kind, form.decay.node().map(at), form.negative, angle, ids(&form.heads), ids(&form.keys));
        let mut pairs = BTreeSet::new();
        let mut meets = |vector: Option<NodeId>, sight: &Sight| {
            for (event, seen) in form.events.iter().zip(&sight.sees) {
                pairs.insert((vector.map(at), at(event.key), sight.before, *seen == Seen::Yes));
            }
        };
        let reads = form.reads.iter().filter(|r| r.side == super::Side::Key);
        reads.for_each(|r| meets(Some(r.query), &r.sight));
        form.events.iter().filter_map(|e| e.delta.as_ref()).for_each(|d| meets(d.key.vector, &d.sight));
        Self { frame, pairs }
    }

    /// Whether two parts are faster in one loop. Under decays by value each value column has pairs of its own.
    fn fits(&self, other: &Self) -> bool {
        self.frame == other.frame && self.frame.0 != 4 && self.pairs.iter().any(|p| other.pairs.contains(p))
    }
}

/// Union of several forms' operands in one DAG.
#[derive(Default)]
struct Union {
    dag: Dag,
    leaves: Vec<NodeId>,
    known: BTreeMap<(String, Vec<u32>), NodeId>,
}

impl Union {
    /// Adds a form's operands, and renames them in the form.
    fn take(&mut self, form: &mut Form) {
        let mut at: Vec<NodeId> = Vec::with_capacity(form.dag.len());
        for id in form.dag.ids() {
            let operands: Vec<NodeId> = form.dag.operands(id).iter().map(|o| at[o.0 as usize]).collect();
            let mut node = form.dag.node(id).clone();
            let key = key(&node, &form.leaves, operands.iter().map(|o| o.0).collect());
            let known = self.known.get(&key).copied();
            at.push(known.unwrap_or_else(|| {
                if let Op::Capture(i) = &mut node.op {
                    self.leaves.push(form.leaves[*i]);
                    *i = self.leaves.len() - 1;
                }
                let new = self.dag.add(node, &operands);
                self.known.insert(key, new);
                new
            }));
        }
        rename(form, &|id| at[id.0 as usize]);
    }
}

/// Renames the operands of a form.
fn rename(form: &mut Form, at: &dyn Fn(NodeId) -> NodeId) {
    let scaled = |s: &mut Scaled| {
        s.scale = s.scale.map(at);
        s.vector = s.vector.map(at);
    };
    let sight = |s: &mut Sight| {
        for seen in &mut s.sees {
            if let Seen::Dot(dot) = seen {
                *dot = at(*dot);
            }
        }
    };
    if let Decay::Scalar(node) | Decay::Product(node) | Decay::Key(node) | Decay::Value(node) = &mut form.decay {
        *node = at(*node);
    }
    if let Some(rotation) = &mut form.rotation {
        rotation.angle = at(rotation.angle);
    }
    for event in &mut form.events {
        event.key = at(event.key);
        event.values.iter_mut().for_each(scaled);
        if let Some(delta) = &mut event.delta {
            scaled(&mut delta.key);
            sight(&mut delta.sight);
        }
    }
    for read in &mut form.reads {
        read.query = at(read.query);
        sight(&mut read.sight);
    }
}
