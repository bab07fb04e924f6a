//! `split_scans`: one scan node for each strongly connected part of a scan's states.
//!
//! A part's scan keeps the values its update needs and emits as little as it can: reads of the state if the state is affine
//! in itself, the state if it is a vector anyway. All other values of the body (those that do not depend on the state, and those that
//! depend on it through reads alone) are computed outside, at one token. So mLSTM's
//! `sum[K](q * S) / max(abs(sum[K](q * n)), exp(-m))` becomes three scans, one for m, S and n, and a quotient.
//!
//! A read whose query depends on an earlier read of the same state at the same token (a second hop) is emitted by a second scan of the same
//! recurrence.
//!
//! Outer products move the other way: `k * v` does not depend on the state, so the elaborator built it outside, but in a body it is never
//! larger than one token's state.

mod ask;
mod build;
mod drawn;
mod parts;

use super::algebra::{Algebra, Part, Product};
use super::rotation::{add_part_axis, read_of};
use crate::graph::{AxisId, BinaryOp, Dag, Graph, NodeId, Op, ReduceOp, Scan, UnaryOp, verify};
use parts::Group;
use std::collections::BTreeMap;

/// Splits the scans of a graph; see the module's essay.
///
/// # Panics
/// In debug builds, if the result breaks an invariant of the graph: a bug of archc.
pub fn split_scans(graph: &Graph) -> Graph {
    split_scans_and_tell(graph).0
}

/// Origin of a scan, window or attend.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Node of the graph before scans were split.
    pub node: NodeId,
    /// For an attend: the operands of that node that remain.
    pub operands: Vec<usize>,
}

/// Splits the scans of a graph, and returns the origin of each scan, window and attend.
pub(crate) fn split_scans_and_tell(graph: &Graph) -> (Graph, BTreeMap<NodeId, Origin>) {
    let mut new = Dag::new();
    let mut at: Vec<NodeId> = Vec::with_capacity(graph.dag.len());
    let mut scans: BTreeMap<NodeId, Splitter> = BTreeMap::new();
    for id in graph.dag.ids() {
        let operands = graph.dag.operands(id);
        let moved = match graph.dag.op(id) {
            Op::Scan(scan) => {
                scans.insert(id, Splitter::new(graph, id, scan));
                NodeId(u32::MAX) // only its emits are ever read
            }
            Op::Emit(i) if scans.contains_key(&operands[0]) => {
                let splitter = scans.get_mut(&operands[0]).expect("just found");
                splitter.emit(&mut new, &at, *i)
            }
            _ => {
                let operands: Vec<NodeId> = operands.iter().map(|o| at[o.0 as usize]).collect();
                new.add(graph.dag.node(id).clone(), &operands)
            }
        };
        at.push(moved);
    }
    let mut after = graph.clone();
    after.dag = new;
    if scans.values().any(Splitter::reads_complex_numbers) {
        add_part_axis(&mut after);
    }
    after.outputs.iter_mut().for_each(|o| o.value = at[o.value.0 as usize]);
    after.losses.iter_mut().for_each(|l| *l = at[l.0 as usize]);
    let (after, kept) = crate::passes::remove_dead_and_tell(&after);
    let mut origins = BTreeMap::new();
    for (id, old) in graph.dag.ids().zip(&at) {
        let made: Vec<NodeId> = match (graph.dag.op(id), scans.get(&id)) {
            (_, Some(splitter)) => splitter.scans.values().copied().collect(),
            (Op::Window { .. } | Op::Attend(_), _) => vec![*old],
            _ => Vec::new(),
        };
        for made in made {
            let operands = kept.operands.get(&made).cloned().unwrap_or_default();
            let node = id;
            origins.extend(kept.at[made.0 as usize].map(|new| (new, Origin { node, operands })));
        }
    }
    if cfg!(debug_assertions)
        && let Err(why) = verify(&after)
    {
        panic!("archc bug: after split_scans: {why}\n{}", crate::graph::print(&after));
    }
    (after, origins)
}

