//! `split_scans`: one scan node for each strongly connected part of a scan's states.
//!
//! A part's scan keeps what its update needs and gives out as little as it can: reads of the state where the state is affine
//! in itself, the state where it is a vector anyway. All else that was in the body (what is free of the state, what
//! depends on it through reads alone) is computed outside, at one token. So mLSTM's
//! `sum[K](q * S) / max(abs(sum[K](q * n)), exp(-m))` becomes three scans, one for m, S and n, and a quotient.
//!
//! A read whose query depends on an earlier read of the same state at the same token (a second hop) is given out by a second
//! scan of the same recurrence.
//!
//! Outer products go the other way: `k * v` does not depend on the state, so the elaborator built it outside, but in a
//! body it is never larger than one token's state.

use super::algebra::{Algebra, Factor, Part, Product, Ref};
use crate::graph::{
    AxisId, BinaryOp, Dag, Graph, Node, NodeId, Op, Rate, ReduceOp, Scan, State, Type, UnaryOp, verify,
};
use std::collections::{BTreeMap, BTreeSet};

/// See the module's essay.
///
/// # Panics
/// In debug builds, if the result breaks an invariant of the graph: a bug of archc.
pub fn split_scans(graph: &Graph) -> Graph {
    split_scans_and_tell(graph).0
}

/// Where a scan, window or attend comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The node of the graph before scans were split.
    pub node: NodeId,
    /// Of an attend: the operands of that node that are left.
    pub operands: Vec<usize>,
}

/// The same, with where each scan, window and attend comes from.
pub(crate) fn split_scans_and_tell(graph: &Graph) -> (Graph, BTreeMap<NodeId, Origin>) {
    let mut new = Dag::new();
    let mut at: Vec<NodeId> = Vec::with_capacity(graph.dag.len());
    let mut scans: BTreeMap<NodeId, Splitter> = BTreeMap::new();
    for id in graph.dag.ids() {
        let operands = graph.dag.operands(id);
        let moved = match graph.dag.op(id) {
            Op::Scan(scan) => {
                scans.insert(id, Splitter::new(graph, id, scan));
                NodeId(u32::MAX) // its emits are all that is ever read of it
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

/// How a value of the body is had outside of it.
#[derive(Clone, Debug)]
enum Plan {
    /// It is given out by the scan of a part.
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

/// A strongly connected part of the states.
struct Group {
    states: Vec<usize>,
    /// Body nodes that depend on its states.
    on: Vec<bool>,
    /// Body nodes that its states' next values need.
    core: Vec<bool>,
    /// The versions of its one state, if its update is affine in them.
    versions: Option<Vec<NodeId>>,
}

/// What a scan gives out.
#[derive(Clone, Debug, PartialEq)]
enum Given {
    Node(NodeId),
    Read(Query),
}

struct Splitter<'a> {
    algebra: Algebra<'a>,
    id: NodeId,
    groups: Vec<Group>,
    plans: Vec<Plan>,
    /// Everything asked for, by group and hop.
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
        let algebra = Algebra::new(graph, id, scan);
        let mut parts = components(&algebra);
        loop {
            let mut splitter = Self {
                groups: parts.iter().map(|states| Group::new(&algebra, states)).collect(),
                algebra: Algebra::new(graph, id, scan),
                id,
                plans: Vec::new(),
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
            // what a group's update needs of earlier ones
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

    fn size(&self, axes: &[AxisId]) -> usize {
        axes.iter().map(|a| self.algebra.graph.size(*a)).product()
    }

    /// The latest group that a body node depends on.
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
        // a version much larger than what comes of it stays inside
        let wide = self.leaves(id).into_iter().any(|leaf| {
            let state = matches!(self.plans[leaf.0 as usize], Plan::Given(_));
            state && self.size(&body.ty(leaf).axes) > WIDE * self.size(&body.ty(id).axes)
        });
        if wide { Plan::Given(group) } else { Plan::Computed }
    }

    /// The given values and reads from which a node is computed, if it is.
    fn leaves(&self, id: NodeId) -> BTreeSet<NodeId> {
        let body = self.body();
        let (mut leaves, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut stack: Vec<NodeId> = body.operands(id);
        while let Some(node) = stack.pop() {
            if !self.dependent(node) || !seen.insert(node) {
                continue;
            }
            match self.plans[node.0 as usize] {
                Plan::Computed => stack.extend(body.operands(node)),
                _ => {
                    leaves.insert(node);
                }
            }
        }
        leaves
    }

    /// A sum over axes as reads of a group's state.
    fn reads(&self, id: NodeId, group: usize, versions: &[NodeId]) -> Option<Plan> {
        let g = &self.groups[group];
        let version = versions[self.algebra.version_read(versions, &g.on, id)?];
        // what depends on the state through reads alone may be a query of another hop
        let through_reads = |node: NodeId| {
            !g.core[node.0 as usize]
                && !matches!(self.plans[node.0 as usize], Plan::Given(_))
                && self.leaves(node).iter().all(|l| matches!(self.plans[l.0 as usize], Plan::Reads(..)))
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

    // ---- what is asked for

    /// The hop after which a value is known: one more than that of the reads of this group behind it.
    fn hop(&self, id: NodeId, group: usize) -> usize {
        if !self.groups[group].on[id.0 as usize] {
            return 0;
        }
        match &self.plans[id.0 as usize] {
            Plan::Given(g) if *g == group => 1,
            Plan::Given(_) => 0,
            Plan::Computed => self.body().operands(id).iter().map(|o| self.hop(*o, group)).max().unwrap_or(0),
            Plan::Reads(g, reads) => {
                let own = |(by, read): &(Product, Option<Query>)| {
                    let query = read.as_ref().map_or(0, |r| self.product_hop(&r.by, group));
                    let read = if *g == group && read.is_some() { query + 1 } else { query };
                    read.max(self.product_hop(by, group))
                };
                reads.iter().map(own).max().unwrap_or(0)
            }
        }
    }

    fn product_hop(&self, product: &Product, group: usize) -> usize {
        let hop = |f: &Factor| match f {
            Factor::Dot(_, product) => self.product_hop(product, group),
            Factor::Plain(Ref::Body(id))
            | Factor::Recip(Ref::Body(id))
            | Factor::Is(Ref::Body(id))
            | Factor::Not(Ref::Body(id)) => self.hop(*id, group),
            _ => 0,
        };
        product.factors.iter().map(hop).max().unwrap_or(0)
    }

    fn ask(&mut self, id: NodeId) {
        let mut seen = BTreeSet::new();
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            if !self.dependent(id) || !seen.insert(id) {
                continue;
            }
            match self.plans[id.0 as usize].clone() {
                Plan::Computed => stack.extend(self.body().operands(id)),
                Plan::Given(group) => {
                    self.give((group, 0), Given::Node(id));
                }
                Plan::Reads(group, reads) => {
                    for (by, read) in reads {
                        refs(&by, &mut stack);
                        if let Some(read) = read {
                            refs(&read.by, &mut stack);
                            let hop = self.product_hop(&read.by, group);
                            self.give((group, hop), Given::Read(read));
                        }
                    }
                }
            }
        }
    }

    fn ask_for_update(&mut self, group: usize) {
        // what is given may need further values of earlier groups inside
        let given: Vec<NodeId> = self
            .asked
            .iter()
            .filter(|(k, _)| k.0 == group)
            .flat_map(|(_, g)| g)
            .filter_map(|g| match g {
                Given::Node(id) => Some(*id),
                Given::Read(_) => None,
            })
            .collect();
        let body = self.body();
        let mut roots: Vec<NodeId> = self.groups[group].states.iter().map(|s| self.algebra.scan.next[*s]).collect();
        roots.extend(given);
        let mut seen = BTreeSet::new();
        while let Some(id) = roots.pop() {
            if !seen.insert(id) {
                continue;
            }
            if self.groups[group].on[id.0 as usize] {
                roots.extend(body.operands(id));
            } else {
                for leaf in self.frontier(id) {
                    self.ask(leaf);
                }
            }
        }
    }

    fn give(&mut self, key: (usize, usize), given: Given) -> usize {
        let list = self.asked.entry(key).or_default();
        match list.iter().position(|g| *g == given) {
            Some(i) => i,
            None => {
                list.push(given);
                list.len() - 1
            }
        }
    }

    /// Two groups that would exchange whole matrices token by token: better one scan.
    fn too_wide(&self) -> Option<(usize, usize)> {
        let body = self.body();
        for later in 1..self.groups.len() {
            let shape = |s: usize| &self.algebra.scan.states[s].axes;
            let contracted = |s: usize| {
                let axes = shape(s);
                axes.len() > 1
                    && body.ids().any(|id| match body.op(id) {
                        Op::Contract(over) | Op::Reduce(_, over) => {
                            self.groups[later].on[id.0 as usize] && over.iter().any(|a| axes.contains(a))
                        }
                        _ => false,
                    })
            };
            for earlier in 0..later {
                for given in self.asked.iter().filter(|(k, _)| k.0 == earlier).flat_map(|(_, g)| g) {
                    let Given::Node(id) = given else { continue };
                    let used = body.ids().any(|user| {
                        self.groups[later].core[user.0 as usize]
                            && self.groups[later].on[user.0 as usize]
                            && body.operands(user).iter().any(|o| self.reaches(*o, *id, later))
                    });
                    let wide = self.groups[later]
                        .states
                        .iter()
                        .any(|s| contracted(*s) && shape(*s).iter().all(|a| body.ty(*id).axes.contains(a)));
                    if used && wide {
                        return Some((earlier, later));
                    }
                }
            }
        }
        None
    }

    /// Whether a value outside of a group is computed from another.
    fn reaches(&self, from: NodeId, to: NodeId, group: usize) -> bool {
        let mut seen = BTreeSet::new();
        let mut stack = vec![from];
        while let Some(id) = stack.pop() {
            if self.groups[group].on[id.0 as usize] || !seen.insert(id) {
                continue;
            }
            if id == to {
                return true;
            }
            stack.extend(self.body().operands(id));
        }
        false
    }

    // ---- building

    fn emit(&mut self, new: &mut Dag, at: &[NodeId], i: usize) -> NodeId {
        let (name, id) = &self.algebra.scan.emits[i];
        let value = self.value(new, at, *id);
        if new.node(value).name.is_empty() {
            new.node_mut(value).name = name.clone();
        }
        value
    }

    /// A body node as a value outside.
    fn value(&mut self, new: &mut Dag, at: &[NodeId], id: NodeId) -> NodeId {
        if let Some(known) = self.outside.get(&id) {
            return *known;
        }
        let body = self.body();
        let value = match (body.op(id), self.plans[id.0 as usize].clone()) {
            (Op::Capture(i), _) => at[self.algebra.captures[*i].0 as usize],
            (_, Plan::Computed) => {
                let operands: Vec<NodeId> = body.operands(id).into_iter().map(|o| self.value(new, at, o)).collect();
                new.add(body.node(id).clone(), &operands)
            }
            (_, Plan::Given(group)) => self.given(new, at, (group, 0), &Given::Node(id)),
            (_, Plan::Reads(group, reads)) => {
                let mut sum: Option<NodeId> = None;
                for (by, read) in reads {
                    let factor = (!by.is_one() || read.is_none()).then(|| self.product(new, at, &by, id));
                    let read = read.map(|read| {
                        let hop = self.product_hop(&read.by, group);
                        self.given(new, at, (group, hop), &Given::Read(read))
                    });
                    let term = match (factor, read) {
                        (Some(a), Some(b)) => binary(new, body.node(id), BinaryOp::Mul, a, b),
                        (Some(a), None) | (None, Some(a)) => a,
                        (None, None) => unreachable!("archc bug: a term of nothing"),
                    };
                    sum = Some(match sum {
                        Some(sum) => binary(new, body.node(id), BinaryOp::Add, sum, term),
                        None => term,
                    });
                }
                let sum = sum.expect("a read has at least one term");
                self.fitted(new, sum, body.node(id))
            }
        };
        self.outside.insert(id, value);
        value
    }

    /// A value with all the axes of a node.
    fn fitted(&self, new: &mut Dag, value: NodeId, like: &Node) -> NodeId {
        let missing: Vec<AxisId> = like.ty.axes.iter().copied().filter(|a| !new.ty(value).axes.contains(a)).collect();
        if missing.is_empty() {
            return value;
        }
        add(new, like, Op::Expand(missing), like.ty.axes.clone(), &[value])
    }

    /// The value that a scan gives out.
    fn given(&mut self, new: &mut Dag, at: &[NodeId], key: (usize, usize), given: &Given) -> NodeId {
        let scan = match self.scans.get(&key) {
            Some(scan) => *scan,
            None => {
                let scan = self.build(new, at, key);
                self.scans.insert(key, scan);
                scan
            }
        };
        let number = self.asked[&key].iter().position(|g| g == given);
        let number = number.unwrap_or_else(|| panic!("archc bug: split_scans needs what it did not ask for"));
        if let Some(known) = self.emits.get(&(key.0, key.1, number)) {
            return *known;
        }
        let Op::Scan(op) = new.op(scan) else { unreachable!("archc bug: a scan that is none") };
        let (name, emitted) = op.emits[number].clone();
        let ty = Type { axes: op.body.ty(emitted).axes.clone(), rate: Rate::Token };
        let node = Node { op: Op::Emit(number), ty, name, place: self.place() };
        let emit = new.add(node, &[scan]);
        self.emits.insert((key.0, key.1, number), emit);
        emit
    }

    fn place(&self) -> crate::source::Place {
        self.algebra.graph.dag.node(self.id).place
    }

    /// A product of state-free factors.
    fn product(&mut self, new: &mut Dag, at: &[NodeId], product: &Product, like: NodeId) -> NodeId {
        if let Some((_, known)) = self.queries.iter().find(|(p, _)| p == product) {
            return *known;
        }
        let node = self.body().node(like);
        let mut value: Option<NodeId> = None;
        for factor in &product.factors {
            let x = self.factor(new, at, factor, like);
            value = Some(match value {
                Some(v) => binary(new, node, BinaryOp::Mul, v, x),
                None => x,
            });
        }
        let value = match value {
            Some(v) if product.c == 1.0 => v,
            Some(v) => {
                let c = add(new, node, Op::Const(product.c), Vec::new(), &[]);
                binary(new, node, BinaryOp::Mul, v, c)
            }
            None => add(new, node, Op::Const(product.c), Vec::new(), &[]),
        };
        self.queries.push((product.clone(), value));
        value
    }

    fn factor(&mut self, new: &mut Dag, at: &[NodeId], factor: &Factor, like: NodeId) -> NodeId {
        let node = self.body().node(like);
        match factor {
            Factor::Plain(r) => self.reference(new, at, *r),
            Factor::Recip(r) => {
                let one = add(new, node, Op::Const(1.0), Vec::new(), &[]);
                let x = self.reference(new, at, *r);
                binary(new, node, BinaryOp::Div, one, x)
            }
            Factor::Is(r) | Factor::Not(r) => {
                let zero = add(new, node, Op::Const(0.0), Vec::new(), &[]);
                let x = self.reference(new, at, *r);
                let op = if matches!(factor, Factor::Is(_)) { BinaryOp::Ne } else { BinaryOp::Eq };
                binary(new, node, op, x, zero)
            }
            Factor::Dot(over, product) => {
                let x = self.product(new, at, product, like);
                let axes = new.ty(x).axes.iter().copied().filter(|a| !over.contains(a)).collect();
                add(new, node, Op::Reduce(ReduceOp::Sum, over.clone()), axes, &[x])
            }
        }
    }

    fn reference(&mut self, new: &mut Dag, at: &[NodeId], r: Ref) -> NodeId {
        match r {
            Ref::Body(id) => self.value(new, at, id),
            Ref::Outer(id) => at[id.0 as usize],
        }
    }

    /// The scan of a group and hop, with everything that is asked of it.
    fn build(&mut self, new: &mut Dag, at: &[NodeId], key: (usize, usize)) -> NodeId {
        let asked = self.asked[&key].clone();
        let states = self.groups[key.0].states.clone();
        let mut body = Body { dag: Dag::new(), at: BTreeMap::new(), captured: Vec::new() };
        let next: Vec<NodeId> =
            states.iter().map(|s| self.inside(new, at, key.0, &mut body, self.algebra.scan.next[*s])).collect();
        let mut emits: Vec<(String, NodeId)> = Vec::new();
        for given in &asked {
            let (name, value) = match given {
                Given::Node(id) => (self.body().node(*id).name.clone(), self.inside(new, at, key.0, &mut body, *id)),
                Given::Read(query) => self.read(new, at, key.0, &mut body, query),
            };
            let emitted = self.algebra.scan.emits.iter().find(|(_, e)| matches!(given, Given::Node(id) if id == e));
            let base = emitted.map_or(name, |(name, _)| name.clone());
            let base = if base.is_empty() { "read".to_string() } else { base };
            let mut name = base.clone();
            let mut n = 2;
            while emits.iter().any(|(other, _)| *other == name) {
                name = format!("{base}.{n}");
                n += 1;
            }
            emits.push((name, value));
        }
        let scan = Scan {
            states: states.iter().map(|s| self.algebra.scan.states[*s].clone()).collect::<Vec<State>>(),
            body: body.dag,
            next,
            emits,
        };
        let initial = self.algebra.graph.dag.operands(self.id);
        let mut operands: Vec<NodeId> = states.iter().map(|s| at[initial[*s].0 as usize]).collect();
        operands.extend(body.captured);
        let old = self.algebra.graph.dag.node(self.id);
        new.add(
            Node { op: Op::Scan(Box::new(scan)), ty: old.ty.clone(), name: old.name.clone(), place: old.place },
            &operands,
        )
    }

    fn read(&mut self, new: &mut Dag, at: &[NodeId], group: usize, body: &mut Body, query: &Query) -> (String, NodeId) {
        let version = self.inside(new, at, group, body, query.version);
        let mut by = self.product(new, at, &query.by, query.version);
        let node = self.body().node(query.version).clone();
        let missing: Vec<AxisId> = query.over.iter().copied().filter(|a| !new.ty(by).axes.contains(a)).collect();
        if !missing.is_empty() {
            let mut axes = [new.ty(by).axes.clone(), missing.clone()].concat();
            axes.sort_unstable();
            by = add(new, &node, Op::Expand(missing), axes, &[by]);
        }
        let q = body.capture(new, by);
        let mut axes: Vec<AxisId> = [body.dag.ty(q).axes.clone(), body.dag.ty(version).axes.clone()].concat();
        axes.retain(|a| !query.over.contains(a));
        axes.sort_unstable();
        axes.dedup();
        let ty = Type { axes, rate: Rate::Token };
        let node = Node { op: Op::Contract(query.over.clone()), ty, name: String::new(), place: node.place };
        (self.reader_of(query), body.dag.add(node, &[q, version]))
    }

    /// The name of the first emit that a read goes into.
    fn reader_of(&self, query: &Query) -> String {
        let body = self.body();
        let reads = |id: NodeId| match &self.plans[id.0 as usize] {
            Plan::Reads(_, reads) => reads.iter().any(|r| r.1.as_ref() == Some(query)),
            _ => false,
        };
        let goes_into = |emit: NodeId| {
            let reached = body.reachable(&[emit]);
            body.ids().any(|id| reached[id.0 as usize] && reads(id))
        };
        let emit = self.algebra.scan.emits.iter().find(|(_, e)| goes_into(*e));
        emit.map_or(String::new(), |(name, _)| name.clone())
    }

    /// A body node inside of a group's own body.
    fn inside(&mut self, new: &mut Dag, at: &[NodeId], group: usize, body: &mut Body, id: NodeId) -> NodeId {
        if let Some(known) = body.at.get(&Ref::Body(id)) {
            return *known;
        }
        let old = self.body();
        let value = if self.groups[group].on[id.0 as usize] {
            let operands: Vec<NodeId> =
                old.operands(id).into_iter().map(|o| self.inside(new, at, group, body, o)).collect();
            let mut node = old.node(id).clone();
            if let Op::State(s) = node.op {
                node.op = Op::State(self.groups[group].states.iter().position(|t| *t == s).unwrap_or(0));
            }
            body.dag.add(node, &operands)
        } else {
            self.drawn_in(new, at, body, self.algebra.free(id))
        };
        body.at.insert(Ref::Body(id), value);
        value
    }

    /// A value of the surroundings, inside: captured, or computed there if it is larger than what it is made of.
    fn drawn_in(&mut self, new: &mut Dag, at: &[NodeId], body: &mut Body, r: Ref) -> NodeId {
        if let Some(known) = body.at.get(&r) {
            return *known;
        }
        let value = if self.grows(r) {
            let operands: Vec<NodeId> =
                self.algebra.operands(r).into_iter().map(|o| self.drawn_in(new, at, body, o)).collect();
            body.dag.add(self.algebra.node(r).clone(), &operands)
        } else {
            let outer = self.reference(new, at, r);
            body.capture(new, outer)
        };
        body.at.insert(r, value);
        value
    }

    /// Whether a value is larger than what it is made of by element-wise ops.
    fn grows(&self, r: Ref) -> bool {
        match &self.algebra.node(r).op {
            Op::Const(_) => true,
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Expand(_) => {
                self.plain(r) && self.price(r, DEPTH) < self.numbers(r)
            }
            _ => false,
        }
    }

    /// Whether it is computed from its operands, not read out of a state.
    fn plain(&self, r: Ref) -> bool {
        match r {
            Ref::Body(id) => !self.dependent(id) || matches!(self.plans[id.0 as usize], Plan::Computed),
            Ref::Outer(_) => true,
        }
    }

    /// Numbers a token that a value takes when captured.
    fn numbers(&self, r: Ref) -> usize {
        let ty = &self.algebra.node(r).ty;
        if ty.rate == Rate::Fixed { 0 } else { self.size(&ty.axes) }
    }

    /// The least numbers a token from which a value can be computed inside.
    fn price(&self, r: Ref, depth: usize) -> usize {
        let whole = self.numbers(r);
        match &self.algebra.node(r).op {
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Expand(_) if self.plain(r) && depth > 0 => {
                let operands = self.algebra.operands(r);
                let parts = operands.into_iter().map(|o| self.price(o, depth - 1)).sum::<usize>();
                whole.min(parts)
            }
            _ => whole,
        }
    }

    /// The body nodes that a value drawn into a group's body captures.
    fn frontier(&self, id: NodeId) -> Vec<NodeId> {
        let mut found = Vec::new();
        let mut stack = vec![self.algebra.free(id)];
        while let Some(r) = stack.pop() {
            match r {
                Ref::Body(_) if self.grows(r) => stack.extend(self.algebra.operands(r)),
                Ref::Body(id) => found.push(id),
                Ref::Outer(_) => {}
            }
        }
        found
    }
}

/// A state this many times as large as what is computed from it is not given out for it.
const WIDE: usize = 4;

/// How far down an expression is looked through for the outer products in it.
const DEPTH: usize = 8;

/// The body of a new scan.
struct Body {
    dag: Dag,
    at: BTreeMap<Ref, NodeId>,
    captured: Vec<NodeId>,
}

impl Body {
    fn capture(&mut self, new: &Dag, outer: NodeId) -> NodeId {
        let i = match self.captured.iter().position(|c| *c == outer) {
            Some(i) => i,
            None => {
                self.captured.push(outer);
                self.captured.len() - 1
            }
        };
        let node = new.node(outer);
        let node = Node { op: Op::Capture(i), ty: node.ty.clone(), name: node.name.clone(), place: node.place };
        let known = self.dag.ids().find(|id| matches!(self.dag.op(*id), Op::Capture(j) if *j == i));
        known.unwrap_or_else(|| self.dag.add(node, &[]))
    }
}

impl Group {
    fn new(algebra: &Algebra, states: &[usize]) -> Self {
        let on = algebra.dependent(states);
        let next: Vec<NodeId> = states.iter().map(|s| algebra.scan.next[*s]).collect();
        let core = algebra.body().reachable(&next);
        let versions = match states {
            [state] => Some(algebra.versions(*state, &on)).filter(|versions| {
                versions.windows(2).all(|pair| algebra.expand(pair[1], pair[0], &|id| !on[id.0 as usize]).is_ok())
                    && versions.first().is_some_and(|v| matches!(algebra.body().op(*v), Op::State(_)))
            }),
            _ => None,
        };
        Self { states: states.to_vec(), on, core, versions }
    }
}

/// Strongly connected parts of the states, those that others read first.
fn components(algebra: &Algebra) -> Vec<Vec<usize>> {
    let scan = algebra.scan;
    let n = scan.states.len();
    let mut reads = vec![vec![false; n]; n];
    for (i, row) in reads.iter_mut().enumerate() {
        let reached = scan.body.reachable(&[scan.next[i]]);
        for id in scan.body.ids().filter(|id| reached[id.0 as usize]) {
            if let Op::State(j) = *scan.body.op(id) {
                row[j] = true;
            }
        }
        row[i] = true;
    }
    for k in 0..n {
        for i in 0..n {
            if reads[i][k] {
                let through = reads[k].clone();
                reads[i].iter_mut().zip(through).for_each(|(r, t)| *r |= t);
            }
        }
    }
    let mut parts: Vec<Vec<usize>> = Vec::new();
    for (i, row) in reads.iter().enumerate() {
        if !parts.iter().any(|p| p.contains(&i)) {
            parts.push((i..n).filter(|j| row[*j] && reads[*j][i]).collect());
        }
    }
    // a part that reads more states comes later
    parts.sort_by_key(|p| (reads[p[0]].iter().filter(|r| **r).count(), p[0]));
    parts
}

/// The body nodes in a product.
fn refs(product: &Product, into: &mut Vec<NodeId>) {
    for factor in &product.factors {
        match factor {
            Factor::Plain(Ref::Body(id))
            | Factor::Recip(Ref::Body(id))
            | Factor::Is(Ref::Body(id))
            | Factor::Not(Ref::Body(id)) => {
                into.push(*id);
            }
            Factor::Dot(_, product) => refs(product, into),
            _ => {}
        }
    }
}

fn rate(dag: &Dag, operands: &[NodeId]) -> Rate {
    if operands.iter().any(|o| dag.rate(*o) != Rate::Fixed) { Rate::Token } else { Rate::Fixed }
}

/// Adds a node like another (name and place).
pub(super) fn add(dag: &mut Dag, like: &Node, op: Op, axes: Vec<AxisId>, operands: &[NodeId]) -> NodeId {
    let ty = Type { axes, rate: rate(dag, operands) };
    dag.add(Node { op, ty, name: String::new(), place: like.place }, operands)
}

/// Adds a function of two values.
pub(super) fn binary(dag: &mut Dag, like: &Node, op: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
    let mut axes = [dag.ty(a).axes.clone(), dag.ty(b).axes.clone()].concat();
    axes.sort_unstable();
    axes.dedup();
    add(dag, like, Op::Binary(op), axes, &[a, b])
}

/// Adds a function of one value.
pub(super) fn unary(dag: &mut Dag, like: &Node, op: UnaryOp, x: NodeId) -> NodeId {
    let axes = dag.ty(x).axes.clone();
    add(dag, like, Op::Unary(op), axes, &[x])
}