/// Outer computation of a value of the body.
#[derive(Clone, Debug)]
enum Plan {
    /// It is emitted by the scan of a part.
    Given(usize),
    /// It is computed from its operands.
    Computed,
    /// It is a sum of products with reads of a part's state.
    Reads(usize, Vec<(Product, Option<Query>)>),
}

/// A read: the version of the state, the axes summed, the query.
#[derive(Clone, Debug, PartialEq)]
struct Query {
    version: NodeId,
    over: Vec<AxisId>,
    by: Product,
}

/// An emit of a scan.
#[derive(Clone, Debug, PartialEq)]
enum Given {
    Node(NodeId),
    Read(Query),
}

/// Emitted values and reads on which a value depends.
#[derive(Clone, Copy, Debug)]
struct Behind {
    /// Number of elements of the largest emitted value, 0 if there is none.
    given: usize,
    /// Whether all of them are reads.
    reads: bool,
}

impl Default for Behind {
    /// No dependences.
    fn default() -> Self {
        Self { given: 0, reads: true }
    }
}

struct Splitter<'a> {
    algebra: Algebra<'a>,
    id: NodeId,
    groups: Vec<Group>,
    plans: Vec<Plan>,
    /// Hops by body node and group.
    hops: Vec<Vec<usize>>,
    /// Dependences by body node, as an operand of others.
    behind: Vec<Behind>,
    /// Requested emits by group and hop.
    asked: BTreeMap<(usize, usize), Vec<Given>>,
    /// New outer nodes of body nodes.
    outside: BTreeMap<NodeId, NodeId>,
    /// New scan nodes.
    scans: BTreeMap<(usize, usize), NodeId>,
    emits: BTreeMap<(usize, usize, usize), NodeId>,
    queries: Vec<(Product, NodeId)>,
}

impl<'a> Splitter<'a> {
    fn new(graph: &'a Graph, id: NodeId, scan: &'a Scan) -> Self {
        crate::work::at(graph.dag.node(id).place);
        let algebra = Algebra::new(graph, id, scan);
        let mut parts = algebra.scan.parts();
        loop {
            let mut splitter = Self {
                groups: parts.iter().map(|states| Group::new(&algebra, states)).collect(),
                algebra: Algebra::new(graph, id, scan),
                id,
                plans: Vec::new(),
                hops: Vec::new(),
                behind: Vec::new(),
                asked: BTreeMap::new(),
                outside: BTreeMap::new(),
                scans: BTreeMap::new(),
                emits: BTreeMap::new(),
                queries: Vec::new(),
            };
            splitter.plan();
            for (_, emit) in &scan.emits {
                splitter.ask(*emit);
            }
            // values of earlier groups that a group's update needs
            for group in (0..splitter.groups.len()).rev() {
                splitter.ask_for_update(group);
            }
            match splitter.too_wide() {
                Some((earlier, later)) => {
                    let merged: Vec<usize> = [parts[earlier].clone(), parts[later].clone()].concat();
                    parts[later] = merged;
                    parts[later].sort_unstable();
                    parts.remove(earlier);
                }
                None => return splitter,
            }
        }
    }

    fn body(&self) -> &'a Dag {
        self.algebra.body()
    }

    /// Whether states that may rotate into each other are emitted through reads.
    fn reads_complex_numbers(&self) -> bool {
        self.asked.iter().any(|(key, given)| {
            let group = &self.groups[key.0];
            let read = |g: &Given| match g {
                Given::Node(id) => self.is_complex_read(*id, group),
                Given::Read(_) => false,
            };
            given.iter().any(read)
        })
    }

    fn is_complex_read(&self, id: NodeId, group: &Group) -> bool {
        group.turned.iter().any(|versions| read_of(&self.algebra, id, versions, &group.on).is_some())
    }

    fn size(&self, axes: &[AxisId]) -> usize {
        axes.iter().map(|a| self.algebra.graph.size(*a)).product()
    }

    /// Latest group on which a body node depends.
    fn group_of(&self, id: NodeId) -> Option<usize> {
        (0..self.groups.len()).rev().find(|g| self.groups[*g].on[id.0 as usize])
    }

    fn dependent(&self, id: NodeId) -> bool {
        self.group_of(id).is_some()
    }

    // ---- plans

    fn plan(&mut self) {
        for id in self.body().ids() {
            let plan = match self.group_of(id) {
                None => Plan::Computed,
                Some(group) => self.plan_of(id, group),
            };
            self.plans.push(plan);
            self.behind.push(self.as_operand(id));
            self.hops.push((0..self.groups.len()).map(|group| self.hop(id, group)).collect());
        }
    }

    fn plan_of(&self, id: NodeId, group: usize) -> Plan {
        let body = self.body();
        let g = &self.groups[group];
        let alone = (0..group).all(|other| !self.groups[other].on[id.0 as usize]);
        let kept = match &g.versions {
            Some(versions) => versions.contains(&id),
            None => g.core[id.0 as usize] && alone,
        };
        if kept || matches!(body.op(id), Op::State(_)) {
            return Plan::Given(group);
        }
        let sums = matches!(body.op(id), Op::Contract(_) | Op::Reduce(ReduceOp::Sum | ReduceOp::Mean, _));
        if sums
            && let Some(versions) = &g.versions
            && let Some(plan) = self.reads(id, group, versions)
        {
            return plan;
        }
        // complex numbers are read as a whole: both parts at once
        let sums = sums || matches!(body.op(id), Op::Binary(BinaryOp::Add | BinaryOp::Sub) | Op::Unary(UnaryOp::Neg));
        if sums && self.is_complex_read(id, g) {
            return Plan::Given(group);
        }
        // a version much larger than its result stays inside
        let wide = self.behind(id).given > WIDE * self.size(&body.ty(id).axes);
        if wide { Plan::Given(group) } else { Plan::Computed }
    }

    /// Dependences of a node that is computed from its operands.
    fn behind(&self, id: NodeId) -> Behind {
        let all = self.body().operands(id).iter().map(|o| self.behind[o.0 as usize]);
        all.fold(Behind::default(), |a, b| Behind { given: a.given.max(b.given), reads: a.reads && b.reads })
    }

    /// Dependences of a node as an operand of others: emitted values and reads end the search.
    fn as_operand(&self, id: NodeId) -> Behind {
        if !self.dependent(id) {
            return Behind::default();
        }
        match self.plans[id.0 as usize] {
            Plan::Computed => self.behind(id),
            Plan::Given(_) => Behind { given: self.size(&self.body().ty(id).axes), reads: false },
            Plan::Reads(..) => Behind::default(),
        }
    }

    /// A sum over axes as reads of a group's state.
    fn reads(&self, id: NodeId, group: usize, versions: &[NodeId]) -> Option<Plan> {
        let g = &self.groups[group];
        let version = versions[g.read[id.0 as usize]?];
        // values that depend on the state through reads alone may be a query of another hop
        let through_reads = |node: NodeId| {
            !g.core[node.0 as usize]
                && !matches!(self.plans[node.0 as usize], Plan::Given(_))
                && self.behind(node).reads
        };
        let free = |node: NodeId| !g.on[node.0 as usize] || node < id && through_reads(node);
        let terms = self.algebra.expand(id, version, &free).ok()?;
        let mut reads = Vec::new();
        for term in terms {
            let read = match term.part {
                Part::Whole => return None,
                Part::Nothing => None,
                Part::Read(over, by) => Some(Query { version, over, by }),
            };
            reads.push((term.by, read));
        }
        reads.iter().any(|r| r.1.is_some()).then_some(Plan::Reads(group, reads))
    }
}

/// Minimum ratio of a state's size to that of a value computed from it at which the state is not emitted for that value.
const WIDE: usize = 4;
